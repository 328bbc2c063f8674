"""Frames out of bursts: nothing lost, nothing stale, timestamps without a break."""

from __future__ import annotations

import numpy as np
import pytest

from streaming.playout import FRAME, TICKS, Frame, Played, Playout, Started, Stopped

SPEECH = np.sin(np.arange(5 * FRAME + 123) / 7).astype(np.float32)


def take(playout: Playout, count: int) -> list[Frame]:
    return [playout.next_frame() for _ in range(count)]


def events(frames: list[Frame]) -> list[Started | Stopped]:
    return [event for frame in frames for event in frame.events]


def sound(frames: list[Frame]) -> np.ndarray:
    return np.concatenate([frame.pcm for frame in frames])


@pytest.mark.parametrize("size", [1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME, len(SPEECH)])
def test_chunks_of_any_size_play_as_the_whole(size: int) -> None:
    playout = Playout()
    for at in range(0, len(SPEECH), size):
        assert playout.put("r", "i", SPEECH[at : at + size])
    playout.end("r")
    frames = take(playout, 8)
    assert np.array_equal(sound(frames)[: len(SPEECH)], SPEECH)
    assert not sound(frames)[len(SPEECH) :].any()
    assert [frame.timestamp for frame in frames] == [n * TICKS for n in range(8)]
    assert all(len(frame.pcm) == FRAME for frame in frames)
    assert frames[0].events == (Started("r"),) and frames[5].events == (Stopped("r"),)
    assert len(events(frames)) == 2
    assert [frame.response_id for frame in frames] == ["r"] * 6 + [None] * 2
    assert playout.missing_samples == 0 and playout.waiting == 0


def test_a_row_of_frames_is_960_ticks_apart() -> None:
    assert (FRAME, TICKS) == (320, 960)


def test_sound_that_comes_late_leaves_a_gap_and_loses_nothing() -> None:
    playout = Playout()
    playout.put("r", "i", SPEECH[: FRAME + 100])
    early = take(playout, 3)
    playout.put("r", "i", SPEECH[FRAME + 100 :])
    playout.end("r")
    late = take(playout, 6)
    assert not sound(early)[FRAME:].any()
    assert np.array_equal(np.concatenate([sound(early)[:FRAME], sound(late)])[: len(SPEECH)], SPEECH)
    assert playout.missing_samples == 2 * FRAME
    assert events(early + late) == [Started("r"), Stopped("r")]
    assert np.all(np.diff([frame.timestamp for frame in early + late]) == TICKS)


def test_waiting_for_the_first_sound_is_not_a_gap() -> None:
    playout = Playout()
    playout.put("r", "i", SPEECH[:10])
    assert events(take(playout, 3)) == [] and playout.missing_samples == 0
    playout.end("r")
    assert events(take(playout, 1)) == [Started("r"), Stopped("r")]


def test_the_end_may_be_known_after_the_last_sound_was_played() -> None:
    playout = Playout()
    playout.put("r", "i", SPEECH[:FRAME])
    assert events(take(playout, 2)) == [Started("r")]
    playout.end("r")
    assert events(take(playout, 1)) == [Stopped("r")]
    assert playout.missing_samples == 0


def test_a_cleared_reply_says_how_much_was_heard_and_stays_silent() -> None:
    playout = Playout()
    playout.put("r", "i", SPEECH)
    heard = take(playout, 2)
    assert playout.clear() == [Played("r", "i", 2 * FRAME)]
    assert not playout.put("r", "i", SPEECH)  # the model had not yet heard of the cancel
    playout.end("r")
    after = take(playout, 4)
    assert events(heard + after) == [Started("r")]
    assert not sound(after)[FRAME:].any()
    assert playout.clear() == []


def test_clearing_fades_instead_of_clicking() -> None:
    playout = Playout()
    playout.put("r", "i", np.ones(4 * FRAME, np.float32))
    take(playout, 2)
    playout.clear()
    fade = playout.next_frame().pcm
    assert fade[0] == 1 and not fade[80:].any() and np.all(np.diff(fade) <= 0)


def test_a_reply_cleared_before_its_first_sound_is_stale_too() -> None:
    playout = Playout()
    assert playout.clear("r") == []
    assert not playout.put("r", "i", SPEECH)
    playout.put("s", "j", SPEECH)
    assert playout.clear() == [Played("s", "j", 0)]
    assert not sound(take(playout, 3)).any()


def test_the_next_reply_plays_after_a_cleared_one() -> None:
    playout = Playout()
    playout.put("old", "i", SPEECH)
    take(playout, 1)
    playout.clear("old")
    playout.put("new", "j", SPEECH[: 2 * FRAME])
    playout.put("old", "i", SPEECH)
    playout.end("new")
    frames = take(playout, 4)
    assert events(frames) == [Started("new"), Stopped("new")]
    assert np.array_equal(sound(frames[1:3]), SPEECH[: 2 * FRAME])


def test_two_replies_play_one_after_the_other() -> None:
    playout = Playout()
    playout.put("a", "i", SPEECH[:FRAME])
    playout.put("b", "j", -SPEECH[:FRAME])
    playout.end("a")
    playout.end("b")
    frames = take(playout, 2)
    assert events(frames) == [Started("a"), Stopped("a"), Started("b"), Stopped("b")]
    assert np.array_equal(frames[1].pcm, -SPEECH[:FRAME])


def test_clearing_one_leaves_the_other() -> None:
    playout = Playout()
    playout.put("a", "i", SPEECH)
    playout.put("b", "j", SPEECH)
    assert playout.clear("b") == [Played("b", "j", 0)]
    playout.end("a")
    assert events(take(playout, 8)) == [Started("a"), Stopped("a")]


def test_a_reply_without_sound_is_not_announced() -> None:
    playout = Playout()
    playout.put("r", "i", SPEECH[:0])
    playout.end("r")
    playout.end("unknown")
    assert events(take(playout, 2)) == []


def test_what_waits_is_bounded() -> None:
    playout = Playout(max_waiting_s=0.1)
    assert playout.put("r", "i", SPEECH[:1600])
    assert not playout.put("r", "i", SPEECH[:1])
    take(playout, 1)
    assert playout.put("r", "i", SPEECH[:FRAME])


def test_a_pause_loses_nothing_and_shifts_what_follows() -> None:
    playout = Playout()
    playout.put("r", "i", SPEECH)
    playout.end("r")
    before = take(playout, 2)
    playout.pause()
    during = take(playout, 10)
    playout.resume()
    after = take(playout, 5)
    assert not sound(during)[80:].any(), "silent 5 ms after"
    whole = np.concatenate([sound(before), sound(after)])[: len(SPEECH)]
    faded = slice(2 * FRAME, 2 * FRAME + 80)
    assert np.allclose(sound(during)[:80] + whole[faded], SPEECH[faded], atol=1e-6), "what faded rises again"
    whole[faded] = SPEECH[faded]
    assert np.array_equal(whole, SPEECH)
    assert events(before + during + after) == [Started("r"), Stopped("r")]
    assert np.all(np.diff([frame.timestamp for frame in before + during + after]) == TICKS)
    assert playout.missing_samples == 0, "a pause is not a gap"


def test_what_comes_during_a_pause_waits() -> None:
    playout = Playout()
    playout.put("r", "i", SPEECH[:FRAME])
    playout.pause()
    assert events(take(playout, 3)) == []
    playout.put("r", "i", SPEECH[FRAME:])
    playout.end("r")
    playout.put("s", "j", SPEECH[:FRAME])
    playout.end("s")
    assert not sound(take(playout, 3)).any()
    playout.resume()
    assert events(take(playout, 7)) == [Started("r"), Stopped("r"), Started("s"), Stopped("s")]


def test_clearing_what_is_paused_counts_what_was_heard_and_ends_the_pause() -> None:
    playout = Playout()
    playout.put("r", "i", SPEECH)
    take(playout, 2)
    playout.pause()
    take(playout, 3)
    assert playout.clear() == [Played("r", "i", 2 * FRAME)]
    assert not sound(take(playout, 2)).any(), "it had fallen silent already"
    playout.put("s", "j", SPEECH)
    (frame,) = take(playout, 1)
    assert events([frame]) == [Started("s")] and np.array_equal(frame.pcm, SPEECH[:FRAME])


def test_pausing_twice_and_resuming_what_plays_change_nothing() -> None:
    playout = Playout()
    playout.put("r", "i", SPEECH)
    playout.resume()
    assert np.array_equal(sound(take(playout, 1)), SPEECH[:FRAME])
    playout.pause()
    take(playout, 1)
    playout.pause()
    assert not sound(take(playout, 1)).any()
