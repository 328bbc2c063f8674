"""A bad network for calls on one machine: a relay that loses, delays and reorders their RTP packets."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

_CANDIDATE = re.compile(r"^a=candidate:\S+ \d+ udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) typ host.*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Link:
    """How one direction treats packets of RTP. What sets a call up, keeps it and reports on it passes unharmed."""

    loss: float = 0.0  # share of packets
    burst: float = 1.0  # how many are lost at once, on average (Gilbert's model); 1: each by itself
    delay_ms: float = 0.0
    jitter_ms: float = 0.0  # each packet is delayed by up to so much more
    overtaken: float = 0.0  # share of packets that two others overtake
    unharmed: int = 0  # so many at first

    def fates(self, seed: int) -> Iterator[float | None]:
        """Packet by packet: its delay in s, or None if it is lost."""
        chance = random.Random(seed)
        enter = self.loss / (self.burst * (1 - self.loss)) if self.loss < 1 else 1.0
        lost = False
        for _ in range(self.unharmed):
            yield self.delay_ms / 1000
        while True:
            lost = chance.random() < (1 - 1 / self.burst if lost and self.burst > 1 else enter)
            delay = self.delay_ms + chance.uniform(0, self.jitter_ms) + 50 * (chance.random() < self.overtaken)
            yield None if lost else delay / 1000


class Relay:
    """Stands between a caller and who answered. `open` it on the SDP answer, whose peer must not know the caller's own
    addresses, give the caller `sdp`, and `close` at the end."""

    def __init__(self, server: tuple[str, int], up: Link, down: Link, seed: int) -> None:
        self.sdp = ""
        self._server = server
        self._fates = (up.fates(seed), down.fates(seed + 1))
        self._sides: list[_Side] = []
        self._caller: tuple[str, int] | None = None

    @classmethod
    async def open(cls, answer_sdp: str, up: Link, down: Link | None = None, seed: int = 0) -> Relay:
        """up: from the caller. Raises ValueError when the answer holds no address to relay to."""
        known = [match for line in answer_sdp.splitlines() if (match := _CANDIDATE.match(line))]
        if not known:
            raise ValueError("the SDP answer has no candidate with an IPv4 address")
        host, port = known[0].group(1), int(known[0].group(2))
        relay = cls((host, port), up, down or Link(), seed)
        loop = asyncio.get_running_loop()
        for send in (relay._from_caller, relay._from_server):
            _, side = await loop.create_datagram_endpoint(lambda send=send: _Side(send), local_addr=(host, 0))
            relay._sides.append(side)
        relay.sdp = _with_one_candidate(answer_sdp, known[0].group(0), port, relay._sides[0].port)
        return relay

    def close(self) -> None:
        for side in self._sides:
            side.transport.close()

    def _from_caller(self, data: bytes, address: tuple[str, int]) -> None:
        self._caller = address
        self._pass(data, self._sides[1], self._server, self._fates[0])

    def _from_server(self, data: bytes, address: tuple[str, int]) -> None:
        if self._caller is not None:
            self._pass(data, self._sides[0], self._caller, self._fates[1])

    def _pass(self, data: bytes, side: _Side, to: tuple[str, int], fates: Iterator[float | None]) -> None:
        delay = next(fates) if _is_rtp(data) else 0.0
        if delay:
            asyncio.get_running_loop().call_later(delay, side.send, data, to)
        elif delay is not None:
            side.send(data, to)


class _Side(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def __init__(self, receive: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._receive = receive

    @property
    def port(self) -> int:
        return self.transport.get_extra_info("sockname")[1]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # uvloop's own is no subclass of it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._receive(data, addr)

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        if not self.transport.is_closing():
            self.transport.sendto(data, to)


def _is_rtp(data: bytes) -> bool:
    """And no RTCP, DTLS or STUN (RFC 7983, section 7; RFC 5761, section 4)."""
    return len(data) > 1 and 128 <= data[0] < 192 and not 192 <= data[1] < 224


def _with_one_candidate(sdp: str, line: str, port: int, relay_port: int) -> str:
    relayed = line.replace(f" {port} typ", f" {relay_port} typ", 1)
    kept = [relayed if each == line else each for each in sdp.splitlines() if each == line or "candidate:" not in each]
    return "\r\n".join(kept) + "\r\n"


def without_candidates(offer_sdp: str) -> str:
    """So that who answers knows no way around the relay."""
    return "\r\n".join(line for line in offer_sdp.splitlines() if "candidate" not in line) + "\r\n"
