"""A score's sound: fluidsynth with the SoundFont of Debian's fluid-soundfont-gm (Fluid R3, by Frank Wen, MIT licence).

Install Debian's `libfluidsynth3` and `fluid-soundfont-gm`.
"""

from __future__ import annotations

from pathlib import Path

import fluidsynth
import numpy as np
import soxr

from training.music.score import INSTRUMENTS, MOODS, Note, Score

RATE = 16_000
SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
_SYNTH_RATE = 32_000  # twice the rate, so that what the synthesizer folds over lies above what is kept
_BLOCK = 64  # samples; fluidsynth begins and ends notes between blocks
_FADE = 0.08  # seconds at the end
_MELODY, _ACCOMPANIMENT = 0, 1  # MIDI channels
_PEAK = 0.95


class Synthesizer:
    """Owns a synthesizer with its SoundFont; call `render` with one score after another."""

    def __init__(self, soundfont: Path = SOUNDFONT) -> None:
        if not soundfont.is_file():
            raise FileNotFoundError(f"{soundfont} is missing: install Debian's fluid-soundfont-gm")
        self._synth = fluidsynth.Synth(gain=0.5, samplerate=float(_SYNTH_RATE), **{"synth.chorus.active": 0})
        self._synth.set_reverb(0.3, 0.3, 0.5, 0.25)
        self._font = self._synth.sfload(str(soundfont))

    def render(self, score: Score) -> np.ndarray:
        """[score.seconds * RATE] float32, mono, at the loudness of its mood.

        The same scores in the same order sound the same; in another order, the reverberation differs by a hair.
        """
        instrument = INSTRUMENTS[score.tags.instrument]
        for channel, program in ((_MELODY, instrument.program), (_ACCOMPANIMENT, instrument.partner)):
            self._synth.program_select(channel, self._font, 0, program)
        pieces, now = [], 0
        for sample, velocity, note in _events(score):
            pieces.append(self._synth.get_samples(sample - now))
            now = sample
            channel = _MELODY if note.part == "melody" else _ACCOMPANIMENT
            if velocity:
                self._synth.noteon(channel, note.pitch, velocity)
            else:
                self._synth.noteoff(channel, note.pitch)
        pieces.append(self._synth.get_samples(_in_blocks(score.seconds) - now))
        self._synth.system_reset()  # nothing of a piece, its reverberation included, sounds in the next one
        mono = np.concatenate(pieces).reshape(-1, 2).astype(np.float32).mean(axis=1) / 32768
        pcm = soxr.resample(mono, _SYNTH_RATE, RATE)[: round(score.seconds * RATE)]
        return _levelled(pcm, MOODS[score.tags.mood].level)

    def close(self) -> None:
        self._synth.delete()


def _in_blocks(seconds: float) -> int:
    """Samples, rounded up to whole blocks."""
    return -(-round(seconds * _SYNTH_RATE) // _BLOCK) * _BLOCK


def _events(score: Score) -> list[tuple[int, int, Note]]:
    """(sample, velocity, note) in the order to be played; velocity 0 ends a note, before another may begin."""
    last = _in_blocks(score.seconds)
    events = []
    for note in score.notes:
        start, stop = score.time(note.beat), score.time(note.beat + note.beats)
        events.append((_in_blocks(start), note.velocity, note))
        events.append((min(_in_blocks(stop), last), 0, note))
    return sorted(events, key=lambda event: (event[0], event[1] > 0, event[2].pitch))


def _levelled(pcm: np.ndarray, level: float) -> np.ndarray:
    """At that root mean square, as far as peaks allow, faded out at the very end."""
    gain = level / max(float(np.sqrt(np.square(pcm).mean())), 1e-6)
    pcm = pcm * np.float32(min(gain, _PEAK / max(float(np.abs(pcm).max()), 1e-6)))
    fade = round(_FADE * RATE)
    pcm[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return pcm
