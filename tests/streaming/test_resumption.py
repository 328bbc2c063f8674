"""A conversation that loses its connection and gets another one, without a network or a clock."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from streaming.actions import CancelResponse, CloseSession, FlushAudio, SendEvent, StartResponse
from streaming.conversation import Item, Part
from streaming.events import Limits
from streaming.playout import Playout
from streaming.resumption import MOST_ITEM_BYTES, Resumption, newest
from streaming.session import Session
from streaming.settings import SessionSettings
from streaming.types import SPEECH_RATE, Failed, Finished, Output, Request, SpeechDelta, TextDelta
from tests.streaming.fakes import Loudness, answer, append, on_the_wire, silence, tone, utterance

Json = dict[str, Any]
WORDS = "one two three four five six seven eight nine ten"


class Talk:
    """A session under test, with its clock and, over a call, its playout."""

    def __init__(self, paced: bool = False, resume_s: float = 60.0, limits: Limits | None = None) -> None:
        numbers = itertools.count(1)
        self.now_ms = 0.0
        self.playout = Playout()
        self.requests: list[Request] = []
        self.cancelled: list[str] = []
        self.events: list[Json] = []
        self.closed: CloseSession | None = None
        self.session = Session(
            SessionSettings(("ada", "ben"), "ada", transcription={"model": "any"}),
            Loudness(),
            limits or Limits(),
            paced=paced,
            resume_s=resume_s,
            new_id=lambda prefix: f"{prefix}_{next(numbers)}",
        )
        self.session.open(0)
        self.perform()

    def perform(self) -> list[Json]:
        """Run what the session wants. Returns the events that it sends."""
        new: list[Json] = []
        while actions := self.session.actions_to_run():
            for action in actions:
                match action:
                    case SendEvent(event):
                        new.append(event)
                    case StartResponse(request):
                        self.requests.append(request)
                    case CancelResponse(response_id):
                        self.cancelled.append(response_id)
                    case CloseSession():
                        self.closed = action
                    case FlushAudio():
                        for played in self.playout.clear():
                            self.session.receive_playout(played, self.now_ms)
                    case _ if hasattr(action, "pcm"):
                        self.playout.put(action.response_id, action.item_id, action.pcm)
                    case _ if type(action).__name__ == "FinishAudio":
                        self.playout.end(action.response_id)
        self.events += new
        return new

    def send(self, **event: Any) -> list[Json]:
        self.session.receive_event(json.dumps(event), self.now_ms)
        while self.session.listen(self.now_ms):
            pass
        return self.perform()

    def ask(self, text: str = "hello", **response: Any) -> Request:
        content = [{"type": "input_text", "text": text}]
        self.send(type="conversation.item.create", item={"type": "message", "role": "user", "content": content})
        self.send(type="response.create", response=response)
        return self.requests[-1]

    def speak(self, pcm: np.ndarray) -> None:
        """In real time, as a call's microphone does, while the playout runs."""
        for at in range(0, len(pcm), 320):
            self.now_ms += 20
            if self.session._paced:
                self.session.receive_audio(pcm[at : at + 320], self.now_ms)
            else:
                self.session.receive_event(json.dumps(append(on_the_wire(pcm[at : at + 320]))), self.now_ms)
            while self.session.listen(self.now_ms):
                pass
            self.perform()
            self.play()

    def into_the_void(self, seconds: float) -> None:
        """Time passes, and nothing is heard of the peer."""
        for _ in range(int(seconds * 50)):
            self.now_ms += 20
            self.play()
        self.session.tick(self.now_ms)
        self.perform()

    def play(self) -> None:
        for report in self.playout.next_frame().events:
            self.session.receive_playout(report, self.now_ms)
        self.perform()

    def output(self, *outputs: Output) -> list[Json]:
        for output in outputs:
            self.session.receive_output(output, self.now_ms)
        return self.perform()

    def lose(self, silent_s: float = 0) -> None:
        self.session.lose(self.now_ms, silent_ms=1000 * silent_s)
        assert self.perform() == [], "nobody is there to be told"

    def resume(self, paced: bool | None = None) -> list[Json]:
        self.session.resume(self.now_ms, self.session._paced if paced is None else paced)
        return self.perform()

    @property
    def token(self) -> str:
        return greeting(self.events)["session"]["resume"]["token"]

    @property
    def texts(self) -> list[str]:
        return [item.text for item in self.session._conversation]


def greeting(events: list[Json]) -> Json:
    return [event for event in events if event["type"] in ("session.created", "session.resumed")][-1]


def types(events: list[Json]) -> list[str]:
    return [event["type"] for event in events]


def test_a_greeting_brings_a_token_and_lists_the_extension() -> None:
    session = Talk().events[0]["session"]
    assert session["resume"] == {"token": session["resume"]["token"], "expires_after_ms": 60_000}
    assert len(session["resume"]["token"]) > 0 and "resume" in session["extensions"]
    without = Talk(resume_s=0).events[0]["session"]
    assert "resume" not in without and "resume" not in without["extensions"]


def test_a_token_works_once_and_the_next_one_is_another() -> None:
    talk = Talk()
    first = talk.token
    assert not talk.session.claim("") and not talk.session.claim(first + "x") and not talk.session.claim("ü\ud800")
    talk.lose()
    assert talk.session.claim(first) and not talk.session.claim(first)
    talk.resume()
    assert talk.token != first and not talk.session.claim(first) and talk.session.claim(talk.token)


def test_a_session_that_is_over_has_no_token() -> None:
    talk = Talk(limits=Limits(idle_s=1))
    talk.now_ms = 2000
    talk.session.tick(talk.now_ms)
    assert not talk.session.claim(talk.token) and not talk.session.resumable


def test_the_conversation_and_its_settings_are_still_there() -> None:
    talk = Talk()
    talk.send(type="session.update", session={"type": "realtime", "instructions": "Be kind."})
    talk.output(*answer(talk.ask("what is your name?")))
    id_before, items_before = talk.session.id, talk.texts
    talk.lose()
    resumed = greeting(talk.resume())
    assert resumed["type"] == "session.resumed"
    assert resumed["session"]["id"] == id_before and resumed["session"]["instructions"] == "Be kind."
    assert talk.texts == items_before == ["what is your name?", "Hi! I am fine."]
    assert resumed["items"][-1]["id"] == resumed["last_item_id"] == talk.session._conversation.last_id
    assert resumed["items"][-1]["content"][0]["transcript"] == "Hi! I am fine."
    assert len(talk.requests) == 1, "nothing is said twice"
    request = talk.ask("and now?")
    assert [turn.text for turn in request.turns] == ["what is your name?", "Hi! I am fine.", "and now?"]
    assert request.session_id == id_before, "the worker's cache is that of before"


def test_an_answer_of_which_nothing_was_sent_is_given_after_resuming() -> None:
    talk = Talk()
    talk.ask("hello", metadata={"a": "b"})
    talk.output(TextDelta(talk.requests[0].response_id, "Hi!"))
    talk.lose()
    assert talk.cancelled == [talk.requests[0].response_id] and talk.texts == ["hello"]
    events = talk.resume()
    assert types(events)[0] == "session.resumed" and types(events)[-1] == "response.created"
    assert "conversation.item.deleted" in types(events) and "response.done" in types(events), "what was missed is told"
    assert events[-1]["response"]["metadata"] == {"a": "b"}, "the answer that was asked for"
    assert [turn.text for turn in talk.requests[1].turns] == ["hello"]


def test_of_an_answer_that_was_partly_sent_history_keeps_what_was_and_it_is_not_given_again() -> None:
    talk = Talk()
    one = talk.ask().response_id
    talk.output(TextDelta(one, WORDS), SpeechDelta(one, tone(1.0)))
    talk.lose()
    events = talk.resume()
    assert talk.texts == ["hello", "one two"], "a second of the three and a half that ten words take"
    assert len(talk.requests) == 1 and "response.created" not in types(events)
    assert "response.output_audio.delta" not in types(events)


def test_sound_of_before_the_loss_is_not_sent_later() -> None:
    talk = Talk()
    one = talk.ask().response_id
    events = talk.output(*answer(talk.requests[0])[:-1])
    talk.session.lose(0, events)
    talk.perform()
    told = types(talk.resume())
    assert "response.content_part.added" in told and not any(kind.endswith(".delta") for kind in told)
    talk.output(SpeechDelta(one, tone(0.5)), Finished(one, "cancelled", "Hi!", (), ()))
    assert "response.output_audio.delta" not in types(talk.events[-5:])


def test_speech_that_was_cut_short_counts_as_said() -> None:
    talk = Talk()
    talk.speak(np.concatenate([silence(0.5), tone(0.8)]))
    assert types(talk.events)[-1] == "input_audio_buffer.speech_started"
    talk.lose()
    assert [request.transcript_only for request in talk.requests] == [True]
    events = talk.resume()
    told = types(events)
    assert told.index("session.resumed") < told.index("input_audio_buffer.committed") < told.index("response.created")
    speech = talk.requests[-1].turns[-1].speech
    assert speech is not None and len(speech) / SPEECH_RATE > 0.8


def test_nothing_that_waits_is_answered_where_nobody_asked_for_it() -> None:
    talk = Talk()
    detection = {"type": "server_vad", "create_response": False}
    talk.send(type="session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}})
    talk.speak(utterance())
    talk.output(*answer(talk.requests[0]))
    talk.lose()
    assert "response.created" not in types(talk.resume())


def test_over_a_call_the_playout_knows_what_was_heard() -> None:
    talk = Talk(paced=True)
    talk.speak(silence(0.5))
    one = talk.ask().response_id
    talk.output(TextDelta(one, WORDS), SpeechDelta(one, tone(5)), Finished(one, "completed", WORDS, (1,), (2,)))
    talk.speak(silence(2.0))
    talk.lose()
    events = talk.resume()
    assert talk.texts == ["hello", "one two three"], "two of five seconds, not quite"
    truncated = next(event for event in events if event["type"] == "conversation.item.truncated")
    assert 1900 <= truncated["audio_end_ms"] <= 2000
    assert len(talk.requests) == 1 and talk.playout.waiting == 0


def test_what_is_played_into_the_void_was_not_heard() -> None:
    """The loss is noticed long after it happened; but the microphone tells when."""
    talk = Talk(paced=True)
    talk.speak(silence(1.0))
    one = talk.ask().response_id
    talk.output(TextDelta(one, WORDS), SpeechDelta(one, tone(5)), Finished(one, "completed", WORDS, (1,), (2,)))
    talk.speak(silence(2.0))
    talk.into_the_void(8)
    assert "output_audio_buffer.stopped" in types(talk.events)
    talk.lose(silent_s=8)
    talk.resume()
    assert talk.texts == ["hello", "one two three"], "two of five seconds, not quite"


def test_an_answer_that_was_all_played_into_the_void_is_given_again() -> None:
    talk = Talk(paced=True)
    talk.output(*answer(talk.ask()))
    talk.into_the_void(8)
    talk.lose(silent_s=8.5)
    talk.resume()
    assert talk.texts == ["hello"] and len(talk.requests) == 2


def test_a_microphone_that_pauses_anyway_tells_nothing() -> None:
    talk = Talk(paced=True)
    talk.output(*answer(talk.ask()))
    talk.into_the_void(8)
    talk.lose()
    talk.resume()
    assert talk.texts == ["hello", "Hi! I am fine."] and len(talk.requests) == 1


def test_the_line_may_change_from_a_call_to_a_socket_and_back() -> None:
    talk = Talk(paced=True)
    talk.output(*answer(talk.ask()))
    talk.into_the_void(2)
    talk.lose()
    talk.resume(paced=False)
    assert "response.output_audio.delta" in types(talk.output(*answer(talk.ask())))
    talk.lose()
    talk.resume(paced=True)
    told = types(talk.output(*answer(talk.ask())))
    assert "response.output_audio.delta" not in told and talk.playout.waiting == SPEECH_RATE // 2


def test_the_words_are_still_found_out_while_nobody_is_there() -> None:
    talk = Talk()
    detection = {"type": "server_vad", "create_response": False}
    talk.send(type="session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}})
    talk.speak(utterance())
    talk.lose()
    talk.output(*answer(talk.requests[0]))
    events = talk.resume()
    completed = [event for event in events if event["type"].endswith("input_audio_transcription.completed")]
    assert [event["transcript"] for event in completed] == ["hello there"]
    assert greeting(events)["items"][-1]["content"][0]["transcript"] == "hello there"


def test_nobody_comes_back() -> None:
    talk = Talk()
    talk.output(*answer(talk.ask()))
    talk.lose()
    talk.session.tick(talk.now_ms + 59_900)
    assert talk.perform() == [] and talk.closed is None
    talk.session.tick(talk.now_ms + 60_100)
    talk.perform()
    assert talk.closed is not None and talk.session.closed and not talk.session.claim(talk.token)


def test_a_silent_microphone_is_no_complaint_while_nobody_is_there_or_right_after() -> None:
    talk = Talk(paced=True)
    talk.speak(silence(1))
    talk.lose()
    talk.session.tick(30_000)
    assert talk.perform() == []
    talk.now_ms = 40_000
    talk.resume()
    talk.session.tick(40_500)
    assert talk.perform() == []


def test_a_greeting_without_a_question_is_given_again_only_if_it_was_not_heard() -> None:
    for heard_s, requests in ((0.0, 2), (1.0, 1)):
        talk = Talk()
        talk.send(type="response.create", response={"instructions": "Greet the user."})
        one = talk.requests[0].response_id
        talk.output(TextDelta(one, WORDS), SpeechDelta(one, tone(heard_s)))
        talk.lose()
        talk.resume()
        assert len(talk.requests) == requests


def test_a_worker_that_was_restarted_interrupts_and_the_answer_fails() -> None:
    talk = Talk()
    one = talk.ask().response_id
    talk.output(TextDelta(one, "Hi"))
    told = types(talk.output(Failed(one, "worker_restarted", "The model had to be restarted.")))
    assert told[0] == "session.interrupted" and "response.done" in told
    interrupted = next(event for event in talk.events if event["type"] == "session.interrupted")
    assert interrupted["reason"] == "worker_restarted"
    two = talk.ask("again").response_id
    told = types(talk.output(Failed(two, "overloaded", "Too many answers are being made at once.")))
    assert "session.interrupted" not in told


@pytest.mark.parametrize("name", ["plain", "unicode"])
def test_the_newest_items_fit_a_data_channel(name: str) -> None:
    text = {"plain": "word " * 400, "unicode": "wörd " * 400}[name]
    items = [Item(f"item_{n}", role="user", parts=[Part("input_text", text)]) for n in range(40)]
    shown = newest(items)
    assert [item["id"] for item in shown] == [f"item_{n}" for n in range(40 - len(shown), 40)]
    assert 2 < len(shown) < 20 and len(json.dumps(shown, separators=(",", ":"))) <= MOST_ITEM_BYTES + len(shown) + 1
    assert newest([*items, Item("big", role="user", parts=[Part("input_text", "x" * 30_000)])]) == []


def test_what_is_missed_is_bounded() -> None:
    resumption = Resumption(60, lambda prefix: prefix)
    resumption.lose(0)
    for number in range(1000):
        resumption.miss({"type": "conversation.item.done", "event_id": str(number)})
    missed = resumption.regain()
    assert len(missed) == 256 and missed[-1]["event_id"] == "999"
