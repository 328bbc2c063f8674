"""Attachments being made: drawings and tunes that are made beside a response, each in an item of its own.

Their events are those of the protocol's extensions, in this order: added, any number of progress, completed or failed,
done. They come whenever they come, before or after the end of the response, and hold nothing up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streaming import events
from streaming.actions import CancelAttachment, ForgetAttachment, KeepAttachment, Outcome, ReportAttachment
from streaming.conversation import Conversation, Item, Part
from streaming.events import Json, Limits
from streaming.fields import ProtocolError
from streaming.media import Kept
from streaming.outbox import Outbox
from streaming.pcm import to_pcm16
from streaming.types import (
    AttachmentFailed,
    AttachmentOutput,
    AttachmentProgress,
    AttachmentStarted,
    MusicDelta,
    MusicDone,
    PictureDone,
)

PROGRESS_EVERY_MS = 300
_LONGEST_DELTA_S = 0.4  # in base64 it fits a data channel's message at 48 kHz, too

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


class Works:
    """Owns the attachments being made. `start` or `refuse` each; `receive` what the responder makes of it, at last
    `receive_kept` when it is in files, unless it is cancelled before."""

    def __init__(
        self,
        outbox: Outbox,
        conversation: Conversation,
        limits: Limits,
        new_id: Callable[[str], str],
        preview: Preview,
    ) -> None:
        self._outbox = outbox
        self._conversation = conversation
        self._limits = limits
        self._new_id = new_id
        self._preview = preview
        self._making: dict[str, Work] = {}  # by the responder's id
        self._keeping: dict[str, Work] = {}  # by its own id: made, not yet in files

    def start(self, started: AttachmentStarted, after: str | None) -> Item | None:
        """Its item, behind the one named. None where there is no room for it."""
        if len(self._conversation) >= self._limits.items or len(self._making) >= self._limits.works:
            self.refuse(started)
            return None
        work = Work(self._new_id("att"), self._new_id("item"), started, self._preview)
        self._making[started.attachment_id] = work
        self._outbox.send(*work.added(self._conversation, after))
        return work.item

    def refuse(self, started: AttachmentStarted) -> None:
        self._outbox.do(CancelAttachment(started.attachment_id))

    def receive(self, output: AttachmentOutput, now_ms: float) -> bool:
        """More of one that was started. False if it has been cancelled."""
        work = self._making.get(output.attachment_id)
        if work is None:
            return False
        match output:
            case AttachmentProgress():
                self._outbox.send(*work.progress(output, now_ms))
            case MusicDelta():
                self._outbox.send(*work.music(output))
            case PictureDone() | MusicDone():
                del self._making[output.attachment_id]
                work.item.tokens = output.tokens
                self._keeping[work.id] = work
                self._outbox.do(KeepAttachment(work.id, output))
            case AttachmentFailed(code=code, message=message):
                del self._making[output.attachment_id]
                self._end(work, "failed", work.failed(code, message))
        return True

    def receive_kept(self, attachment_id: str, kept: Kept | ProtocolError) -> None:
        """What came of KeepAttachment."""
        work = self._keeping.pop(attachment_id, None)
        if work is None:  # cancelled
            self._outbox.do(ForgetAttachment(attachment_id))
        elif isinstance(kept, ProtocolError):
            self._end(work, "failed", work.failed(kept.code, kept.message))
        else:
            self._end(work, "made", work.completed(kept))

    def cancel(self, item_id: str) -> bool:
        """Whether this item is one that was still being made."""
        unfinished = (*self._making.values(), *self._keeping.values())
        work = next((work for work in unfinished if work.item.id == item_id), None)
        if work is None:
            return False
        if self._making.pop(work.responders_id, None) is not None:
            self._outbox.do(CancelAttachment(work.responders_id))
        self._keeping.pop(work.id, None)
        self._end(work, "cancelled", work.cancelled())
        return True

    def _end(self, work: Work, outcome: Outcome, messages: list[Json]) -> None:
        self._outbox.send(*messages)
        self._outbox.do(ReportAttachment(work.kind, outcome))
