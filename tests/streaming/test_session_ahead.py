"""What a session does before the user's turn is over: it lets the model hear him, and has him answered unheard."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streaming.actions import (
    CancelAttachment,
    CancelResponse,
    FinishAudio,
    PlayAudio,
    ReadAhead,
    ReportReply,
)
from streaming.hearing import FALLS_SILENT_MS, KEPT_SILENCE_MS
from streaming.types import (
    SPEECH_RATE,
    Abilities,
    AttachmentStarted,
    Failed,
    Finished,
    Overheard,
    TranscriptDone,
)
from streaming.vad import WINDOW
from tests.streaming.fakes import SEES_AND_DRAWS, answer, silence, tone
from tests.streaming.test_session import Json, Talk, first, types

OVERHEARS = Abilities(overhears=True)
PAUSE_S = 0.25
"""Long enough for an eager answer, not for the end of a turn."""


def semantic(eagerness: str = "auto") -> Json:
    return {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": eagerness}}}


def paused(**options: Any) -> Talk:
    """Somebody has spoken and may have finished."""
    talk = Talk(**options)
    talk.speak(np.concatenate([silence(0.5), tone(0.6), silence(PAUSE_S)]))
    assert types(talk.log) == ["session.created", "input_audio_buffer.speech_started"]
    return talk


def heard_saying(talk: Talk, words: str) -> None:
    assert talk.output(TranscriptDone(talk.requests[-1].response_id, words, (1, 2, 3))) == []


def silence_until_the_end(talk: Talk, already_s: float = PAUSE_S) -> float:
    """Goes on being silent until the turn is over; how long the silence was, in ms."""
    waited = 1000 * already_s
    while "input_audio_buffer.speech_stopped" not in types(talk.log):
        talk.speak(silence(0.02))
        waited += 20
        assert waited < 10_000
    return waited


# Eager answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paced", [False, True])
def test_an_answer_is_asked_for_in_the_pause_and_nothing_of_it_leaves(paced):
    talk = paused(paced=paced)
    (request,) = talk.requests
    before = list(talk.actions)
    assert talk.output(*answer(request)) == [] and talk.actions == before


def test_nothing_is_asked_before_the_silence_is_long_enough_to_be_kept():
    talk = Talk()
    talk.speak(np.concatenate([silence(0.5), tone(0.6), silence(KEPT_SILENCE_MS / 1000 - 0.05)]))
    assert talk.requests == []


@pytest.mark.parametrize("paced", [False, True])
@pytest.mark.parametrize("held", [0, 2, 4, 8, 10])
def test_what_was_held_goes_out_in_the_order_of_the_protocol_when_the_turn_is_over(paced, held):
    def all_of(talk: Talk) -> tuple[list[str], list[type]]:
        sounds = [type(action) for action in talk.actions if isinstance(action, PlayAudio | FinishAudio)]
        return types(talk.log), sounds

    late, eager = paused(paced=paced), paused(paced=paced)
    outputs = answer(late.requests[0])
    assert len(outputs) == 10
    late.speak(silence(0.4))
    late.output(*outputs)
    eager.output(*outputs[:held])
    eager.speak(silence(0.4))
    eager.output(*outputs[held:])
    assert all_of(eager) == all_of(late)
    assert len(eager.requests) == 1 and eager.of(CancelResponse) == []
    assert len(eager.of(ReportReply)) == 1
    created, done = first(eager.log, "response.created"), first(eager.log, "response.done")
    assert created["response"]["id"] == done["response"]["id"] == eager.requests[0].response_id
    assert done["response"]["usage"]["output_token_details"] == {"text_tokens": 4, "audio_tokens": 5}


def test_the_eager_request_holds_the_speech_that_the_turn_is_made_of():
    talk = paused()
    (request,) = talk.requests
    talk.speak(silence(0.4))
    started, stopped = (first(talk.log, f"input_audio_buffer.speech_{what}") for what in ("started", "stopped"))
    samples = (stopped["audio_end_ms"] - started["audio_start_ms"]) * SPEECH_RATE // 1000
    assert len(request.turns[-1].speech) == pytest.approx(samples, abs=16)
    assert len(talk.requests) == 1, "or the eager answer was to something else"


def test_who_goes_on_speaking_leaves_no_trace_of_the_answer():
    talk, uninterrupted = paused(paced=True), Talk(paced=True)
    (request,) = talk.requests
    outputs = answer(request, heard="hello")
    talk.output(*outputs[:5])
    assert talk.speak(tone(0.3)) == []
    assert [action.response_id for action in talk.of(CancelResponse)] == [request.response_id]
    assert talk.output(*outputs[5:7], Finished(request.response_id, "cancelled", "Hi!", (1,), (7,))) == []
    talk.speak(silence(0.7))
    speech = np.concatenate([silence(0.5), tone(0.6), silence(PAUSE_S), tone(0.3), silence(0.7)])
    uninterrupted.speak(speech)
    assert types(talk.log) == types(uninterrupted.log)
    assert np.array_equal(talk.requests[-1].turns[-1].speech, uninterrupted.requests[-1].turns[-1].speech)
    assert len(talk.requests[-1].turns) == 1 and talk.of(ReportReply) == []
    talk.output(*answer(talk.requests[-1]))
    (retrieved,) = talk.send({"type": "conversation.item.retrieve", "item_id": talk.log[1]["item_id"]})
    assert retrieved["item"]["content"][0]["transcript"] == "hello there"


def test_what_the_client_changes_meanwhile_is_answered_for():
    talk = paused()
    (request,) = talk.requests
    talk.output(*answer(request))
    talk.update(instructions="Be brief.")
    talk.speak(silence(0.4))
    assert [action.response_id for action in talk.of(CancelResponse)] == [request.response_id]
    assert len(talk.requests) == 2 and talk.requests[1].instructions == "Be brief."
    assert first(talk.log, "response.created")["response"]["id"] == talk.requests[1].response_id
    assert "response.done" not in types(talk.log)


def test_an_eager_answer_that_failed_is_asked_for_again():
    talk = paused()
    assert talk.output(Failed(talk.requests[0].response_id, "overloaded", "busy")) == []
    talk.speak(silence(0.4))
    assert len(talk.requests) == 2 and "response.done" not in types(talk.log)


@pytest.mark.parametrize("event", ["input_audio_buffer.commit", "input_audio_buffer.clear", "response.create"])
def test_what_the_client_does_itself_withdraws_the_answer(event):
    talk = paused() if event != "response.create" else Talk()
    if event == "response.create":
        talk.say("hello")
        talk.speak(np.concatenate([silence(0.5), tone(0.6), silence(PAUSE_S)]))
    eager = talk.requests[-1]
    talk.send({"type": event})
    assert [action.response_id for action in talk.of(CancelResponse)] == [eager.response_id]
    assert talk.output(*answer(eager)) == []


@pytest.mark.parametrize("detection", [None, {"type": "server_vad", "create_response": False}])
def test_where_no_answer_is_made_none_is_made_eagerly(detection):
    talk = Talk()
    talk.update(audio={"input": {"turn_detection": detection}})
    talk.speak(np.concatenate([silence(0.5), tone(0.6), silence(0.7)]))
    assert talk.requests == []


def test_a_drawing_that_has_begun_for_nothing_is_cancelled():
    talk = paused(abilities=SEES_AND_DRAWS)
    response_id = talk.requests[0].response_id
    assert talk.output(AttachmentStarted(response_id, "work_1", "image", "a cat")) == []
    talk.speak(tone(0.3))
    assert talk.of(CancelAttachment) == [CancelAttachment("work_1")]
    talk.output(AttachmentStarted(response_id, "work_2", "image", "a cat"))
    assert talk.of(CancelAttachment)[1:] == [CancelAttachment("work_2")]
    assert "conversation.item.added" not in types(talk.log)


def test_the_transcript_of_a_withdrawn_answer_is_nobodys():
    talk = Talk()
    talk.update(audio={"input": {"transcription": {"model": "default"}}})
    talk.speak(np.concatenate([silence(0.5), tone(0.6), silence(PAUSE_S)]))
    heard_saying(talk, "hello")
    talk.speak(np.concatenate([tone(0.3), silence(0.7)]))
    assert not any("transcription" in kind for kind in types(talk.log))


def test_sound_that_comes_all_at_once_is_answered_once():
    talk = Talk()
    pieces = [silence(0.5), *[tone(0.3), silence(PAUSE_S)] * 3, silence(0.6)]
    talk.session.receive_audio(np.concatenate(pieces), 0)
    while talk.session.listen(0):
        pass
    talk._collect()
    assert len(talk.requests) == 1


def test_milestones_of_an_eager_answer_count_from_the_end_of_speech():
    talk = paused()
    paused_at = talk.now_ms
    talk.output(*answer(talk.requests[0]))
    talk.now_ms = paused_at
    talk.speak(silence(0.35))
    talk.leave(talk.requests[0].response_id)
    told = first(talk.log, "response.latency.updated")
    stages = told["stages"]
    silent_ms = paused_at - 1000 * PAUSE_S  # on the clock: when the user fell silent
    assert stages["transcription_ms"] == pytest.approx(paused_at + 30 - silent_ms, abs=45), "when it was known"
    assert stages["transcription_ms"] < stages["first_token_ms"] < stages["end_of_speech_ms"]
    assert stages["first_token_ms"] < stages["first_audio_ms"] < stages["end_of_speech_ms"] == 512, "when it was made"
    assert told["total_ms"] == stages["first_packet_ms"] >= 512, "when it was sent"


# The endpoint ---------------------------------------------------------------------------------------------------------


def test_words_that_sound_finished_end_the_turn_sooner():
    waits = {}
    for words in ("who are you", "who are the", ""):
        talk = Talk()
        talk.update(audio=semantic())
        talk.speak(np.concatenate([silence(0.5), tone(0.6), silence(PAUSE_S)]))
        if words:
            heard_saying(talk, words)
        waits[words] = silence_until_the_end(talk)
    assert waits["who are you"] < 300 < 480 < waits[""] < 560 and 3900 < waits["who are the"] < 4100


def test_server_vad_waits_for_its_own_silence_whatever_is_said():
    talk = paused()
    heard_saying(talk, "who are you")
    assert 480 <= silence_until_the_end(talk) <= 560


@pytest.mark.parametrize("cut_off", [False, True])
def test_who_pauses_is_waited_for_longer_next_time(cut_off):
    talk = Talk()
    talk.update(audio=semantic())
    talk.speak(np.concatenate([silence(0.5), tone(0.6), silence(0.4)]))
    if cut_off:
        heard_saying(talk, "who are you")
        talk.speak(silence(0.05))
        assert "input_audio_buffer.speech_stopped" in types(talk.log)
    talk.speak(tone(0.6))
    talk.output(Finished(talk.requests[0].response_id, "cancelled", "", (), ()))
    talk.speak(silence(0.3))
    assert len(talk.requests) == 2
    heard_saying(talk, "who are you")
    talk.log.clear()
    assert silence_until_the_end(talk, 0.3) > 450, "300 ms would be enough for somebody else"


# Reading ahead --------------------------------------------------------------------------------------------------------


def overheard(talk: Talk) -> list[Overheard]:
    return [action.overheard for action in talk.of(ReadAhead)]


@pytest.mark.parametrize("paced", [False, True])
def test_the_model_hears_the_user_while_he_speaks(paced):
    talk = Talk(paced=paced, abilities=OVERHEARS, instructions="Be kind.")
    talk.answered("hello")
    talk.actions.clear()
    talk.speak(np.concatenate([silence(0.5), tone(2), silence(0.3)]))
    pieces = overheard(talk)
    assert len(pieces) >= 5 and {piece.session_id for piece in pieces} == {talk.session.id}
    assert {piece.utterance_id for piece in pieces} == {first(talk.log, "input_audio_buffer.speech_started")["item_id"]}
    assert [(turn.role, turn.text) for turn in pieces[0].turns] == [("user", "hello"), ("assistant", "Hi! I am fine.")]
    assert pieces[0].instructions == "Be kind." and not any(piece.turns for piece in pieces[1:])
    ends = np.cumsum([len(piece.pcm) for piece in pieces])
    assert [piece.start for piece in pieces] == [0, *ends[:-1]]
    speech = talk.requests[-1].turns[-1].speech
    assert np.array_equal(np.concatenate([piece.pcm for piece in pieces]), speech[: ends[-1]])
    assert len(speech) - ends[-1] <= (KEPT_SILENCE_MS - FALLS_SILENT_MS) * SPEECH_RATE // 1000, "read as silence falls"


def test_the_longer_somebody_speaks_the_rarer_are_the_pieces():
    talk = Talk(abilities=OVERHEARS)
    talk.speak(tone(12))
    lengths = [len(piece.pcm) for piece in overheard(talk)]
    assert len(lengths) < 35 and lengths[-1] > 2 * lengths[0]
    assert all(length >= 0.24 * SPEECH_RATE for length in lengths)


def test_after_a_pause_the_model_hears_on():
    talk = Talk(abilities=OVERHEARS)
    talk.speak(np.concatenate([silence(0.5), tone(0.6), silence(PAUSE_S)]))
    before = len(overheard(talk))
    talk.speak(silence(0.1))
    assert len(overheard(talk)) == before, "the answer is being made"
    talk.speak(tone(0.6))
    pieces = overheard(talk)
    assert len(pieces) > before and pieces[before].start == sum(len(piece.pcm) for piece in pieces[:before])


def test_nothing_is_read_ahead_while_an_answer_is_made():
    talk = Talk(abilities=OVERHEARS)
    talk.update(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
    talk.say("hello")
    talk.respond()
    talk.speak(tone(1))
    assert overheard(talk) == []


@pytest.mark.parametrize("abilities", [Abilities(), SEES_AND_DRAWS])
def test_a_responder_that_does_not_overhear_is_left_in_peace(abilities):
    talk = Talk(abilities=abilities)
    talk.speak(tone(1))
    assert overheard(talk) == []


def test_the_window_of_the_detector_divides_the_silence_that_is_kept():
    assert KEPT_SILENCE_MS * SPEECH_RATE // 1000 % WINDOW == 0, "or the eager cut would wait for more than it needs"
