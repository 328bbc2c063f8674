"""What the worker is asked for, and what gives way to what."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np

from streaming.actions import Action, CancelResponse, StartResponse
from streaming.conversation import Conversation, Item, Part, shown_of
from streaming.outbox import Outbox
from streaming.reply import Reply
from streaming.requests import Requests
from streaming.resumption import Resumption
from streaming.settings import ResponseSettings, SessionSettings
from streaming.types import Abilities, Request
from tests.streaming.fakes import SEES_AND_DRAWS, tone

SESSION = SessionSettings(("ada", "ben"), "ada", instructions="Be kind.")
ANSWER = ResponseSettings.of(SESSION)
ASIDE = replace(ANSWER, in_conversation=False)


def spoken(item_id: str = "spoken") -> Item:
    return Item(item_id, role="user", parts=[Part("input_audio", speech=tone(0.5), samples=8000)])


def written(text: str, **more: Any) -> Item:
    return Item(text, parts=[Part("input_text", text)], **{"role": "user", **more})


class Desk:
    """Requests under test, and what they want done."""

    def __init__(self, abilities: Abilities = SEES_AND_DRAWS) -> None:
        numbers = itertools.count(1)
        self._outbox = Outbox(Resumption(0, str), str)
        self.requests = Requests("sess", abilities, self._outbox, lambda prefix: f"{prefix}_{next(numbers)}")

    def request(self, *items: Item, settings: ResponseSettings = ANSWER, session: SessionSettings = SESSION) -> Request:
        return self.requests.request(items, shown_of(items)[1], settings, session)

    def answer(self, item: Item, settings: ResponseSettings = ANSWER) -> Reply:
        """Let it be answered."""
        request = self.request(item, settings=settings)
        conversation = Conversation() if settings.in_conversation else None
        reply = Reply(request.response_id, "item", settings, conversation, None, True)
        self.requests.add(request, reply, item, (item,))
        return reply

    def wanted(self) -> list[Action]:
        return self._outbox.take()

    def started(self) -> Request:
        """The only thing that is wanted."""
        (action,) = self.wanted()
        assert isinstance(action, StartResponse)
        return action.request


def test_an_answer_gets_the_transcripts_so_that_transcribing_is_given_up_and_looking_is_not() -> None:
    desk = Desk()
    desk.requests.transcribe(spoken("one"), [spoken("one")], "")
    desk.requests.transcribe(spoken("two"), [spoken("two")], "")
    desk.requests.prepare([written("look")], "")
    one, two, look = (action.request.response_id for action in desk.wanted() if isinstance(action, StartResponse))
    reply = desk.answer(spoken())
    assert desk.wanted() == [CancelResponse(one), CancelResponse(two)]
    assert desk.requests.get(one) is None and desk.requests.get(two) is None
    assert desk.requests.get(look) is not None and desk.requests.get(reply.id) is not None


def test_an_answer_beside_the_conversation_gives_nothing_up() -> None:
    desk = Desk()
    desk.requests.transcribe(spoken(), [spoken()], "")
    job_id = desk.started().response_id
    desk.answer(spoken(), ASIDE)
    assert desk.wanted() == [] and desk.requests.get(job_id) is not None


def test_the_worker_is_busy_until_it_has_ended_even_what_was_cancelled() -> None:
    desk = Desk()
    assert not desk.requests.busy
    reply = desk.answer(spoken())
    assert desk.requests.busy and desk.requests.live_replies == [reply]
    reply.end("cancelled")
    assert desk.requests.busy and desk.requests.live_replies == []
    desk.requests.end(reply.id)
    assert not desk.requests.busy and desk.requests.get(reply.id) is None


def test_what_is_answered_beside_the_conversation_is_live_and_leaves_the_worker_free_for_it() -> None:
    desk = Desk()
    aside = desk.answer(spoken(), ASIDE)
    assert not desk.requests.busy and desk.requests.live_replies == [aside]
    reply = desk.answer(spoken())
    assert desk.requests.busy and desk.requests.live_replies == [aside, reply]


def test_a_request_of_the_conversation_has_its_session_and_any_other_one_of_its_own() -> None:
    desk = Desk()
    request, aside = desk.request(spoken()), desk.request(spoken(), settings=ASIDE)
    assert request.session_id == "sess" != request.response_id
    assert aside.session_id == aside.response_id != request.response_id
    assert request.attachments and not aside.attachments, "an attachment is an item of the conversation"
    assert not Desk(Abilities()).request(spoken()).attachments


def test_a_request_is_made_as_the_settings_say() -> None:
    settings = replace(ANSWER, modality="text", voice="ash", max_output_tokens=9)
    request = Desk().request(written("hi"), settings=settings, session=replace(SESSION, stream_music=True))
    assert not request.speak and request.voice == "ben" and request.max_output_tokens == 9 and request.stream_music
    assert [turn.text for turn in request.turns] == ["hi"]
    assert not (request.prepare_only or request.transcript_only)


def test_system_messages_add_to_the_instructions_whichever_they_are() -> None:
    desk, items = Desk(), [written("Speak Dutch.", role="system"), written("hi")]
    assert desk.request(*items).instructions == "Be kind.\nSpeak Dutch."
    for instructions, asked in (("Be brief.", "Be brief.\nSpeak Dutch."), ("", "Speak Dutch.")):
        request = desk.requests.request(items, shown_of(items)[1], ANSWER, SESSION, instructions)
        assert request.instructions == asked


def test_the_model_looks_ahead_at_what_is_new() -> None:
    desk, picture = Desk(), Item("picture", role="user", tokens=(1, 2, 3))
    desk.requests.prepare([written("hm", role="assistant", status="in_progress"), written("hi"), picture], "Be kind.")
    request = desk.started()
    assert request.prepare_only and not request.transcript_only
    assert (request.session_id, request.instructions) == ("sess", "Be kind.")
    running = desk.requests.get(request.response_id)
    assert running is not None and running.live_reply is None and desk.requests.busy
    assert [item.id for item in running.shown] == ["hi", "picture"] and len(request.turns) == 2, "by the turn's number"
    running.settle((9,))
    assert picture.tokens == (1, 2, 3), "nobody asked anything"


def test_what_was_said_is_transcribed_after_what_came_before() -> None:
    desk, asked = Desk(), spoken()
    desk.requests.transcribe(asked, [written("hi"), asked], "Be kind.")
    request = desk.started()
    assert request.transcript_only and not request.prepare_only
    assert (request.session_id, request.instructions) == ("sess", "Be kind.")
    speech = request.turns[-1].speech
    assert request.turns[0].text == "hi" and speech is not None and np.array_equal(speech, tone(0.5))
    running = desk.requests.get(request.response_id)
    assert running is not None and running.live_reply is None and desk.requests.busy
    running.settle((4, 5))
    assert asked.tokens == (4, 5) and asked.parts[0].speech is None
