"""The real server in this process, with a scripted model, whose connections break as a bad network breaks them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from streaming.events import Limits
from streaming.types import Output, Request
from tests.streaming.fakes import FakeWorker, answer
from tests.streaming.serving import Served, serving


@dataclass(frozen=True, slots=True)
class Breakable:
    served: Served
    loop: asyncio.AbstractEventLoop

    def break_sockets(self) -> None:
        """Every TCP connection to the server is reset."""
        self.loop.call_soon_threadsafe(lambda: [one.transport.abort() for one in self._connections()])

    def break_calls(self) -> None:
        """From now on the packets of the calls that there are get lost, both ways."""
        self.loop.call_soon_threadsafe(self._break_calls)

    def _connections(self) -> list[asyncio.Protocol]:
        return list(self.served.server.server_state.connections)

    def _break_calls(self) -> None:
        for call, _ in self.served.calls._calls.values():
            for protocol in call._connection.sctp.transport.transport._connection._protocols:
                protocol.send_stun = protocol.datagram_received = lambda *_: None
                protocol.send_data = _lose


async def _lose(*_: object) -> None: ...


@contextmanager
def breakable(
    script: Callable[[Request], Iterable[Output]] = answer, hold: int | None = None, limits: Limits | None = None
) -> Iterator[Breakable]:
    """Runs in a thread of its own: the browser is driven by this one."""
    ready, over = threading.Event(), threading.Event()
    found: list[Breakable] = []

    async def serve() -> None:
        async with serving(FakeWorker(script, hold), limits, real_calls=True) as served:
            found.append(Breakable(served, asyncio.get_running_loop()))
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(20), "the server did not start"
        yield found[0]
    finally:
        over.set()
        thread.join(20)
