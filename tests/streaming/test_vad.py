from __future__ import annotations

from collections.abc import Iterable

import pytest

from streaming.vad import (
    WINDOW,
    SpeechBegan,
    SpeechEnded,
    SpeechPaused,
    SpeechResumed,
    VadEvent,
    VadSettings,
    VadState,
    step,
)

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


PATIENT = VadSettings(threshold=0.5, silence_duration_ms=160, pause_ms=64, min_speech_ms=64)  # five windows, two


def test_a_pause_is_told_of_once_and_before_the_end():
    assert run([1, 1, 0, 0, 0, 0, 0], PATIENT) == [
        SpeechBegan(0),
        SpeechPaused(2 * WINDOW),
        SpeechEnded(2 * WINDOW, 7 * WINDOW),
    ]


def test_who_goes_on_after_a_pause_has_resumed():
    assert run([1, 1, 0, 0, 0, 1, 0, 0, 1], PATIENT) == [
        SpeechBegan(0),
        SpeechPaused(2 * WINDOW),
        SpeechResumed(5 * WINDOW, paused_at=2 * WINDOW),
        SpeechPaused(6 * WINDOW),
        SpeechResumed(8 * WINDOW, paused_at=6 * WINDOW),
    ]


def test_a_pause_that_was_not_told_of_is_not_resumed_from():
    assert run([1, 1, 0, 1], PATIENT) == [SpeechBegan(0)]


def test_a_silence_that_is_long_enough_to_be_the_end_is_no_pause():
    settings = VadSettings(threshold=0.5, silence_duration_ms=64, pause_ms=64, min_speech_ms=64)
    assert run([1, 1, 0, 0], settings) == [SpeechBegan(0), SpeechEnded(2 * WINDOW, 4 * WINDOW)]


def test_the_silence_asked_for_may_change_while_it_lasts():
    state, event = VadState(), None
    for probability in (1, 1, 0, 0, 0):
        state, event = step(state, probability, PATIENT)
    assert event is None
    _, event = step(state, 0, VadSettings(threshold=0.5, silence_duration_ms=96, pause_ms=64))
    assert event == SpeechEnded(2 * WINDOW, 6 * WINDOW)
