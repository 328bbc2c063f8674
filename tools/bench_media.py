"""What a call's sound costs the server: our way from packet to samples and back, beside plain aiortc's.

    python -m tools.bench media [--media-seconds 20]

For a second of a call in each direction, in processor time, without the network, which is the same for both.
*Hearing*: jitter buffer, Opus decoder, samples at 16 kHz; aiortc's decoder gives 48 kHz stereo, resampled as its users
do. *Speaking*: from the samples of a reply at 16 kHz to packets of 20 ms. The two take turns, a second each.
"""

from __future__ import annotations

import argparse
import asyncio
import fractions
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import soxr
from aiortc.codecs.opus import OpusDecoder, OpusEncoder
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket
from av import AudioFrame

from streaming.playout import FRAME, TICKS
from streaming.transports.microphone import Ears
from streaming.transports.webrtc import Voice
from streaming.types import SPEECH_RATE
from tools.bench_network import SPEECH, packets_of_speech, read

FRAMES_PER_S = SPEECH_RATE // FRAME


def rtp(payloads: Sequence[bytes]) -> list[RtpPacket]:
    packets = []
    for number, payload in enumerate(payloads):
        packet = RtpPacket(payload_type=96, sequence_number=number & 0xFFFF, timestamp=number * TICKS, ssrc=1)
        packet.payload = payload
        packets.append(packet)
    return packets


class OurHearing:
    def __init__(self) -> None:
        self._ears = Ears()

    async def take(self, packets: Sequence[RtpPacket]) -> None:
        for packet in packets:
            self._ears.add(packet)
            await self._ears.hear()


class PlainHearing:
    def __init__(self) -> None:
        self._buffer = JitterBuffer(capacity=16, prefetch=4)
        self._decoder = OpusDecoder()
        self._resampler = soxr.ResampleStream(48_000, SPEECH_RATE, 1, dtype="float32", quality="HQ")

    async def take(self, packets: Sequence[RtpPacket]) -> None:
        for packet in packets:
            packet._data = packet.payload  # type: ignore[attr-defined]  # aiortc's receiver sets it
            _, encoded = self._buffer.add(packet)
            for frame in self._decoder.decode(encoded) if encoded is not None else ():
                stereo = frame.to_ndarray().reshape(-1, 2).astype(np.float32) / 32768
                self._resampler.resample_chunk(stereo.mean(axis=1))


class OurSpeaking:
    def __init__(self) -> None:
        self._voice = Voice(lambda _: None)

    async def take(self, pcm: np.ndarray) -> None:
        playout = self._voice.playout
        playout.put("reply", "item", pcm)
        for _ in range(len(pcm) // FRAME):
            frame = playout.next_frame()
            bytes(self._voice._encode(frame.pcm, frame.timestamp))


class PlainSpeaking:
    def __init__(self) -> None:
        self._encoder = OpusEncoder()
        self._sent = 0

    async def take(self, pcm: np.ndarray) -> None:
        for start in range(0, len(pcm) - FRAME + 1, FRAME):
            linear = np.rint(np.clip(pcm[start : start + FRAME], -1, 1) * 32767).astype(np.int16)
            frame = AudioFrame.from_ndarray(linear[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SPEECH_RATE, self._sent, fractions.Fraction(1, SPEECH_RATE)
            self._sent += FRAME
            self._encoder.encode(frame)


async def measure(seconds: int) -> dict[str, Any]:
    pcm = read(SPEECH)
    speech = np.resize(pcm, seconds * SPEECH_RATE)
    packets = rtp(packets_of_speech(pcm, seconds * FRAMES_PER_S))
    spent: dict[str, dict[str, list[float]]] = {"hearing": {}, "speaking": {}}
    pairs: list[tuple[str, str, Any, Callable[[int], Any]]] = []
    both = (("ours", OurHearing(), OurSpeaking()), ("aiortc", PlainHearing(), PlainSpeaking()))
    for whose, hearing, speaking in both:
        pairs.append(("hearing", whose, hearing, lambda s: packets[s * FRAMES_PER_S : (s + 1) * FRAMES_PER_S]))
        pairs.append(("speaking", whose, speaking, lambda s: speech[s * SPEECH_RATE : (s + 1) * SPEECH_RATE]))
    for second in range(seconds):
        for direction, whose, part, piece in pairs:
            start = time.process_time()
            await part.take(piece(second))
            if second:  # the first warms up
                spent[direction].setdefault(whose, []).append(time.process_time() - start)
    return {
        "seconds": seconds - 1,
        "rows": [
            {
                "direction": direction,
                **{f"{whose}_ms_per_s": round(1000 * statistics.median(times), 2) for whose, times in by.items()},
                "ours_to_aiortc": round(
                    statistics.median(a / b for a, b in zip(by["ours"], by["aiortc"], strict=True)), 2
                ),
            }
            for direction, by in spent.items()
        ],
    }


def table(report: dict[str, Any]) -> str:
    lines = [f"{report['seconds']} s of a call, processor time for a second of it"]
    lines.append(f"{'':12}{'ours, ms':>10}{'aiortc, ms':>12}{'ours / aiortc':>15}")
    for row in report["rows"]:
        ours, theirs = row["ours_ms_per_s"], row["aiortc_ms_per_s"]
        lines.append(f"{row['direction']:12}{ours:>10.2f}{theirs:>12.2f}{row['ours_to_aiortc']:>15.2f}")
    return "\n".join(lines)


def add_arguments(parser: Any) -> None:
    parser.add_argument("--media-seconds", type=int, default=20, help="of a call")


def run(options: argparse.Namespace) -> dict[str, Any]:
    return asyncio.run(measure(options.media_seconds))
