from __future__ import annotations

import numpy as np
import pytest

from streaming.input_buffer import InputBuffer
from streaming.vad import (
    WINDOW,
    Interruption,
    SpeechBegan,
    SpeechDismissed,
    SpeechEnded,
    SpeechSuspected,
    VadEvent,
    VadSettings,
)

SETTINGS = VadSettings(threshold=0.5, silence_duration_ms=96, min_speech_ms=64)  # three windows, two windows


class Loudness:
    """A tiny real model: the probability of speech is the loudness."""

    def __call__(self, window: np.ndarray) -> float:
        assert window.shape == (WINDOW,)
        return float(np.abs(window).max())

    def reset(self) -> None: ...


def sound(*loudness_of_windows: float) -> np.ndarray:
    return np.repeat(np.asarray(loudness_of_windows, np.float32), WINDOW)


def all_events(buffer: InputBuffer, padding_ms: int = 0) -> list[VadEvent]:
    events = []
    while buffer.waiting:
        event = buffer.next_event(SETTINGS, padding_ms, max_windows=2)
        events += [event] if event else []
    return events


@pytest.mark.parametrize("piece", [1, 511, 512, 513, 320, 5000])
def test_chunked_listening_equals_whole_listening(piece):
    stream = sound(*[0] * 3, *[1] * 6, *[0] * 11)
    buffer, events = InputBuffer(Loudness()), []
    for at in range(0, len(stream), piece):
        buffer.append(stream[at : at + piece])
        events += all_events(buffer)
    assert events == [SpeechBegan(3 * WINDOW), SpeechEnded(9 * WINDOW, 12 * WINDOW)]


def test_what_is_taken_is_what_was_appended_and_the_rest_stays():
    buffer = InputBuffer(Loudness())
    stream = np.arange(40_000, dtype=np.float32)
    for at in range(0, len(stream), 777):
        buffer.append(stream[at : at + 777])
    assert np.array_equal(buffer.take(1000, 30_000), stream[1000:30_000])
    assert (buffer.start, buffer.end) == (30_000, 40_000)
    buffer.append(stream[:5])
    assert np.array_equal(buffer.take(0, 50_000), np.concatenate([stream[30_000:], stream[:5]]))
    assert (buffer.samples, buffer.end) == (0, 40_005)


def test_a_buffer_that_has_lost_its_beginning_grows_rightly():
    buffer, stream = InputBuffer(Loudness()), np.arange(200_000, dtype=np.float32)
    for at in range(0, 100_000, 1000):
        buffer.append(stream[at : at + 1000])
        buffer.drop_before(at - 5000)
    buffer.append(stream[100_000:])
    assert np.array_equal(buffer.take(95_000, 200_000), stream[95_000:])


def test_silence_is_forgotten_but_for_the_padding():
    buffer = InputBuffer(Loudness())
    buffer.append(sound(*[0] * 100))
    assert all_events(buffer, padding_ms=64) == []
    assert buffer.samples == 2 * WINDOW
    buffer.append(sound(1))
    all_events(buffer, padding_ms=64)
    assert buffer.samples == 3 * WINDOW, "what may become speech keeps its padding"


def test_speech_is_kept_while_it_lasts():
    buffer = InputBuffer(Loudness())
    buffer.append(sound(0, 0, 0, *[1] * 50))
    assert all_events(buffer, padding_ms=32) == [SpeechBegan(3 * WINDOW)]
    assert buffer.start == 2 * WINDOW


def test_listening_afresh_forgets_speech_and_keeps_counting():
    buffer = InputBuffer(Loudness())
    buffer.append(sound(1, 1, 1))
    assert all_events(buffer) == [SpeechBegan(0)]
    buffer.listen_afresh()
    buffer.append(sound(1, 1))
    assert all_events(buffer) == [SpeechBegan(3 * WINDOW)]


DOUBTFUL = Interruption(speech_ms=128, quiet_ms=64).settings(SETTINGS, pauses=True)


def suspicions(piece: int, scout: Loudness | None) -> list[tuple[int, VadEvent]]:
    """Events of one short noise that begins in the middle of a window, with how much of the stream had come."""
    stream, found = np.zeros(20 * WINDOW, np.float32), []
    stream[5 * WINDOW + 100 : 6 * WINDOW + 100] = 1
    buffer = InputBuffer(Loudness(), scout)
    for at in range(0, len(stream), piece):
        buffer.append(stream[at : at + piece])
        while (event := buffer.next_event(DOUBTFUL, 100, max_windows=2)) is not None or buffer.waiting:
            found += [(buffer.end, event)] if event else []
    return found


@pytest.mark.parametrize("piece", [1, 64, 320])
def test_a_scout_suspects_half_a_window_sooner_and_changes_nothing_else(piece):
    (alone, alone_event), (alone_over, alone_end) = suspicions(piece, None)
    (ahead, ahead_event), (ahead_over, ahead_end) = suspicions(piece, Loudness())
    assert alone_event == ahead_event == SpeechSuspected(5 * WINDOW)
    assert alone_end == ahead_end == SpeechDismissed(7 * WINDOW) and alone_over == ahead_over
    assert alone - ahead >= WINDOW // 2 - piece
    assert ahead - piece < 5 * WINDOW + WINDOW // 2 <= ahead


def test_what_only_the_scout_took_for_speech_is_dismissed():
    buffer = InputBuffer(Loudness(), certain_of(1.0))
    buffer.append(sound(*[0] * 6))
    events = []
    for _ in range(10):
        event = buffer.next_event(DOUBTFUL, 100, max_windows=1)
        events += [event] if event else []
    assert events[:2] == [SpeechSuspected(WINDOW), SpeechDismissed(WINDOW)]


def test_without_a_reply_to_be_heard_nobody_scouts():
    buffer = InputBuffer(Loudness(), certain_of(1.0))
    buffer.append(sound(*[0] * 6))
    assert buffer.next_event(SETTINGS, 100, max_windows=10) is None


def certain_of(probability: float) -> Loudness:
    class Certain(Loudness):
        def __call__(self, window: np.ndarray) -> float:
            return probability

    return Certain()


def test_a_scout_keeps_its_memory_while_it_listens_and_begins_anew_after_a_gap():
    class Scout(Loudness):
        resets = 0

        def reset(self) -> None:
            self.resets += 1

    scout = Scout()
    buffer = InputBuffer(Loudness(), scout)
    for settings in [DOUBTFUL] * 5 + [SETTINGS] * 5 + [DOUBTFUL] * 5:
        buffer.append(sound(0))
        buffer.next_event(settings, 100, max_windows=4)
    assert scout.resets == 2
