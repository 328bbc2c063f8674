"""One response on the wire: the events of section 6 of the protocol, in its order, whatever happens to the response."""

from __future__ import annotations

from typing import Literal

import numpy as np

from streaming import events
from streaming.conversation import Conversation, Item, Part
from streaming.events import Json, Place
from streaming.pcm import Encoder, ms_to_samples
from streaming.settings import ResponseSettings
from streaming.types import Usage

Status = Literal["completed", "cancelled", "incomplete", "failed"]

_LONGEST_DELTA = ms_to_samples(1000)


class Reply:
    """Owns one response's item and its events. Send `created` first, then what `text` and `speech` return, at last
    what `end` returns. Without a conversation the response is out of band."""

    def __init__(
        self,
        response_id: str,
        item_id: str,
        settings: ResponseSettings,
        conversation: Conversation | None,
        conversation_id: str | None,
        sound_in_events: bool,
    ) -> None:
        self.id = response_id
        self.settings = settings
        self.item = Item(item_id, status="in_progress", role="assistant")
        self.status: Literal["in_progress"] | Status = "in_progress"
        self._place = Place(response_id, item_id)
        self._conversation = conversation
        self._conversation_id = conversation_id
        self._previous_id = conversation.last_id if conversation is not None else None
        self._encoder = Encoder(settings.output_format) if sound_in_events else None

    @property
    def ended(self) -> bool:
        return self.status != "in_progress"

    @property
    def in_conversation(self) -> bool:
        return self._conversation is not None

    @property
    def last_id(self) -> str | None:
        """The item behind which more of the same response belongs."""
        return self.item.id if self.item.parts else self._previous_id

    @property
    def samples(self) -> int:
        """How much sound there is, at SPEECH_RATE."""
        return sum(part.samples for part in self.item.parts)

    def created(self) -> Json:
        return events.response_created(self._response())

    def text(self, delta: str) -> list[Json]:
        """More of the words."""
        opening = self._open()
        part = self.item.parts[0]
        part.text = (part.text or "") + delta
        say = events.audio_transcript_delta if part.spoken else events.text_delta
        return [*opening, say(self._place, delta)]

    def speech(self, pcm: np.ndarray) -> list[Json]:
        """More of the sound. pcm: [samples] float32 at SPEECH_RATE."""
        opening = self._open()
        self.item.parts[0].samples += len(pcm)
        if self._encoder is None:
            return opening
        pieces = [self._encoder.encode(pcm[at : at + _LONGEST_DELTA]) for at in range(0, len(pcm), _LONGEST_DELTA)]
        return [*opening, *self._audio_deltas(pieces)]

    def end(self, status: Status, details: Json | None = None, usage: Usage | None = None) -> list[Json]:
        """The end, early or not. Nothing may follow."""
        self.status = status
        closing = self._close() if self.item.parts else []
        return [*closing, events.response_done(self._response(details, usage))]

    def _open(self) -> list[Json]:
        if self.item.parts:
            return []
        if self._conversation is not None:
            # Behind what it answers, even if the user has said more since.
            after = self._previous_id if self._conversation.has(self._previous_id) else None
            self._previous_id = self._conversation.add(self.item, after)
        item = self.item.to_json()
        spoken = self.settings.modality == "audio"
        self.item.parts.append(Part("output_audio" if spoken else "output_text", ""))
        return [
            events.output_item_added(self._place, item),
            *([events.item_added(item, self._previous_id)] if self._conversation is not None else []),
            events.part_added(self._place, self._part()),
        ]

    def _close(self) -> list[Json]:
        self.item.status = "completed" if self.status == "completed" else "incomplete"
        item = self.item.to_json()
        part = self.item.parts[0]
        done = self._sound_done() if part.spoken else [events.text_done(self._place, part.text or "")]
        return [
            *done,
            events.part_done(self._place, self._part()),
            *([events.item_done(item, self._previous_id)] if self._conversation is not None else []),
            events.output_item_done(self._place, item),
        ]

    def _sound_done(self) -> list[Json]:
        tail = [self._encoder.finish()] if self._encoder is not None and self.status != "cancelled" else []
        transcript = self.item.parts[0].text or ""
        return [
            *self._audio_deltas(tail),
            events.audio_done(self._place),
            events.audio_transcript_done(self._place, transcript),
        ]

    def _audio_deltas(self, pieces: list[bytes]) -> list[Json]:
        return [events.audio_delta(self._place, piece) for piece in pieces if piece]

    def _part(self) -> Json:
        part = self.item.parts[0]
        return {"type": "audio", "transcript": part.text} if part.spoken else {"type": "text", "text": part.text}

    def _response(self, details: Json | None = None, usage: Usage | None = None) -> Json:
        return {
            "id": self.id,
            "object": "realtime.response",
            "status": self.status,
            "status_details": details,
            "output": [self.item.to_json()] if self.ended and self.item.parts else [],
            "conversation_id": self._conversation_id,
            **self.settings.to_json(),
            "usage": None if usage is None else _usage(usage),
        }


def _usage(usage: Usage) -> Json:
    inputs, outputs = usage.tokens_in, usage.text_out + usage.audio_out
    return {
        "total_tokens": inputs + outputs,
        "input_tokens": inputs,
        "output_tokens": outputs,
        "input_token_details": {
            "text_tokens": usage.text_in,
            "audio_tokens": usage.audio_in,
            "image_tokens": usage.image_in,
            "cached_tokens": usage.cached,
        },
        "output_token_details": {"text_tokens": usage.text_out, "audio_tokens": usage.audio_out},
    }
