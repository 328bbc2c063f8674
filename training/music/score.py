"""Short pieces composed from tags: instrument, mood and tempo.

A mood is a mode, a register, an articulation, a loudness, progressions of chords, rhythms and a way to accompany. A
piece is a row of cells of two beats with one chord each. A motif of two shapes runs through the cells, its notes on the
beat drawn to the chord; the last cell is the mood's cadence, and the piece ends on the tonic.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

SECONDS = 5.0
CELL = 2  # beats
ENDING_SECONDS = 1.0
"""What the last note has at least, from its onset to the end of the piece."""
TONICS = (0, 2, 3, 5, 7, 9, 10)
TEMPOS = {"slow": (62, 66, 70), "medium": (94, 99, 104), "fast": (152, 160, 168)}
"""Beats a minute. No tempo is about twice or half another, so that a listener who counts otherwise is not misled."""

Part = Literal["melody", "accompaniment"]
Chord = tuple[int, ...]
"""Semitones above the tonic, the root first."""


@dataclass(frozen=True)
class Tags:
    """What a piece is, as people ask for it."""

    instrument: str
    mood: str
    tempo: str


@dataclass(frozen=True)
class Instrument:
    """General MIDI programs of the melody and of what accompanies it, and the pitches that each may play."""

    program: int
    centre: int  # of the melody
    range: tuple[int, int]
    partner: int
    partner_range: tuple[int, int]


@dataclass(frozen=True)
class Mood:
    """How a mood sounds."""

    scale: tuple[int, ...]  # semitones above the tonic
    progressions: tuple[tuple[Chord, ...], ...]
    cadence: Chord  # leads to the tonic
    final: Chord
    register: int  # semitones from the instrument's centre
    length: float  # of notes, as a share of the time to the next one
    velocity: int
    rhythms: tuple[tuple[float, ...], ...]  # of a cell, in beats; negative ones are rests
    leaps: float  # how likely the melody moves by more than a step
    accompaniment: tuple[tuple[float, float, str], ...]  # of a cell: onset, beats, voice (see _voices)
    level: float  # root mean square of the rendered piece


@dataclass(frozen=True)
class Note:
    beat: float  # onset
    beats: float  # how long it sounds
    pitch: int  # MIDI
    velocity: int
    part: Part


@dataclass(frozen=True)
class Score:
    tags: Tags
    tonic: int  # pitch class
    beats_per_minute: int
    seconds: float
    notes: tuple[Note, ...]  # by onset

    def time(self, beat: float) -> float:
        """Seconds from the beginning."""
        return beat * 60 / self.beats_per_minute


INSTRUMENTS = {
    "piano": Instrument(0, 72, (36, 96), 0, (36, 72)),
    "guitar": Instrument(24, 69, (45, 84), 24, (40, 69)),
    "violin": Instrument(40, 76, (55, 96), 45, (43, 72)),  # over plucked strings
    "flute": Instrument(73, 79, (60, 96), 71, (50, 76)),  # over clarinets
    "trumpet": Instrument(56, 70, (54, 84), 57, (41, 67)),  # over trombones
    "organ": Instrument(19, 70, (42, 90), 19, (36, 67)),
    "harp": Instrument(46, 74, (43, 98), 46, (36, 72)),
    "xylophone": Instrument(13, 84, (65, 105), 12, (48, 76)),  # over a marimba
}

_MAJOR, _MINOR = (0, 4, 7), (0, 3, 7)


def _on(root: int, kind: tuple[int, ...]) -> Chord:
    return tuple(root + step for step in kind)


_I, _II, _IV, _V, _VI, _FLAT_VII = (_on(root, _MAJOR) for root in (0, 2, 5, 7, 8, 10))
_i, _iv, _vi = (_on(root, _MINOR) for root in (0, 5, 9))
_SIX_NINE, _vi7, _V_SUS, _II_SUS = (0, 4, 7, 9), (9, 12, 16, 19), (7, 9, 14), (2, 7, 9)

_BOUNCE = ((0, 0.4, "bass"), (0.5, 0.3, "chord"), (1, 0.4, "fifth"), (1.5, 0.3, "chord"))
_HELD = ((0, 2, "bass"), (0, 1, "chord"), (1, 1, "chord"))
_BROKEN = ((0, 2, "bass"), (0.5, 1.5, "first"), (1, 1, "second"), (1.5, 0.5, "third"))
_DRIVE = tuple((step / 4, 0.2, voice) for step, voice in enumerate(("bass", "fifth", "bass", "bass") * 2)) + (
    (0, 0.4, "chord"),
    (1.5, 0.4, "chord"),
)
_CREEP = ((0, 0.9, "bass"), (0.5, 0.4, "tritone"), (1, 0.9, "bass"), (1, 0.9, "chord"), (1.5, 0.4, "neighbour"))
_OOMPAH = ((0, 0.25, "bass"), (0.5, 0.15, "chord"), (1, 0.25, "fifth"), (1.5, 0.15, "chord"))

MOODS = {
    "happy": Mood(
        (0, 2, 4, 5, 7, 9, 11), ((_I, _IV, _I, _V), (_I, _vi, _IV, _V), (_I, _V, _vi, _IV)), (*_V, 17), _I, 2, 0.75, 92,
        ((0.5, 0.5, 1), (0.75, 0.25, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5), (1, 0.5, 0.5)), 0.25, _BOUNCE, 0.10,
    ),
    "sad": Mood(
        (0, 2, 3, 5, 7, 8, 11), ((_i, _iv, _i, _VI), (_i, _VI, _iv, _V), (_i, _V, _VI, _iv)), (*_V, 17), _i, -5, 1.0,
        66, ((1.5, 0.5), (1, 1), (1, 0.5, 0.5)), 0.1, _HELD, 0.06,
    ),
    "calm": Mood(
        (0, 2, 4, 7, 9), ((_SIX_NINE, _vi7, _SIX_NINE, _V_SUS), (_SIX_NINE, _II_SUS, _vi7, _V_SUS)), _V_SUS, _I, 0, 1.1,
        58, ((2,), (1, 1), (1.5, 0.5)), 0.2, _BROKEN, 0.05,
    ),
    "exciting": Mood(
        (0, 2, 4, 5, 7, 9, 10), ((_I, _FLAT_VII, _IV, _I), (_I, _IV, _FLAT_VII, _IV), (_I, _I, _FLAT_VII, _IV)),
        _FLAT_VII, _I, 4, 0.9, 118,
        ((0.25, 0.25, 0.5, 0.25, 0.25, 0.5), (0.75, 0.25, 0.75, 0.25), (0.5, 0.25, 0.25, 1)), 0.35, _DRIVE, 0.14,
    ),
    "scary": Mood(
        (0, 1, 3, 5, 6, 7, 8, 10), ((_i, _on(1, _MAJOR), _i, (0, 3, 6)), (_i, (0, 3, 6), _on(1, _MAJOR), _i)),
        _on(1, _MAJOR), _i, -9, 0.95, 84, ((1.5, 0.25, 0.25), (2,), (1.75, 0.25)), 0.5, _CREEP, 0.08,
    ),
    "funny": Mood(
        (0, 2, 4, 6, 7, 9, 11), ((_I, _II, _I, _V), (_I, _V, _II, _V), (_I, _II, _V, _II)), (7, 11, 14, 18), _I, 7,
        0.35, 90,
        ((0.25, 0.25, 0.5, -0.5, 0.5), (-0.5, 0.5, -0.5, 0.5), (0.5, -0.25, 0.25, 0.5, -0.5)), 0.75, _OOMPAH, 0.09,
    ),
}  # fmt: skip


def all_tags() -> list[Tags]:
    """Every combination of instrument, mood and tempo."""
    return [Tags(*tags) for tags in product(INSTRUMENTS, MOODS, TEMPOS)]


def compose(tags: Tags, seed: int, seconds: float = SECONDS, loop: bool = False) -> Score:
    """A piece of that length with an ending, or (`loop`) one that goes on at its beginning and may be a bit shorter.

    Equal arguments give equal pieces. Raises KeyError for an unknown tag, ValueError where not even a cell fits.
    """
    rng = random.Random(f"{tags.instrument} {tags.mood} {tags.tempo} {seed} {seconds} {loop}")
    instrument, mood = INSTRUMENTS[tags.instrument], MOODS[tags.mood]
    beats_per_minute = rng.choice(TEMPOS[tags.tempo])
    room = seconds if loop else seconds - ENDING_SECONDS
    cells = int(room * beats_per_minute / 60 / CELL)
    if cells < 1:
        raise ValueError(f"{seconds} s are too short for a {tags.tempo} piece")
    tonic = rng.choice(TONICS)
    chords = _harmony(mood, cells, rng)
    centre = instrument.centre + mood.register
    low, high = max(instrument.range[0], centre - 6), min(instrument.range[1], centre + 14)
    ladder = [pitch for pitch in range(low, high + 1) if (pitch - tonic) % 12 in mood.scale]
    notes = list(_melody(mood, centre, tonic, ladder, chords, rng))
    for cell, chord in enumerate(chords):
        notes += _accompaniment(mood, instrument, tonic, chord, cell * CELL)
    end = seconds * beats_per_minute / 60
    if loop:
        end = cells * CELL
    else:
        notes += _ending(mood, instrument, tonic, ladder, notes, cells * CELL, end)
    return Score(tags, tonic, beats_per_minute, end * 60 / beats_per_minute, _playable(notes))


def _playable(notes: list[Note]) -> tuple[Note, ...]:
    """By onset; a key that is struck again is released first, and struck once at a time."""
    following: dict[tuple[Part, int], float] = {}
    kept = []
    for note in sorted(notes, key=lambda note: (note.beat, note.pitch), reverse=True):
        key = note.part, note.pitch
        if following.get(key) != note.beat:
            kept.append(replace(note, beats=min(note.beats, following.get(key, math.inf) - note.beat)))
        following[key] = note.beat
    return tuple(reversed(kept))


def _harmony(mood: Mood, cells: int, rng: random.Random) -> list[Chord]:
    """A chord a cell: phrases of four in the order A A B A, the last cell the cadence."""
    first, other = rng.choice(mood.progressions), rng.choice(mood.progressions)
    chords = [(other if cell // 4 % 4 == 2 else first)[cell % 4] for cell in range(cells)]
    return [*chords[:-1], mood.cadence] if cells > 1 else chords


def _melody(
    mood: Mood, centre: int, tonic: int, ladder: list[int], chords: list[Chord], rng: random.Random
) -> Iterator[Note]:
    """Cells in the order A A B A of rhythm and shape; what falls on a beat belongs to the chord."""
    motif = _shape(mood, rng), _shape(mood, rng)
    place = _nearest(ladder, centre, tonic, chords[0])
    for cell, chord in enumerate(chords):
        rhythm, steps = motif[cell % 4 == 2]
        place = _nearest(ladder, (ladder[place] + centre) // 2, tonic, chord)
        beat, start = float(cell * CELL), place
        for count, (length, step) in enumerate(zip(rhythm, steps, strict=True)):
            if length > 0:
                place = max(0, min(start + step, len(ladder) - 1))
                if beat == int(beat):
                    place = _nearest(ladder, ladder[place], tonic, chord)
                accent = 8 if count == 0 else 0
                velocity = max(30, min(mood.velocity + accent + rng.randint(-5, 5), 127))
                yield Note(beat, length * mood.length, ladder[place], velocity, "melody")
            beat += abs(length)


def _shape(mood: Mood, rng: random.Random) -> tuple[tuple[float, ...], list[int]]:
    """A rhythm and, for each of its notes, how many steps of the ladder it lies from the first."""
    rhythm, place, steps = rng.choice(mood.rhythms), 0, [0]
    direction = rng.choice((1, -1))
    for _ in rhythm[1:]:
        if rng.random() < 0.3:
            direction = -direction
        place += direction * (rng.choice((2, 3, 4)) if rng.random() < mood.leaps else 1)
        if abs(place) > 4:
            direction = -direction
        steps.append(place)
    return rhythm, steps


def _nearest(ladder: list[int], pitch: int, tonic: int, chord: Chord) -> int:
    """The place in the ladder of the pitch of a chord that lies closest."""
    wanted = {(tonic + step) % 12 for step in chord}
    return min((i for i, p in enumerate(ladder) if p % 12 in wanted), key=lambda i: (abs(ladder[i] - pitch), i))


def _voices(mood: Mood, instrument: Instrument, tonic: int, chord: Chord) -> dict[str, list[int]]:
    """Pitches of the accompaniment's voices: the root low, the chord in close position above it, below the melody."""
    low, high = instrument.partner_range
    high = max(low + 14, min(high, instrument.centre + mood.register - 5))
    bass = low + (tonic + chord[0] - low) % 12
    if bass < low + 4 and tonic % 2:
        bass += 12  # not every key at the very bottom
    floor = bass + 12
    close = sorted(floor + (tonic + step - floor) % 12 for step in chord)
    close = [p if p <= high else p - 12 for p in close]
    fifth = bass + (chord[2] - chord[0]) % 12
    neighbour, tritone = bass + (tonic + 1 - bass) % 12, bass + (tonic + 6 - bass) % 12
    return {
        "bass": [bass], "fifth": [fifth], "chord": close, "neighbour": [neighbour],
        "tritone": [tritone], "first": [close[0]], "second": [close[1]], "third": [close[-1]],
    }  # fmt: skip


def _accompaniment(mood: Mood, instrument: Instrument, tonic: int, chord: Chord, start: float) -> Iterator[Note]:
    voices = _voices(mood, instrument, tonic, chord)
    for onset, beats, voice in mood.accompaniment:
        velocity = round(mood.velocity * (0.8 if voice == "bass" else 0.62))
        for pitch in voices[voice]:
            yield Note(start + onset, beats, pitch, velocity, "accompaniment")


def _ending(
    mood: Mood, instrument: Instrument, tonic: int, ladder: list[int], notes: list[Note], beat: float, end: float
) -> Iterator[Note]:
    """The tonic in the melody over the final chord; a light mood ends on a short one and answers it above."""
    short = mood.length < 0.5
    melody = [note.pitch for note in notes if note.part == "melody"]
    pitch = ladder[_nearest(ladder, melody[-1], tonic, (0,))]
    beats = 0.3 if short else (end - beat) * 0.85
    voices = _voices(mood, instrument, tonic, mood.final)
    yield Note(beat, beats, pitch, mood.velocity, "melody")
    for p in (*voices["bass"], *voices["chord"]):
        yield Note(beat, beats, p, round(mood.velocity * 0.65), "accompaniment")
    if short and pitch + 12 <= instrument.range[1]:
        yield Note(beat + 0.5, 0.3, pitch + 12, mood.velocity, "melody")
