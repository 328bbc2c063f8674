"""The peer's microphone: from the RTP packets of a call to one unbroken stream of sound at SPEECH_RATE."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
from aiortc.jitterbuffer import JitterBuffer as AiortcJitterBuffer
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtp import RtpPacket

from streaming.jitter import Counts, JitterBuffer, Packet
from streaming.playout import RTP_RATE
from streaming.transports import opus

LONGEST_ABSENCE_S = 40.0
"""A peer's consent to be sent to expires after some thirty seconds (RFC 7675)."""

_HICCUP_S = 0.02
_SEAM = "_RTCRtpReceiver__jitter_buffer"


def exchange_jitter_buffer(receiver: RTCRtpReceiver, buffer: Any) -> None:
    """Let an audio receiver of aiortc have this one, before its packets come."""
    assert isinstance(getattr(receiver, _SEAM, None), AiortcJitterBuffer), "aiortc's receiver is built differently"
    setattr(receiver, _SEAM, buffer)


class Ears:
    """Owns a microphone's jitter buffer and decoder. `tap` a receiver before its packets come, then await `hear`.

    aiortc hands each packet that has passed its checks and its statistics, which the peer is told, to the receiver's
    jitter buffer, and decodes what that gives back. So the least that can be exchanged is this one private attribute:
    what stands there instead takes the packets, and gives nothing back to be decoded.
    """

    def __init__(self, decoder: opus.OpusDecoder | None = None) -> None:
        self._buffer = JitterBuffer(RTP_RATE)
        self._decoder = decoder or opus.make_decoder()
        self._arrived = asyncio.Event()
        self._arrived_at = math.inf  # the newest packet

    @property
    def counts(self) -> Counts:
        """What became of the packets until now."""
        return self._buffer.counts

    @property
    def delay_s(self) -> float:
        """For how long a packet that others have overtaken is waited for."""
        return self._buffer.delay_s

    @property
    def silent_s(self) -> float:
        """For how long no packet has come. 0: none ever came, so that means nothing; or so long ago that the microphone
        must have been switched off, since a peer that is gone would have been missed."""
        silent_s = max(0.0, asyncio.get_running_loop().time() - self._arrived_at)
        return silent_s if silent_s < LONGEST_ABSENCE_S else 0.0

    def tap(self, receiver: RTCRtpReceiver) -> None:
        """Hear what this receiver gets, which must be Opus."""
        exchange_jitter_buffer(receiver, self)

    def add(self, packet: RtpPacket) -> tuple[bool, Any]:
        """As aiortc's jitter buffer has it: (whether a key frame is to be asked for, a frame to decode)."""
        length = opus.ticks(packet.payload)
        if length:
            placed = Packet(packet.ssrc, packet.sequence_number, packet.timestamp, packet.payload, length)
            self._arrived_at = asyncio.get_running_loop().time()
            self._buffer.push(placed, self._arrived_at)
            self._arrived.set()
        return False, None

    async def hear(self) -> np.ndarray:
        """[samples] float32 at SPEECH_RATE: what follows, as soon as there is any."""
        loop = asyncio.get_running_loop()
        while not (steps := self._buffer.take(loop.time())):
            await self._wait_until(self._buffer.due)
        return np.concatenate([opus.perform(step, self._decoder) for step in steps])

    async def _wait_until(self, due: float) -> None:
        """Or until a packet arrives."""
        self._arrived.clear()
        try:
            async with asyncio.timeout_at(None if math.isinf(due) else due):
                await self._arrived.wait()
        except TimeoutError:
            if asyncio.get_running_loop().time() > due + _HICCUP_S:
                # This process was held up, not the network: what has arrived meanwhile is still in the socket.
                await asyncio.sleep(_HICCUP_S)
