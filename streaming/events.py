"""The events of the Realtime protocol: what a client may send, as frozen dataclasses, and what it is sent, as JSON.

Server events are built without their `event_id`, which the session adds. `Place` is the address that all events of one
content part share. Own names follow the protocol's style; `extensions` lists them.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from streaming.fields import Fields, ProtocolError
from streaming.types import Abilities

Json = dict[str, Any]

ATTACHMENTS_PATH = "/v1/realtime/attachments"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may make us hold or do. What lies beyond gets an error that names the limit."""

    message_bytes: int = 16 * 2**20
    sdp_bytes: int = 64 * 2**10
    sessions: int = 8
    events_per_second: float = 200.0  # on average; five seconds' worth may come at once
    events_waiting: int = 1000  # on a data channel, which cannot be told to wait
    audio_ahead_s: float = 60.0  # sound that waits to be listened to
    utterance_s: float = 30.0
    unheard_audio_s: float = 600.0  # in the conversation, not yet tokens
    text_characters: int = 20_000
    items: int = 2000
    picture_bytes: int = 10 * 2**20
    picture_pixels: int = 25_000_000
    picture_side: int = 512  # pictures are shrunk to it
    music_bytes: int = 10 * 2**20
    music_s: float = 30.0
    history_tokens: int = 1024  # of turns that are kept as they were spoken; of older ones the words stay
    unseen_files: int = 8  # pictures and music in the conversation, not yet tokens
    works: int = 4  # attachments that a session makes at once
    attachment_bytes: int = 64 * 2**20  # of all sessions together, as are the next two
    attachments: int = 500
    attachment_s: float = 3600.0
    idle_s: float = 600.0
    resume_s: float = 60.0  # a session whose connection is lost is kept for so long
    session_s: float = 3600.0


def extensions(abilities: Abilities, resume: bool = False) -> list[str]:
    """The names of what goes beyond the protocol and works."""
    works = {
        "attachments": bool(abilities.makes),
        "camera": "image" in abilities.takes,
        "latency": True,
        "music_input": "music" in abilities.takes,
        "pause": True,
        "resume": resume,
    }
    return [name for name, it_does in works.items() if it_does]


# From the client ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UpdateSession:
    session: Fields


@dataclass(frozen=True, slots=True)
class AppendAudio:
    audio: bytes


@dataclass(frozen=True, slots=True)
class CommitAudio:
    pass


@dataclass(frozen=True, slots=True)
class ClearAudio:
    pass


@dataclass(frozen=True, slots=True)
class AppendImage:
    """Extension: a live frame, in `image_url`."""

    frame: Fields


@dataclass(frozen=True, slots=True)
class ClearImages:
    """Extension."""


@dataclass(frozen=True, slots=True)
class ClearOutputAudio:
    pass


@dataclass(frozen=True, slots=True)
class CreateItem:
    item: Fields
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class RetrieveItem:
    item_id: str


@dataclass(frozen=True, slots=True)
class TruncateItem:
    item_id: str
    content_index: int
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class DeleteItem:
    item_id: str


@dataclass(frozen=True, slots=True)
class CreateResponse:
    response: Fields


@dataclass(frozen=True, slots=True)
class CancelResponse:
    response_id: str | None


@dataclass(frozen=True, slots=True)
class ReportFirstSound:
    """Extension: when the client's loudspeaker began with a response, counted from the end of the user's speech."""

    response_id: str
    first_sound_ms: float


ClientEvent = (
    UpdateSession
    | AppendAudio
    | CommitAudio
    | ClearAudio
    | AppendImage
    | ClearImages
    | ClearOutputAudio
    | CreateItem
    | RetrieveItem
    | TruncateItem
    | DeleteItem
    | CreateResponse
    | CancelResponse
    | ReportFirstSound
)

MOST_ID_CHARACTERS = 128
MOST_LATENCY_MS = 600_000


def read_message(message: str | bytes) -> Fields:
    """The JSON object of one message. Raises ProtocolError."""
    if isinstance(message, bytes):
        words = "events are JSON text, and audio goes as base64 in input_audio_buffer.append"
        raise ProtocolError("invalid_event", f"Binary messages are not understood: {words}.")
    try:
        value = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("invalid_json", f"The message is not valid JSON: {str(error)[:200]}.") from None
    if not isinstance(value, dict):
        raise ProtocolError("invalid_event", "An event must be a JSON object with a 'type'.")
    return Fields(value)


def parse(fields: Fields) -> ClientEvent:
    """Raises ProtocolError, whose event the caller knows."""
    kind = fields.text("type", most=100)
    match kind:
        case "session.update":
            return UpdateSession(_object(fields, "session"))
        case "input_audio_buffer.append":
            return AppendAudio(decode_base64(fields.text("audio"), "audio"))
        case "input_audio_buffer.commit":
            return CommitAudio()
        case "input_audio_buffer.clear":
            return ClearAudio()
        case "input_image_buffer.append":
            fields.number("timestamp_ms", 0, 2**53, None)
            return AppendImage(fields)
        case "input_image_buffer.clear":
            return ClearImages()
        case "output_audio_buffer.clear":
            return ClearOutputAudio()
        case "conversation.item.create":
            previous = fields.text("previous_item_id", None, most=MOST_ID_CHARACTERS)
            return CreateItem(_object(fields, "item"), previous)
        case "conversation.item.retrieve":
            return RetrieveItem(_item_id(fields))
        case "conversation.item.truncate":
            index = fields.whole("content_index", 0, 2**31)
            return TruncateItem(_item_id(fields), index, int(fields.number("audio_end_ms", 0, 2**31)))
        case "conversation.item.delete":
            return DeleteItem(_item_id(fields))
        case "response.create":
            return CreateResponse(fields.object("response"))
        case "response.cancel":
            return CancelResponse(fields.text("response_id", None, most=MOST_ID_CHARACTERS))
        case "response.latency.report":
            response_id = fields.text("response_id", most=MOST_ID_CHARACTERS)
            return ReportFirstSound(response_id, fields.number("first_sound_ms", 0, MOST_LATENCY_MS))
    raise ProtocolError("unknown_event", f"Unknown event type: '{kind}'.", "type")


def decode_base64(text: str, param: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError("invalid_base64", f"'{param}' is not valid base64.", param) from None


def _object(fields: Fields, name: str) -> Fields:
    if fields.anything(name) is None:
        raise ProtocolError("missing_required_parameter", f"Missing required parameter: '{name}'.", name)
    return fields.object(name)


def _item_id(fields: Fields) -> str:
    return fields.text("item_id", most=MOST_ID_CHARACTERS)


# To the client --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a response a content part stands. Answers have one item with one part."""

    response_id: str
    item_id: str
    output_index: int = 0
    content_index: int = 0

    def of_item(self) -> Json:
        return {"response_id": self.response_id, "output_index": self.output_index}

    def of_part(self) -> Json:
        return {**self.of_item(), "item_id": self.item_id, "content_index": self.content_index}


def error(failure: ProtocolError, event_id: str | None, kind: str = "invalid_request_error") -> Json:
    """The event for what went wrong. `event_id`: of the client event to blame, if there is one."""
    details = {"type": kind, "code": failure.code, "message": failure.message, "param": failure.param}
    return {"type": "error", "error": {**details, "event_id": event_id}}


def session_created(session: Json) -> Json:
    return {"type": "session.created", "session": session}


def session_resumed(session: Json, last_item_id: str | None, items: list[Json]) -> Json:
    """Extension: in place of session.created. `items`: the newest ones, of which the client may have missed some."""
    return {"type": "session.resumed", "session": session, "last_item_id": last_item_id, "items": items}


def session_interrupted(reason: str) -> Json:
    """Extension: the responses that are being made fail."""
    return {"type": "session.interrupted", "reason": reason}


def session_updated(session: Json) -> Json:
    return {"type": "session.updated", "session": session}


def speech_started(item_id: str, audio_start_ms: int) -> Json:
    return {"type": "input_audio_buffer.speech_started", "item_id": item_id, "audio_start_ms": audio_start_ms}


def speech_stopped(item_id: str, audio_end_ms: int) -> Json:
    return {"type": "input_audio_buffer.speech_stopped", "item_id": item_id, "audio_end_ms": audio_end_ms}


def audio_committed(item_id: str, previous_item_id: str | None) -> Json:
    return {"type": "input_audio_buffer.committed", "item_id": item_id, "previous_item_id": previous_item_id}


def audio_cleared() -> Json:
    return {"type": "input_audio_buffer.cleared"}


def images_cleared() -> Json:
    return {"type": "input_image_buffer.cleared"}


def item_added(item: Json, previous_item_id: str | None) -> Json:
    return {"type": "conversation.item.added", "previous_item_id": previous_item_id, "item": item}


def item_done(item: Json, previous_item_id: str | None) -> Json:
    return {"type": "conversation.item.done", "previous_item_id": previous_item_id, "item": item}


def item_complete(item: Json, previous_item_id: str | None) -> list[Json]:
    """Of an item that comes all at once."""
    return [item_added(item, previous_item_id), item_done(item, previous_item_id)]


def item_retrieved(item: Json) -> Json:
    return {"type": "conversation.item.retrieved", "item": item}


def item_deleted(item_id: str) -> Json:
    return {"type": "conversation.item.deleted", "item_id": item_id}


def item_truncated(item_id: str, content_index: int, audio_end_ms: int) -> Json:
    address = {"item_id": item_id, "content_index": content_index}
    return {"type": "conversation.item.truncated", **address, "audio_end_ms": audio_end_ms}


def transcription_delta(item_id: str, delta: str) -> Json:
    kind = "conversation.item.input_audio_transcription.delta"
    return {"type": kind, "item_id": item_id, "content_index": 0, "delta": delta}


def transcription_completed(item_id: str, transcript: str, seconds: float) -> Json:
    kind = "conversation.item.input_audio_transcription.completed"
    usage = {"type": "duration", "seconds": seconds}
    return {"type": kind, "item_id": item_id, "content_index": 0, "transcript": transcript, "usage": usage}


def transcription_failed(item_id: str, code: str, message: str) -> Json:
    kind = "conversation.item.input_audio_transcription.failed"
    details = {"type": "server_error", "code": code, "message": message}
    return {"type": kind, "item_id": item_id, "content_index": 0, "error": details}


def attachment_progress(item_id: str, response_id: str, progress: float, thumbnail: str | None) -> Json:
    more = {} if thumbnail is None else {"thumbnail": thumbnail}
    return {**_of_attachment("progress", item_id, response_id), "progress": progress, **more}


def attachment_audio_delta(item_id: str, response_id: str, audio: bytes, sample_rate: int) -> Json:
    """Music that is still being made: 16-bit little-endian samples of one channel."""
    sound = {"delta": base64.b64encode(audio).decode(), "sample_rate": sample_rate}
    return {**_of_attachment("audio.delta", item_id, response_id), **sound}


def attachment_completed(item_id: str, response_id: str, part: Json) -> Json:
    return {**_of_attachment("completed", item_id, response_id), "part": part}


def attachment_failed(item_id: str, response_id: str, code: str, message: str) -> Json:
    details = {"type": "server_error", "code": code, "message": message}
    return {**_of_attachment("failed", item_id, response_id), "error": details}


def _of_attachment(what: str, item_id: str, response_id: str) -> Json:
    address = {"item_id": item_id, "content_index": 0, "response_id": response_id}
    return {"type": f"conversation.item.attachment.{what}", **address}


def response_created(response: Json) -> Json:
    return {"type": "response.created", "response": response}


def response_done(response: Json) -> Json:
    return {"type": "response.done", "response": response}


def output_item_added(place: Place, item: Json) -> Json:
    return {"type": "response.output_item.added", **place.of_item(), "item": item}


def output_item_done(place: Place, item: Json) -> Json:
    return {"type": "response.output_item.done", **place.of_item(), "item": item}


def part_added(place: Place, part: Json) -> Json:
    return {"type": "response.content_part.added", **place.of_part(), "part": part}


def part_done(place: Place, part: Json) -> Json:
    return {"type": "response.content_part.done", **place.of_part(), "part": part}


def text_delta(place: Place, delta: str) -> Json:
    return {"type": "response.output_text.delta", **place.of_part(), "delta": delta}


def text_done(place: Place, text: str) -> Json:
    return {"type": "response.output_text.done", **place.of_part(), "text": text}


def audio_transcript_delta(place: Place, delta: str) -> Json:
    return {"type": "response.output_audio_transcript.delta", **place.of_part(), "delta": delta}


def audio_transcript_done(place: Place, transcript: str) -> Json:
    return {"type": "response.output_audio_transcript.done", **place.of_part(), "transcript": transcript}


def audio_delta(place: Place, audio: bytes) -> Json:
    return {"type": "response.output_audio.delta", **place.of_part(), "delta": base64.b64encode(audio).decode()}


def audio_done(place: Place) -> Json:
    return {"type": "response.output_audio.done", **place.of_part()}


def playout_started(response_id: str) -> Json:
    return {"type": "output_audio_buffer.started", "response_id": response_id}


def playout_stopped(response_id: str) -> Json:
    return {"type": "output_audio_buffer.stopped", "response_id": response_id}


def playout_paused(response_id: str) -> Json:
    return {"type": "output_audio_buffer.paused", "response_id": response_id}


def playout_resumed(response_id: str) -> Json:
    return {"type": "output_audio_buffer.resumed", "response_id": response_id}


def playout_cleared(response_id: str) -> Json:
    return {"type": "output_audio_buffer.cleared", "response_id": response_id}


def rate_limits_updated(limit: float) -> Json:
    """Clients expect it behind each response. Ours is a limit on events, none of which a response uses up."""
    limits = [{"name": "requests", "limit": int(limit), "remaining": int(limit), "reset_seconds": 1.0}]
    return {"type": "rate_limits.updated", "rate_limits": limits}


def latency_updated(
    response_id: str, item_id: str, speech_end_ms: int, stages: dict[str, float], total_ms: float
) -> Json:
    """Extension: how long the answer took, from the end of the user's speech to the first sound sent. `stages`: by the
    names of streaming.milestones."""
    address = {"response_id": response_id, "item_id": item_id}
    times = {"speech_end_ms": speech_end_ms, "stages": stages, "total_ms": total_ms}
    return {"type": "response.latency.updated", **address, **times}
