"""What a peer plays, by the clock alone."""

from __future__ import annotations

import numpy as np
import pytest

from streaming.loudspeaker import STEP, Loudspeaker

SECOND = 16_000


def rising(steps: int, start: int = 1) -> np.ndarray:
    """Sound whose levels are the squares of start, start + 1, ..."""
    return np.repeat(np.arange(start, start + steps, dtype=np.float32), STEP)


def levels(*amplitudes: float) -> list[float]:
    return [amplitude**2 for amplitude in amplitudes]


def test_it_sounds_from_when_it_was_sent_for_as_long_as_the_sound_is() -> None:
    loudspeaker = Loudspeaker()
    assert not loudspeaker.sounds(0)
    loudspeaker.play(np.ones(SECOND, np.float32), 5000)
    assert loudspeaker.sounds(5990) and not loudspeaker.sounds(6000)
    loudspeaker.play(np.ones(SECOND, np.float32), 5500)
    assert loudspeaker.sounds(6990) and not loudspeaker.sounds(7000), "one piece after the other"


@pytest.mark.parametrize("size", [1, STEP - 1, STEP, STEP + 1, 4 * STEP])
def test_pieces_of_any_size_make_the_same_levels(size: int) -> None:
    loudspeaker, pcm = Loudspeaker(), rising(4)
    for at in range(0, len(pcm), size):
        loudspeaker.play(pcm[at : at + size], 1000)
    assert list(loudspeaker.heard(1032, 6)) == levels(0, 0, 1, 2, 3, 4)
    assert list(loudspeaker.heard(1016, 3)) == levels(0, 1, 2)
    assert list(loudspeaker.heard(1048, 4)) == levels(3, 4, 0, 0)


def test_a_pause_is_silence_and_what_follows_comes_later() -> None:
    loudspeaker = Loudspeaker()
    loudspeaker.play(rising(4), 1000)
    loudspeaker.pause(1016)
    assert loudspeaker.sounds(9000), "it will go on"
    assert list(loudspeaker.heard(1032, 4)) == levels(1, 2, 0, 0)
    loudspeaker.resume(1032)
    assert list(loudspeaker.heard(1048, 6)) == levels(1, 2, 0, 0, 3, 4)
    assert loudspeaker.sounds(1040) and not loudspeaker.sounds(1048)


def test_what_comes_during_a_pause_follows_it() -> None:
    loudspeaker = Loudspeaker()
    loudspeaker.play(rising(2), 1000)
    loudspeaker.pause(1008)
    loudspeaker.play(rising(1, start=3), 1024)
    loudspeaker.resume(1040)
    assert list(loudspeaker.heard(1056, 7)) == levels(1, 0, 0, 0, 0, 2, 3)


def test_what_was_stopped_is_never_heard() -> None:
    loudspeaker = Loudspeaker()
    loudspeaker.play(rising(4), 1000)
    loudspeaker.stop(1016)
    assert not loudspeaker.sounds(1016)
    assert list(loudspeaker.heard(1032, 4)) == levels(1, 2, 0, 0)
    loudspeaker.play(rising(4), 2000)
    loudspeaker.pause(2008)
    loudspeaker.stop(2024)
    assert not loudspeaker.sounds(2024), "a pause ends with it"
    assert list(loudspeaker.heard(2024, 3)) == levels(1, 0, 0)


def test_an_hour_of_talk_takes_no_more_room_than_two_seconds() -> None:
    loudspeaker = Loudspeaker()
    for second in range(3600):
        loudspeaker.play(np.ones(SECOND, np.float32), 1000 * second)
    assert len(loudspeaker._levels) <= 3 * 125
