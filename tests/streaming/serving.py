"""A real server in this process, on a free port of the loopback address, with a scripted worker."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from streaming.access import Doorkeeper
from streaming.app import House, MakeLine, create_app
from streaming.events import Limits
from streaming.settings import SessionSettings
from streaming.transports.webrtc import Calls, SdpError
from streaming.transports.websocket import LingeringProtocol
from tests.streaming.fakes import FakeWorker, Loudness

PAGE = Path(__file__).resolve().parents[2] / "web_client"


class NoCalls:
    """Answers calls without taking them, and remembers who asked."""

    def __init__(self) -> None:
        self.offers: list[str] = []
        self.make_runners: list[MakeLine] = []

    @property
    def coming(self) -> int:
        return len(self.offers)

    async def answer(self, offer_sdp: str, make_runner: MakeLine) -> tuple[str, str]:
        if "m=audio" not in offer_sdp:
            raise SdpError("The offer has no audio line.")
        self.offers.append(offer_sdp)
        self.make_runners.append(make_runner)
        return "rtc_1", "v=0\r\nanswer"

    async def hang_up(self, call_id: str) -> bool:
        return call_id == "rtc_1"


@dataclass(frozen=True, slots=True)
class Served:
    address: str  # host:port
    house: House
    worker: FakeWorker
    calls: Any
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def socket_url(self) -> str:
        return f"ws://{self.address}/v1/realtime"

    async def until_empty(self) -> None:
        """Wait until no session is left."""
        async with asyncio.timeout(10):
            while self.house.metrics.open_sessions:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(
    worker: FakeWorker | None = None,
    limits: Limits | None = None,
    api_keys: tuple[str, ...] = (),
    allowed_origins: tuple[str, ...] = (),
    real_calls: bool = False,
) -> AsyncIterator[Served]:
    worker, limits = worker or FakeWorker(), limits or Limits()
    calls = Calls(limits) if real_calls else NoCalls()
    settings = SessionSettings(worker.voices, worker.voices[0])
    house = House(worker, Loudness, settings, limits, "nano")
    app = create_app(house, Doorkeeper(api_keys, allowed_origins), calls, PAGE, allowed_origins)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            ws=LingeringProtocol,
            ws_max_size=limits.message_bytes,
            ws_per_message_deflate=False,
            log_level="warning",
            lifespan="off",
        )
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        task = asyncio.create_task(server._serve([listening]))  # `serve` would take over the signals
        try:
            async with asyncio.timeout(10):
                while not server.started:
                    await asyncio.sleep(0.01)
            host, port = listening.getsockname()
            yield Served(f"{host}:{port}", house, worker, calls, server)
        finally:
            if real_calls:
                await calls.close()
            server.should_exit = server.force_exit = True
            await task
            await house.sessions.close()
