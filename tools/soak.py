"""Real calls for a long time: many sessions, lost packets, interruptions; what was slow, silent, mixed up or leaked.

    python -m tools.soak --sessions 2 --minutes 30 --loss 2 --html soak.html --limit gaps_percent=0.5

Starts the server as `make run` does and calls it over WebRTC, each session through a relay that loses packets of both
directions. A session tells its name, asks questions, interrupts some replies, and now and then asks for its name: a
reply with the name of another session, one by which this session was never called before, is a leak. (nano may mishear
a name; that is no leak.) What is said lies in tools/soak_speech.

The caller hears as a browser does: a jitter buffer, Opus's error correction, and a loudspeaker that begins BUFFER_S
after the quickest packet of a reply. A frame of 20 ms between the first and the last sound of a reply that was not
there in time, or only made up, is a gap. A barge-in lasts from the onset of the interrupting speech to the last frame
with sound. Any `--limit NAME=VALUE` that a figure of the summary exceeds makes the exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import html
import json
import os
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from av import AudioCodecContext, CodecContext, Packet

from configuration import ROOT
from streaming.transports.microphone import Ears
from streaming.transports.opus import OpusDecoder, make_decoder
from streaming.transports.webrtc import CHANNEL
from streaming.types import SPEECH_RATE
from tools.evaluate import read_speech
from tools.latency import (
    RATE,
    SILENT,
    VOICED,
    Callee,
    LatencyError,
    Microphone,
    Record,
    Server,
    Told,
    commit,
    descendants,
    last_voiced_sample,
    now,
    percentiles,
    processor,
    resident_bytes,
    running_server,
    until,
)
from tools.network import Link, Relay, without_candidates

SPEECH = Path(__file__).parent / "soak_speech"
FRAME_S = 0.02
BUFFER_S = 0.08
SAMPLE_EVERY_S = 5.0
REPLY_TIMEOUT_S = 60.0
SILENCE_TIMEOUT_S = 5.0
ASKS_NAME, INTERRUPTS = 0.2, 0.3  # shares of the turns
WARM_UP = 0.2  # of the time: where memory is compared from
ALWAYS = ("leaks=0", "errors=0")


# What is said, and what the caller has -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Repertoire:
    """[samples] float32 at SPEECH_RATE of all that can be said."""

    introductions: dict[str, np.ndarray]  # by name
    who_am_i: np.ndarray
    questions: dict[str, np.ndarray]

    @classmethod
    def read(cls, folder: Path) -> Repertoire:
        spoken = {path.stem: read_speech(path) for path in sorted(folder.glob("*.ogg"))}
        names = {
            stem.removeprefix("my_name_is_"): pcm for stem, pcm in spoken.items() if stem.startswith("my_name_is_")
        }
        rest = {stem: pcm for stem, pcm in spoken.items() if not stem.startswith("my_name_is_")}
        return cls(names, rest.pop("what_is_my_name"), rest)


@dataclass(frozen=True, slots=True)
class Sound:
    """What a loudspeaker can know of one piece of 20 ms."""

    at: float  # s, when it was there
    number: int  # its place in the stream
    loud: bool
    real: bool  # decoded or recovered, not made up


class BrowserMicrophone(Microphone):
    """Sends what a browser sends to a peer that can use error correction."""

    def __init__(self) -> None:
        super().__init__()
        encoder = CodecContext.create("libopus", "w")
        assert isinstance(encoder, AudioCodecContext)
        encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = RATE, "mono", "s16", 32_000
        encoder.time_base = Fraction(1, RATE)
        encoder.options = {"application": "voip", "frame_duration": "20", "fec": "1", "packet_loss": "10"}
        self._encoder = encoder

    async def recv(self) -> Packet:  # type: ignore[override]
        frame = await super().recv()
        (packet,) = self._encoder.encode(frame)
        packet.pts, packet.time_base = frame.pts, frame.time_base
        return packet


class Loudspeaker:
    """An OpusDecoder that remembers what it gave."""

    def __init__(self) -> None:
        self.sounds: list[Sound] = []
        self._decoder: OpusDecoder = make_decoder()
        self._samples = 0

    def decode(self, payload: bytes, ticks: int) -> np.ndarray:
        return self._remember(self._decoder.decode(payload, ticks), real=True)

    def recover(self, payload: bytes, ticks: int) -> np.ndarray:
        return self._remember(self._decoder.recover(payload, ticks), real=True)

    def conceal(self, ticks: int) -> np.ndarray:
        return self._remember(self._decoder.conceal(ticks), real=False)

    def _remember(self, pcm: np.ndarray, real: bool) -> np.ndarray:
        number = round(self._samples / SPEECH_RATE / FRAME_S)
        self._samples += len(pcm)
        self.sounds.append(Sound(now(), number, bool(np.abs(pcm).max(initial=0.0) > SILENT), real))
        return pcm


class Caller:
    """A session of the soak. `call`, then `say` and wait as long as you like; `close`."""

    def __init__(self, loudspeaker: Loudspeaker | None = None) -> None:
        self.microphone = BrowserMicrophone()
        self.loudspeaker = loudspeaker or Loudspeaker()
        self.record = Record()
        self.errors: list[str] = []
        self._ears = Ears(self.loudspeaker)
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connection.addTrack(self.microphone)
        self._channel = self._connection.createDataChannel(CHANNEL)
        self._channel.on("message", self._take)
        self._listening: asyncio.Task[None] | None = None
        self._relay: Relay | None = None

    @property
    def sounds(self) -> list[Sound]:
        return self.loudspeaker.sounds

    async def call(self, server: Callee, link: Link, seed: int) -> None:
        await self._connection.setLocalDescription(await self._connection.createOffer())
        (receiver,) = self._connection.getReceivers()
        self._ears.tap(receiver)
        offer = without_candidates(self._connection.localDescription.sdp)
        self._relay = await Relay.open(await asyncio.to_thread(server.call, offer), link, link, seed)
        self._listening = asyncio.create_task(self._listen())
        await self._connection.setRemoteDescription(RTCSessionDescription(self._relay.sdp, "answer"))
        await until(lambda: bool(self.record.all("session.created")), 30, "the call was not connected")

    def begin_turn(self) -> Record:
        """Forget what was told and heard before."""
        self.record = Record()
        self.loudspeaker.sounds = []
        return self.record

    async def close(self) -> None:
        await self._connection.close()
        if self._relay is not None:
            self._relay.close()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    def _take(self, message: str) -> None:
        event = json.loads(message)
        self.record.told.append(Told(now(), event))
        if event["type"] == "error":
            self.errors.append(event["error"]["message"])

    async def _listen(self) -> None:
        while True:
            await self._ears.hear()


# What is measured -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing that was said to the server, and what came of it."""

    session: int
    at_s: float  # since the soak began
    kind: str  # "name", "question", "interruption", "who am i"
    latency_ms: float | None = None  # last sample to first sound; None: no sound came, or too early to tell
    barge_in_ms: float | None = None
    frames: int = 0  # of 20 ms within the reply
    gaps: int = 0
    said: str = ""  # the reply's words
    leak: str | None = None
    failure: str | None = None


def gaps(sounds: Sequence[Sound]) -> tuple[int, int]:
    """(frames between the first and the last sound of a reply, how many of them were not there in time)."""
    loud = [index for index, sound in enumerate(sounds) if sound.loud]
    if not loud:
        return 0, 0
    reply = sounds[loud[0] : loud[-1] + 1]
    transit = [sound.at - sound.number * FRAME_S for sound in reply]
    in_time = min(transit) + BUFFER_S
    return len(reply), sum(not sound.real or at > in_time for sound, at in zip(reply, transit, strict=True))


def onset_and_last(pcm: np.ndarray) -> tuple[float, float]:
    """Where the voice of [samples] float32 begins and ends, in s."""
    window = SPEECH_RATE // 100
    loudness = [float(np.sqrt(np.mean(np.square(pcm[at : at + window])))) for at in range(0, len(pcm), window)]
    first = next(index for index, level in enumerate(loudness) if level > VOICED * max(loudness))
    return first * 0.01, last_voiced_sample(pcm, SPEECH_RATE) / SPEECH_RATE


def silent_at(sounds: Iterable[Sound], before: float) -> float | None:
    """When the last sound ended that was there before that time."""
    return max((sound.at + FRAME_S for sound in sounds if sound.loud and sound.at < before), default=None)


def names_in(words: str, names: Iterable[str]) -> set[str]:
    return set(re.findall(r"[a-z]+", words.lower())) & set(names)


def words_of(record: Record) -> str:
    """What the server says that it said, in all replies of a record."""
    done = [told.event for told in record.all("response.output_audio_transcript.done")]
    return " ".join(event["transcript"] for event in done)


@dataclass(slots=True)
class Sample:
    """The server's processes at one time."""

    at_s: float
    resident_mb: float
    open_files: int


@dataclass(slots=True)
class Soak:
    """Owns what was measured."""

    began: float
    turns: list[Turn] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    async def watch(self, process_id: int) -> None:
        while True:
            processes = [process_id, *descendants(process_id)]
            resident = sum(resident_bytes(each) for each in processes) / 1e6
            files = sum(len(os.listdir(f"/proc/{each}/fd")) for each in processes)
            self.samples.append(Sample(now() - self.began, resident, files))
            await asyncio.sleep(SAMPLE_EVERY_S)


# A session ------------------------------------------------------------------------------------------------------------


class Conversation:
    """What one session says, at random but repeatably. `hold` it until it is `over`."""

    def __init__(self, soak: Soak, number: int, names: Sequence[str], repertoire: Repertoire, seed: int) -> None:
        self._soak = soak
        self._number = number
        self._name = names[number]
        self._others = {name for name in names if name != self._name}
        self._called: set[str] = set()  # the names that the server took for this session's own
        self._repertoire = repertoire
        self._chance = random.Random(seed)
        self._caller = Caller()

    async def hold(self, server: Server, link: Link, seed: int, over: Callable[[], bool]) -> None:
        try:
            await self._caller.call(server, link, seed)
            introduced = await self._ask("name", self._repertoire.introductions[self._name])
            self._called |= names_in(introduced.said, self._others)
            while not over():
                await asyncio.sleep(self._chance.uniform(0.3, 1.5))
                kind = self._chance.random()
                if kind < ASKS_NAME:
                    await self._ask("who am i", self._repertoire.who_am_i)
                elif kind < ASKS_NAME + INTERRUPTS:
                    await self._interrupt()
                else:
                    await self._ask("question", self._question())
            await self._ask("who am i", self._repertoire.who_am_i)
        except LatencyError as reason:
            self._soak.errors.append(f"session {self._number}: {reason}")
        finally:
            self._soak.errors += [f"session {self._number}: {words}" for words in self._caller.errors]
            await self._caller.close()

    def _question(self) -> np.ndarray:
        return self._chance.choice(list(self._repertoire.questions.values()))

    async def _ask(self, kind: str, pcm: np.ndarray) -> Turn:
        record, began = self._caller.begin_turn(), now()
        last_said = await self._caller.microphone.say(pcm)
        return await self._hear_out(kind, record, began, last_said)

    async def _hear_out(
        self, kind: str, record: Record, began: float, last_said: float, barge_in_ms: float | None = None
    ) -> Turn:
        """Wait for the reply's end and put the turn down."""
        at_s, failure = began - self._soak.began, None
        try:
            await until(lambda: record.settled(now()), REPLY_TIMEOUT_S, "no reply came to its end")
        except LatencyError as reason:
            failure = str(reason)
        ends = record.all("input_audio_buffer.speech_stopped")
        since = ends[-1].at if ends else last_said
        sounds = [sound for sound in self._caller.sounds if sound.at > since]
        first = next((sound.at for sound in sounds if sound.loud), None)
        latency = 1000 * (first - last_said) if first is not None and len(ends) == 1 else None
        said = words_of(record)
        leaks = names_in(said, self._others) - self._called
        turn = Turn(
            self._number, at_s, kind, latency, barge_in_ms, *gaps(sounds), said, next(iter(leaks), None), failure
        )
        self._soak.turns.append(turn)
        return turn

    async def _interrupt(self) -> None:
        """Ask, and speak into the reply when it has been heard for a moment."""
        record, began = self._caller.begin_turn(), now()
        await self._caller.microphone.say(self._question())
        talking = self._chance.uniform(0.3, 1.0)
        try:
            await until(lambda: self._heard_s() > talking, REPLY_TIMEOUT_S, "no reply to interrupt came")
        except LatencyError as reason:
            self._soak.turns.append(Turn(self._number, began - self._soak.began, "interruption", failure=str(reason)))
            return
        pcm, before = self._question(), record
        onset, last = onset_and_last(pcm)
        record = self._caller.record = Record()
        last_said = await self._caller.microphone.say(pcm)
        spoken_from = last_said - (last - onset)
        with contextlib.suppress(LatencyError):
            await until(
                lambda: bool(record.all("output_audio_buffer.cleared") or before.all("output_audio_buffer.stopped")),
                SILENCE_TIMEOUT_S,
                "it was not cut off",
            )
        cleared = record.all("output_audio_buffer.cleared")
        barge_in = None
        if cleared:
            # What is under way when the server falls silent is heard, too; the next reply comes later than that.
            silent = silent_at(self._caller.sounds, cleared[0].at + 0.25)
            barge_in = 1000 * (silent - spoken_from) if silent is not None else None
        await self._hear_out("interruption", record, began, last_said, barge_in)

    def _heard_s(self) -> float:
        return FRAME_S * sum(sound.loud for sound in self._caller.sounds)


# The soak -------------------------------------------------------------------------------------------------------------


async def run(options: argparse.Namespace) -> dict[str, Any]:
    repertoire = Repertoire.read(options.speech)
    names = list(repertoire.introductions)
    if options.sessions > len(names):
        raise LatencyError(f"there are names for {len(names)} sessions only")
    link = Link(loss=options.loss / 100, burst=options.burst, jitter_ms=options.jitter_ms)
    async with running_server(options.config) as server:
        soak = Soak(now())
        watching = asyncio.create_task(soak.watch(server.process_id))
        deadline = soak.began + 60 * options.minutes
        async with asyncio.TaskGroup() as sessions:
            for number in range(options.sessions):
                conversation = Conversation(soak, number, names[: options.sessions], repertoire, options.seed + number)
                over = functools.partial(_passed, deadline)
                sessions.create_task(conversation.hold(server, link, options.seed + 2 * number, over))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return report(options, soak)


def _passed(deadline: float) -> bool:
    return now() >= deadline


def report(options: argparse.Namespace, soak: Soak) -> dict[str, Any]:
    return {
        "device": processor(),
        "commit": commit(),
        "when": time.strftime("%Y-%m-%d %H:%M:%S"),
        "sessions": options.sessions,
        "minutes": options.minutes,
        "loss_percent": options.loss,
        "burst": options.burst,
        "jitter_ms": options.jitter_ms,
        "summary": summary(soak),
        "errors": soak.errors,
        "turns": [{name: getattr(turn, name) for name in Turn.__slots__} for turn in soak.turns],
        "samples": [{name: getattr(sample, name) for name in Sample.__slots__} for sample in soak.samples],
    }


def summary(soak: Soak) -> dict[str, float | None]:
    """Figures that a limit can be set to. None: there was nothing to measure."""
    latency = percentiles([turn.latency_ms for turn in soak.turns if turn.latency_ms is not None])
    barge_in = percentiles([turn.barge_in_ms for turn in soak.turns if turn.barge_in_ms is not None])
    frames = sum(turn.frames for turn in soak.turns)
    asked = [turn for turn in soak.turns if turn.kind == "who am i"]
    return {
        "turns": len(soak.turns),
        "latency_p50_ms": latency.get("p50"),
        "latency_p95_ms": latency.get("p95"),
        "latency_max_ms": latency.get("max"),
        "barge_in_count": barge_in["count"],
        "barge_in_p50_ms": barge_in.get("p50"),
        "barge_in_p95_ms": barge_in.get("p95"),
        "frames": frames,
        "gaps_percent": round(100 * sum(turn.gaps for turn in soak.turns) / frames, 3) if frames else None,
        "leaks": sum(turn.leak is not None for turn in soak.turns),
        "asked_for_its_name": len(asked),
        "errors": len(soak.errors) + sum(turn.failure is not None for turn in soak.turns),
        "memory_growth_percent": growth_percent([sample.resident_mb for sample in soak.samples]),
        "open_files_growth_percent": growth_percent([float(sample.open_files) for sample in soak.samples]),
    }


def growth_percent(values: Sequence[float]) -> float | None:
    """From the tenth of the time behind the warm-up to the last tenth, by medians."""
    tenth = len(values) // 10
    if not tenth:
        return None
    start = int(WARM_UP * len(values))
    before, after = statistics.median(values[start : start + tenth]), statistics.median(values[-tenth:])
    return round(100 * (after - before) / before, 2)


def broken(summary: dict[str, float | None], limits: Iterable[str]) -> list[str]:
    """In words, the limits (NAME=VALUE) that do not hold. Raises ValueError for one that cannot be understood."""
    words = []
    for limit in limits:
        name, _, most = limit.partition("=")
        if name not in summary:
            raise ValueError(f"no figure is called '{name}': there are {', '.join(summary)}")
        value = summary[name]
        if value is None or value > float(most):
            words.append(f"{name} is {'unknown' if value is None else format(value, 'g')}, and {most} is the limit")
    return words


# The page -------------------------------------------------------------------------------------------------------------


def page(report: dict[str, Any], failures: Sequence[str]) -> str:
    """One HTML page that needs nothing else."""
    turns, samples = report["turns"], report["samples"]
    rows = "".join(f"<tr><td>{name.replace('_', ' ')}<td>{_value(value)}" for name, value in report["summary"].items())
    verdict = "".join(f"<li>{html.escape(words)}" for words in failures) or "<li>every limit holds"
    errors = "".join(f"<li>{html.escape(words)}" for words in report["errors"]) or "<li>none"
    plots = [
        plot("From the last sample to the first sound", "ms", [(t["at_s"], t["latency_ms"]) for t in turns]),
        plot("From the onset of an interruption to silence", "ms", [(t["at_s"], t["barge_in_ms"]) for t in turns]),
        plot(
            "Gaps in a reply",
            "% of its frames",
            [(t["at_s"], 100 * t["gaps"] / t["frames"]) for t in turns if t["frames"]],
        ),
        plot("Memory of the server's processes", "MB", [(s["at_s"], s["resident_mb"]) for s in samples], line=True),
        plot("Open files", "", [(s["at_s"], s["open_files"]) for s in samples], line=True),
    ]
    network = f"{report['loss_percent']:g} % lost, {report['jitter_ms']:g} ms jitter"
    return f"""<!doctype html><meta charset="utf-8"><title>Soak of {report["when"]}</title>
<style>body{{font:15px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}td{{padding:.1em 1em .1em 0}}
svg{{width:100%;height:auto}}text{{font-size:11px;fill:#555}}h2{{font-size:1.1em;margin:1.5em 0 .3em}}</style>
<h1>Soak of {report["when"]}</h1>
<p>{report["sessions"]} sessions for {report["minutes"]:g} minutes; {network}; {html.escape(report["device"])}, commit
{html.escape(report["commit"])}.</p><ul>{verdict}</ul><table>{rows}</table>{"".join(plots)}<h2>Errors</h2><ul>{errors}</ul>
"""


def plot(title: str, unit: str, points: Sequence[tuple[float, float | None]], line: bool = False) -> str:
    """A heading and an inline SVG: dots, or a line, over minutes."""
    known = [(at / 60, value) for at, value in points if value is not None]
    if not known:
        return f"<h2>{title}</h2><p>nothing was measured</p>"
    width, height, left, foot = 800, 180, 55, 20
    last, top = max(at for at, _ in known) or 1.0, 1.1 * max(value for _, value in known) or 1.0
    places = [(left + at / last * (width - left - 10), (1 - value / top) * (height - foot)) for at, value in known]
    if line:
        drawn = f'<polyline fill="none" stroke="#36c" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'
    else:
        drawn = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="#36c"/>' for x, y in places)
    levels = [(top * part / 4, (1 - part / 4) * (height - foot)) for part in range(4)]
    grid = "".join(
        f'<line x1="{left}" x2="{width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        f'<text x="0" y="{y:.1f}">{value:.4g}</text>'
        for value, y in levels
    )
    axis = f'<text x="{width - 60}" y="{height - 4}">{last:.3g} min</text>'
    return f'<h2>{title} ({unit or "count"})</h2><svg viewBox="0 0 {width} {height}">{grid}{drawn}{axis}</svg>'


def _value(value: float | None) -> str:
    return "-" if value is None else format(value, "g")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "nano.toml")
    parser.add_argument("--sessions", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--loss", type=float, default=2.0, help="percent of the packets, each way (default: 2)")
    parser.add_argument("--burst", type=float, default=1.0, help="packets lost at once, on average (default: 1)")
    parser.add_argument("--jitter-ms", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder of what is said")
    parser.add_argument("--limit", action="append", default=[], metavar="NAME=VALUE", help="of a figure of the summary")
    parser.add_argument("--html", type=Path, metavar="OUT")
    parser.add_argument("--json", type=Path, metavar="OUT")
    options = parser.parse_args(arguments)
    limits = [*ALWAYS, *options.limit]
    try:
        broken(summary(Soak(0.0)), limits)  # before the long wait
        result = uvloop.run(run(options))
    except (LatencyError, ValueError) as reason:
        print(f"No soak: {reason}.", file=sys.stderr)
        return 2
    failures = broken(result["summary"], limits)
    for name, value in result["summary"].items():
        print(f"{name.replace('_', ' '):28}{_value(value):>12}")
    for words in [*result["errors"], *failures]:
        print(words, file=sys.stderr)
    if options.html:
        options.html.write_text(page(result, failures), "utf-8")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
