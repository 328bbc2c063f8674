"""The sessions that live, whether a peer is connected to them or may still come back.

A transport is given a `Line` where it needs a runner. Only when its peer can take events is it decided which session
the line belongs to: so a token is used up by the connection that comes about, not by one that was tried.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import numpy as np
from av import VideoFrame

from streaming.fields import ProtocolError
from streaming.metrics import Metrics
from streaming.playout import Played, Started, Stopped
from streaming.runner import Connection, ReadPeer, SessionRunner, Transport, VoiceTransport

NewRunner = Callable[[Transport | VoiceTransport], SessionRunner]

_CLOSE_S = 2.0


class Sessions:
    """Owns the sessions' tasks. Await `close` at the end."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._living: dict[SessionRunner, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._living)

    def begin(self, runner: SessionRunner, connection: Connection) -> None:
        task = asyncio.create_task(runner.live(connection), name=runner.session.id)
        self._living[runner] = task
        task.add_done_callback(lambda _: self._living.pop(runner))

    def claim(self, token: str) -> SessionRunner | None:
        """The session that this token stands for, if it lives. Nobody else can claim it then."""
        runner = next((runner for runner in self._living if runner.session.claim(token)), None)
        if runner is None:
            self._metrics.resume_failed()
        return runner

    def knows(self, token: str) -> bool:
        """Whether `claim` would find a session."""
        return any([runner.session.is_token(token) for runner in self._living])

    async def close(self) -> None:
        """End all sessions."""
        tasks = list(self._living.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Line:
    """A peer's connection to the session that its token stands for, or else to a new one. Await `run`; within it call
    `open` and the `receive_` methods, as with a runner."""

    def __init__(
        self,
        sessions: Sessions,
        transport: Transport | VoiceTransport,
        new_runner: NewRunner,
        token: str | None = None,
        sees: bool = False,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self.sees = sees
        self.failure: ProtocolError | None = None  # why the peer got no older session
        self._sessions = sessions
        self._transport = transport
        self._new_runner = new_runner
        self._token = token
        self._has_room = has_room
        self._runner: SessionRunner | None = None

    async def run(self, peer: ReadPeer) -> None:
        """Until the connection ends. The session may live on."""
        if self._token is not None:
            runner = self._sessions.claim(self._token)
            if runner is not None and await self._hold(runner, peer, resume=True):
                return
            if not self._has_room():  # which nobody who brings a token is asked for at the door
                await self._transport.close(1013, "The session is not there any more, and all places are taken.")
                return
            words = "The session to go on with is not there any more, or its token was used. This is a new one."
            self.failure = ProtocolError("session_resume_failed", words)
        await self._hold(self._new_runner(self._transport), peer, resume=False)

    async def _hold(self, runner: SessionRunner, peer: ReadPeer, resume: bool) -> bool:
        connection = Connection(self._transport, peer)
        self._runner = runner
        if resume:
            runner.resume(connection)
        else:
            self._sessions.begin(runner, connection)
        try:
            await connection.ended.wait()
        finally:
            connection.cut.set()
        if connection.replaced:
            await self._say_goodbye()
        return connection.held

    async def _say_goodbye(self) -> None:
        """To a peer that, if it can hear at all, goes on elsewhere."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._transport.close(1000, "The conversation goes on over another connection.")

    def open(self) -> None:
        self._present.open(self.failure)

    async def receive_event(self, message: str | bytes) -> None:
        await self._present.receive_event(message)

    async def receive_audio(self, pcm: np.ndarray) -> None:
        await self._present.receive_audio(pcm)

    def receive_video(self, frame: VideoFrame) -> None:
        self._present.receive_video(frame)

    def receive_playout(self, report: Started | Stopped | Played) -> None:
        self._present.receive_playout(report)

    @property
    def _present(self) -> SessionRunner:
        assert self._runner is not None, "the line is not running"
        return self._runner
