"""What of a microphone's sound reaches the ears over a bad network, and how late: our jitter buffer beside aiortc's.

    python -m tools.bench_network [--seconds 20] [--speech SPEECH.wav] [--json OUT]

Real WebRTC between aiortc peers on this machine. For each network two calls at once: a caller sends the same packets of
speech (Opus with in-band error correction, as browsers send it to a peer that loses packets) through a relay that
loses, delays and reorders them, each time the same ones; one receiver has our ears, the other aiortc's own jitter
buffer and decoder.

*Reached*: packets that were decoded in their place or recovered from the one behind, of those sent; concealment does
not count. *Added*: from when a packet arrived to when its sound was there. *In all*: from when it was sent, for what
was recovered too; the network's own share stands beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fractions
import json
import wave
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import uvloop
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtpPacket
from av import AudioCodecContext, AudioFrame, CodecContext, Packet

from configuration import ROOT
from streaming.transports.microphone import Ears
from streaming.transports.opus import LibopusDecoder
from streaming.types import SPEECH_RATE
from tools.latency import commit, now, processor
from tools.network import Link, Relay, without_candidates

TICKS = 960
FRAME = SPEECH_RATE // 50
LOUD = 0.02  # of full scale, the loudest sample of a frame of speech
UNHARMED = 25  # packets at first, by which the places of the others are known
DRAIN_S = 1.0
SPEECH = ROOT / "tests" / "browser" / "hello_who_are_you.wav"

NETWORKS = {
    "good": Link(unharmed=UNHARMED),
    "2 % lost": Link(loss=0.02, unharmed=UNHARMED),
    "5 % lost in bursts of 3": Link(loss=0.05, burst=3, unharmed=UNHARMED),
    "5 % overtaken": Link(overtaken=0.05, unharmed=UNHARMED),
    "40 ms jitter": Link(jitter_ms=40, unharmed=UNHARMED),
    "40 ms jitter, 2 % lost": Link(jitter_ms=40, loss=0.02, unharmed=UNHARMED),
}


# The caller -----------------------------------------------------------------------------------------------------------


def packets_of_speech(pcm: np.ndarray, count: int) -> list[bytes]:
    """So many packets of 20 ms with error correction, of the loud parts of [samples] float32, again and again.

    A little noise tells the repetitions apart.
    """
    frames = pcm[: len(pcm) - len(pcm) % FRAME].reshape(-1, FRAME)
    loud = frames[np.abs(frames).max(axis=1) > LOUD]
    encoder = CodecContext.create("libopus", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = SPEECH_RATE, "mono", "s16", 32_000
    encoder.time_base = fractions.Fraction(1, SPEECH_RATE)
    encoder.options = {"application": "voip", "frame_duration": "20", "fec": "1", "packet_loss": "10"}
    noise = np.random.default_rng(0)
    payloads: list[bytes] = []
    number = 0
    while len(payloads) < count:
        noisy = loud[number % len(loud)] + noise.normal(0, 1e-3, FRAME)
        samples = np.rint(np.clip(noisy, -1, 1) * 32767).astype(np.int16)
        frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SPEECH_RATE, number * FRAME
        payloads += [bytes(packet) for packet in encoder.encode(frame)]
        number += 1
    return payloads


class Speech(MediaStreamTrack):
    """Sends packets in real time, and knows when."""

    kind = "audio"

    def __init__(self, payloads: Sequence[bytes]) -> None:
        super().__init__()
        self.sent: list[float] = []
        self.over = asyncio.Event()
        self._payloads = payloads
        self._began = 0.0

    async def recv(self) -> Packet:
        number = len(self.sent)
        if number == len(self._payloads):
            self.over.set()
            raise MediaStreamError
        self._began = self._began or now()
        await asyncio.sleep(max(0.0, self._began + number * 0.02 - now()))
        packet = Packet(self._payloads[number])
        packet.pts, packet.time_base = number * TICKS, fractions.Fraction(1, 48_000)
        self.sent.append(now())
        return packet


# The receivers --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Log:
    """When which packet arrived, and when which sound was there, by the packets' numbers."""

    payloads: dict[bytes, int]
    arrived: dict[int, float] = field(default_factory=dict)
    decoded: dict[int, float] = field(default_factory=dict)
    recovered: dict[int, float] = field(default_factory=dict)

    def arrival(self, payload: bytes) -> None:
        self.arrived.setdefault(self.payloads[payload], now())


class OwnReceiver(Ears):
    """Our ears, and a log."""

    def __init__(self, log: Log) -> None:
        super().__init__(LoggedDecoder(log))
        self._log = log

    def add(self, packet: RtpPacket) -> tuple[bool, Any]:
        self._log.arrival(packet.payload)
        return super().add(packet)

    async def listen(self) -> None:
        while True:
            await self.hear()


class LoggedDecoder(LibopusDecoder):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def decode(self, payload: bytes, ticks: int) -> np.ndarray:
        pcm = super().decode(payload, ticks)
        self._log.decoded[self._log.payloads[payload]] = now()
        return pcm

    def recover(self, payload: bytes, ticks: int) -> np.ndarray:
        pcm = super().recover(payload, ticks)
        if has_correction(payload) and ticks == TICKS:
            self._log.recovered[self._log.payloads[payload] - 1] = now()
        return pcm


def has_correction(payload: bytes) -> bool:
    """Whether a packet of one frame of SILK, mono, holds the one before it, too (RFC 6716, sections 3.1 and 4.2.3)."""
    return payload[0] >> 3 < 12 and payload[0] & 7 == 0 and bool(payload[1] & 0x40)


async def listen_to_aiortc(track: MediaStreamTrack, log: Log) -> None:
    """Its timestamps count from the first packet that arrived."""
    with contextlib.suppress(MediaStreamError):
        while True:
            frame = await track.recv()
            assert isinstance(frame, AudioFrame) and frame.pts is not None
            log.decoded[min(log.arrived) + frame.pts // TICKS] = now()


async def call(payloads: Sequence[bytes], link: Link, seed: int, own: bool) -> tuple[list[float], Log]:
    """One call to its end: when each packet was sent, and what became of it."""
    log = Log({payload: number for number, payload in enumerate(payloads)})
    assert len(log.payloads) == len(payloads), "two packets are the same"
    speech = Speech(payloads)
    caller, callee = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    caller.addTrack(speech)
    await caller.setLocalDescription(await caller.createOffer())
    await callee.setRemoteDescription(RTCSessionDescription(without_candidates(caller.localDescription.sdp), "offer"))
    (receiver,) = callee.getReceivers()
    if own:
        ears = OwnReceiver(log)
        ears.tap(receiver)
        listening = asyncio.create_task(ears.listen())
    else:
        buffer = receiver._RTCRtpReceiver__jitter_buffer
        add = buffer.add
        buffer.add = lambda packet: (log.arrival(packet.payload), add(packet))[1]
        listening = asyncio.create_task(listen_to_aiortc(receiver.track, log))
    await callee.setLocalDescription(await callee.createAnswer())
    relay = await Relay.open(callee.localDescription.sdp, link, seed=seed)
    try:
        await caller.setRemoteDescription(RTCSessionDescription(relay.sdp, "answer"))
        await speech.over.wait()
        await asyncio.sleep(DRAIN_S)
    finally:
        await caller.close()
        await callee.close()
        relay.close()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    return speech.sent, log


# The figures ----------------------------------------------------------------------------------------------------------


def figures(sent: Sequence[float], log: Log) -> dict[str, Any]:
    """Of what was sent behind the unharmed beginning, but for the last second, which aiortc's buffer may still hold."""
    numbers = [number for number in range(UNHARMED, len(sent) - 50)]
    there = {**log.recovered, **log.decoded}
    return {
        "packets": len(numbers),
        "arrived": share(numbers, log.arrived),
        "reached": share(numbers, there),
        "recovered": share(numbers, log.recovered.keys() - log.decoded.keys()),
        "added_ms": delays([there[n] - log.arrived[n] for n in numbers if n in log.decoded and n in log.arrived]),
        "in_all_ms": delays([there[n] - sent[n] for n in numbers if n in there]),
        "network_ms": delays([log.arrived[n] - sent[n] for n in numbers if n in log.arrived]),
    }


def share(numbers: Sequence[int], found: Any) -> float:
    return round(sum(number in found for number in numbers) / len(numbers), 4)


def delays(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {"count": 0}
    p50, p95, p99 = 1000 * np.percentile(seconds, (50, 95, 99))
    return {"count": len(seconds), "p50": round(p50, 1), "p95": round(p95, 1), "p99": round(p99, 1)}


async def run(options: argparse.Namespace) -> dict[str, Any]:
    payloads = packets_of_speech(read(options.speech), round(options.seconds * 50) + UNHARMED + 50)
    rows: dict[str, Any] = {}
    for seed, (name, link) in enumerate(NETWORKS.items()):
        ours, theirs = await asyncio.gather(*(call(payloads, link, seed, own) for own in (True, False)))
        rows[name] = {"link": asdict(link), "ours": figures(*ours), "aiortc": figures(*theirs)}
    return {"device": processor(), "commit": commit(), "seconds": options.seconds, "networks": rows}


def read(path: Path) -> np.ndarray:
    """[samples] float32 at SPEECH_RATE of a WAV with 16-bit mono."""
    with wave.open(str(path)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
        return soxr.resample(pcm, file.getframerate(), SPEECH_RATE).astype(np.float32)


def table(report: dict[str, Any]) -> str:
    lines = [f"{report['device']}, commit {report['commit']}; {report['seconds']:g} s of speech over each network"]
    lines.append(f"{'':26}{'':8}{'arrived':>9}{'reached':>9}{'added ms p50/p95/p99':>24}{'in all ms p50/p95':>20}")
    for name, row in report["networks"].items():
        for who in ("ours", "aiortc"):
            at = row[who]
            added = "/".join(f"{at['added_ms'].get(key, float('nan')):.1f}" for key in ("p50", "p95", "p99"))
            whole = "/".join(f"{at['in_all_ms'].get(key, float('nan')):.1f}" for key in ("p50", "p95"))
            first = name if who == "ours" else ""
            reached = f"{100 * at['arrived']:8.2f}%{100 * at['reached']:8.2f}%"
            lines.append(f"{first:26}{who:8}{reached}{added:>24}{whole:>20}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench_network", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of speech over each network (default: 20)")
    parser.add_argument("--speech", type=Path, default=SPEECH, help="a WAV, 16 bits, mono")
    parser.add_argument("--json", type=Path, metavar="OUT")
    options = parser.parse_args(arguments)
    report = uvloop.run(run(options))
    print(table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
