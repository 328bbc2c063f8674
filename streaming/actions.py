"""What a session wants done. Its runner does it, in the order given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streaming.events import Json
from streaming.reply import Status
from streaming.types import Request


@dataclass(frozen=True, slots=True)
class SendEvent:
    event: Json


@dataclass(frozen=True, slots=True, eq=False)
class PlayAudio:
    response_id: str
    item_id: str
    pcm: np.ndarray  # [samples] float32 at SPEECH_RATE


@dataclass(frozen=True, slots=True)
class FinishAudio:
    """All sound of the response has been given to be played."""

    response_id: str


@dataclass(frozen=True, slots=True)
class FlushAudio:
    """Stop the sound at once, forget what waits and report what was Played."""


@dataclass(frozen=True, slots=True, eq=False)
class StartResponse:
    request: Request


@dataclass(frozen=True, slots=True)
class CancelResponse:
    response_id: str


@dataclass(frozen=True, slots=True)
class CloseSession:
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReportReply:
    """A response has ended: for the metrics. `milestones_ms` count from the end of the user's speech, if he spoke, and
    `worker_milestones_ms` from when the request reached the worker, if it was heard out."""

    status: Status
    milestones_ms: dict[str, float]
    worker_milestones_ms: dict[str, float]


Action = (
    SendEvent
    | PlayAudio
    | FinishAudio
    | FlushAudio
    | StartResponse
    | CancelResponse
    | CloseSession
    | ReportReply
)
