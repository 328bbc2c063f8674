"""The sound of answers at a playout that paces it, or at a client that plays what it gets."""

from __future__ import annotations

import math
from typing import Any

import pytest

from streaming.actions import FinishAudio, FlushAudio, PauseAudio, PlayAudio, ResumeAudio, SendEvent
from streaming.conversation import Conversation
from streaming.outbox import Outbox
from streaming.playback import Playback
from streaming.reply import Reply
from streaming.resumption import Resumption
from streaming.settings import ResponseSettings, SessionSettings
from tests.streaming.fakes import tone

SETTINGS = ResponseSettings.of(SessionSettings(("ada",), "ada"))
PAUSED, RESUMED = "output_audio_buffer.paused", "output_audio_buffer.resumed"


class Listener:
    """Playback under test, and what it wants done."""

    def __init__(self, paced: bool) -> None:
        self._outbox = Outbox(Resumption(0, str), str)
        self.playback = Playback(self._outbox, paced)

    def hears(self, response_id: str = "a", now_ms: float = 0, ended: bool = True) -> Reply:
        """The sound of an answer: four words in a second."""
        reply = Reply(response_id, f"item of {response_id}", SETTINGS, Conversation(), None, not self.playback.paced)
        reply.text("one two three four")
        reply.speech(tone(1.0))
        if ended:
            reply.end("completed")
        self.playback.play(reply, tone(1.0), now_ms)
        return reply

    def wanted(self) -> list[Any]:
        """The actions; of events their type and the response."""
        return [
            (action.event["type"], action.event["response_id"]) if isinstance(action, SendEvent) else type(action)
            for action in self._outbox.take()
        ]

    def truncated_ms(self) -> list[int]:
        """To how much the client is told that items were cut."""
        sent = [action.event for action in self._outbox.take() if isinstance(action, SendEvent)]
        return [event["audio_end_ms"] for event in sent if event["type"] == "conversation.item.truncated"]


def test_a_playout_gets_the_sound_and_tells_when_it_is_over() -> None:
    one = Listener(paced=True)
    one.hears("a")
    one.playback.finish("a")
    one.playback.finish("another")
    assert one.wanted() == [PlayAudio, FinishAudio]
    assert one.playback.awaits_report("a") and one.playback.sounds(60_000), "whatever the clock says"
    one.playback.stopped("a")
    assert not one.playback.awaits_report("a") and not one.playback.sounds(0)
    assert one.wanted() == [("output_audio_buffer.stopped", "a")]


def test_without_a_playout_the_clock_tells_when_it_is_over() -> None:
    one = Listener(paced=False)
    assert not one.playback.has_spoken
    one.hears("a", now_ms=5000)
    one.playback.finish("a")
    assert one.wanted() == [] and one.playback.has_spoken and not one.playback.awaits_report("a")
    assert one.playback.sounds(5990) and not one.playback.sounds(6000)


def test_a_playout_is_paused_and_goes_on_once() -> None:
    one = Listener(paced=True)
    one.hears("a")
    one.hears("b")
    one.wanted()
    one.playback.pause(500)
    assert one.wanted() == [PauseAudio, (PAUSED, "a")], "the first of those that wait is heard"
    one.playback.resume(900)
    assert one.wanted() == [ResumeAudio, (RESUMED, "a")]
    one.playback.resume(900)
    assert one.wanted() == []


def test_without_a_playout_the_client_pauses_and_the_rest_is_heard_later() -> None:
    one = Listener(paced=False)
    one.hears("a")
    one.playback.pause(504)
    assert one.wanted() == [(PAUSED, "a")] and one.playback.sounds(60_000)
    one.playback.resume(10_504)
    assert one.wanted() == [(RESUMED, "a")]
    assert one.playback.sounds(10_990) and not one.playback.sounds(11_000)


@pytest.mark.parametrize("paused", [True, False])
@pytest.mark.parametrize("paced", [True, False])
def test_an_interruption_ends_the_sound_and_a_pause_for_good(paced: bool, paused: bool) -> None:
    one = Listener(paced)
    one.hears("a")
    if paused:
        one.playback.pause(504)
    one.wanted()
    one.playback.interrupt(600)
    assert one.wanted() == ([FlushAudio] if paced else [])
    assert not one.playback.loudspeaker.sounds(600)
    one.playback.resume(700)
    assert one.wanted() == []


def test_a_playout_is_not_interrupted_where_it_has_nothing_unless_it_is_paused() -> None:
    one = Listener(paced=True)
    one.hears("a")
    one.playback.stopped("a")
    one.wanted()
    one.playback.interrupt(1000)
    one.playback.clear(1000)
    assert one.wanted() == []
    one.playback.pause(1100)
    one.playback.interrupt(1200)
    assert one.wanted() == [PauseAudio, (PAUSED, "a"), FlushAudio], "or it would stay paused"


def test_only_a_playout_can_be_cleared() -> None:
    for paced in (True, False):
        one = Listener(paced)
        one.hears("a")
        one.wanted()
        one.playback.clear(504)
        assert one.wanted() == ([FlushAudio] if paced else [])
        assert one.playback.loudspeaker.sounds(600) is not paced


def test_what_was_thrown_away_returns_its_item_once() -> None:
    one = Listener(paced=True)
    item = one.hears("a").item
    one.wanted()
    assert one.playback.flushed("a") is item and one.playback.flushed("a") is None
    assert one.wanted() == [("output_audio_buffer.cleared", "a")] * 2 and not one.playback.sounds(0)


@pytest.mark.parametrize(
    ("heard_ms", "truncated_ms", "words"), [(500, 500, "one two"), (0, 0, ""), (1200, 1000, "one two three four")]
)
def test_an_answer_is_truncated_to_what_was_heard(heard_ms: int, truncated_ms: int, words: str) -> None:
    one = Listener(paced=True)
    item = one.hears("a").item
    one.playback.truncate(item, heard_ms)
    assert item.text == words and one.truncated_ms() == [truncated_ms]


def test_an_answer_that_is_still_being_made_is_not_truncated() -> None:
    one = Listener(paced=True)
    item = one.hears("a", ended=False).item
    one.playback.truncate(item, 500)
    assert item.text == "one two three four" and one.truncated_ms() == []


@pytest.mark.parametrize(
    ("reached_ms", "played_ms", "heard_ms", "words"),
    [
        (5500, math.inf, [500], "one two"),  # the rest was played into the void
        (5750, 250, [250], "one"),  # the playout had come no further
        (4000, math.inf, [0], ""),
        (7000, math.inf, [], "one two three four"),
    ],
)
def test_what_was_heard_ends_where_the_connection_was_lost(
    reached_ms: float, played_ms: float, heard_ms: list[int], words: str
) -> None:
    one = Listener(paced=True)
    item = one.hears("a").item
    one.playback.started("a", 5000)
    one.playback.lose(reached_ms)
    one.playback.cut(item, played_ms)
    assert item.text == words and one.truncated_ms() == heard_ms


def test_an_answer_that_is_not_the_one_being_played_is_cut_by_its_own_time() -> None:
    one = Listener(paced=True)
    earlier = one.hears("a").item
    one.hears("b")
    one.playback.started("a", 4000)
    one.playback.started("b", 5000)
    one.playback.lose(5000)
    one.playback.cut(earlier, 500)
    assert one.truncated_ms() == [500]


def test_the_newest_answer_that_has_all_been_played_is_known_until_the_next_connection() -> None:
    one = Listener(paced=True)
    item = one.hears("a").item
    one.playback.started("a", 0)
    assert one.playback.last_stopped is None
    one.playback.stopped("a")
    assert one.playback.last_stopped is item
    one.playback.regain(paced=False)
    one.wanted()
    assert one.playback.last_stopped is None
    one.hears("b")
    assert one.wanted() == [], "the next connection has no playout"
