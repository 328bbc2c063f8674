"""What a session wants done. Its runner does it, in the order given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from streaming.camera import Sight
from streaming.events import Json
from streaming.media import Encoded
from streaming.reply import Status
from streaming.types import Kind, MusicDone, Overheard, PictureDone, Request, Usage


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
class PauseAudio:
    """Stop the sound at once, and keep what waits."""


@dataclass(frozen=True, slots=True)
class ResumeAudio:
    """Go on where it was paused."""


@dataclass(frozen=True, slots=True)
class FlushAudio:
    """Stop the sound at once, forget what waits and report what was Played. It ends a pause."""


@dataclass(frozen=True, slots=True, eq=False)
class StartResponse:
    request: Request


@dataclass(frozen=True, slots=True, eq=False)
class ReadAhead:
    """Let the worker hear the user while he speaks."""

    overheard: Overheard


@dataclass(frozen=True, slots=True)
class CancelResponse:
    response_id: str


@dataclass(frozen=True, slots=True)
class CancelAttachment:
    responders_id: str


@dataclass(frozen=True, slots=True)
class DecodeFiles:
    """Give what comes of them to `receive_decoded` before the next event."""

    files: tuple[Encoded, ...]


@dataclass(frozen=True, slots=True)
class DecodeFrame:
    """Give what comes of it to `receive_frame`. One that still waits when the next one comes is forgotten."""

    file: Encoded
    event_id: str | None


@dataclass(frozen=True, slots=True, eq=False)
class KeepAttachment:
    """Make files of it, and give what comes of them to `receive_kept`."""

    attachment_id: str
    made: PictureDone | MusicDone


@dataclass(frozen=True, slots=True)
class ForgetAttachment:
    """Its files are not to be had any more."""

    attachment_id: str


@dataclass(frozen=True, slots=True)
class CloseSession:
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReportReply:
    """A response has ended: for the metrics. `worker_milestones_ms` count from when the request reached the worker, if
    it was heard out."""

    status: Status
    worker_milestones_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class ReportMilestones:
    """How quick an answer to speech was: for the metrics. By the names of streaming.milestones; none comes twice."""

    milestones_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class ReportUsage:
    """The worker has read a prompt, for whatever purpose: for the metrics."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class ReportLook:
    """A turn has begun, and the camera was looked at: for the metrics."""

    sight: Sight


Outcome = Literal["made", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class ReportAttachment:
    """An attachment has ended: for the metrics."""

    kind: Kind
    outcome: Outcome


Action = (
    SendEvent
    | PlayAudio
    | FinishAudio
    | PauseAudio
    | ResumeAudio
    | FlushAudio
    | StartResponse
    | ReadAhead
    | CancelResponse
    | CancelAttachment
    | DecodeFiles
    | DecodeFrame
    | KeepAttachment
    | ForgetAttachment
    | CloseSession
    | ReportReply
    | ReportMilestones
    | ReportUsage
    | ReportLook
    | ReportAttachment
)
