"""Runs one session: performs its actions, feeds it what the peer sends and what the worker makes.

All tasks of a session live in one TaskGroup and end together. Nothing is dropped between the worker and the peer: a
peer that does not take its events makes its own answers wait, and its own events unread, and nobody else's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import numpy as np
from av import VideoFrame

from streaming.actions import (
    Action,
    CancelAttachment,
    CancelResponse,
    CloseSession,
    DecodeFiles,
    DecodeFrame,
    FinishAudio,
    FlushAudio,
    ForgetAttachment,
    KeepAttachment,
    PlayAudio,
    ReportAttachment,
    ReportLook,
    ReportReply,
    SendEvent,
    StartResponse,
)
from streaming.events import Json
from streaming.metrics import Metrics
from streaming.playout import Played, Started, Stopped
from streaming.session import Session
from streaming.studio import FrameSource, Studio
from streaming.types import Abilities, Output, Request

logger = logging.getLogger(__name__)

TICK_S = 0.25
MOST_UNSENT_EVENTS = 256
BURST_S = 5.0
"""A client may send so many seconds' worth of events at once; then it is read no faster than the limit."""


class PeerGone(Exception):
    """The peer cannot be reached any more."""


class _Over(Exception):
    """The session has ended in good order."""


class Worker(Protocol):
    """The asyncio face of the inference process."""

    voices: tuple[str, ...]
    abilities: Abilities
    alive: bool

    def respond(self, request: Request) -> AsyncIterator[Output]:
        """Ends behind Finished or Failed and the end of each attachment that has started."""
        ...

    def cancel(self, response_id: str) -> None: ...

    def cancel_attachment(self, attachment_id: str) -> None: ...

    def close_session(self, session_id: str) -> None: ...


class Transport(Protocol):
    """A way to the peer."""

    name: str

    async def send(self, event: Json) -> None:
        """Waits while the peer takes no more. Raises PeerGone."""
        ...

    async def close(self, code: int, reason: str) -> None: ...


class VoiceTransport(Transport, Protocol):
    """A way to the peer that paces the answer's sound. It calls `SessionRunner.receive_playout`."""

    def play(self, pcm: np.ndarray, response_id: str, item_id: str) -> None:
        """pcm: [samples] float32 at SPEECH_RATE, to be played behind what was given before."""
        ...

    def finish(self, response_id: str) -> None:
        """No more sound of this response comes."""
        ...

    def flush(self) -> list[Played]:
        """Fall silent at once. Returns what had been heard of each response that was cut off."""
        ...


class SessionRunner:
    """Owns the tasks of one session. Await `run`; within it call `open` and the `receive_` methods."""

    def __init__(
        self,
        session: Session,
        worker: Worker,
        transport: Transport | VoiceTransport,
        metrics: Metrics,
        events_per_second: float,
        clock: Callable[[], float] = time.monotonic,
        studio: Studio | None = None,
    ) -> None:
        self.session = session
        self._worker = worker
        self._transport = transport
        self._metrics = metrics
        self._clock = clock
        self._studio = studio or Studio()
        self._undecoded: DecodeFiles | None = None
        self._frame: tuple[FrameSource, str | None] | None = None  # the newest one that nobody has looked at
        self._frame_came = asyncio.Event()
        self._allowance = Allowance(events_per_second, BURST_S * events_per_second)
        self._tasks: asyncio.TaskGroup | None = None
        self._outbox: asyncio.Queue[Json | CloseSession] = asyncio.Queue()  # bounded by those who wait for room
        self._room = asyncio.Event()

    @property
    def sees(self) -> bool:
        """Whether a camera is of any use."""
        return "image" in self._worker.abilities.takes

    async def run(self, peer: Callable[[], Awaitable[None]]) -> None:
        """Run until `peer`, which reads what comes, returns (the peer has gone), or the session closes itself.

        A defect ends this session alone: it is logged, and the peer is told by the code 1011.
        """
        self._metrics.session_opened(self._transport.name)
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._send())
                self._tasks.create_task(self._tick())
                self._tasks.create_task(self._watch())
                await peer()
                raise _Over
        except* (_Over, PeerGone):
            pass
        except* Exception as group:
            logger.exception("session %s dies of a defect", self.session.id, exc_info=group)
            self._metrics.error("internal_error")
            await self._transport.close(1011, "The server made a mistake.")
        finally:
            self._tasks = None
            self._worker.close_session(self.session.id)
            self._metrics.session_closed(self._transport.name)

    def open(self) -> None:
        """The peer can take events now."""
        self.session.open(self._now_ms())
        self._perform()

    async def receive_event(self, message: str | bytes) -> None:
        """Returns when the next one may come."""
        await asyncio.sleep(self._allowance.take(self._clock()))
        self.session.receive_event(message, self._now_ms())
        await self._listen()
        if self._undecoded is not None:
            files, self._undecoded = self._undecoded.files, None
            decoded = [await self._studio.read(file) for file in files]
            self.session.receive_decoded(tuple(decoded), self._now_ms())
            await self._listen()

    async def receive_audio(self, pcm: np.ndarray) -> None:
        """pcm: [samples] float32 at SPEECH_RATE, of the microphone."""
        self.session.receive_audio(pcm, self._now_ms())
        await self._listen()

    def receive_video(self, frame: VideoFrame) -> None:
        """What the camera shows now. Costs nothing unless it is due."""
        if self.session.frame_is_due(self._now_ms()):
            self._offer_frame(frame, None)

    def receive_playout(self, report: Started | Stopped | Played) -> None:
        self.session.receive_playout(report, self._now_ms())
        self._perform()

    # Tasks

    async def _send(self) -> None:
        while True:
            event = await self._outbox.get()
            if isinstance(event, CloseSession):
                await self._transport.close(event.code, event.reason)
                raise _Over
            if event["type"] == "error":
                self._metrics.error(event["error"]["code"])
            await self._transport.send(event)
            if self._outbox.qsize() <= MOST_UNSENT_EVENTS // 2:
                self._room.set()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.session.tick(self._now_ms())
            self._perform()

    async def _watch(self) -> None:
        """Look at the camera's frames, the newest one first, and forget those that came meanwhile."""
        while True:
            await self._frame_came.wait()
            self._frame_came.clear()
            assert self._frame is not None
            (source, event_id), self._frame = self._frame, None
            frame = await self._studio.look(source)
            self.session.receive_frame(frame, self._now_ms(), event_id)
            self._perform()

    async def _keep(self, action: KeepAttachment) -> None:
        kept = await self._studio.keep(action.attachment_id, action.made)
        self.session.receive_kept(action.attachment_id, kept)
        self._perform()

    async def _respond(self, request: Request, outputs: AsyncIterator[Output]) -> None:
        try:
            async for output in outputs:
                self.session.receive_output(output, self._now_ms())
                self._perform()
                await self._wait_for_room()
        finally:
            self._worker.cancel(request.response_id)  # nothing, unless this task was cut off
            if request.session_id != self.session.id:
                self._worker.close_session(request.session_id)

    # Steps

    async def _listen(self) -> None:
        """Let the session look for speech, a second of sound at a time, so that others have their turn."""
        while self.session.listen(self._now_ms()):
            self._perform()
            await asyncio.sleep(0)
        self._perform()
        await self._wait_for_room()

    def _perform(self) -> None:
        # Performing may bring new actions: a flush reports what was played.
        while actions := self.session.actions_to_run():
            for action in actions:
                self._perform_one(action)

    def _perform_one(self, action: Action) -> None:
        assert self._tasks is not None, "the session is not running"
        match action:
            case SendEvent(event):
                self._outbox.put_nowait(event)
            case CloseSession():
                self._outbox.put_nowait(action)
            case StartResponse(request):
                # Submitted here and now: a cancel may follow before the task has begun.
                self._tasks.create_task(self._respond(request, self._worker.respond(request)))
            case CancelResponse(response_id):
                self._worker.cancel(response_id)
            case CancelAttachment(responders_id):
                self._worker.cancel_attachment(responders_id)
            case DecodeFiles():
                self._undecoded = action
            case DecodeFrame(file, event_id):
                self._offer_frame(file, event_id)
            case KeepAttachment():
                self._tasks.create_task(self._keep(action))
            case ForgetAttachment(attachment_id):
                self._studio.forget(attachment_id)
            case ReportLook(sight):
                self._metrics.looked(sight)
            case ReportAttachment(kind, outcome):
                self._metrics.attachment_ended(kind, outcome)
            case ReportReply(status, milestones_ms, worker_milestones_ms):
                self._metrics.replied(status, milestones_ms, worker_milestones_ms)
            case PlayAudio(response_id, item_id, pcm):
                self._voice.play(pcm, response_id, item_id)
            case FinishAudio(response_id):
                self._voice.finish(response_id)
            case FlushAudio():
                for played in self._voice.flush():
                    self.session.receive_playout(played, self._now_ms())

    def _offer_frame(self, source: FrameSource, event_id: str | None) -> None:
        self._frame = (source, event_id)
        self._frame_came.set()

    @property
    def _voice(self) -> VoiceTransport:
        assert hasattr(self._transport, "play"), "only a session whose transport plays sound is paced"
        return self._transport

    async def _wait_for_room(self) -> None:
        while self._outbox.qsize() > MOST_UNSENT_EVENTS:
            self._room.clear()
            await self._room.wait()

    def _now_ms(self) -> float:
        return self._clock() * 1000


class Allowance:
    """How many events may come: `per_second` on average, `burst` at once."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left = burst
        self._at: float | None = None

    def take(self, now_s: float) -> float:
        """Take one. Returns the seconds to wait before it may be used."""
        if self._at is not None:
            self._left = min(self._burst, self._left + (now_s - self._at) * self._per_second)
        self._at = now_s
        self._left -= 1
        return max(0.0, -self._left / self._per_second)
