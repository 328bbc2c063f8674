from __future__ import annotations

import numpy as np
import pytest

from streaming import silero
from streaming.silero import Silero, SileroMissing
from streaming.vad import WINDOW


@pytest.fixture(scope="module")
def model():
    return silero.load()


def buzz(seconds: float = 1.0) -> np.ndarray:
    """[windows, WINDOW] float32: a pulse train of 120 Hz through the formants of an "a", loud and soft as syllables."""
    rate = 16_000
    time = np.arange(int(seconds * rate)) / rate
    source = np.diff((time * 120) % 1, prepend=0) < 0
    vowel = np.zeros(len(time))
    for hertz, width in ((730, 90), (1090, 110), (2440, 170)):
        decay = np.exp(-np.pi * width * time[:1600]) * np.sin(2 * np.pi * hertz * time[:1600])
        vowel += np.convolve(source, decay)[: len(time)]
    sound = vowel / np.abs(vowel).max() * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time))
    sound = (0.5 * sound).astype(np.float32)
    return sound[: len(sound) // WINDOW * WINDOW].reshape(-1, WINDOW)


def test_a_voice_is_speech_and_silence_is_not(model):
    probability = Silero(model)
    assert max(probability(window) for window in np.zeros((20, WINDOW), np.float32)) < 0.1
    assert np.mean([probability(window) for window in buzz()]) > 0.5


def test_a_window_is_seen_with_the_end_of_the_one_before(model):
    probability, state, before = Silero(model), np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32)
    for window in buzz():
        feed = {"input": np.concatenate([before, window])[None], "state": state, "sr": np.array(16_000)}
        expected, state = model.run(None, feed)
        before = window[-64:]
        assert probability(window) == expected[0, 0]


def test_streams_do_not_hear_each_other(model):
    alone, one, other = Silero(model), Silero(model), Silero(model)
    noise = np.random.default_rng(1).normal(0, 0.3, (30, WINDOW)).astype(np.float32)
    expected = [alone(window) for window in buzz()]
    mixed = []
    for window, disturbance in zip(buzz(), noise, strict=False):
        mixed.append(one(window))
        other(disturbance)
    assert mixed == expected[: len(mixed)]


def test_after_a_reset_the_past_is_forgotten(model):
    probability = Silero(model)
    first = [probability(window) for window in buzz()]
    probability.reset()
    assert [probability(window) for window in buzz()] == first


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("streaming.silero.find_spec", lambda _: None)
    with pytest.raises(SileroMissing, match="silero-vad"):
        silero.load()
