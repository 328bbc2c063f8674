"""One order for all that a session wants, and a client that may not be there to be told."""

from __future__ import annotations

import itertools
from typing import Any

from streaming.actions import Action, CancelResponse, FlushAudio, PauseAudio, SendEvent
from streaming.outbox import Outbox
from streaming.resumption import Resumption

HELLO, GOODBYE = {"type": "hello", "to": "you"}, {"type": "goodbye"}


def outbox() -> tuple[Outbox, Resumption]:
    numbers = itertools.count(1)
    resumption = Resumption(60, str)
    return Outbox(resumption, lambda prefix: f"{prefix}_{next(numbers)}"), resumption


def types(actions: list[Action]) -> list[Any]:
    """Of events their own type, of other actions their class."""
    return [action.event["type"] if isinstance(action, SendEvent) else type(action) for action in actions]


def test_events_and_other_actions_come_out_in_one_order() -> None:
    one, _ = outbox()
    one.do(FlushAudio())
    one.send(HELLO, GOODBYE)
    one.do(CancelResponse("resp"))
    one.send(HELLO)
    assert types(one.take()) == [FlushAudio, "hello", "goodbye", CancelResponse, "hello"]


def test_each_event_has_an_id_of_its_own_and_the_message_has_none() -> None:
    one, _ = outbox()
    one.send(HELLO, HELLO)
    assert one.take() == [SendEvent({**HELLO, "event_id": "event_1"}), SendEvent({**HELLO, "event_id": "event_2"})]
    assert HELLO == {"type": "hello", "to": "you"}


def test_what_was_taken_is_gone_and_does_not_grow() -> None:
    one, _ = outbox()
    one.send(HELLO)
    taken = one.take()
    one.send(GOODBYE)
    assert types(taken) == ["hello"]
    assert types(one.take()) == ["goodbye"] and one.take() == []


def test_events_for_a_client_that_is_lost_wait_for_it_and_all_else_is_done() -> None:
    one, resumption = outbox()
    resumption.lose(0)
    one.send(HELLO)
    one.do(PauseAudio())
    one.send(GOODBYE)
    assert one.take() == [PauseAudio()]
    assert resumption.regain() == [{**HELLO, "event_id": "event_1"}, {**GOODBYE, "event_id": "event_2"}]


def test_a_client_that_is_back_is_told_again() -> None:
    one, resumption = outbox()
    resumption.lose(0)
    one.send(HELLO)
    resumption.regain()
    one.send(GOODBYE)
    assert types(one.take()) == ["goodbye"]
    resumption.lose(1)
    assert resumption.regain() == [], "what came while it was there is not kept"


def test_what_is_of_no_use_later_is_not_kept() -> None:
    one, resumption = outbox()
    resumption.lose(0)
    one.send({"type": "response.output_audio.delta", "delta": "AAAA"}, HELLO)
    assert [event["type"] for event in resumption.regain()] == ["hello"] and one.take() == []
