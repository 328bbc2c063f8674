from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from streaming import milestones
from streaming import session as session_module
from streaming.actions import (
    CancelResponse,
    CloseSession,
    FinishAudio,
    FlushAudio,
    PauseAudio,
    PlayAudio,
    ReportMilestones,
    ReportUsage,
    ResumeAudio,
    SendEvent,
    StartResponse,
)
from streaming.events import Limits
from streaming.hearing import STALLED_MS
from streaming.playout import Played, Started, Stopped
from streaming.session import Session
from streaming.settings import SessionSettings
from streaming.types import (
    SPEECH_RATE,
    Failed,
    Finished,
    FirstSpeechToken,
    Output,
    Request,
    SpeechDelta,
    TextDelta,
    TranscriptDelta,
    TranscriptDone,
    Usage,
)
from tests.streaming.fakes import Loudness, answer, append, on_the_wire, silence, tone, utterance

Json = dict[str, Any]


class Talk:
    """A session under test: says things to it, and keeps the events and other actions that come of it."""

    def __init__(self, paced: bool = False, limits: Limits | None = None, **settings: Any) -> None:
        numbers = itertools.count(1)
        voices = ("ada", "ben")
        self.now_ms = 0.0
        abilities = settings.pop("abilities", None)
        self.session = Session(
            SessionSettings(voices, voices[0], **settings),
            Loudness(),
            limits or Limits(),
            model="nano",
            paced=paced,
            abilities=abilities,
            expires_at=1234,
            new_id=lambda prefix: f"{prefix}_{next(numbers)}",
        )
        self.log: list[Json] = []
        self.actions: list[object] = []
        self.session.open(0)
        self._collect()

    def _collect(self) -> list[Json]:
        new = []
        for action in self.session.actions_to_run():
            if isinstance(action, SendEvent):
                json.dumps(action.event, allow_nan=False)
                new.append(action.event)
            else:
                self.actions.append(action)
        self.log += new
        return new

    def send(self, event: Json | str | bytes) -> list[Json]:
        message = json.dumps(event) if isinstance(event, dict) else event
        self.session.receive_event(message, self.now_ms)
        while self.session.listen(self.now_ms):
            pass
        return self._collect()

    def speak(self, pcm: np.ndarray) -> list[Json]:
        """Over WebSocket in pieces of 20 ms; over WebRTC as the track would."""
        new = []
        if self.session._paced:
            for at in range(0, len(pcm), 320):
                self.now_ms += 20
                self.session.receive_audio(pcm[at : at + 320], self.now_ms)
                while self.session.listen(self.now_ms):
                    pass
            return self._collect()
        data = on_the_wire(pcm)
        for at in range(0, len(data), 960):
            self.now_ms += 20
            new += self.send(append(data[at : at + 960]))
        return new

    def output(self, *outputs: Output) -> list[Json]:
        for output in outputs:
            self.now_ms += 10
            self.session.receive_output(output, self.now_ms)
        return self._collect()

    def report(self, report: Started | Stopped | Played) -> list[Json]:
        self.session.receive_playout(report, self.now_ms)
        return self._collect()

    def leave(self, response_id: str) -> list[Json]:
        self.session.receive_departure(response_id, self.now_ms)
        return self._collect()

    def tick(self, now_ms: float) -> list[Json]:
        self.now_ms = now_ms
        self.session.tick(now_ms)
        return self._collect()

    def say(self, text: str, **item: Any) -> list[Json]:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content, **item}
        return self.send({"type": "conversation.item.create", "item": item})

    def update(self, **session: Any) -> list[Json]:
        return self.send({"type": "session.update", "session": {"type": "realtime", **session}})

    def respond(self, **response: Any) -> list[Json]:
        return self.send({"type": "response.create", "response": response})

    @property
    def requests(self) -> list[Request]:
        return [action.request for action in self.actions if isinstance(action, StartResponse)]

    def of(self, kind: type) -> list[Any]:
        return [action for action in self.actions if isinstance(action, kind)]

    def answered(self, text: str) -> list[Json]:
        """A whole exchange by text."""
        return [*self.say(text), *self.respond(), *self.output(*answer(self.requests[-1]))]


def types(messages: list[Json]) -> list[str]:
    return [message["type"] for message in messages]


def first(messages: list[Json], kind: str) -> Json:
    return next(message for message in messages if message["type"] == kind)


def the_error(messages: list[Json]) -> Json:
    assert types(messages) == ["error"]
    return messages[0]["error"]


def nulls(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from nulls(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from nulls(inner, f"{path}[]")
    elif value is None:
        yield path


# Opening and settings -------------------------------------------------------------------------------------------------


def test_the_first_event_is_the_full_session():
    talk = Talk(instructions="Be kind.")
    (created,) = talk.log
    assert created["type"] == "session.created" and created["event_id"].startswith("event_")
    session = created["session"]
    assert session["type"] == "realtime" and session["object"] == "realtime.session"
    assert session["id"].startswith("sess_") and session["model"] == "nano" and session["expires_at"] == 1234
    assert session["instructions"] == "Be kind." and session["output_modalities"] == ["audio"]
    assert session["audio"] == {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 500,
                "idle_timeout_ms": None,
                "create_response": True,
                "interrupt_response": True,
            },
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "ada", "speed": 1.0},
    }
    assert (session["tools"], session["tool_choice"], session["max_output_tokens"]) == ([], "auto", "inf")


def test_an_update_changes_only_what_is_there_and_answers_with_everything():
    talk = Talk(instructions="Be kind.")
    audio = {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7}}, "output": {"voice": "ben"}}
    (updated,) = talk.update(audio=audio)
    session = updated["session"]
    assert updated["type"] == "session.updated"
    assert session["audio"]["input"]["turn_detection"]["threshold"] == 0.7
    assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 500
    assert session["audio"]["output"]["voice"] == "ben"
    assert session["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert session["instructions"] == "Be kind."
    (updated,) = talk.update(instructions="", audio={"input": {"turn_detection": {"silence_duration_ms": 300}}})
    assert updated["session"]["instructions"] == ""
    assert updated["session"]["audio"]["input"]["turn_detection"]["threshold"] == 0.7
    assert updated["session"]["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 300


def test_the_settings_that_the_agents_sdk_sends_are_accepted():
    talk = Talk()
    (updated,) = talk.update(
        instructions="x",
        model="gpt-realtime-2.1",
        output_modalities=["audio"],
        audio={
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "noise_reduction": None,
                "transcription": {"model": "gpt-4o-mini-transcribe"},
                "turn_detection": {"type": "semantic_vad"},
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "speed": 1, "voice": "marin"},
        },
        tools=[{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}],
        tracing="auto",
    )
    session = updated["session"]
    assert session["model"] == "nano", "the model cannot change"
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    }
    assert session["audio"]["output"]["voice"] == "marin" and session["tracing"] == "auto"
    talk.say("hello")
    talk.respond()
    assert talk.requests[-1].voice in ("ada", "ben"), "a stock voice stands for one of the model's own"


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"output_modalities": ["audio", "text"]}, "session.output_modalities"),
        ({"audio": {"input": {"format": {"type": "audio/mp3"}}}}, "session.audio.input.format.type"),
        ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}}, "session.audio.input.format.rate"),
        ({"audio": {"input": {"turn_detection": {"threshold": 2}}}}, "session.audio.input.turn_detection.threshold"),
        ({"audio": {"input": {"turn_detection": {"type": "x"}}}}, "session.audio.input.turn_detection.type"),
        ({"audio": {"output": {"voice": "nobody"}}}, "session.audio.output.voice"),
        ({"audio": {"output": {"speed": 9}}}, "session.audio.output.speed"),
        ({"audio": "loud"}, "session.audio"),
        ({"instructions": 5}, "session.instructions"),
        ({"instructions": "x" * 20_001}, "session.instructions"),
        ({"instructions": "\ud800"}, "session.instructions"),
        ({"max_output_tokens": 0}, "session.max_output_tokens"),
        ({"max_output_tokens": True}, "session.max_output_tokens"),
        ({"tools": [{"type": "mcp"}]}, "session.tools[0].type"),
        ({"modalities": ["text"]}, "session.modalities"),
        ({"type": "transcription"}, "session.type"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_setting_is_named_and_changes_nothing(session, param):
    talk = Talk()
    before = talk.session.settings
    failure = the_error(talk.send({"type": "session.update", "event_id": "mine", "session": session}))
    assert failure["param"] == param and failure["event_id"] == "mine"
    assert failure["type"] == "invalid_request_error" and failure["message"]
    assert talk.session.settings == before


def test_the_voice_is_fixed_once_it_was_heard():
    talk = Talk()
    talk.answered("hello")
    assert the_error(talk.update(audio={"output": {"voice": "ben"}}))["code"] == "cannot_update_voice"
    assert types(talk.update(audio={"output": {"voice": "ada"}})) == ["session.updated"]


# Wrong input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ("", "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ('"text"', "invalid_event"),
        ("[]", "invalid_event"),
        (b"\x00\x01", "invalid_event"),
        ("{}", "missing_required_parameter"),
        ('{"type": "no.such.event"}', "unknown_event"),
        ('{"type": 5}', "invalid_type"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter"),
        ('{"type": "input_audio_buffer.append", "audio": "???"}', "invalid_base64"),
        ('{"type": "input_audio_buffer.append", "audio": "AAA"}', "invalid_base64"),
        ('{"type": "input_audio_buffer.append", "audio": "\\u00e4"}', "invalid_base64"),
        ('{"type": "session.update"}', "missing_required_parameter"),
        ('{"type": "conversation.item.create"}', "missing_required_parameter"),
        ('{"type": "conversation.item.retrieve", "item_id": "x"}', "item_not_found"),
        ('{"type": "conversation.item.delete", "item_id": "x"}', "item_not_found"),
        ('{"type": "response.create"}', "nothing_to_answer"),
        ('{"type": "response.create", "response": {"colour": 1}}', "unknown_parameter"),
        ('{"type": "response.create", "response": []}', "invalid_type"),
        ('{"type": "response.cancel"}', "response_cancel_not_active"),
        ('{"type": "output_audio_buffer.clear"}', "unsupported"),
    ],
)
def test_wrong_input_gets_an_error_and_the_session_lives(message, code):
    talk = Talk()
    assert the_error(talk.send(message))["code"] == code
    assert types(talk.say("still there?"))[-1] == "conversation.item.done"


def test_an_error_names_the_event_to_blame():
    failure = the_error(Talk().send({"type": "nonsense", "event_id": "event_of_mine"}))
    assert failure["event_id"] == "event_of_mine"
    assert the_error(Talk().send({"type": "nonsense"}))["event_id"] is None


# A spoken turn --------------------------------------------------------------------------------------------------------


def test_speech_becomes_a_turn_in_the_order_of_the_protocol():
    talk = Talk()
    messages = talk.speak(utterance())
    assert types(messages) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    started, stopped, committed, added, done, created = messages
    ids = {started["item_id"], stopped["item_id"], committed["item_id"], added["item"]["id"], done["item"]["id"]}
    assert len(ids) == 1
    assert committed["previous_item_id"] is None and added["previous_item_id"] is None
    assert added["item"] == {
        "id": started["item_id"],
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": None}],
    }
    assert 150 <= started["audio_start_ms"] <= 232, "0.5 s of silence less 300 ms of padding, to the window"
    assert 1100 <= stopped["audio_end_ms"] <= 1400
    (request,) = talk.requests
    assert request.response_id == created["response"]["id"] and request.session_id == talk.session.id
    (turn,) = request.turns
    assert turn.role == "user" and turn.speech is not None
    seconds = len(turn.speech) / SPEECH_RATE
    assert seconds == pytest.approx((stopped["audio_end_ms"] - started["audio_start_ms"]) / 1000, abs=0.002)
    assert np.abs(turn.speech[3200:]).max() > 0.4


def test_a_spoken_answer_in_the_order_of_the_protocol():
    talk = Talk()
    created = talk.speak(utterance())[-1]
    messages = [*talk.output(*answer(talk.requests[0])), *talk.leave(talk.requests[0].response_id)]
    assert types(messages) == [
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        *["response.output_audio_transcript.delta"] * 4,
        *["response.output_audio.delta"] * 2,
        "response.output_audio.delta",  # what the resampler had held back
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
        "response.latency.updated",
    ]
    response = created["response"]
    assert response["status"] == "in_progress" and response["output"] == [] and response["usage"] is None
    assert response["conversation_id"].startswith("conv_") and response["output_modalities"] == ["audio"]
    assert response["audio"]["output"]["voice"] == "ada"
    item_added = first(messages, "response.output_item.added")
    assert item_added["item"]["content"] == [] and item_added["item"]["status"] == "in_progress"
    added = first(messages, "conversation.item.added")
    assert added["item"] == item_added["item"] and added["previous_item_id"] == talk.log[1]["item_id"]
    item_id = added["item"]["id"]
    part = first(messages, "response.content_part.added")
    assert part["part"] == {"type": "audio", "transcript": ""}
    for message in messages[2:11]:
        if message["type"] not in ("conversation.item.done", "response.output_item.done"):
            assert (message["response_id"], message["item_id"]) == (response["id"], item_id)
            assert (message["output_index"], message["content_index"]) == (0, 0)
    deltas = [m["delta"] for m in messages if m["type"] == "response.output_audio_transcript.delta"]
    transcript = first(messages, "response.output_audio_transcript.done")["transcript"]
    assert "".join(deltas) == transcript == "Hi! I am fine."
    assert first(messages, "response.content_part.done")["part"] == {"type": "audio", "transcript": transcript}
    sound = b"".join(base64.b64decode(m["delta"]) for m in messages if m["type"] == "response.output_audio.delta")
    assert len(sound) == 24000 * 2 // 2, "half a second of PCM16 at 24 kHz"
    item = first(messages, "response.output_item.done")["item"]
    assert item["content"] == [{"type": "output_audio", "transcript": transcript}]
    assert item["status"] == "completed" and item == first(messages, "conversation.item.done")["item"]
    done = first(messages, "response.done")["response"]
    assert (done["status"], done["status_details"], done["output"]) == ("completed", None, [item])
    assert done["usage"] == {
        "total_tokens": 12,
        "input_tokens": 3,
        "output_tokens": 9,
        "input_token_details": {"text_tokens": 1, "audio_tokens": 2, "image_tokens": 0, "cached_tokens": 3},
        "output_token_details": {"text_tokens": 4, "audio_tokens": 5},
    }


def test_a_text_answer_in_the_order_of_the_protocol():
    talk = Talk()
    talk.say("hello")
    (created,) = talk.respond(output_modalities=["text"])
    assert created["response"]["output_modalities"] == ["text"]
    assert talk.requests[0].speak is False
    messages = talk.output(*answer(talk.requests[0]))
    assert types(messages) == [
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 4,
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    assert first(messages, "response.content_part.added")["part"] == {"type": "text", "text": ""}
    assert first(messages, "response.content_part.done")["part"] == {"type": "text", "text": "Hi! I am fine."}
    assert first(messages, "response.output_text.done")["text"] == "Hi! I am fine."
    content = [{"type": "output_text", "text": "Hi! I am fine."}]
    assert first(messages, "response.done")["response"]["output"][0]["content"] == content


def test_nothing_is_null_where_the_agents_sdk_refuses_null():
    talk = Talk(transcription={"model": "any"})
    talk.speak(utterance())
    talk.output(*answer(talk.requests[0]))
    talk.speak(utterance())
    talk.output(*answer(talk.requests[1])[:5])
    talk.speak(utterance())
    talk.send({"type": "conversation.item.retrieve", "item_id": talk.log[1]["item_id"]})
    talk.send("{")
    allowed = {
        ".item.content[].transcript",  # of input_audio, until it is known
        ".response.status_details",
        ".response.usage",
        ".response.metadata",
        ".previous_item_id",
        ".error.code",
        ".error.param",
        ".error.event_id",
    }
    for message in talk.log:
        if not message["type"].startswith("session."):
            assert set(nulls(message)) <= allowed, message
        assert isinstance(message["event_id"], str)
    without_previous = [m for m in talk.log if m.get("previous_item_id", "") is None]
    assert {m.get("item_id") or m["item"]["id"] for m in without_previous} == {talk.log[1]["item_id"]}
    assert len({m["event_id"] for m in talk.log}) == len(talk.log)


def test_the_history_grows_by_what_the_model_saw_and_said():
    talk = Talk()
    talk.speak(utterance())
    talk.output(*answer(talk.requests[0]))
    talk.say("and you?")
    talk.respond()
    user, assistant, typed = talk.requests[1].turns
    assert (user.role, user.text, user.tokens, user.speech) == ("user", "hello there", (1, 2, 3), None)
    assert (assistant.role, assistant.text, assistant.tokens) == ("assistant", "Hi! I am fine.", (7, 8, 9))
    assert (typed.role, typed.text, typed.tokens) == ("user", "and you?", ())


def test_system_messages_and_session_instructions_become_instructions():
    talk = Talk(instructions="Be kind.")
    talk.say("Speak like a pirate.", role="system")
    talk.say("hello")
    talk.respond()
    assert talk.requests[0].instructions == "Be kind.\nSpeak like a pirate."
    assert [turn.role for turn in talk.requests[0].turns] == ["user"]
    talk.output(*answer(talk.requests[0]))
    talk.say("again")
    talk.respond(instructions="Be short.", max_output_tokens=7, audio={"output": {"voice": "ben"}})
    assert talk.requests[1].instructions == "Be short.\nSpeak like a pirate."
    assert (talk.requests[1].max_output_tokens, talk.requests[1].voice) == (7, "ben")


def test_instructions_alone_are_what_is_asked_when_nobody_has_spoken():
    talk = Talk(instructions="Be kind.")
    assert types(talk.respond(instructions="Greet the user.")) == ["response.created"]
    (turn,) = talk.requests[0].turns
    assert (turn.role, turn.text, talk.requests[0].instructions) == ("user", "Greet the user.", "Be kind.")


def test_the_latency_counts_from_the_end_of_speech():
    talk = Talk()
    talk.speak(utterance())
    waited = talk.now_ms
    *before, sound, end = answer(talk.requests[0])
    one = talk.requests[0].response_id
    talk.output(*before[:-1], FirstSpeechToken(one), before[-1], sound)
    talk.now_ms += 5
    talk.leave(one)
    messages = talk.output(end)
    talk.now_ms += 5
    assert talk.leave(one) == [], "the first packet counts"
    latency = first(messages, "response.latency.updated")
    assert types(messages)[-1] == "response.latency.updated"
    stages = latency["stages"]
    assert list(stages) == list(milestones.NAMES[:-1]) and sorted(stages.values()) == list(stages.values())
    assert 480 <= stages["end_of_speech_ms"] <= 600
    assert latency["total_ms"] == stages["first_packet_ms"] < waited
    assert stages["first_packet_ms"] - stages["first_audio_ms"] == pytest.approx(15)
    assert stages["first_audio_ms"] - stages["first_speech_token_ms"] == pytest.approx(10)
    assert 1000 <= latency["speech_end_ms"] <= 1200
    assert talk.of(ReportMilestones) == [ReportMilestones(stages)]


@pytest.mark.parametrize("paced", [False, True])
def test_the_latency_of_a_quick_answer_waits_for_its_first_packet(paced):
    talk = Talk(paced=paced)
    talk.speak(utterance())
    one = talk.requests[0].response_id
    assert "response.latency.updated" not in types(talk.output(*answer(talk.requests[0])))
    talk.now_ms += 30
    messages = talk.report(Started(one)) if paced else talk.leave(one)
    stages = first(messages, "response.latency.updated")["stages"]
    assert stages["first_packet_ms"] - stages["first_audio_ms"] >= 30
    assert not (talk.report(Stopped(one)) if paced else talk.leave(one))[paced:], "it is told once"
    assert len(talk.of(ReportMilestones)) == 1


def test_an_answer_of_which_nothing_was_sent_has_no_latency_but_milestones():
    talk = Talk(paced=True)
    talk.speak(utterance())
    one = talk.requests[0].response_id
    talk.output(*answer(talk.requests[0]))
    item_id = first(talk.log, "response.output_item.added")["item"]["id"]
    assert "response.latency.updated" not in types(talk.report(Played(one, item_id, 0)))
    (report,) = talk.of(ReportMilestones)
    assert list(report.milestones_ms)[-1] == "first_audio_ms"


def test_the_client_reports_its_first_sound_once():
    talk = Talk()
    talk.speak(utterance())
    one = talk.requests[0].response_id
    report = {"type": "response.latency.report", "response_id": one, "first_sound_ms": 812.5}
    assert the_error(talk.send(report))["code"] == "response_not_found", "it has no latency yet"
    talk.output(*answer(talk.requests[0]))
    talk.leave(one)
    assert talk.send(report) == []
    assert talk.of(ReportMilestones)[-1] == ReportMilestones({"first_sound_ms": 812.5})
    assert the_error(talk.send(report))["param"] == "response_id"
    assert the_error(talk.send({**report, "first_sound_ms": -1}))["param"] == "first_sound_ms"


def test_every_prompt_that_was_read_is_counted():
    talk = Talk()
    talk.say("hello")
    talk.respond()
    one = talk.requests[0].response_id
    talk.send({"type": "response.cancel"})
    talk.output(Finished(one, "cancelled", "", (), (), Usage(text_in=30, cached=20)))
    talk.output(Finished("forgotten", "completed", "", (), (), Usage(text_in=7)))
    assert [report.usage.tokens_in for report in talk.of(ReportUsage)] == [30, 7]


def test_a_typed_question_has_no_latency_even_after_unanswered_speech():
    talk = Talk()
    detection = {"type": "server_vad", "create_response": False}
    talk.update(audio={"input": {"turn_detection": detection}})
    talk.speak(utterance())
    assert "response.latency.updated" not in types(talk.answered("in writing"))


def test_speech_that_is_committed_by_hand_does_not_count_from_the_end_of_speech_before():
    talk = Talk()
    talk.update(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
    talk.speak(utterance())
    assert "input_audio_buffer.speech_started" in types(talk.speak(tone(0.6)))
    talk.send({"type": "input_audio_buffer.commit"})
    talk.respond()
    talk.output(*answer(talk.requests[-1]))
    assert "response.latency.updated" not in types(talk.leave(talk.requests[-1].response_id))


# Input audio ----------------------------------------------------------------------------------------------------------


def by_hand(**settings: Any) -> Talk:
    return Talk(turn_detection=None, **settings)


def test_without_detection_the_client_commits_and_asks():
    talk = by_hand()
    assert talk.speak(utterance()) == []
    messages = talk.send({"type": "input_audio_buffer.commit"})
    assert types(messages) == ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
    assert talk.requests == []
    assert types(talk.respond()) == ["response.created"]
    assert len(talk.requests[0].turns[0].speech) == len(utterance())


def test_an_empty_commit_is_an_error():
    talk = by_hand()
    assert the_error(talk.send({"type": "input_audio_buffer.commit"}))["code"] == "input_audio_buffer_commit_empty"
    talk.speak(silence(0.09))
    assert the_error(talk.send({"type": "input_audio_buffer.commit"}))["code"] == "input_audio_buffer_commit_empty"
    talk.speak(silence(0.02))
    assert types(talk.send({"type": "input_audio_buffer.commit"}))[0] == "input_audio_buffer.committed"
    assert the_error(talk.send({"type": "input_audio_buffer.commit"}))["code"] == "input_audio_buffer_commit_empty"


def test_clear_forgets_what_was_said():
    talk = by_hand()
    talk.speak(tone(1))
    assert types(talk.send({"type": "input_audio_buffer.clear"})) == ["input_audio_buffer.cleared"]
    assert the_error(talk.send({"type": "input_audio_buffer.commit"}))["code"] == "input_audio_buffer_commit_empty"


def test_clear_in_the_middle_of_speech_leaves_no_turn():
    talk = Talk()
    assert types(talk.speak(tone(0.5))) == ["input_audio_buffer.speech_started"]
    assert types(talk.send({"type": "input_audio_buffer.clear"})) == ["input_audio_buffer.cleared"]
    assert talk.speak(silence(1)) == []


def test_a_commit_in_the_middle_of_speech_keeps_the_announced_item():
    talk = Talk()
    (started,) = talk.speak(tone(0.5))
    committed = talk.send({"type": "input_audio_buffer.commit"})[0]
    assert committed["item_id"] == started["item_id"]
    assert talk.speak(silence(1)) == [] and talk.requests == []


def test_a_commit_in_the_middle_of_speech_leaves_the_silence_before_it_out():
    talk = Talk()
    (started,) = talk.send(append(on_the_wire(np.concatenate([silence(2), tone(0.5)]))))
    talk.send({"type": "input_audio_buffer.commit"})
    talk.respond()
    samples = 2.5 * SPEECH_RATE - started["audio_start_ms"] * 16
    assert len(talk.requests[0].turns[0].speech) == pytest.approx(samples, abs=16)
    assert 1600 <= started["audio_start_ms"] <= 1732


def test_switching_detection_off_in_the_middle_of_speech_leaves_the_sound_to_the_client():
    talk = Talk()
    talk.speak(tone(0.5))
    assert types(talk.update(audio={"input": {"turn_detection": None}})) == ["session.updated"]
    assert talk.speak(silence(1)) == []
    assert types(talk.send({"type": "input_audio_buffer.commit"}))[0] == "input_audio_buffer.committed"


def test_switching_detection_on_hears_only_what_comes_then():
    talk = by_hand()
    talk.speak(tone(1))
    talk.update(audio={"input": {"turn_detection": {"type": "server_vad"}}})
    assert talk.speak(silence(1)) == []
    assert types(talk.speak(utterance()))[0] == "input_audio_buffer.speech_started"


@pytest.mark.parametrize("piece", [1001, 4799, 100_000])
def test_audio_may_be_cut_anywhere_and_come_faster_than_real_time(piece):
    expected = Talk().speak(utterance())
    talk, data = Talk(), on_the_wire(utterance())
    messages = [m for at in range(0, len(data), piece) for m in talk.send(append(data[at : at + piece]))]
    assert types(messages) == types(expected)
    for key in ("audio_start_ms", "audio_end_ms"):
        assert [m[key] for m in messages if key in m] == [m[key] for m in expected if key in m]


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
def test_g711_in_and_out(kind):
    talk = Talk()
    wanted = {"type": kind}
    talk.update(audio={"input": {"format": wanted}, "output": {"format": wanted}})
    from streaming.pcm import FORMATS

    messages = talk.send(append(on_the_wire(utterance(), FORMATS[kind])))
    assert types(messages)[-1] == "response.created"
    messages = talk.output(*answer(talk.requests[0]))
    sound = b"".join(base64.b64decode(m["delta"]) for m in messages if m["type"] == "response.output_audio.delta")
    assert len(sound) == 4000, "half a second at 8 kHz, a byte a sample"


def test_the_buffer_is_bounded_when_the_client_commits_by_hand():
    talk = by_hand(limits=Limits(utterance_s=1))
    talk.speak(tone(0.95))
    failure = the_error(talk.send(append(on_the_wire(tone(0.2)))))
    assert failure["code"] == "input_audio_buffer_full" and "1 s" in failure["message"]
    assert types(talk.send({"type": "input_audio_buffer.commit"}))[0] == "input_audio_buffer.committed"


def test_too_much_at_once_is_refused():
    talk = Talk(limits=Limits(audio_ahead_s=2))
    assert the_error(talk.send(append(bytes(48_000 * 3))))["code"] == "input_audio_buffer_full"


def test_an_endless_utterance_is_cut():
    talk = Talk(limits=Limits(utterance_s=1))
    messages = talk.speak(tone(1.2))
    assert types(messages)[:2] == ["input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"]
    assert len(talk.requests) == 1


def test_unanswered_audio_is_bounded():
    talk = by_hand(limits=Limits(unheard_audio_s=1))
    talk.speak(tone(0.6))
    talk.send({"type": "input_audio_buffer.commit"})
    talk.speak(tone(0.6))
    failure = the_error(talk.send({"type": "input_audio_buffer.commit"}))
    assert failure["code"] == "too_much_unheard_audio"


def test_a_microphone_that_stops_in_the_middle_of_speech_has_ended_it():
    talk = Talk()
    talk.speak(tone(0.5))
    assert talk.tick(talk.now_ms + 1900) == []
    assert types(talk.tick(talk.now_ms + 200))[0] == "input_audio_buffer.speech_stopped"
    assert len(talk.requests) == 1


def test_semantic_vad_waits_as_its_eagerness_says():
    def silence_before_the_end(eagerness: str) -> float:
        talk = Talk()
        talk.update(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": eagerness}}})
        talk.speak(tone(0.5))
        before = talk.now_ms
        while "input_audio_buffer.speech_stopped" not in types(talk.log):
            talk.speak(silence(0.02))
        return talk.now_ms - before

    assert silence_before_the_end("high") < silence_before_the_end("auto") < silence_before_the_end("low")


def test_with_neither_answer_nor_interruption_only_speech_is_reported():
    talk = Talk()
    detection = {"type": "server_vad", "create_response": False, "interrupt_response": False}
    talk.update(audio={"input": {"turn_detection": detection}})
    assert types(talk.speak(utterance()))[-1] == "conversation.item.done"
    assert talk.requests == []
    talk.respond()
    assert types(talk.speak(utterance()))[0] == "input_audio_buffer.speech_started"
    assert talk.of(CancelResponse) == []


# Transcription --------------------------------------------------------------------------------------------------------


def test_the_answer_brings_the_transcript():
    talk = Talk(transcription={"model": "any"})
    started = talk.speak(utterance())[0]
    messages = talk.output(*answer(talk.requests[0]))
    kind = "conversation.item.input_audio_transcription"
    assert [m["delta"] for m in messages if m["type"] == f"{kind}.delta"] == ["hello", " there"]
    completed = first(messages, f"{kind}.completed")
    assert (completed["item_id"], completed["content_index"]) == (started["item_id"], 0)
    assert completed["transcript"] == "hello there"
    assert completed["usage"]["type"] == "duration" and completed["usage"]["seconds"] > 0.6
    (retrieved,) = talk.send({"type": "conversation.item.retrieve", "item_id": started["item_id"]})
    assert retrieved["type"] == "conversation.item.retrieved"
    assert retrieved["item"]["content"] == [{"type": "input_audio", "transcript": "hello there"}]
    assert len(talk.requests) == 1


def test_the_transcript_is_sent_while_it_comes():
    talk = Talk(transcription={"model": "any"})
    talk.speak(utterance())
    one = talk.requests[0].response_id
    assert [m["delta"] for m in talk.output(TranscriptDelta(one, "hello"))] == ["hello"]
    assert [m["delta"] for m in talk.output(TranscriptDelta(one, " there"))] == [" there"]
    assert types(talk.output(TranscriptDone(one, "hello there", ()))) == [
        "conversation.item.input_audio_transcription.completed"
    ]


def test_without_transcription_no_transcript_events_come():
    talk = Talk()
    talk.speak(utterance())
    messages = talk.output(*answer(talk.requests[0]))
    assert not [m for m in messages if "transcription" in m["type"]]


def test_what_nobody_answers_is_transcribed_alone():
    talk = by_hand(transcription={"model": "any"})
    talk.speak(tone(0.5))
    talk.send({"type": "input_audio_buffer.commit"})
    (request,) = talk.requests
    assert request.transcript_only
    messages = talk.output(*answer(request))
    assert types(messages)[-1] == "conversation.item.input_audio_transcription.completed"
    talk.respond()
    assert talk.requests[1].turns[0].tokens == (1, 2, 3)


def test_an_answer_takes_over_the_transcription_that_runs():
    talk = by_hand(transcription={"model": "any"})
    talk.speak(tone(0.5))
    talk.send({"type": "input_audio_buffer.commit"})
    job = talk.requests[0]
    talk.output(TranscriptDelta(job.response_id, "hello"))
    talk.respond()
    assert talk.of(CancelResponse) == [CancelResponse(job.response_id)]
    messages = talk.output(Finished(job.response_id, "cancelled", "", (), ()), *answer(talk.requests[1]))
    kind = "conversation.item.input_audio_transcription"
    deltas = [m["delta"] for m in talk.log if m["type"] == f"{kind}.delta"]
    assert deltas == ["hello", " there"]
    assert types(messages).count(f"{kind}.completed") == 1


def test_a_reply_cut_off_before_the_transcript_leaves_it_to_a_request_of_its_own():
    talk = Talk(transcription={"model": "any"})
    talk.speak(utterance())
    talk.send({"type": "response.cancel"})
    assert len(talk.requests) == 1, "not while the worker still has the other one"
    talk.output(Finished(talk.requests[0].response_id, "cancelled", "", (), ()))
    assert talk.requests[1].transcript_only
    talk.output(*answer(talk.requests[1]))
    assert types(talk.log)[-1] == "conversation.item.input_audio_transcription.completed"


def test_a_failed_transcription_is_reported():
    talk = by_hand(transcription={"model": "any"})
    talk.speak(tone(0.5))
    talk.send({"type": "input_audio_buffer.commit"})
    (failed,) = talk.output(Failed(talk.requests[0].response_id, "boom", "It broke."))
    assert failed["type"] == "conversation.item.input_audio_transcription.failed"
    assert failed["error"] == {"type": "server_error", "code": "boom", "message": "It broke."}
    assert len(talk.requests) == 1, "it is not tried again for ever"


# Responses ------------------------------------------------------------------------------------------------------------


def test_one_response_at_a_time():
    talk = Talk()
    talk.say("hello")
    talk.respond()
    failure = the_error(talk.send({"type": "response.create", "event_id": "second"}))
    assert failure["code"] == "conversation_already_has_active_response" and failure["event_id"] == "second"
    talk.output(*answer(talk.requests[0]))
    talk.say("again")
    assert types(talk.respond()) == ["response.created"]


def test_cancel_ends_the_response_at_once_and_nothing_of_it_follows():
    talk = Talk()
    talk.say("hello")
    talk.respond()
    outputs = answer(talk.requests[0])
    talk.output(*outputs[:5])
    messages = talk.send({"type": "response.cancel", "response_id": talk.requests[0].response_id})
    assert types(messages) == [
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    response = first(messages, "response.done")["response"]
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert response["output"][0]["status"] == "incomplete"
    assert talk.of(CancelResponse) == [CancelResponse(talk.requests[0].response_id)]
    assert talk.output(*outputs[5:]) == []
    assert the_error(talk.send({"type": "response.cancel"}))["code"] == "response_cancel_not_active"


def test_cancel_before_anything_was_said():
    talk = Talk()
    talk.say("hello")
    talk.respond()
    messages = talk.send({"type": "response.cancel"})
    assert types(messages) == ["response.done", "rate_limits.updated"]
    assert messages[0]["response"]["output"] == []


def test_speech_during_an_answer_interrupts_it():
    talk = Talk()
    talk.speak(utterance())
    outputs = answer(talk.requests[0])
    talk.output(*outputs[:-2])
    talk.log.clear()
    talk.speak(utterance())
    assert types(talk.log)[:8] == [
        "input_audio_buffer.speech_started",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    details = first(talk.log, "response.done")["response"]["status_details"]
    assert details == {"type": "cancelled", "reason": "turn_detected"}
    assert talk.output(*outputs[-2:]) == [], "stale outputs change nothing"
    assert len(talk.requests) == 2 and [t.role for t in talk.requests[1].turns] == ["user", "assistant", "user"]


def test_without_interruption_the_next_answer_follows_the_running_one():
    talk = Talk()
    detection = {"type": "server_vad", "interrupt_response": False}
    talk.update(audio={"input": {"turn_detection": detection}})
    talk.speak(utterance())
    assert types(talk.speak(utterance())) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    messages = talk.output(*answer(talk.requests[0]))
    assert types(messages)[-1] == "response.created" and len(talk.requests) == 2
    assert [turn.role for turn in talk.requests[1].turns] == ["user", "assistant", "user"]


def test_an_answer_that_reached_its_limit_is_incomplete():
    talk = Talk()
    talk.say("hello")
    talk.respond(max_output_tokens=3)
    one = talk.requests[0].response_id
    messages = talk.output(TextDelta(one, "Hi"), Finished(one, "max_output_tokens", "Hi", (), (7,)))
    response = first(messages, "response.done")["response"]
    assert response["status"] == "incomplete" and response["output"][0]["status"] == "incomplete"
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}


def test_a_failure_of_the_model_ends_the_response_and_not_the_session():
    talk = Talk()
    talk.say("hello")
    talk.respond()
    one = talk.requests[0].response_id
    messages = talk.output(TextDelta(one, "Hi"), Failed(one, "worker_restarted", "The model had to be restarted."))
    response = first(messages, "response.done")["response"]
    assert response["status"] == "failed"
    error = {"type": "server_error", "code": "worker_restarted", "message": "The model had to be restarted."}
    assert response["status_details"] == {"type": "failed", "error": error}
    assert types(talk.answered("again"))[-2:] == ["response.done", "rate_limits.updated"]


def test_an_answer_out_of_band_leaves_the_conversation_alone():
    talk = Talk()
    talk.say("hello")
    talk.respond()
    asked = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Is this rude?"}]}
    (created,) = talk.respond(conversation="none", input=[asked], output_modalities=["text"], metadata={"topic": "x"})
    assert created["response"]["conversation_id"] is None and created["response"]["metadata"] == {"topic": "x"}
    request = talk.requests[1]
    assert [turn.text for turn in request.turns] == ["Is this rude?"]
    assert request.session_id != talk.session.id, "the conversation's cache stays as it is"
    messages = talk.output(*answer(request))
    assert "conversation.item.added" not in types(messages)
    assert types(messages)[-2:] == ["response.done", "rate_limits.updated"]
    assert types(talk.output(*answer(talk.requests[0])))[-2] == "response.done"


def test_input_may_refer_to_items():
    talk = Talk()
    talk.say("hello", id="item_mine")
    talk.respond(conversation="none", input=[{"type": "item_reference", "id": "item_mine"}])
    assert [turn.text for turn in talk.requests[0].turns] == ["hello"]
    messages = talk.respond(conversation="none", input=[{"type": "item_reference", "id": "nowhere"}])
    assert the_error(messages)["code"] == "item_not_found"


# Items ----------------------------------------------------------------------------------------------------------------


def test_items_keep_their_ids_and_go_where_they_are_told():
    talk = Talk()
    added, done = talk.say("b", id="b")
    assert types([added, done]) == ["conversation.item.added", "conversation.item.done"]
    assert added["item"]["id"] == "b" and added["previous_item_id"] is None
    assert talk.say("d", id="d")[0]["previous_item_id"] == "b"

    def insert(item_id: str, previous: str) -> list[Json]:
        content = [{"type": "input_text", "text": item_id}]
        item = {"id": item_id, "type": "message", "role": "user", "content": content}
        return talk.send({"type": "conversation.item.create", "previous_item_id": previous, "item": item})

    assert insert("c", "b")[1]["previous_item_id"] == "b"
    assert insert("a", "root")[0]["previous_item_id"] is None
    assert the_error(insert("e", "nowhere"))["code"] == "item_not_found"
    assert the_error(insert("a", "root"))["code"] == "item_exists"
    talk.respond()
    assert [turn.text for turn in talk.requests[0].turns] == ["a", "b", "c", "d"]


def test_a_deleted_item_is_gone():
    talk = Talk()
    talk.say("a", id="a")
    talk.say("b", id="b")
    (deleted,) = talk.send({"type": "conversation.item.delete", "item_id": "a"})
    assert (deleted["type"], deleted["item_id"]) == ("conversation.item.deleted", "a")
    talk.respond()
    assert [turn.text for turn in talk.requests[0].turns] == ["b"]


def test_an_items_roles_and_parts_are_checked():
    talk = Talk()
    part = {"type": "output_text", "text": "x"}
    assert the_error(talk.say("", content=[part]))["param"] == "item.content[0].type"
    assert the_error(talk.say("", role="robot"))["param"] == "item.role"
    assert the_error(talk.say("", type="table"))["param"] == "item.type"
    assert the_error(talk.say("", content="x"))["param"] == "item.content"
    assert the_error(talk.say("", content=[{"type": "input_image", "image_url": "data:"}]))["code"] == "unsupported"
    assert types(talk.say("", role="assistant", content=[part]))[0] == "conversation.item.added"


def test_function_items_are_kept_and_shown():
    talk = Talk()
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    added = talk.send({"type": "conversation.item.create", "item": call})[0]
    assert added["item"] == {**added["item"], **call, "status": "completed"}
    output = {"type": "function_call_output", "call_id": "c", "output": "42"}
    assert talk.send({"type": "conversation.item.create", "item": output})[0]["item"]["output"] == "42"


def test_an_item_may_bring_sound():
    talk = Talk()
    audio = base64.b64encode(on_the_wire(tone(0.5))).decode()
    talk.say("", content=[{"type": "input_audio", "audio": audio}])
    talk.respond()
    assert len(talk.requests[0].turns[0].speech) == len(tone(0.5))


def test_the_number_of_items_is_bounded():
    talk = Talk(limits=Limits(items=1))
    talk.say("a")
    assert the_error(talk.say("b"))["code"] == "conversation_full"
    assert types(talk.speak(utterance()))[-1] == "error", "speech has no room either"


def truncate(talk: Talk, item_id: str, audio_end_ms: int, content_index: int = 0) -> list[Json]:
    event = {"item_id": item_id, "content_index": content_index, "audio_end_ms": audio_end_ms}
    return talk.send({"type": "conversation.item.truncate", **event})


def test_truncating_forgets_what_was_not_heard():
    talk = Talk()
    talk.answered("hello")
    item_id = first(talk.log, "response.output_item.added")["item"]["id"]
    assert the_error(truncate(talk, item_id, 501))["param"] == "audio_end_ms"
    (truncated,) = truncate(talk, item_id, 250)
    assert {k: v for k, v in truncated.items() if k != "event_id"} == {
        "type": "conversation.item.truncated",
        "item_id": item_id,
        "content_index": 0,
        "audio_end_ms": 250,
    }
    talk.say("what?")
    talk.respond()
    assistant = talk.requests[1].turns[1]
    assert (assistant.text, assistant.tokens) == ("Hi! I", ())
    (retrieved,) = talk.send({"type": "conversation.item.retrieve", "item_id": item_id})
    assert retrieved["item"]["content"][0]["transcript"] == "Hi! I"


def test_truncating_at_the_end_changes_nothing():
    talk = Talk()
    talk.answered("hello")
    item_id = first(talk.log, "response.output_item.added")["item"]["id"]
    assert types(truncate(talk, item_id, 500)) == ["conversation.item.truncated"]
    talk.say("what?")
    talk.respond()
    assert talk.requests[1].turns[1].tokens == (7, 8, 9)


def test_a_cancelled_answer_can_be_truncated_before_the_model_has_stopped():
    talk = Talk()
    talk.say("hello")
    talk.respond()
    one = talk.requests[0].response_id
    talk.output(TextDelta(one, "one two three four"), SpeechDelta(one, tone(1.0)))
    item_id = first(talk.log, "response.output_item.added")["item"]["id"]
    assert the_error(truncate(talk, item_id, 100))["code"] == "item_in_progress"
    talk.send({"type": "response.cancel"})
    assert types(truncate(talk, item_id, 500)) == ["conversation.item.truncated"]
    talk.output(Finished(one, "cancelled", "one two", (1,), (2,)))
    talk.say("go on")
    talk.respond()
    assert (talk.requests[1].turns[1].text, talk.requests[1].turns[1].tokens) == ("one two", ())


def test_what_a_cancelled_answer_went_on_to_say_is_not_history():
    talk = Talk()
    talk.say("hello")
    talk.respond()
    one = talk.requests[0].response_id
    talk.output(TextDelta(one, "one two"))
    talk.send({"type": "response.cancel"})
    talk.output(Finished(one, "cancelled", "one two three", (1,), (2, 3)))
    talk.say("go on")
    talk.respond()
    assert (talk.requests[1].turns[1].text, talk.requests[1].turns[1].tokens) == ("one two", ())


def test_truncating_nothing_to_nothing_leaves_no_turn():
    talk = Talk()
    talk.answered("hello")
    item_id = first(talk.log, "response.output_item.added")["item"]["id"]
    truncate(talk, item_id, 0)
    talk.say("what?")
    talk.respond()
    assert [turn.role for turn in talk.requests[1].turns] == ["user", "user"]


def test_only_spoken_answers_can_be_truncated():
    talk = Talk()
    talk.say("hello", id="mine")
    assert the_error(truncate(talk, "mine", 0))["param"] == "item_id"
    talk.respond(output_modalities=["text"])
    talk.output(*answer(talk.requests[0]))
    item_id = first(talk.log, "response.output_item.added")["item"]["id"]
    assert the_error(truncate(talk, item_id, 0))["param"] == "content_index"
    assert the_error(truncate(talk, item_id, 0, content_index=1))["param"] == "content_index"


# Sound that is paced (WebRTC) -----------------------------------------------------------------------------------------


def test_paced_sound_leaves_as_actions_and_not_in_events():
    talk = Talk(paced=True)
    talk.speak(utterance())
    messages = talk.output(*answer(talk.requests[0]))
    assert "response.output_audio.delta" not in types(messages)
    assert "response.output_audio.done" in types(messages)
    one = talk.requests[0].response_id
    assert [(p.response_id, len(p.pcm)) for p in talk.of(PlayAudio)] == [(one, 4000), (one, 4000)]
    assert talk.of(FinishAudio) == [FinishAudio(one)]
    started, _ = talk.report(Started(one))
    (stopped,) = talk.report(Stopped(one))
    assert (started["type"], started["response_id"]) == ("output_audio_buffer.started", one)
    assert (stopped["type"], stopped["response_id"]) == ("output_audio_buffer.stopped", one)


def test_speech_stops_paced_sound_first_and_cuts_history_to_what_was_heard():
    talk = Talk(paced=True)
    talk.speak(utterance())
    one = talk.requests[0].response_id
    talk.output(TextDelta(one, "one two three four"), SpeechDelta(one, tone(1.0)))
    before = len(talk.actions)
    messages = talk.speak(tone(0.8))
    assert types(messages)[:2] == ["output_audio_buffer.paused", "input_audio_buffer.speech_started"]
    assert [type(action) for action in talk.actions[before:]][:3] == [PauseAudio, FlushAudio, CancelResponse]
    item_id = first(talk.log, "response.output_item.added")["item"]["id"]
    cleared, truncated = talk.report(Played(one, item_id, SPEECH_RATE // 2))
    assert (cleared["type"], cleared["response_id"]) == ("output_audio_buffer.cleared", one)
    assert (truncated["type"], truncated["audio_end_ms"]) == ("conversation.item.truncated", 500)
    talk.speak(silence(1))
    assert talk.requests[1].turns[1].text == "one two"


def test_speech_stops_sound_that_is_only_still_being_played():
    talk = Talk(paced=True)
    talk.speak(utterance())
    talk.output(*answer(talk.requests[0]))
    assert types(talk.speak(tone(0.8))) == ["output_audio_buffer.paused", "input_audio_buffer.speech_started"]
    assert talk.of(FlushAudio) == [FlushAudio()] and talk.of(CancelResponse) == []
    item_id = first(talk.log, "response.output_item.added")["item"]["id"]
    messages = talk.report(Played(talk.requests[0].response_id, item_id, 4000))
    assert types(messages) == ["output_audio_buffer.cleared", "conversation.item.truncated"]


def test_the_client_clears_the_sound():
    talk = Talk(paced=True)
    assert talk.send({"type": "output_audio_buffer.clear"}) == [] and talk.of(FlushAudio) == []
    talk.speak(utterance())
    talk.output(*answer(talk.requests[0]))
    talk.send({"type": "output_audio_buffer.clear"})
    assert talk.of(FlushAudio) == [FlushAudio()]


def cough(seconds: float = 0.3) -> np.ndarray:
    """Too short to be a turn, and as much silence as it takes to be sure of that."""
    return np.concatenate([tone(seconds), silence(0.4)])


def speaking(paced: bool, seconds: float = 2.0) -> tuple[Talk, str]:
    """A talk in which a reply is being made and heard, and the reply's id."""
    talk = Talk(paced=paced)
    talk.speak(utterance())
    one = talk.requests[0].response_id
    talk.output(TextDelta(one, "one two three four"), SpeechDelta(one, tone(seconds)))
    talk.log.clear()
    talk.actions.clear()
    return talk, one


@pytest.mark.parametrize("still_made", [True, False])
def test_a_cough_only_pauses_the_answer(still_made):
    talk, one = speaking(paced=True)
    if not still_made:
        talk.output(Finished(one, "completed", "one two three four", (1, 2, 3), (7,)))
        talk.log.clear()
        talk.actions.clear()
    assert types(talk.speak(cough())) == ["output_audio_buffer.paused", "output_audio_buffer.resumed"]
    assert {message["response_id"] for message in talk.log} == {one}
    assert talk.actions == [PauseAudio(), ResumeAudio()]
    messages = talk.speak(utterance(0.8))
    assert "conversation.item.added" in types(messages), "and the next speech is a turn"
    assert [turn.role for turn in talk.requests[-1].turns] == ["user", "assistant", "user"]


def test_the_answer_is_made_on_during_a_cough():
    talk, one = speaking(paced=True)
    talk.speak(tone(0.2))
    messages = talk.output(SpeechDelta(one, tone(0.5)), Finished(one, "completed", "one two three four", (), (7,)))
    assert first(messages, "response.done")["response"]["status"] == "completed"
    sound = [type(action) for action in talk.actions if isinstance(action, PauseAudio | PlayAudio | FinishAudio)]
    assert sound == [PauseAudio, PlayAudio, FinishAudio]
    assert types(talk.speak(silence(0.4))) == ["output_audio_buffer.resumed"]


def test_what_has_not_begun_to_sound_is_interrupted_at_once():
    talk = Talk(paced=True)
    talk.speak(utterance())
    assert "response.done" in types(talk.speak(tone(0.1)))


def test_with_a_suspicion_that_was_right_nothing_that_was_said_is_lost():
    talk, _ = speaking(paced=True)
    talk.speak(np.concatenate([silence(0.5), tone(0.9), silence(0.7)]))
    (turn,) = [turn for turn in talk.requests[-1].turns[-1:] if turn.speech is not None]
    assert np.count_nonzero(np.abs(turn.speech) > 0.1) > 0.8 * len(tone(0.9)) * np.mean(np.abs(tone(0.9)) > 0.1)


def test_over_a_websocket_a_cough_is_no_speech_and_speech_is_announced_when_it_is_sure():
    talk, _ = speaking(paced=False, seconds=4.0)
    assert types(talk.speak(np.concatenate([tone(0.2), silence(1.4)]))) == []
    assert types(talk.speak(tone(0.2))) == []
    assert types(talk.speak(tone(0.2)))[0] == "input_audio_buffer.speech_started"


def test_over_a_websocket_an_answer_sounds_as_long_as_it_takes_to_play():
    talk, one = speaking(paced=False, seconds=1.0)
    talk.output(Finished(one, "completed", "one two three four", (1, 2, 3), (7,)))
    talk.speak(silence(1.2))
    assert types(talk.speak(tone(0.1))) == ["input_audio_buffer.speech_started"], "it has been played"


def test_a_client_over_a_websocket_may_be_one_that_pauses():
    talk = Talk()
    (updated,) = talk.update(playback={"pauses": True})
    assert updated["session"]["playback"] == {"pauses": True}
    talk.speak(utterance())
    one = talk.requests[0].response_id
    talk.output(SpeechDelta(one, tone(2.0)))
    assert types(talk.speak(cough(0.5))) == ["output_audio_buffer.paused", "output_audio_buffer.resumed"]
    assert talk.of(PauseAudio) == talk.of(FlushAudio) == [], "there is no playout"
    assert types(talk.speak(tone(0.8)))[:2] == ["output_audio_buffer.paused", "input_audio_buffer.speech_started"]


def test_a_client_that_truncates_has_fallen_silent():
    talk, one = speaking(paced=False)
    talk.output(Finished(one, "completed", "one two three four", (1, 2, 3), (7,)))
    item_id = talk.session._conversation.last_id
    talk.send({"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0, "audio_end_ms": 100})
    assert types(talk.speak(tone(0.1))) == ["input_audio_buffer.speech_started"]


def test_without_interruption_speech_is_announced_at_once_and_nothing_is_paused():
    talk = Talk(paced=True)
    talk.update(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
    talk.speak(utterance())
    talk.output(SpeechDelta(talk.requests[0].response_id, tone(2.0)))
    assert types(talk.speak(tone(0.1))) == ["input_audio_buffer.speech_started"]
    assert talk.of(PauseAudio) == []


@pytest.mark.parametrize(
    "event",
    [
        {"type": "input_audio_buffer.clear"},
        {"type": "input_audio_buffer.commit"},
        {"type": "session.update", "session": {"audio": {"input": {"turn_detection": None}}}},
    ],
    ids=["clear", "commit", "detection off"],
)
def test_a_client_that_decides_itself_what_was_speech_ends_the_pause(event):
    talk, _ = speaking(paced=True)
    talk.speak(tone(0.2))
    assert "output_audio_buffer.resumed" in types(talk.send(event))
    assert talk.actions == [PauseAudio(), ResumeAudio()]


def test_a_microphone_that_stops_in_the_middle_of_a_cough_ends_the_pause():
    talk, _ = speaking(paced=True)
    talk.speak(tone(0.2))
    assert types(talk.tick(talk.now_ms + STALLED_MS + 1)) == ["output_audio_buffer.resumed"]
    assert talk.actions == [PauseAudio(), ResumeAudio()]


@pytest.mark.parametrize("wish", ["response.cancel", "output_audio_buffer.clear"])
def test_what_a_client_cancels_in_doubt_stops_at_once(wish):
    talk, one = speaking(paced=True)
    talk.speak(tone(0.2))
    messages = talk.send({"type": wish})
    if wish == "response.cancel":
        assert first(messages, "response.done")["response"]["status"] == "cancelled"
        assert talk.of(CancelResponse) == [CancelResponse(one)]
        assert types(talk.speak(silence(0.4))) == ["output_audio_buffer.resumed"], "what was made waits to be heard"
    else:
        assert talk.of(FlushAudio) == [FlushAudio()]
        assert types(talk.speak(silence(0.4))) == [], "which ended the pause"


def test_a_pause_never_outlasts_the_speech_that_caused_it():
    talk, one = speaking(paced=True)
    talk.speak(tone(0.2))
    talk.report(Stopped(one))  # its last frame was under way
    talk.speak(tone(0.6))
    assert talk.of(FlushAudio) == [FlushAudio()], "which ends the pause, though there is nothing to cut off"


def test_without_detection_a_track_leaves_the_newest_utterance_in_the_buffer():
    talk = Talk(paced=True, turn_detection=None, limits=Limits(utterance_s=1))
    talk.speak(silence(3))
    talk.speak(tone(0.5))
    talk.send({"type": "input_audio_buffer.commit"})
    talk.respond()
    speech = talk.requests[0].turns[0].speech
    assert len(speech) == SPEECH_RATE and np.array_equal(speech[-8000:], tone(0.5))


def test_a_track_that_brings_nothing_is_noticed_once():
    talk = Talk(paced=True)
    assert talk.tick(9_000) == []
    failure = the_error(talk.tick(11_000))
    assert failure["code"] == "no_input_audio" and "microphone" in failure["message"]
    assert talk.tick(12_000) == []


# Time -----------------------------------------------------------------------------------------------------------------


def test_a_session_in_which_nobody_says_anything_is_closed():
    talk = Talk(limits=Limits(idle_s=10))
    talk.speak(silence(5))
    assert talk.tick(9_900) == []
    talk.say("I am here")
    assert talk.tick(19_000) == []
    assert the_error(talk.tick(20_000))["code"] == "session_idle"
    (close,) = talk.of(CloseSession)
    assert close.code == 1000 and talk.tick(30_000) == []


def test_a_session_does_not_last_for_ever():
    talk = Talk(limits=Limits(session_s=60))
    assert talk.tick(60_000) == []
    assert the_error(talk.tick(60_001))["code"] == "session_expired"


def test_the_module_has_no_clock_of_its_own():
    assert not {"time", "asyncio", "datetime"} & set(vars(session_module))


def test_outputs_for_unknown_responses_are_ignored():
    assert Talk().output(TextDelta("resp_x", "boo"), TranscriptDone("resp_x", "", ())) == []
