"""Music for nano: what is said of a piece can be found again in its notes; the codec's recipe; what users ask for."""

from __future__ import annotations

from collections import Counter

import pytest

from training.music.score import INSTRUMENTS, MOODS, TEMPOS, Score, Tags, all_tags, compose

SEEDS = range(3)
PIECES = [compose(tags, seed) for tags in all_tags() for seed in SEEDS]


def tempo_heard(score: Score) -> str:
    """The fastest beat at which something of the accompaniment begins every time, from onsets in seconds alone."""
    onsets = [score.time(note.beat) for note in score.notes if note.part == "accompaniment"]
    last = max(onsets) - 0.001

    def covered(beats_per_minute: int) -> bool:
        period = 60 / beats_per_minute
        grid = [period * beat for beat in range(int(last / period) + 1)]
        return all(min(abs(onset - at) for onset in onsets) < 0.02 for at in grid)

    fitting = [(bpm, tempo) for tempo, choices in TEMPOS.items() for bpm in choices if covered(bpm)]
    return max(fitting)[1]


def mood_heard(score: Score) -> str:
    """The mood with the smallest scale that has all pitches, counted from the last and lowest one."""
    last = max(note.beat for note in score.notes if note.part == "accompaniment")
    tonic = min(note.pitch for note in score.notes if note.part == "accompaniment" and note.beat == last)
    heard = {(note.pitch - tonic) % 12 for note in score.notes}
    return min((mood for mood in MOODS if heard <= set(MOODS[mood].scale)), key=lambda mood: len(MOODS[mood].scale))


def test_there_are_enough_of_each() -> None:
    assert len(INSTRUMENTS) >= 8 and len(MOODS) >= 6 and len(TEMPOS) >= 3


def test_the_tempo_can_be_found_in_the_onsets() -> None:
    wrong = [score.tags for score in PIECES if tempo_heard(score) != score.tags.tempo]
    assert not wrong


def test_the_mood_can_be_found_in_the_pitches() -> None:
    wrong = [score.tags for score in PIECES if mood_heard(score) != score.tags.mood]
    assert not wrong


def test_pieces_fill_their_time_and_end_on_the_tonic() -> None:
    for score in PIECES:
        assert score.seconds == pytest.approx(5)
        assert all(0 <= score.time(note.beat) < score.time(note.beat + note.beats) <= 5 for note in score.notes)
        melody = [note for note in score.notes if note.part == "melody"]
        assert melody[-1].pitch % 12 == score.tonic and score.time(melody[-1].beat) > 3
        assert min(note.beat for note in score.notes) == 0


def test_notes_stay_within_the_instruments() -> None:
    for score in PIECES:
        instrument = INSTRUMENTS[score.tags.instrument]
        for note in score.notes:
            low, high = instrument.range if note.part == "melody" else instrument.partner_range
            assert low <= note.pitch <= high and 0 < note.velocity < 128


def test_no_key_is_struck_while_it_sounds() -> None:
    for score in PIECES:
        free: Counter[tuple[str, int]] = Counter()
        for note in score.notes:
            assert note.beat >= free[note.part, note.pitch] - 1e-9
            free[note.part, note.pitch] = note.beat + note.beats


def test_the_melody_lies_above_what_accompanies_it() -> None:
    for score in PIECES:
        melody, other = (
            [note.pitch for note in score.notes if note.part == part] for part in ("melody", "accompaniment")
        )
        assert sum(melody) / len(melody) > sum(other) / len(other)


def test_every_seed_is_another_piece_and_the_same_seed_the_same() -> None:
    tags = Tags("piano", "happy", "medium")
    pieces = [compose(tags, seed) for seed in range(40)]
    assert pieces == [compose(tags, seed) for seed in range(40)]
    assert len({piece.notes for piece in pieces}) == 40


def test_longer_pieces_and_loops() -> None:
    for tags in all_tags():
        long, loop = compose(tags, 1, seconds=20), compose(tags, 1, seconds=20, loop=True)
        assert long.seconds == pytest.approx(20) and max(map(long.time, (n.beat for n in long.notes))) > 16
        beats = loop.seconds * loop.beats_per_minute / 60
        assert beats == pytest.approx(round(beats)) and 17.5 < loop.seconds <= 20
        assert round(beats) - max(note.beat for note in loop.notes) <= 2, "no pause before it begins again"
    with pytest.raises(ValueError, match="too short"):
        compose(Tags("piano", "sad", "slow"), 1, seconds=2)
