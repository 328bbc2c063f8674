"""The user's sound until it becomes an item, in windows of the detector: 32 ms."""

from __future__ import annotations

import numpy as np
import pytest

from streaming.events import Limits
from streaming.fields import ProtocolError
from streaming.hearing import (
    FALLS_SILENT_MS,
    KEPT_SILENCE_MS,
    READ_AHEAD_MS,
    SILENT_MICROPHONE_MS,
    STALLED_MS,
    Hearing,
)
from streaming.loudspeaker import Loudspeaker
from streaming.pcm import MU_LAW, PCM16, AudioFormat, ms_to_samples
from streaming.settings import TurnDetection
from streaming.vad import WINDOW, Interruption, SpeechBegan, SpeechEnded, SpeechPaused, VadEvent
from tests.streaming.fakes import Loudness, on_the_wire, silence, tone

UNPADDED = TurnDetection(prefix_padding_ms=0)
SEMANTIC = TurnDetection(type="semantic_vad", eagerness="medium")
READ_AHEAD = -(-ms_to_samples(READ_AHEAD_MS) // WINDOW)  # in windows, as are the next two
FALLS_SILENT = ms_to_samples(FALLS_SILENT_MS) // WINDOW
KEPT_SILENCE = ms_to_samples(KEPT_SILENCE_MS) // WINDOW


def hearing(limits: Limits | None = None, wire: AudioFormat = PCM16) -> Hearing:
    return Hearing(wire, limits or Limits(), Loudness(), None, 64, Interruption(), Loudspeaker())


def loud(windows: int) -> np.ndarray:
    """No two samples of it are alike."""
    return np.linspace(0.5, 1, windows * WINDOW, dtype=np.float32)


def quiet(windows: int) -> np.ndarray:
    return np.zeros(windows * WINDOW, np.float32)


def hear(
    one: Hearing, *pieces: np.ndarray, detection: TurnDetection = UNPADDED, transcript: str | None = None
) -> list[VadEvent]:
    """A microphone brings this, and all of it is listened to."""
    events = []
    one.hear(np.concatenate(pieces), False, 0)
    while one.waiting:
        event = one.next_event(detection, transcript, 0, 4, interrupts=False, pauses=False)
        events += [event] if event is not None else []
    return events


def waits(*pieces: np.ndarray, transcript: str | None = None) -> list[int]:
    """How long a silence ended each turn, in windows."""
    events = hear(hearing(), *pieces, detection=SEMANTIC, transcript=transcript)
    return [(event.sure_at - event.sample) // WINDOW for event in events if isinstance(event, SpeechEnded)]


# What is heard ahead


def test_a_speaking_user_is_overheard_whenever_he_has_said_enough_more() -> None:
    one, speech = hearing(), loud(2 * READ_AHEAD)
    hear(one, quiet(10), speech[: WINDOW * (READ_AHEAD - 1)])
    assert one.overhear() is None
    said = []
    for at in (READ_AHEAD - 1, 2 * READ_AHEAD - 1):
        hear(one, speech[WINDOW * at : WINDOW * (at + 1)])
        said.append(one.overhear())
        hear(one, speech[WINDOW * (at + 1) : WINDOW * (at + READ_AHEAD)])
        assert one.overhear() is None
    (before, first), (between, second) = [piece for piece in said if piece is not None]
    assert (before, between) == (0, len(first))
    assert np.array_equal(np.concatenate([first, second]), speech)


def test_of_a_long_speech_it_takes_a_tenth_more() -> None:
    one = hearing()
    hear(one, loud(20 * READ_AHEAD))
    overheard = one.overhear()
    assert overheard is not None and len(overheard[1]) == 20 * READ_AHEAD * WINDOW
    hear(one, loud(2 * READ_AHEAD - 1))
    assert one.overhear() is None
    hear(one, loud(1))
    overheard = one.overhear()
    assert overheard is not None and overheard[0] == 20 * READ_AHEAD * WINDOW


def test_who_falls_silent_is_overheard_once_more_each_time() -> None:
    one = hearing()
    hear(one, loud(READ_AHEAD))
    one.overhear()
    for _ in range(2):
        hear(one, loud(1), quiet(FALLS_SILENT - 1))
        assert one.overhear() is None
        hear(one, quiet(1))
        overheard = one.overhear()
        assert overheard is not None and len(overheard[1]) == (1 + FALLS_SILENT) * WINDOW
        hear(one, quiet(2))
        assert one.overhear() is None
        hear(one, loud(1))
        assert one.overhear() is None
        hear(one, loud(READ_AHEAD))
        one.overhear()


def test_what_was_said_so_far_is_what_will_be_taken_if_the_silence_goes_on() -> None:
    one, speech = hearing(), loud(10)
    padded = TurnDetection(prefix_padding_ms=64)
    hear(one, quiet(10), speech, detection=padded)
    assert one.so_far() is None and not one.paused
    hear(one, quiet(KEPT_SILENCE - 1), detection=padded)
    assert not one.paused
    paused = hear(one, quiet(1), detection=padded)
    assert paused == [SpeechPaused(20 * WINDOW)] and one.paused
    for _ in range(2):  # then, and when the silence has gone on
        so_far = one.so_far()
        assert so_far is not None and np.array_equal(so_far, np.concatenate([quiet(2), speech, quiet(KEPT_SILENCE)]))
        hear(one, quiet(1), detection=padded)
    (ended,) = hear(one, quiet(14 - KEPT_SILENCE), detection=padded)
    assert isinstance(ended, SpeechEnded) and one.so_far() is None
    assert np.array_equal(one.take(ended.sample + ms_to_samples(KEPT_SILENCE_MS)), so_far)


# What was said


def test_of_what_is_taken_nothing_is_left_and_of_the_rest_everything() -> None:
    one, stream = hearing(), loud(40)
    one.hear(stream, False, 0)
    assert np.array_equal(one.take(30 * WINDOW), stream[: 30 * WINDOW])
    one.hear(quiet(1), False, 0)
    assert np.array_equal(one.take_all(), np.concatenate([stream[30 * WINDOW :], quiet(1)]))
    assert len(one.take_all()) == 0


def test_a_tenth_of_a_second_is_the_least_to_be_committed() -> None:
    one = hearing()
    one.hear(silence(0.099), True, 0)
    with pytest.raises(ProtocolError, match="99 ms") as refused:
        one.check_commit()
    assert refused.value.code == "input_audio_buffer_commit_empty"
    one.hear(silence(0.001), True, 0)
    one.check_commit()
    one.clear()
    with pytest.raises(ProtocolError, match=" 0 ms"):
        one.check_commit()


@pytest.mark.parametrize("wire", [PCM16, MU_LAW], ids=lambda wire: wire.type)
def test_what_waits_for_a_commit_is_no_longer_than_an_utterance(wire: AudioFormat) -> None:
    one = hearing(Limits(utterance_s=1.0, audio_ahead_s=60.0), wire)
    half = on_the_wire(tone(0.5), wire)
    one.append(half, True, 0)
    one.append(half, True, 0)
    with pytest.raises(ProtocolError, match="more than 1 s") as refused:
        one.append(half, True, 0)
    assert refused.value.code == "input_audio_buffer_full"
    one.finish()
    assert len(one.take_all()) == pytest.approx(16_000, abs=2), "what it had it keeps"
    with pytest.raises(ProtocolError):
        one.append(on_the_wire(tone(1.01), wire), True, 0)
    one.append(half, True, 0)


def test_with_turn_detection_only_what_comes_at_once_is_bounded() -> None:
    one = hearing(Limits(utterance_s=1.0, audio_ahead_s=2.0))
    for _ in range(4):
        one.append(on_the_wire(tone(2.0)), False, 0)
    with pytest.raises(ProtocolError, match="more than 2 s"):
        one.append(on_the_wire(tone(2.01)), False, 0)


def test_of_a_microphone_that_never_pauses_the_newest_waits_for_a_commit() -> None:
    one, stream = hearing(Limits(utterance_s=1.0)), loud(100)
    for at in range(0, len(stream), 320):
        one.hear(stream[at : at + 320], True, 0)
    assert np.array_equal(one.take_all(), stream[-16_000:])


# Silence of the line and of the user


def test_a_microphone_that_brings_nothing_has_stalled_and_is_missed_once() -> None:
    one = hearing()
    one.connect(1000)
    assert not one.stalls(1000 + STALLED_MS) and one.stalls(1001 + STALLED_MS)
    assert not one.misses_microphone(1000 + SILENT_MICROPHONE_MS)
    assert [one.misses_microphone(now_ms + SILENT_MICROPHONE_MS) for now_ms in (1001, 1002)] == [True, False]
    one.hear(quiet(1), False, 50_000)
    assert not one.stalls(51_000) and not one.misses_microphone(50_000 + SILENT_MICROPHONE_MS)
    assert one.misses_microphone(50_001 + SILENT_MICROPHONE_MS), "it is news again"


def test_speech_that_breaks_off_ends_with_the_sound_and_the_next_begins_anew() -> None:
    one = hearing()
    assert hear(one, quiet(2), loud(5), quiet(6)) == [SpeechBegan(2 * WINDOW), SpeechPaused(7 * WINDOW)]
    assert one.break_off() == SpeechEnded(13 * WINDOW, 13 * WINDOW)
    assert not one.paused and one.so_far() is None
    assert hear(one, loud(3)) == [SpeechBegan(13 * WINDOW)]


def test_who_pauses_in_the_middle_is_waited_for_longer_from_then_on() -> None:
    turn, end = loud(5), quiet(60)
    assert waits(turn, end, turn, end) == [16, 16], "half a second"
    assert waits(turn, end, turn, quiet(15), turn, end, turn, end) == [16, 19, 19], "a quarter more than the pause"


def test_who_begins_again_right_after_his_end_is_waited_for_longer_too() -> None:
    turn, end = loud(5), quiet(60)
    assert waits(turn, quiet(15), turn, end, transcript="How are you?") == [8, 19], "that was a pause of 480 ms"
    assert waits(turn, quiet(23), turn, end, transcript="How are you?") == [8, 8], "that was another turn"
