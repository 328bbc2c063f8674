from __future__ import annotations

from collections.abc import Iterable

import pytest

from streaming.vad import WINDOW, SpeechBegan, SpeechEnded, VadEvent, VadSettings, VadState, step

SETTINGS = VadSettings(threshold=0.5, silence_duration_ms=96, min_speech_ms=64)  # three windows, two windows


def run(probabilities: Iterable[float], settings: VadSettings = SETTINGS) -> list[VadEvent]:
    state, events = VadState(), []
    for probability in probabilities:
        state, event = step(state, probability, settings)
        events += [event] if event else []
    return events


def test_speech_begins_where_it_rose_and_ends_where_the_silence_began():
    assert run([0, 0, 1, 1, 1, 0, 0, 0]) == [SpeechBegan(2 * WINDOW), SpeechEnded(5 * WINDOW, 8 * WINDOW)]


@pytest.mark.parametrize(
    ("probabilities", "why"),
    [
        ([0, 1, 0, 0, 0], "one window is shorter than the least speech"),
        ([0.49] * 10, "below the threshold"),
        ([0.4, 0.45, 0.4, 0.45], "the lower threshold keeps speech up but does not begin it"),
    ],
)
def test_what_is_no_speech(probabilities, why):
    assert run(probabilities) == [], why


def test_a_dip_above_the_lower_threshold_does_not_break_the_beginning():
    assert run([1, 0.4]) == [SpeechBegan(0)]


def test_a_short_pause_does_not_end_speech():
    assert run([1, 1, 0, 0, 1, 1, 0, 0]) == [SpeechBegan(0)]


def test_a_murmur_in_a_pause_neither_ends_nor_restarts_it():
    assert run([1, 1, 0, 0.4]) == [SpeechBegan(0)]
    assert run([1, 1, 0, 0.4, 0.4]) == [SpeechBegan(0), SpeechEnded(2 * WINDOW, 5 * WINDOW)]


def test_speech_follows_speech():
    once = [1, 1, 0, 0, 0]
    assert run(once * 2) == [
        SpeechBegan(0),
        SpeechEnded(2 * WINDOW, 5 * WINDOW),
        SpeechBegan(5 * WINDOW),
        SpeechEnded(7 * WINDOW, 10 * WINDOW),
    ]


def test_endless_speech_is_cut():
    settings = VadSettings(min_speech_ms=64, max_speech_ms=160)
    assert run([1] * 5, settings) == [SpeechBegan(0), SpeechEnded(5 * WINDOW, 5 * WINDOW)]
