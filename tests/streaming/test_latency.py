"""How quick an answer was: from when the user fell silent, told once."""

from __future__ import annotations

from typing import Any

import pytest

from streaming.actions import ReportMilestones, SendEvent
from streaming.fields import ProtocolError
from streaming.latency import UNHEARD_RESPONSES, Latency, SpeechEnd
from streaming.milestones import (
    END_OF_SPEECH,
    FIRST_AUDIO,
    FIRST_PACKET,
    FIRST_SOUND,
    FIRST_TOKEN,
    TRANSCRIPTION,
)
from streaming.outbox import Outbox
from streaming.resumption import Resumption

FELL_SILENT_MS = 10_000.0
END = SpeechEnd(sample=32_000, waited_ms=250.0, sure_at_ms=FELL_SILENT_MS + 250)


class Stopwatch:
    """The milestones of answers to one question."""

    def __init__(self, *response_ids: str) -> None:
        self._outbox = Outbox(Resumption(0, str), str)
        self.latency = Latency(self._outbox)
        for response_id in response_ids:
            self.latency.begin(response_id, f"item of {response_id}", END)

    def passed(self, milestone: str, after_ms: float, response_id: str = "a") -> None:
        self.latency.passed(response_id, milestone, FELL_SILENT_MS + after_ms)

    def left(self, after_ms: float, response_id: str = "a") -> None:
        self.latency.left(response_id, FELL_SILENT_MS + after_ms)

    def told(self) -> tuple[list[dict[str, float]], list[dict[str, Any]]]:
        """What the metrics are told, and the events."""
        actions = self._outbox.take()
        reports = [action.milestones_ms for action in actions if isinstance(action, ReportMilestones)]
        return reports, [action.event for action in actions if isinstance(action, SendEvent)]

    def refuses_first_sound(self, response_id: str = "a") -> bool:
        with pytest.raises(ProtocolError) as refused:
            self.latency.first_sound(response_id, 500)
        return refused.value.code == "response_not_found" and self.told() == ([], [])


def test_milestones_count_from_when_the_user_fell_silent() -> None:
    one = Stopwatch("a")
    one.passed(TRANSCRIPTION, 200)  # before it was sure that he had ended
    one.passed(FIRST_TOKEN, 300.04)
    one.latency.end("a")
    assert one.told()[0] == [{END_OF_SPEECH: 250.0, TRANSCRIPTION: 200.0, FIRST_TOKEN: 300.0}]


def test_only_the_first_of_something_is_a_milestone() -> None:
    one = Stopwatch("a")
    for after_ms in (300, 320, 340):
        one.passed(FIRST_TOKEN, after_ms)
    one.left(400)
    one.left(420)
    one.latency.end("a")
    assert one.told()[0] == [{END_OF_SPEECH: 250.0, FIRST_TOKEN: 300.0, FIRST_PACKET: 400.0}]


def test_the_report_of_an_answer_that_is_made_waits_for_its_first_packet() -> None:
    one = Stopwatch("a")
    one.passed(FIRST_AUDIO, 350)
    one.latency.end("a")
    assert one.told() == ([], [])
    one.left(400)
    (report,), (event,) = one.told()
    assert report == event["stages"] == {END_OF_SPEECH: 250.0, FIRST_AUDIO: 350.0, FIRST_PACKET: 400.0}
    assert event["type"] == "response.latency.updated"
    assert (event["response_id"], event["item_id"]) == ("a", "item of a")
    assert (event["speech_end_ms"], event["total_ms"]) == (2000, 400.0)


def test_the_report_of_an_answer_whose_sound_has_left_waits_until_it_is_made() -> None:
    one = Stopwatch("a")
    one.passed(FIRST_AUDIO, 350)
    one.left(400)
    assert one.told() == ([], [])
    one.latency.end("a")
    reports, updates = one.told()
    assert len(reports) == len(updates) == 1


def test_nothing_is_reported_twice() -> None:
    one = Stopwatch("a")
    one.left(400)
    one.latency.end("a")
    one.told()
    one.passed(FIRST_TOKEN, 500)
    one.left(500)
    one.latency.end("a")
    one.latency.stopped("a")
    assert one.told() == ([], [])


def test_an_answer_without_sound_is_reported_when_it_ends_and_nobody_hears_it() -> None:
    one = Stopwatch("a", "nothing came")
    one.passed(FIRST_TOKEN, 300)
    one.latency.end("a")
    one.latency.end("nothing came")
    assert one.told() == ([{END_OF_SPEECH: 250.0, FIRST_TOKEN: 300.0}], [])
    assert one.refuses_first_sound()


def test_an_answer_whose_sound_is_thrown_away_before_it_left_is_reported_then() -> None:
    one = Stopwatch("a")
    one.passed(FIRST_AUDIO, 350)
    one.latency.end("a")
    one.latency.stopped("a")
    assert one.told() == ([{END_OF_SPEECH: 250.0, FIRST_AUDIO: 350.0}], [])


def test_the_client_reports_the_first_sound_of_a_response_that_was_reported_and_once() -> None:
    one = Stopwatch("a", "b")
    one.left(400)
    assert one.refuses_first_sound("a"), "it is still being made"
    one.latency.end("a")
    one.told()
    one.latency.first_sound("a", 512.5)
    assert one.told() == ([{FIRST_SOUND: 512.5}], [])
    assert one.refuses_first_sound("a") and one.refuses_first_sound("b") and one.refuses_first_sound("unknown")


def test_only_the_newest_responses_may_still_be_reported_by_the_client() -> None:
    names = [f"response {number}" for number in range(UNHEARD_RESPONSES + 1)]
    one = Stopwatch(*names)
    for name in names:
        one.left(400, name)
        one.latency.end(name)
    one.told()
    assert one.refuses_first_sound(names[0])
    for name in names[1:]:
        one.latency.first_sound(name, 500)
    assert len(one.told()[0]) == UNHEARD_RESPONSES


def test_with_the_connection_goes_what_had_yet_to_leave_and_not_what_had_left() -> None:
    one = Stopwatch("heard", "cut off")
    one.left(400, "heard")
    one.latency.end("heard")
    one.passed(FIRST_AUDIO, 350, "cut off")
    one.told()
    one.latency.forget()
    one.left(900, "cut off")
    one.latency.end("cut off")
    assert one.told() == ([], [])
    one.latency.first_sound("heard", 500)
    assert one.told()[0] == [{FIRST_SOUND: 500}]


def test_sound_thrown_away_while_the_answer_is_being_made_is_not_waited_for() -> None:
    one = Stopwatch("a")
    one.passed(FIRST_AUDIO, 350)
    one.latency.stopped("a")
    one.latency.end("a")
    assert one.told() == ([{END_OF_SPEECH: 250.0, FIRST_AUDIO: 350.0}], [])


def test_sound_that_follows_what_was_thrown_away_is_waited_for() -> None:
    one = Stopwatch("a")
    one.passed(FIRST_AUDIO, 350)
    one.latency.stopped("a")
    one.passed(FIRST_AUDIO, 380)
    one.latency.end("a")
    assert one.told() == ([], [])
    one.left(400)
    assert one.told()[0] == [{END_OF_SPEECH: 250.0, FIRST_AUDIO: 350.0, FIRST_PACKET: 400.0}]
