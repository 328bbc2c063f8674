from __future__ import annotations

from collections.abc import Iterable

import pytest

from streaming.vad import (
    WINDOW,
    Interruption,
    SpeechBegan,
    SpeechDismissed,
    SpeechEnded,
    SpeechPaused,
    SpeechResumed,
    SpeechSuspected,
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


INTERRUPTION = Interruption(speech_ms=128, unpaused_speech_ms=96, quiet_ms=64, insistence_ms=160)
DOUBTFUL = INTERRUPTION.settings(SETTINGS, pauses=True)


def test_the_first_window_during_a_reply_is_a_suspicion():
    assert run([0, 1], DOUBTFUL) == [SpeechSuspected(WINDOW)]


def test_a_cough_during_a_reply_is_dismissed():
    assert run([0, 1, 1, 0, 0, 0], DOUBTFUL) == [SpeechSuspected(WINDOW), SpeechDismissed(3 * WINDOW)]


def test_one_suspicion_for_each_cough():
    cough = [1, 1, 0, 0, 0, 0, 0]
    assert run(cough * 2, DOUBTFUL) == [
        SpeechSuspected(0),
        SpeechDismissed(2 * WINDOW),
        SpeechSuspected(7 * WINDOW),
        SpeechDismissed(9 * WINDOW),
    ]


def test_who_insists_is_heard():
    stop = [1, 1, 0, 0]
    first = [SpeechSuspected(0), SpeechDismissed(2 * WINDOW), SpeechSuspected(4 * WINDOW)]
    assert run([*stop, *stop], DOUBTFUL) == [*first, SpeechBegan(4 * WINDOW)]
    patient = [*stop, 0, 0, 0, *stop]
    assert SpeechBegan not in [type(event) for event in run(patient, DOUBTFUL)], "five windows are over"


def test_outside_a_reply_clicks_do_not_add_up():
    assert run([1, 0] * 10) == []


def test_only_what_is_voiced_counts_towards_speech_during_a_reply():
    assert run([1, 1, 0, 1], DOUBTFUL) == [SpeechSuspected(0)]
    assert run([1, 1, 0, 1, 1], DOUBTFUL) == [SpeechSuspected(0), SpeechBegan(0)]


def test_a_murmur_in_a_pause_does_not_prolong_what_is_no_speech():
    assert run([1, 1, 0, 0.4, 0], DOUBTFUL) == [SpeechSuspected(0), SpeechDismissed(2 * WINDOW)]


def test_speech_during_a_reply_ends_like_any_other():
    events = run([1, 1, 1, 1, 0, 0, 0], DOUBTFUL)
    assert events == [SpeechSuspected(0), SpeechBegan(0), SpeechEnded(4 * WINDOW, 7 * WINDOW)]


def test_what_began_before_the_reply_was_heard_is_suspected_then():
    state, _ = step(VadState(), 1, SETTINGS)
    _, event = step(state, 1, DOUBTFUL)
    assert event == SpeechSuspected(0)


def test_where_the_sound_cannot_be_paused_less_speech_is_enough():
    assert INTERRUPTION.settings(SETTINGS, pauses=True).min_speech_ms == 128
    assert INTERRUPTION.settings(SETTINGS, pauses=False).min_speech_ms == 96
    assert INTERRUPTION.settings(VadSettings(min_speech_ms=900), pauses=True).min_speech_ms == 900
