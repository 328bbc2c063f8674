"""What comes back of the reply's own sound is nobody's speech; what is louder is."""

from __future__ import annotations

import numpy as np
import pytest

from streaming.echo import EchoGuard
from streaming.loudspeaker import Loudspeaker
from streaming.types import SPEECH_RATE
from streaming.vad import WINDOW


class Certain:
    """Takes everything for speech."""

    def __call__(self, window: np.ndarray) -> float:
        return 1.0

    def reset(self) -> None: ...


def syllables(seconds: float, seed: int) -> np.ndarray:
    """[samples] float32: noise that rises and falls a few times a second."""
    chance = np.random.default_rng(seed)
    count = int(seconds * SPEECH_RATE)
    loudness = np.interp(np.arange(count), np.arange(0, count + 2000, 1600), chance.uniform(-2, 0, count // 1600 + 2))
    return (0.2 * 10**loudness * chance.standard_normal(count)).astype(np.float32)


def listen(played: np.ndarray, microphone: np.ndarray) -> np.ndarray:
    """[windows] the probabilities of speech in a microphone, while a loudspeaker plays from the same time on."""
    loudspeaker, window = Loudspeaker(), 0
    loudspeaker.play(played, 0)
    guard = EchoGuard(Certain(), loudspeaker, lambda: (window + 1) * 1000 * WINDOW / SPEECH_RATE)
    heard = []
    for window in range(len(microphone) // WINDOW):
        heard.append(guard(microphone[window * WINDOW : (window + 1) * WINDOW]))
    return np.array(heard)


def echo(played: np.ndarray, delay_ms: int, gain: float) -> np.ndarray:
    silence = np.zeros(delay_ms * SPEECH_RATE // 1000, np.float32)
    return gain * np.concatenate([silence, played])


@pytest.mark.parametrize("delay_ms", [0, 75, 400])
@pytest.mark.parametrize("gain", [0.05, 0.5])
def test_an_echo_is_no_speech_once_its_path_is_known(delay_ms: int, gain: float) -> None:
    played = syllables(5, seed=1)
    heard = listen(played, echo(played, delay_ms, gain))
    known = (delay_ms + 1000) * SPEECH_RATE // 1000 // WINDOW
    assert heard[0] == 1 and heard[known + 3 :].mean() < 0.05


def test_who_speaks_into_an_echo_is_heard() -> None:
    played = syllables(5, seed=1)
    microphone = echo(played, 75, 0.1)
    at = 3 * SPEECH_RATE
    microphone[at : at + SPEECH_RATE] += syllables(1, seed=2)
    heard = listen(played, microphone)
    assert heard[at // WINDOW + 1 : (at + SPEECH_RATE) // WINDOW].mean() > 0.6


def test_who_speaks_while_another_is_played_is_no_echo() -> None:
    at = 2 * SPEECH_RATE
    for seed in range(5):
        microphone = np.concatenate([np.zeros(at, np.float32), syllables(0.7, seed + 100)])
        assert listen(syllables(5, seed), microphone).mean() == 1, "not for as long as it takes to be sure of that"


def test_where_nothing_is_played_everything_is_heard() -> None:
    assert listen(np.zeros(0, np.float32), syllables(2, seed=1)).mean() == 1


def test_an_echo_that_has_gone_hides_nobody_for_long() -> None:
    played = syllables(12, seed=1)
    microphone = np.concatenate([echo(played, 75, 0.5)[: 3 * SPEECH_RATE], np.zeros(7 * SPEECH_RATE, np.float32)])
    heard = listen(played, np.concatenate([microphone, 0.2 * syllables(2, seed=3)]))
    assert heard[10 * SPEECH_RATE // WINDOW :].mean() > 0.6
