"""One attachment on the wire: a drawing or a tune that is made beside a response, in an item of its own.

The events are those of the protocol's extensions, in their order: added, any number of progress, completed or failed,
done. They come whenever they come, before or after the end of the response, and hold nothing up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from streaming import events
from streaming.conversation import Conversation, Item, Part
from streaming.events import Json
from streaming.media import Kept
from streaming.pcm import to_pcm16
from streaming.types import AttachmentProgress, AttachmentStarted, MusicDelta

PROGRESS_EVERY_MS = 300
_LONGEST_DELTA_S = 0.4  # in base64 it fits a data channel's message at 48 kHz, too

Outcome = Literal["made", "failed", "cancelled"]
Preview = Callable[[np.ndarray], str]
"""Makes a small picture, as a data URI, of [height, width, 3] uint8."""


class Work:
    """Owns one attachment's item and its events. Send what `added` returns, then what the others do; the last are
    those of `completed`, `failed` or `cancelled`."""

    def __init__(self, attachment_id: str, item_id: str, started: AttachmentStarted, preview: Preview) -> None:
        self.id = attachment_id
        self.kind = started.kind
        self.responders_id = started.attachment_id
        self._response_id = started.response_id
        self._preview = preview
        self._part: Json = {"attachment_id": attachment_id, "prompt": started.prompt, "url": None}
        kind = "output_image" if started.kind == "image" else "output_audio_file"
        self.item = Item(item_id, status="in_progress", role="assistant", parts=[Part(kind, shown=self._part)])
        self._previous_id: str | None = None
        self._progress = 0.0
        self._progress_at: float | None = None

    def added(self, conversation: Conversation, after: str | None) -> list[Json]:
        """The item's place is behind the one named, if that is still there."""
        self._previous_id = conversation.add(self.item, after if conversation.has(after) else None)
        return [events.item_added(self.item.to_json(), self._previous_id)]

    def progress(self, output: AttachmentProgress, now_ms: float) -> list[Json]:
        """Nothing if the last one was a moment ago."""
        self._progress = round(min(1.0, max(self._progress, output.progress)), 3)
        if self._progress_at is not None and now_ms - self._progress_at < PROGRESS_EVERY_MS:
            return []
        self._progress_at = now_ms
        thumbnail = None if output.thumbnail is None else self._preview(output.thumbnail)
        return [events.attachment_progress(self.item.id, self._response_id, self._progress, thumbnail)]

    def music(self, output: MusicDelta) -> list[Json]:
        """Sound that can be played already."""
        longest = int(_LONGEST_DELTA_S * output.sample_rate)
        pieces = [output.pcm[at : at + longest] for at in range(0, len(output.pcm), longest)]
        address = (self.item.id, self._response_id)
        return [events.attachment_audio_delta(*address, to_pcm16(piece), output.sample_rate) for piece in pieces]

    def completed(self, kept: Kept) -> list[Json]:
        """It can be fetched."""
        files = {"url": kept.url, "mime_type": kept.mime_type, "bytes": kept.bytes, "thumbnail": kept.thumbnail}
        self._part |= {**files, "alt": self._part["prompt"], **kept.details}
        self.item.status = "completed"
        part = self.item.parts[0].to_json()
        return [events.attachment_completed(self.item.id, self._response_id, part), self._done()]

    def failed(self, code: str, message: str) -> list[Json]:
        self.item.status = "incomplete"
        return [events.attachment_failed(self.item.id, self._response_id, code, message), self._done()]

    def cancelled(self) -> list[Json]:
        """By the client, who need not be told why."""
        self.item.status = "incomplete"
        return [self._done()]

    def _done(self) -> Json:
        return events.item_done(self.item.to_json(), self._previous_id)
