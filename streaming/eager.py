"""An answer that is made before it is sure that the user has finished. Nobody hears of it until that is sure."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from streaming.actions import CancelAttachment, CancelResponse, StartResponse
from streaming.outbox import Outbox
from streaming.types import (
    AttachmentFailed,
    AttachmentStarted,
    Failed,
    MusicDone,
    Output,
    PictureDone,
    Request,
    TranscriptDone,
    Turn,
)


class EagerReply:
    """Owns what the worker has made of a turn that may not be over. `hold` each output; then either take `outputs`
    over, if it `answers` the request that is made then, or cancel it, its `attachments` too."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.outputs: list[tuple[Output, float]] = []  # each with when it came, in ms
        self.transcript: str | None = None  # once all of the user's words are known
        self.attachments: set[str] = set()  # that are being made

    @property
    def response_id(self) -> str:
        return self.request.response_id

    def hold(self, output: Output, now_ms: float) -> None:
        self.outputs.append((output, now_ms))
        match output:
            case TranscriptDone(text=text):
                self.transcript = text
            case AttachmentStarted(attachment_id=attachment_id):
                self.attachments.add(attachment_id)
            case PictureDone() | MusicDone() | AttachmentFailed():
                self.attachments.discard(output.attachment_id)

    def answers(self, request: Request) -> bool:
        """Whether a request, of whatever id, asks for just this. An answer that has failed is none."""
        same = all(
            getattr(self.request, field.name) == getattr(request, field.name)
            for field in fields(Request)
            if field.name not in ("response_id", "turns")
        )
        turns, others = self.request.turns, request.turns
        same = same and len(turns) == len(others) and all(map(_same, turns, others))
        return same and not any(isinstance(output, Failed) for output, _ in self.outputs)


class EagerReplies:
    """Owns the eager answer to the turn that may be over, if there is one. `start` it and let it `hold` its outputs;
    then `take_over` what answers the request that is made when the turn is over, or `withdraw` it."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._reply: EagerReply | None = None

    @property
    def waiting(self) -> bool:
        """Whether there is one."""
        return self._reply is not None

    @property
    def transcript(self) -> str | None:
        """What the user has said, once that is known."""
        return self._reply.transcript if self._reply is not None else None

    def start(self, request: Request) -> None:
        self._reply = EagerReply(request)
        self._outbox.do(StartResponse(request))

    def hold(self, output: Output, now_ms: float) -> bool:
        """Whether it is an output of the eager answer."""
        if self._reply is None or output.response_id != self._reply.response_id:
            return False
        self._reply.hold(output, now_ms)
        return True

    def take_over(self, request: Request) -> EagerReply | None:
        """The eager answer to just this request. One to anything else is withdrawn."""
        if self._reply is None or not self._reply.answers(request):
            self.withdraw()
            return None
        reply, self._reply = self._reply, None
        return reply

    def withdraw(self) -> None:
        """It is to none of the user's questions: it has not been."""
        reply, self._reply = self._reply, None
        if reply is None:
            return
        self._outbox.do(CancelResponse(reply.response_id))
        for attachment_id in sorted(reply.attachments):
            self._outbox.do(CancelAttachment(attachment_id))


def _same(one: Turn, other: Turn) -> bool:
    pairs = ((getattr(one, field.name), getattr(other, field.name)) for field in fields(Turn))
    return all(mine is theirs or _equal(mine, theirs) for mine, theirs in pairs)


def _equal(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return type(one) is type(other) and one == other
