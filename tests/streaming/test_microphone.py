"""The ears on real packets, and the seam where they take them from aiortc."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Iterable

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.jitterbuffer import JitterBuffer as AiortcJitterBuffer
from aiortc.rtp import RtpPacket

from streaming.jitter import PATIENCE_S
from streaming.transports.microphone import Ears
from streaming.types import SPEECH_RATE
from tests.streaming.test_opus import FRAME, TICKS, encoded


def run(body: Awaitable[None]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await body

    asyncio.run(main())


def packets(numbers: Iterable[int], ssrc: int = 1) -> list[RtpPacket]:
    made = []
    for number in numbers:
        packet = RtpPacket(96, sequence_number=number % 65536, timestamp=number * TICKS)
        packet.ssrc, packet.payload = ssrc, encoded()[number]
        made.append(packet)
    return made


def test_aiortcs_receiver_has_the_seam_that_the_ears_need() -> None:
    """After an upgrade: look whether the receiver still gives every packet to its buffer, and decodes the result."""

    async def body() -> None:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        receiver = connection.addTransceiver("audio").receiver
        assert isinstance(receiver._RTCRtpReceiver__jitter_buffer, AiortcJitterBuffer)
        source = inspect.getsource(type(receiver)._handle_rtp_packet)
        assert "pli_flag, encoded_frame = self.__jitter_buffer.add(packet)" in source
        assert source.index("__remote_streams[packet.ssrc].add(packet)") < source.index("__jitter_buffer.add(packet)")
        assert "if encoded_frame is not None and" in source
        ears = Ears()
        ears.tap(receiver)
        assert receiver._RTCRtpReceiver__jitter_buffer is ears
        with pytest.raises(AssertionError, match="built differently"):
            Ears().tap(receiver)
        await connection.close()

    run(body())


def test_lost_sound_keeps_its_place_and_an_utterance_its_length() -> None:
    async def body() -> None:
        whole, holed = Ears(), Ears()
        numbers = range(60)
        for packet in packets(numbers):
            assert whole.add(packet) == (False, None)
        for packet in packets(n for n in numbers if n not in (20, 33, 34, 35, 50)):
            holed.add(packet)
        wanted, heard = await whole.hear(), await holed.hear()
        assert len(wanted) == len(heard) == len(numbers) * FRAME
        assert np.array_equal(wanted[: 20 * FRAME], heard[: 20 * FRAME])
        assert np.corrcoef(wanted[40 * FRAME : 50 * FRAME], heard[40 * FRAME : 50 * FRAME])[0, 1] > 0.95
        assert holed.counts.recovered_ticks == 3 * TICKS and holed.counts.concealed_ticks == 2 * TICKS

    run(body())


def test_what_is_no_opus_is_not_heard() -> None:
    async def body() -> None:
        ears = Ears()
        empty = RtpPacket(96, sequence_number=0)
        ears.add(empty)
        assert ears.counts.received == 0

    run(body())


def test_a_microphone_that_falls_silent_is_heard_to_be_silent() -> None:
    async def body() -> None:
        ears, loop = Ears(), asyncio.get_running_loop()
        began = loop.time()
        for packet in packets(range(40)):
            ears.add(packet)
        heard = len(await ears.hear())
        while heard < 2 * SPEECH_RATE:
            heard += len(await ears.hear())
        assert heard == 2 * SPEECH_RATE
        assert loop.time() - began >= 2.0 - 0.8 + PATIENCE_S - 0.02  # forty packets came at once

    run(body())


def test_sound_is_heard_as_soon_as_it_arrives() -> None:
    async def body() -> None:
        ears, loop = Ears(), asyncio.get_running_loop()
        hearing = asyncio.create_task(ears.hear())
        await asyncio.sleep(0)
        for packet in packets([0]):
            ears.add(packet)
        assert len(await hearing) == FRAME
        hearing, began = asyncio.create_task(ears.hear()), loop.time()
        loop.call_later(0.05, ears.add, *packets([1]))
        assert len(await hearing) == FRAME and 0.05 <= loop.time() - began < PATIENCE_S

    run(body())
