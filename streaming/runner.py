"""Runs one session: performs its actions, feeds it what the peer sends and what the worker makes.

All tasks of a session live in one TaskGroup and end together; those of a connection live in another one inside it, for
a session that may be resumed outlives its connections. Nothing is dropped between the worker and the peer: a peer that
does not take its events makes its own answers wait, and its own events unread, and nobody else's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
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
    PauseAudio,
    PlayAudio,
    ReadAhead,
    ReportAttachment,
    ReportLook,
    ReportMilestones,
    ReportReply,
    ReportUsage,
    ResumeAudio,
    SendEvent,
    StartResponse,
)
from streaming.events import Json
from streaming.fields import ProtocolError
from streaming.metrics import Metrics
from streaming.playout import Played, Started, Stopped
from streaming.session import Session
from streaming.studio import FrameSource, Studio
from streaming.types import Abilities, Output, Overheard, Request

logger = logging.getLogger(__name__)

TICK_S = 0.25
MOST_UNSENT_EVENTS = 256
BURST_S = 5.0
"""A client may send so many seconds' worth of events at once; then it is read no faster than the limit."""

VERDICT_S = 0.25
"""When sending fails, reading soon shows whether the peer has left or is lost."""

ReadPeer = Callable[[], Awaitable[None]]
"""Gives the runner what comes. Returns when the peer has left; raises PeerGone when it is lost without a word."""


class PeerGone(Exception):
    """The peer cannot be reached any more."""


class _Over(Exception):
    """The session has ended in good order."""


@dataclass(slots=True, eq=False)
class Connection:
    """A way to the peer and what reads from it, for as long as a session has it."""

    transport: Transport | VoiceTransport
    read: ReadPeer
    held: bool = False  # a session has, or had, it
    cut: asyncio.Event = field(default_factory=asyncio.Event)  # set it to end it as if it were lost
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # the session has done with it
    replaced: bool = False  # by a newer one, while it may have been alive


class Worker(Protocol):
    """The asyncio face of the inference process."""

    voices: tuple[str, ...]
    abilities: Abilities
    alive: bool
    restarts: int  # since the start

    def respond(self, request: Request) -> AsyncIterator[Output]:
        """Ends behind Finished or Failed and the end of each attachment that has started."""
        ...

    def overhear(self, overheard: Overheard) -> None:
        """Called only if `abilities` say so. Never waits; what there is no room for is dropped."""
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

    def pause(self) -> None:
        """Fall silent at once, and keep what was given."""
        ...

    def resume(self) -> None:
        """Go on where it was paused."""
        ...

    @property
    def silent_s(self) -> float:
        """For how long nothing has been heard of the peer, as far as that is known."""
        ...

    def flush(self) -> list[Played]:
        """Fall silent at once. Returns what had been heard of each response that was cut off. It ends a pause."""
        ...


class SessionRunner:
    """Owns the tasks of one session. Await `run`; within it call `open` and the `receive_` methods.

    A session that may be resumed goes on when its connection is lost; then, or before the loss is noticed, `resume` it
    with another one. Once its token was claimed, that is.
    """

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
        self._connection: Connection | None = None  # None: it is lost
        self._newer: asyncio.Queue[Connection] = asyncio.Queue()
        self._is_open = False
        self._is_over = False
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

    async def run(self, peer: ReadPeer) -> None:
        """Run until `peer` returns, or the session closes itself, or its connection is lost and nobody resumes it.

        A defect ends this session alone: it is logged, and the peer is told by the code 1011.
        """
        await self.live(Connection(self._transport, peer))

    async def live(self, connection: Connection) -> None:
        """`run` for who wants to know of the end of this first connection."""
        self._metrics.session_opened(self._transport.name)
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._tick())
                self._tasks.create_task(self._watch())
                while True:
                    await self._hold(connection)
                    connection = await self._newer.get()
        except* _Over:
            pass
        except* Exception as group:
            logger.exception("session %s dies of a defect", self.session.id, exc_info=group)
            self._metrics.error("internal_error")
            if self._connection is not None:
                await self._transport.close(1011, "The server made a mistake.")
        finally:
            self._is_over = True
            self._tasks = None
            self._worker.close_session(self.session.id)
            self._metrics.session_closed(self._transport.name if self._connection is not None else None)
            connection.ended.set()
            while not self._newer.empty():
                self._newer.get_nowait().ended.set()

    def resume(self, connection: Connection) -> None:
        """Go on over another connection; one that the session still has is given up. Too late: it ends unheld."""
        if self._is_over:
            connection.ended.set()
            return
        self._newer.put_nowait(connection)
        if self._connection is not None:
            self._connection.replaced = True
            self._connection.cut.set()

    def open(self, failure: ProtocolError | None = None) -> None:
        """The peer can take events now. `failure`: why it got no older session."""
        if self._is_open:
            self.session.resume(self._now_ms(), paced=hasattr(self._transport, "play"))
        else:
            self._is_open = True
            self.session.open(self._now_ms(), failure)
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

    # The connection

    async def _hold(self, connection: Connection) -> None:
        """Returns when it is lost and the session is worth keeping."""
        self._connection, self._transport, connection.held = connection, connection.transport, True
        if self._is_open:
            self._metrics.session_resumed(self._transport.name)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send())
                tasks.create_task(self._until_cut(connection))
                await connection.read()
                raise _Over
        except* PeerGone:
            if not (self.session.resumable and self._is_open):
                raise _Over from None
            self._lose()
            connection.ended.set()

    async def _until_cut(self, connection: Connection) -> None:
        await connection.cut.wait()
        raise PeerGone

    async def _send(self) -> None:
        while True:
            event = await self._outbox.get()
            if isinstance(event, CloseSession):
                await self._transport.close(event.code, event.reason)
                raise _Over
            if event["type"] == "error":
                self._metrics.error(event["error"]["code"])
            try:
                await self._transport.send(event)
            except PeerGone:
                await asyncio.sleep(VERDICT_S)
                raise
            if event["type"] == "response.output_audio.delta":
                self.session.receive_departure(event["response_id"], self._now_ms())
                self._perform()
            if self._outbox.qsize() <= MOST_UNSENT_EVENTS // 2:
                self._room.set()

    def _lose(self) -> None:
        self._metrics.session_lost(self._transport.name)
        unsent = []
        while not self._outbox.empty():
            unsent.append(self._outbox.get_nowait())
        self._room.set()
        unsent_events = [event for event in unsent if not isinstance(event, CloseSession)]
        self.session.lose(self._now_ms(), unsent_events, 1000 * getattr(self._transport, "silent_s", 0.0))
        self._perform()
        self._connection, self._undecoded, self._frame = None, None, None

    # Tasks

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
            if self._frame is None:  # forgotten with its connection
                continue
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
                if self._connection is None:
                    raise _Over
                self._outbox.put_nowait(action)
            case StartResponse(request):
                # Submitted here and now: a cancel may follow before the task has begun.
                self._tasks.create_task(self._respond(request, self._worker.respond(request)))
            case ReadAhead(overheard):
                self._worker.overhear(overheard)
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
            case ReportReply(status, worker_milestones_ms):
                self._metrics.replied(status, worker_milestones_ms)
            case ReportMilestones(milestones_ms):
                self._metrics.answered_speech(milestones_ms)
            case ReportUsage(usage):
                self._metrics.prompted(usage)
            case PlayAudio(response_id, item_id, pcm):
                self._voice.play(pcm, response_id, item_id)
            case FinishAudio(response_id):
                self._voice.finish(response_id)
            case PauseAudio():
                self._voice.pause()
            case ResumeAudio():
                self._voice.resume()
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
