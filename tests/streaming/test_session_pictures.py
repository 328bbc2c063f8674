"""A session with eyes: pictures as items, the camera at the beginning of a turn, files that are decoded elsewhere."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from streaming.actions import CancelResponse, DecodeFiles, DecodeFrame, ReadAhead, ReportLook, StartResponse
from streaming.camera import Frame
from streaming.events import Limits
from streaming.fields import ProtocolError
from streaming.media import Decoded, Music, Picture
from streaming.settings import VideoInput
from streaming.types import MUSIC_RATE, Abilities, Finished, Perceived, Request
from tests.streaming.fakes import SEES_AND_DRAWS, answer, picture_part, scene, silence, tone, utterance
from tests.streaming.test_session import Json, Talk, first, the_error, types

PICTURE = picture_part(scene())
TEXT = {"type": "input_text", "text": "what is this?"}
TUNE = {"type": "input_audio_file", "audio_url": "data:audio/wav;base64,AAAA", "title": "my tune"}


def a_picture(seed: int = 0) -> Picture:
    return Picture(scene(seed), f"data:image/jpeg;base64,{seed}")


def black() -> Picture:
    return Picture(np.zeros((96, 96, 3), np.uint8), "data:,")


class Show(Talk):
    """A talk with one who can be shown things."""

    def __init__(self, paced: bool = False, **settings: Any) -> None:
        settings.setdefault("abilities", SEES_AND_DRAWS)
        super().__init__(paced, **settings)

    def item(self, *content: Json, role: str = "user", **event: Any) -> list[Json]:
        message = {"type": "message", "role": role, "content": list(content)}
        return self.send({"type": "conversation.item.create", "item": message, **event})

    def decoded(self, *files: Decoded) -> list[Json]:
        (action,) = self.of(DecodeFiles)
        self.actions.remove(action)
        assert len(action.files) == len(files)
        self.session.receive_decoded(tuple(files), self.now_ms)
        return self._collect()

    def show(self, picture: Picture) -> list[Json]:
        """To the camera, half a second after the last one."""
        self.now_ms += 500
        assert self.session.frame_is_due(self.now_ms)
        self.session.receive_frame(Frame.of(picture), self.now_ms)
        return self._collect()

    @property
    def sights(self) -> list[str]:
        return [action.sight for action in self.of(ReportLook)]

    @property
    def asked(self) -> Request:
        return next(request for request in reversed(self.requests) if not request.prepare_only)


def settings_of(talk: Talk) -> Json:
    return talk.log[0]["session"]


def test_what_is_announced_is_what_works() -> None:
    plain = settings_of(Talk())
    assert plain["extensions"] == ["latency", "pause"] and "video" not in plain and "attachments" not in plain
    able = settings_of(Show())
    assert able["extensions"] == ["attachments", "camera", "latency", "music_input", "pause"]
    assert able["video"] == {"input": {"max_fps": 2.0}} and able["attachments"] == {"stream_music": False}
    eyes = settings_of(Show(abilities=Abilities(takes=frozenset({"image"}))))
    assert eyes["extensions"] == ["camera", "latency", "pause"] and "attachments" not in eyes


def test_a_picture_is_decoded_before_it_becomes_an_item() -> None:
    talk = Show()
    assert talk.item(PICTURE) == []
    (action,) = talk.of(DecodeFiles)
    assert base64.b64decode(PICTURE["image_url"].partition(",")[2]) == action.files[0].data
    messages = talk.decoded(a_picture())
    assert types(messages) == ["conversation.item.added", "conversation.item.done"]
    assert messages[0]["item"]["content"] == [{"type": "input_image", "image_url": "data:image/jpeg;base64,0"}]
    talk.item(TEXT)
    talk.respond()
    picture, text = talk.asked.turns
    assert (
        picture.image is not None and (picture.image == scene()).all() and picture.media_id == messages[0]["item"]["id"]
    )
    assert (text.text, text.image) == ("what is this?", None)


def test_once_perceived_a_picture_is_its_tokens() -> None:
    talk = Show()
    talk.item(PICTURE)
    talk.decoded(a_picture())
    talk.item(TEXT)
    talk.respond()
    one = talk.asked.response_id
    talk.output(Perceived(one, 0, (5, 6)), *answer(talk.asked))
    talk.answered("and now?")
    assert talk.asked.turns[0].tokens == (5, 6) and talk.asked.turns[0].image is None


def test_text_and_a_picture_in_one_item() -> None:
    talk = Show()
    talk.item(TEXT, PICTURE)
    talk.decoded(a_picture())
    talk.respond()
    (turn,) = talk.asked.turns
    assert turn.text == "what is this?" and turn.image is not None
    talk.output(Finished(talk.asked.response_id, "completed", "", (1, 2), ()))
    talk.answered("more")
    assert talk.asked.turns[0].tokens == (1, 2) and talk.asked.turns[0].image is None


def test_music_comes_in() -> None:
    talk = Show()
    talk.item(TUNE)
    messages = talk.decoded(Music(np.zeros(MUSIC_RATE, np.float32), "data:,wave"))
    part = {"type": "input_audio_file", "title": "my tune", "duration_ms": 1000, "thumbnail": "data:,wave"}
    assert messages[0]["item"]["content"] == [part]
    talk.respond()
    music = talk.asked.turns[0].music
    assert music is not None and len(music) == MUSIC_RATE


def test_pictures_of_a_response_of_its_own() -> None:
    talk = Show()
    message = {"type": "message", "role": "user", "content": [PICTURE]}
    assert talk.respond(conversation="none", input=[message, {**message, "content": [TEXT]}]) == []
    assert types(talk.decoded(a_picture())) == ["response.created"]
    assert talk.asked.turns[0].image is not None and not talk.asked.attachments


def test_a_bad_picture_is_refused_by_the_event_that_brought_it_and_the_session_goes_on() -> None:
    talk = Show()
    talk.item(PICTURE, event_id="mine")
    failure = the_error(talk.decoded(ProtocolError("invalid_image", "It is broken.", "item.content[0].image_url")))
    assert failure["event_id"] == "mine" and failure["code"] == "invalid_image"
    assert len(talk.session._conversation) == 0
    assert talk.answered("hello")


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({"type": "input_image"}, "missing_required_parameter"),
        ({"type": "input_image", "image_url": 3}, "invalid_type"),
        ({"type": "input_image", "image_url": "https://example.com/a.png"}, "invalid_url"),
        ({"type": "input_image", "image_url": "file:///etc/passwd"}, "invalid_url"),
        ({"type": "input_image", "image_url": "data:image/png,abc"}, "invalid_url"),
        ({"type": "input_image", "image_url": "data:image/png;base64,a"}, "invalid_base64"),
        ({"type": "input_image", "image_url": "data:image/png;base64," + "A" * 2000}, "file_too_large"),
        ({"type": "input_audio_file"}, "missing_required_parameter"),
        ({"type": "input_audio_file", "audio_url": "data:audio/wav;base64," + "A" * 2000}, "file_too_large"),
    ],
)
def test_what_is_no_file_is_refused_before_anything_is_decoded(part: Json, code: str) -> None:
    talk = Show(limits=Limits(picture_bytes=1000, music_bytes=1000))
    assert the_error(talk.item(part))["code"] == code
    assert not talk.of(DecodeFiles)


def test_the_bounds_on_files() -> None:
    talk = Show(limits=Limits(unseen_files=2))
    assert the_error(talk.item(PICTURE, PICTURE))["code"] == "too_many_files"
    for _ in range(2):
        talk.item(PICTURE)
        talk.decoded(a_picture())
    talk.item(PICTURE)
    assert the_error(talk.decoded(a_picture()))["code"] == "too_many_files"
    many = [{"type": "message", "role": "user", "content": [PICTURE]}] * 17
    assert the_error(talk.respond(conversation="none", input=many))["code"] == "too_many_files"


@pytest.mark.parametrize("role", ["assistant", "system"])
def test_only_users_show_pictures(role: str) -> None:
    assert the_error(Show().item(PICTURE, role=role))["code"] == "invalid_value"


def test_who_has_no_eyes_says_so() -> None:
    talk = Talk()
    event = {"type": "input_image_buffer.append", "image_url": PICTURE["image_url"]}
    assert the_error(talk.send(event))["code"] == "unsupported"
    assert not talk.session.frame_is_due(0)


# The camera


@pytest.mark.parametrize("paced", [False, True])
def test_the_camera_is_looked_at_when_the_user_speaks(paced: bool) -> None:
    talk = Show(paced)
    talk.show(a_picture(1))
    talk.show(a_picture(2))
    assert not talk.requests, "nobody asked"
    messages = talk.speak(utterance())
    order = [kind for kind in types(messages) if kind.startswith(("input_audio_buffer", "conversation", "response.c"))]
    assert order == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "conversation.item.added",
        "conversation.item.done",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    picture, speech = (message["item"] for message in messages if message["type"] == "conversation.item.done")
    assert picture["content"] == [{"type": "input_image", "image_url": "data:image/jpeg;base64,2"}]
    assert [part["type"] for part in speech["content"]] == ["input_audio"]
    assert first(messages, "input_audio_buffer.committed")["previous_item_id"] == picture["id"]
    image, asked = talk.asked.turns
    assert image.image is not None and (image.image == scene(2)).all() and asked.speech is not None
    assert talk.sights == ["new"]


def test_the_model_sees_it_while_the_user_is_still_talking() -> None:
    talk = Show()
    talk.show(a_picture())
    talk.speak(np.concatenate([silence(0.3), tone(0.5)]))
    (ahead,) = talk.requests
    assert ahead.prepare_only and ahead.turns[-1].image is not None and len(talk.session._conversation) == 0
    talk.output(Perceived(ahead.response_id, 0, (5, 6)), Finished(ahead.response_id, "completed", "", (), ()))
    talk.speak(silence(0.7))
    assert talk.asked.turns[0].tokens == (5, 6) and talk.asked.turns[0].image is None


def test_what_is_held_up_in_mid_sentence_is_what_is_seen() -> None:
    talk = Show()
    talk.show(a_picture(1))
    talk.speak(np.concatenate([silence(0.3), tone(0.5)]))
    first_look = talk.requests[-1].response_id
    talk.output(Finished(first_look, "completed", "", (), ()))
    talk.show(a_picture(2))
    assert talk.requests[-1].response_id != first_look and talk.requests[-1].prepare_only
    talk.show(a_picture(1))
    talk.show(a_picture(3))
    talk.speak(silence(0.7))
    images = [turn.image for turn in talk.asked.turns if turn.image is not None]
    assert len(images) == 1 and (images[0] == scene(3)).all()


def test_what_was_shown_only_for_a_moment_was_seen_too() -> None:
    talk = Show()
    talk.show(a_picture(1))
    talk.say("hello")
    talk.speak(np.concatenate([silence(0.3), tone(0.5)]))
    talk.show(a_picture(2))
    for _ in range(4):
        talk.show(a_picture(1))
    talk.speak(silence(0.7))
    assert any(turn.image is not None and (turn.image == scene(2)).all() for turn in talk.asked.turns)


def test_a_still_camera_costs_nothing() -> None:
    talk = Show()
    for count in range(5):
        talk.show(a_picture())
        talk.speak(utterance())
        talk.output(*answer(talk.asked))
        assert sum(turn.image is not None or turn.tokens == () for turn in talk.asked.turns[:-1]) <= 1, count
    assert talk.sights == ["new", *["unchanged"] * 4]
    looks = [item for item in talk.session._conversation if item.parts[0].type == "input_image"]
    assert len(looks) == 1


def test_a_dark_camera_is_said_not_guessed_at() -> None:
    talk = Show()
    talk.show(a_picture())
    talk.say("hello")
    talk.show(black())
    talk.say("what is this?")
    talk.respond()
    assert [turn.dark_camera for turn in talk.asked.turns] == [False, False, True]
    assert sum(turn.image is not None for turn in talk.asked.turns) == 1 and talk.sights == ["new", "dark"]


def test_typed_words_and_words_committed_by_hand_look_too() -> None:
    talk = Show(turn_detection=None)
    talk.show(a_picture(1))
    assert types(talk.say("hello")) == ["conversation.item.added", "conversation.item.done"] * 2
    talk.show(a_picture(2))
    talk.speak(tone(0.5))
    assert types(talk.send({"type": "input_audio_buffer.commit"}))[:3] == [
        "conversation.item.added",
        "conversation.item.done",
        "input_audio_buffer.committed",
    ]
    assert len(talk.session._conversation) == 4


def test_history_that_a_client_restores_is_not_looked_at() -> None:
    talk = Show()
    talk.show(a_picture())
    content = [{"type": "output_text", "text": "hi"}]
    talk.send(
        {"type": "conversation.item.create", "item": {"type": "message", "role": "assistant", "content": content}}
    )
    talk.send(
        {
            "type": "conversation.item.create",
            "item": {"type": "message", "role": "user", "content": [TEXT]},
            "previous_item_id": "root",
        }
    )
    assert len(talk.session._conversation) == 2


def test_a_camera_that_is_switched_off_is_not_looked_at() -> None:
    talk = Show()
    talk.show(a_picture())
    assert types(talk.send({"type": "input_image_buffer.clear"})) == ["input_image_buffer.cleared"]
    talk.say("hello")
    talk.show(a_picture())
    updated = talk.update(video={"input": None})
    assert first(updated, "session.updated")["session"]["video"] == {"input": None}
    assert not talk.session.frame_is_due(talk.now_ms + 10_000)
    talk.say("hello")
    assert talk.sights == []
    talk.update(video={"input": {"max_fps": 5}})
    assert talk.session.settings.video == VideoInput(max_fps=5)
    talk.show(a_picture())
    talk.say("hello")
    assert talk.sights == ["new"]


@pytest.mark.parametrize("video", [{"input": {"max_fps": 0}}, {"input": {"fps": 1}}, {"output": None}, {"input": 3}])
def test_camera_settings_that_mean_nothing(video: Json) -> None:
    talk = Show()
    assert the_error(talk.update(video=video))["param"].startswith("session.video")


def test_live_frames_come_in_events_no_faster_than_they_are_wanted() -> None:
    talk = Show()
    event = {"type": "input_image_buffer.append", "image_url": PICTURE["image_url"], "timestamp_ms": 5}
    for _ in range(100):
        talk.now_ms += 20
        assert talk.send(event) == []
    assert 4 <= len(talk.of(DecodeFrame)) <= 5
    failure = {**event, "image_url": "data:nonsense", "event_id": "mine"}
    assert the_error(talk.send(failure))["event_id"] == "mine"
    talk.session.receive_frame(ProtocolError("invalid_image", "It is broken."), talk.now_ms, "mine")
    assert the_error(talk._collect())["event_id"] == "mine"


def test_a_picture_that_is_deleted_is_seen_again() -> None:
    talk = Show()
    talk.show(a_picture())
    picture = first(talk.say("hello"), "conversation.item.added")["item"]["id"]
    talk.send({"type": "conversation.item.delete", "item_id": picture})
    talk.say("hello again")
    assert talk.sights == ["new", "new"]


def test_pictures_that_nobody_asks_about_do_not_pile_up() -> None:
    talk = Show(limits=Limits(unseen_files=2))
    for seed in range(6):
        talk.show(a_picture(seed))
        talk.say("hello")
    assert talk.session._conversation.unseen_files == 2
    talk.respond()
    assert sum(turn.image is not None for turn in talk.asked.turns) == 2


def test_speech_that_is_dropped_leaves_no_picture() -> None:
    talk = Show()
    talk.show(a_picture())
    talk.speak(np.concatenate([silence(0.3), tone(0.5)]))
    talk.send({"type": "input_audio_buffer.clear"})
    assert len(talk.session._conversation) == 0 and len(talk.of(StartResponse)) == 1
    talk.say("hello")
    assert len(talk.session._conversation) == 2


@pytest.mark.parametrize("changes", [False, True])
def test_an_eager_answer_is_to_what_the_camera_showed_until_the_end(changes: bool) -> None:
    talk = Show(paced=True)
    talk.show(a_picture(1))
    talk.speak(np.concatenate([silence(0.3), tone(0.5)]))
    (ahead,) = talk.requests
    talk.output(Perceived(ahead.response_id, 0, (5, 6)), Finished(ahead.response_id, "completed", "", (), ()))
    talk.speak(silence(0.25))
    (_, eager) = talk.requests
    assert [turn.tokens for turn in eager.turns] == [(5, 6), ()] and talk.sights == []
    if changes:
        talk.show(a_picture(2))
        talk.output(Finished(talk.requests[-1].response_id, "completed", "", (), ()))
    talk.speak(silence(0.5))
    assert (talk.asked is eager) is not changes and talk.sights == ["new"]
    assert (talk.asked.turns[0].image is not None) is changes
    assert [action.response_id for action in talk.of(CancelResponse)] == ([eager.response_id] if changes else [])


def test_what_the_camera_shows_is_read_ahead_before_what_is_said() -> None:
    talk = Show(abilities=Abilities(takes=frozenset({"image"}), overhears=True))
    talk.show(a_picture(1))
    talk.speak(np.concatenate([silence(0.3), tone(0.5)]))
    (ahead,) = talk.requests
    assert talk.of(ReadAhead) == [], "the picture comes first"
    talk.output(Perceived(ahead.response_id, 0, (5, 6)), Finished(ahead.response_id, "completed", "", (), ()))
    talk.speak(tone(0.1))
    assert [turn.tokens for turn in talk.of(ReadAhead)[0].overheard.turns] == [(5, 6)]
