"""The inference process and its asyncio face.

A Responder runs in a spawned process and talks to this one over one socket pair that carries length-prefixed pickles:
commands one way, lists of outputs the other. Here the socket belongs to the event loop, which therefore never waits
for the model; there the loop drains commands, does one step of work and sends what came of it, and blocks on the
socket when there is nothing to do. Neither side has threads, but for one there that waits for the end of this one.

What is bounded, and what happens when it is full:
* responses that run or wait: one more than `max_responses` ends at once in Failed(code="overloaded");
* outputs that wait for their consumer: a response with more than `max_waiting_outputs` of them is cancelled and ends
  in Failed(code="slow_consumer"). It does not hold generation up, because that would hold up everybody else's;
* speech that is overheard ahead of its request: dropped while the process is so busy that commands pile up;
* the socket: the event loop reads it whatever the consumers do. If the loop itself falls behind, generation waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import pickle
import select
import signal
import socket
import struct
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from streaming.types import (
    Abilities,
    AttachmentFailed,
    AttachmentStarted,
    Failed,
    Finished,
    MusicDone,
    Output,
    Overheard,
    PictureDone,
    Request,
    Responder,
)

logger = logging.getLogger(__name__)

_LENGTH = struct.Struct("!I")
_MOST_UNREAD_BYTES = 256 << 10
"""Commands that the process has not read, beyond what the socket holds; then nothing is overheard."""


class WorkerError(Exception):
    """The inference process could not be started; the message says why.

    A factory raises it too, for what is no defect: then the message is all that is said, without a traceback.
    """


# What the process is told and what it answers -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Submit:
    request: Request


@dataclass(frozen=True, slots=True)
class _Overhear:
    overheard: Overheard


@dataclass(frozen=True, slots=True)
class _Cancel:
    response_id: str


@dataclass(frozen=True, slots=True)
class _CancelAttachment:
    attachment_id: str


@dataclass(frozen=True, slots=True)
class _CloseSession:
    session_id: str


@dataclass(frozen=True, slots=True)
class _Ready:
    voices: tuple[str, ...]
    abilities: Abilities


@dataclass(frozen=True, slots=True)
class _Broken:
    """The responder raised; nothing follows."""

    reason: str


_Command = _Submit | _Overhear | _Cancel | _CancelAttachment | _CloseSession


# The process ----------------------------------------------------------------------------------------------------------


class _Channel:
    """The process's blocking end of the socket pair."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._reader = end.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def receive(self) -> _Command | None:
        """Wait for a command. None: the other side is gone."""
        header = self._read(_LENGTH.size)
        body = self._read(_LENGTH.unpack(header)[0]) if header else None
        return None if body is None else pickle.loads(body)

    def send(self, message: _Ready | _Broken | list[Output]) -> None:
        self._socket.sendall(_pack(message))

    def _read(self, size: int) -> bytes | None:
        data = bytearray()
        while len(data) < size:
            try:
                piece = self._reader.read(size - len(data))
            except ConnectionError:
                return None
            if not piece:
                return None
            data += piece
        return bytes(data)


def _pack(message: object) -> bytes:
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


def _run_process(end: socket.socket, factory: bytes) -> None:
    # Ctrl-C in a terminal reaches the whole process group. The server then closes its end of the socket in good order:
    # this process sees the end of the stream and leaves. A server that is killed may be so while a model is being
    # loaded, or a long step done, when nobody looks at the socket.
    threading.Thread(target=_leave_with_the_server, name="server's end", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    channel = _Channel(end)
    try:
        responder: Responder = pickle.loads(factory)()
        channel.send(_Ready(tuple(responder.voices), getattr(responder, "abilities", Abilities())))
        _serve(channel, responder)
    except (BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:
        if not isinstance(error, WorkerError):
            traceback.print_exc()
        channel.send(_Broken(_in_words(error)))
        raise SystemExit(1) from None


def _leave_with_the_server() -> None:
    server = multiprocessing.parent_process()
    assert server is not None
    server.join()
    os._exit(1)


def _serve(channel: _Channel, responder: Responder) -> None:
    while True:
        while responder.idle or channel.readable():
            command = channel.receive()
            if command is None:
                return
            _obey(command, responder)
        outputs = responder.step()
        if outputs:
            channel.send(outputs)


def _obey(command: _Command, responder: Responder) -> None:
    match command:
        case _Submit(request):
            responder.submit(request)
        case _Overhear(overheard):
            responder.overhear(overheard)
        case _Cancel(response_id):
            responder.cancel(response_id)
        case _CancelAttachment(attachment_id):
            responder.cancel_attachment(attachment_id)
        case _CloseSession(session_id):
            responder.close_session(session_id)


def _in_words(error: Exception) -> str:
    return str(error) or type(error).__name__


# The face -------------------------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class _Response:
    """One response on its way: an async iterator of its outputs that ends behind Finished or Failed and behind the end
    of each attachment that has started."""

    request: Request
    sent: bool = False  # to the process that runs now
    outputs: deque[Output] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    answered: bool = False
    making: set[str] = field(default_factory=set)  # attachments

    @property
    def ended(self) -> bool:
        """Nothing more comes in."""
        return self.answered and not self.making

    def put(self, output: Output) -> None:
        match output:
            case AttachmentStarted():
                self.making.add(output.attachment_id)
            case PictureDone() | MusicDone() | AttachmentFailed():
                self.making.discard(output.attachment_id)
            case Finished() | Failed():
                self.answered = True
        self.outputs.append(output)
        self.arrived.set()

    def __aiter__(self) -> _Response:
        return self

    async def __anext__(self) -> Output:
        while not self.outputs:
            if self.ended:
                raise StopAsyncIteration
            self.arrived.clear()
            await self.arrived.wait()
        return self.outputs.popleft()


class Worker:
    """Owns the inference process. Call `start` next, and `close` at the end.

    `factory` makes the responder inside the process; it must be picklable (a module's function, or a functools.partial
    of one). A process that dies is started again after a delay that doubles up to `longest_restart_delay_s`. Responses
    that it was working on end in Failed(code="worker_restarted"); those that came afterwards wait for the new one, and
    end in Failed(code="worker_unavailable") if it does not start either.
    """

    def __init__(
        self,
        factory: Callable[[], Responder],
        *,
        start_timeout_s: float = 120.0,
        restart_delay_s: float = 0.1,
        longest_restart_delay_s: float = 30.0,
        max_responses: int = 64,
        max_waiting_outputs: int = 2048,
    ) -> None:
        self._factory = pickle.dumps(factory)
        self._start_timeout_s = start_timeout_s
        self._restart_delay_s = restart_delay_s
        self._longest_restart_delay_s = longest_restart_delay_s
        self._max_responses = max_responses
        self._max_waiting_outputs = max_waiting_outputs
        self._responses: dict[str, _Response] = {}
        self._process: multiprocessing.process.BaseProcess | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._unavailable = "The worker was not started."  # why nothing can be asked of it; "" while something can
        self.voices: tuple[str, ...] = ()
        self.abilities = Abilities()
        self.alive = False
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The process's id, None before it was started."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the process and wait until its responder is ready. Raises WorkerError with the reason if it is not."""
        await self._launch()
        self._supervisor = asyncio.create_task(self._supervise(), name="inference worker")

    def respond(self, request: Request) -> _Response:
        """Submit the request at once and return its outputs, an async iterator with exactly one Finished or Failed, and
        one end of each attachment.

        Raises ValueError if a response of this id is running.
        """
        if request.response_id in self._responses:
            raise ValueError(f"response {request.response_id} is already running")
        response = _Response(request)
        if self._unavailable:
            response.put(Failed(request.response_id, "worker_unavailable", self._unavailable))
        elif len(self._responses) >= self._max_responses:
            response.put(Failed(request.response_id, "overloaded", "Too many answers are being made at once."))
        else:
            self._responses[request.response_id] = response
            if self.alive:
                self._submit(response)
        return response

    def overhear(self, overheard: Overheard) -> None:
        """Let the responder read ahead. Dropped where it would have to wait."""
        if self.alive and self._unread_bytes <= _MOST_UNREAD_BYTES:
            self._send(_Overhear(overheard))

    def cancel(self, response_id: str) -> None:
        """Ask for an early end; the response then ends in Finished(reason="cancelled"). Unknown ids are ignored."""
        response = self._responses.get(response_id)
        if response is None:
            return
        if response.sent:
            self._send(_Cancel(response_id))
        else:
            del self._responses[response_id]
            response.put(Finished(response_id, "cancelled", "", (), ()))

    def cancel_attachment(self, attachment_id: str) -> None:
        """Ask for its early end. Unknown ids are ignored."""
        if any(attachment_id in response.making for response in self._responses.values()):
            self._send(_CancelAttachment(attachment_id))

    def close_session(self, session_id: str) -> None:
        """Cancel what runs for the session and let the responder forget it."""
        for response in [r for r in self._responses.values() if r.request.session_id == session_id]:
            self.cancel(response.request.response_id)
        if self.alive:
            self._send(_CloseSession(session_id))

    async def close(self) -> None:
        """End the process. Running responses end in Failed(code="worker_unavailable")."""
        self._unavailable = "The server is shutting down."
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        await self._reap()
        self._fail(list(self._responses.values()), "worker_unavailable", self._unavailable)

    # Outgoing

    def _submit(self, response: _Response) -> None:
        response.sent = True
        self._send(_Submit(response.request))

    def _send(self, command: _Command) -> None:
        # Bounded without waiting: at most one request and one cancel for each of `max_responses`, and what `overhear`
        # lets in.
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(_pack(command))

    @property
    def _unread_bytes(self) -> int:
        return 0 if self._writer is None else self._writer.transport.get_write_buffer_size()

    # Incoming

    async def _receive(self) -> _Ready | _Broken | list[Output]:
        assert self._reader is not None
        header = await self._reader.readexactly(_LENGTH.size)
        return pickle.loads(await self._reader.readexactly(_LENGTH.unpack(header)[0]))

    async def _deliver_until_it_dies(self) -> str:
        """Hand outputs to their responses. Returns why the process can send no more."""
        try:
            while True:
                message = await self._receive()
                if isinstance(message, _Broken):
                    return message.reason
                assert isinstance(message, list)
                for output in message:
                    self._deliver(output)
        except (asyncio.IncompleteReadError, ConnectionError):
            return "The inference process ended unexpectedly."

    def _deliver(self, output: Output) -> None:
        response = self._responses.get(output.response_id)
        if response is None:
            return
        if len(response.outputs) >= self._max_waiting_outputs:
            self._send(_Cancel(output.response_id))
            for attachment_id in response.making:
                self._send(_CancelAttachment(attachment_id))
            response.outputs.clear()
            self._fail([response], "slow_consumer", "The answer was not taken as fast as it was made.")
            return
        response.put(output)
        if response.ended:
            del self._responses[output.response_id]

    def _fail(self, responses: list[_Response], code: str, message: str) -> None:
        for response in responses:
            response_id = response.request.response_id
            del self._responses[response_id]
            for attachment_id in list(response.making):
                response.put(AttachmentFailed(response_id, attachment_id, code, message))
            if not response.answered:
                response.put(Failed(response_id, code, message))

    # The life of the process

    async def _launch(self) -> None:
        try:
            await self._start_process()
        except asyncio.CancelledError:
            await self._reap()
            raise

    async def _start_process(self) -> None:
        here, there = socket.socketpair()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_run_process, args=(there, self._factory), name="inference", daemon=True)
        starting = asyncio.ensure_future(asyncio.to_thread(_start_deaf_to_ctrl_c, self._process))
        try:
            await asyncio.shield(starting)
        finally:
            await starting  # cut off or not: what has begun to start can be ended only when it has
            there.close()
        self._reader, self._writer = await asyncio.open_unix_connection(sock=here)
        try:
            async with asyncio.timeout(self._start_timeout_s):
                message = await self._receive()
        except TimeoutError:
            message = _Broken(f"The model was not ready after {self._start_timeout_s:.0f} s.")
        except (asyncio.IncompleteReadError, ConnectionError):
            message = _Broken("The inference process ended while it was starting.")
        if isinstance(message, _Broken):
            await self._reap()
            raise WorkerError(message.reason)
        assert isinstance(message, _Ready)
        self.voices, self.abilities = message.voices, message.abilities
        self.alive = True
        self._unavailable = ""
        for response in self._responses.values():
            self._submit(response)

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        delay_s = self._restart_delay_s
        while True:
            started_at = loop.time()
            reason = await self._deliver_until_it_dies()
            self.alive = False
            exit_code = await self._reap()
            logger.error("the inference process died (exit code %s) and is started again: %s", exit_code, reason)
            running = [response for response in self._responses.values() if response.sent]
            self._fail(running, "worker_restarted", f"The model had to be restarted. {reason}")
            if loop.time() - started_at > self._longest_restart_delay_s:
                delay_s = self._restart_delay_s
            delay_s = await self._launch_again(delay_s)
            self.restarts += 1

    async def _launch_again(self, delay_s: float) -> float:
        """Try until a process is ready. Returns the delay before the next attempt, should it be needed soon."""
        while True:
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, self._longest_restart_delay_s)
            try:
                await self._launch()
                return delay_s
            except WorkerError as error:
                logger.error("the inference process does not start: %s", error)
                self._unavailable = f"The model does not start: {error}"
                self._fail(list(self._responses.values()), "worker_unavailable", self._unavailable)

    async def _reap(self) -> int | None:
        """Close the socket, give the process two seconds to leave, then end it. Returns its exit code."""
        self.alive = False
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        process = self._process
        if process is None or process.pid is None:
            return None
        return await asyncio.shield(asyncio.to_thread(_end, process))


def _start_deaf_to_ctrl_c(process: multiprocessing.process.BaseProcess) -> None:
    # A process inherits the signal mask of the thread that starts it. Without this, Ctrl-C during the seconds in which
    # the process imports its modules would end it with a traceback.
    assert threading.current_thread() is not threading.main_thread()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _end(process: multiprocessing.process.BaseProcess) -> int | None:
    process.join(2)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode


@contextlib.contextmanager
def cut_off_by(number: signal.Signals) -> Iterator[None]:
    """A signal cancels the task that is in here, so that the processes it started end with it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(number)
