"""Attachments on the wire: section 8 of the protocol's notes, whatever happens meanwhile."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from streaming.actions import CancelAttachment, CancelResponse, ForgetAttachment, KeepAttachment, ReportAttachment
from streaming.events import Limits
from streaming.fields import ProtocolError
from streaming.media import Kept
from streaming.types import (
    AttachmentFailed,
    AttachmentProgress,
    AttachmentStarted,
    Finished,
    MusicDelta,
    MusicDone,
    PictureDone,
    TextDelta,
)
from tests.streaming.fakes import SEES_AND_DRAWS, answer, drawing, playing, scene, tone
from tests.streaming.test_session import Json, Talk, first, the_error, types

KEPT = Kept("/v1/realtime/attachments/att.png", "image/png", 1234, "data:,small", {"width": 128, "height": 128})


def asked(talk: Talk | None = None, **response: object) -> tuple[Talk, str]:
    """Somebody has asked for a drawing. Returns the talk and the response's id."""
    talk = talk or Talk(abilities=SEES_AND_DRAWS)
    talk.say("draw me a red apple")
    talk.respond(**response)
    return talk, talk.requests[-1].response_id


def begun(talk: Talk | None = None) -> tuple[Talk, str, Json]:
    """It has begun. Returns the item, too."""
    talk, one = asked(talk)
    talk.output(TextDelta(one, "Here"))
    messages = talk.output(AttachmentStarted(one, "w", "image", "a red apple"))
    return talk, one, first(messages, "conversation.item.added")["item"]


def kept(talk: Talk, what: Kept | ProtocolError = KEPT) -> list[Json]:
    (action,) = talk.of(KeepAttachment)
    talk.session.receive_kept(action.attachment_id, what)
    return talk._collect()


def delete(talk: Talk, item: Json) -> list[Json]:
    return talk.send({"type": "conversation.item.delete", "item_id": item["id"]})


def outcomes(talk: Talk) -> list[str]:
    return [action.outcome for action in talk.of(ReportAttachment)]


def test_a_drawing_from_its_first_token_to_its_address() -> None:
    talk, _ = asked()
    assert talk.requests[-1].attachments
    messages = talk.output(*drawing(talk.requests[-1]))
    messages += kept(talk)
    of_the_item = [message for message in messages if "attachment" in message["type"]]
    item = next(m["item"] for m in messages if m["type"] == "conversation.item.added" and m["item"]["content"])
    reply = first(messages, "response.output_item.added")["item"]
    assert item["status"] == "in_progress" and item["role"] == "assistant"
    (part,) = item["content"]
    assert part["type"] == "output_image" and part["url"] is None and part["prompt"] == "a red apple"
    assert types(of_the_item)[-1] == "conversation.item.attachment.completed"
    assert all(message["item_id"] == item["id"] and message["content_index"] == 0 for message in of_the_item)
    done = messages[-1]
    assert done["type"] == "conversation.item.done" and done["item"]["status"] == "completed"
    (whole,) = done["item"]["content"]
    assert whole == of_the_item[-1]["part"]
    assert whole | {"width": 128, "height": 128, "url": KEPT.url, "bytes": 1234, "alt": "a red apple"} == whole
    response = first(messages, "response.done")["response"]
    assert [one["id"] for one in response["output"]] == [reply["id"]], "the attachment is not among them"
    assert types(messages).index("response.done") < types(messages).index("conversation.item.attachment.completed")
    assert outcomes(talk) == ["made"]


def test_the_answer_is_the_same_with_and_without_a_drawing() -> None:
    plain, _ = asked()
    expected = types(plain.output(*answer(plain.requests[-1], reply="Here you are.")))
    talk, _ = asked()
    messages = talk.output(*drawing(talk.requests[-1]))
    ids = {m["item_id"] for m in messages if "attachment" in m["type"]}
    speech = [m for m in messages if m.get("item_id") not in ids and m.get("item", {}).get("id") not in ids]
    assert types(speech) == expected


def test_the_drawing_stands_behind_its_response_and_in_the_history() -> None:
    talk, one, item = begun()
    talk.say("and what is two and two?")
    talk.output(PictureDone(one, "w", scene(), (50, 51)), Finished(one, "completed", "Here", (1,), (2,)))
    assert [turn.tokens for turn in talk.requests[-1].turns] == [()]
    kept(talk)
    talk.respond()
    turns = talk.requests[-1].turns
    assert [turn.role for turn in turns] == ["user", "assistant", "assistant", "user"]
    assert turns[2].tokens == (50, 51) and turns[2].text == ""
    assert item["id"] in [one.id for one in talk.session._conversation]


def test_two_attachments_stand_in_their_order() -> None:
    talk, one, first_item = begun()
    added = talk.output(AttachmentStarted(one, "v", "music", "a song"))[0]
    assert added["previous_item_id"] == first_item["id"] and added["item"]["content"][0]["type"] == "output_audio_file"


def test_an_attachment_may_begin_before_the_first_word() -> None:
    talk, one = asked()
    (added,) = talk.output(AttachmentStarted(one, "w", "image", "x"))
    question = added["previous_item_id"]
    assert first(talk.output(TextDelta(one, "Here")), "conversation.item.added")["previous_item_id"] == question


def test_progress_comes_a_few_times_a_second_and_never_goes_back() -> None:
    talk, one, item = begun()
    messages = []
    for step in range(300):  # 10 ms apart
        messages += talk.output(AttachmentProgress(one, "w", step / 100 if step < 120 else 0.5))
    shown = [message["progress"] for message in messages]
    assert set(types(messages)) == {"conversation.item.attachment.progress"} and 8 <= len(shown) <= 11
    assert shown == sorted(shown) and shown[-1] == 1.0


def test_a_thumbnail_shows_what_there_is() -> None:
    talk, one, _ = begun()
    talk.session._works._making["w"]._preview = lambda pixels: f"data:,{pixels.shape[0]}"
    (message,) = talk.output(AttachmentProgress(one, "w", 0.5, scene()))
    assert message["thumbnail"] == "data:,96"


def test_music_plays_while_it_is_being_made_only_where_that_is_asked_for() -> None:
    talk, _ = asked()
    talk.output(*playing(talk.requests[-1]))
    assert not talk.requests[-1].stream_music
    talk = Talk(abilities=SEES_AND_DRAWS)
    updated = first(talk.update(attachments={"stream_music": True}), "session.updated")
    assert updated["session"]["attachments"] == {"stream_music": True}
    asked(talk)
    request = talk.requests[-1]
    messages = talk.output(*playing(request))
    deltas = [message for message in messages if message["type"] == "conversation.item.attachment.audio.delta"]
    sound = b"".join(base64.b64decode(message["delta"]) for message in deltas)
    assert len(sound) == 2 * 16_000 and {message["sample_rate"] for message in deltas} == {32_000}
    made = talk.of(KeepAttachment)[0].made
    assert isinstance(made, MusicDone) and np.abs(np.frombuffer(sound, "<i2") / 32768 - made.pcm).max() < 1e-4


def test_a_long_piece_of_music_fits_a_data_channel() -> None:
    talk, one = asked()
    talk.output(AttachmentStarted(one, "w", "music", "x"))
    messages = talk.output(MusicDelta(one, "w", np.zeros(48_000 * 3, np.float32), 48_000))
    assert len(messages) == 8 and all(len(message["delta"]) < 55_000 for message in messages)


def test_a_drawing_outlives_a_barge_in() -> None:
    talk, one, _ = begun()
    messages = talk.speak(tone(0.3))
    assert first(messages, "response.done")["response"]["status"] == "cancelled"
    assert len(talk.of(CancelResponse)) == 1 and not talk.of(CancelAttachment)
    talk.output(Finished(one, "cancelled", "Here", (), ()))
    talk.output(PictureDone(one, "w", scene()))
    assert types(kept(talk))[-1] == "conversation.item.done"


def test_what_a_cancelled_response_would_still_begin_is_cancelled() -> None:
    talk, one = asked()
    talk.send({"type": "response.cancel"})
    assert talk.output(AttachmentStarted(one, "w", "image", "x")) == []
    assert [action.responders_id for action in talk.of(CancelAttachment)] == ["w"]
    assert talk.output(AttachmentProgress(one, "w", 0.5), AttachmentFailed(one, "w", "cancelled", "")) == []


@pytest.mark.parametrize("done", [False, True], ids=["being made", "being stored"])
def test_deleting_an_unfinished_one_cancels_it(done: bool) -> None:
    talk, one, item = begun()
    if done:
        talk.output(PictureDone(one, "w", scene()))
    messages = delete(talk, item)
    assert types(messages) == ["conversation.item.done", "conversation.item.deleted"]
    assert messages[0]["item"]["status"] == "incomplete" and messages[0]["item"]["content"][0]["url"] is None
    assert len(talk.of(CancelAttachment)) == (0 if done else 1) and outcomes(talk) == ["cancelled"]
    assert talk.output(AttachmentProgress(one, "w", 0.5), PictureDone(one, "w", scene())) == []
    assert the_error(delete(talk, item))["code"] == "item_not_found"
    if done:
        assert kept(talk) == [] and len(talk.of(ForgetAttachment)) == 1
    talk.output(Finished(one, "completed", "Here", (), ()))
    assert talk.answered("go on")[-2]["response"]["status"] == "completed"


def test_deleting_a_finished_one_takes_its_files_away() -> None:
    talk, one, item = begun()
    talk.output(PictureDone(one, "w", scene()))
    kept(talk)
    assert types(delete(talk, item)) == ["conversation.item.deleted"]
    assert [action.attachment_id for action in talk.of(ForgetAttachment)] == [item["content"][0]["attachment_id"]]


@pytest.mark.parametrize("when", ["made", "stored"])
def test_a_failure_is_told_in_words(when: str) -> None:
    talk, one, item = begun()
    if when == "made":
        messages = talk.output(AttachmentFailed(one, "w", "out_of_memory", "It did not fit."))
    else:
        talk.output(PictureDone(one, "w", scene()))
        messages = kept(talk, ProtocolError("out_of_memory", "It did not fit."))
    assert types(messages) == ["conversation.item.attachment.failed", "conversation.item.done"]
    error = {"type": "server_error", "code": "out_of_memory", "message": "It did not fit."}
    assert messages[0]["error"] == error and messages[0]["item_id"] == item["id"]
    assert messages[1]["item"]["status"] == "incomplete" and outcomes(talk) == ["failed"]


def test_no_more_than_so_many_at_once() -> None:
    talk, one = asked(Talk(abilities=SEES_AND_DRAWS, limits=Limits(works=2)))
    for name in "abc":
        talk.output(AttachmentStarted(one, name, "image", name))
    assert [action.responders_id for action in talk.of(CancelAttachment)] == ["c"]


def test_responses_out_of_band_have_none() -> None:
    talk, one = asked(conversation="none")
    assert not talk.requests[-1].attachments
    assert talk.output(AttachmentStarted(one, "w", "image", "x")) == [] and len(talk.of(CancelAttachment)) == 1


def test_who_can_make_nothing_is_not_asked_to() -> None:
    talk, _ = asked(Talk())
    assert not talk.requests[-1].attachments
