"""How long a caller waits: from the last sample of his speech to the first sound of the reply, over real WebRTC.

    python -m tools.latency MANIFEST.jsonl --config configs/nano.toml [--count 30] [--sessions 4] [--json OUT]

Starts the server as `make run` does, in processes of its own, and calls it over the loopback interface. The spoken
turns of the manifest (see tools.evaluate) are said one after the other into one session, in real time, each when the
reply to the one before has been heard to its end. Measured at the client: from when the last voiced sample was spoken
to when the first sample of the reply's sound can be heard. Both ends' jitter buffers are in between; a loudspeaker's
and a microphone's own delays are not.

The stages follow each other and add up: the silence that the server waits for, what it takes beyond that to notice the
end of speech (the way to the server, the detector), the model's work by the milestones of `response.latency.updated`,
and the rest, the way back. The worker's own milestones count from when the request reached it, and come from /metrics,
of one session alone. Several sessions talk at the same time, each in a call of its own, and begin with other
utterances, so that they do not speak in step.

In each reply, 20 ms frames that came more than 60 ms later than the earliest of them, frames that were lost, and frames
of digital silence between the first and the last sound, which a model hardly produces, are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fractions
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soxr
import uvloop
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.jitterbuffer import JitterBuffer
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame
from prometheus_client.parser import text_string_to_metric_families

from configuration import ROOT, load
from streaming.transports.microphone import exchange_jitter_buffer
from streaming.transports.webrtc import CHANNEL
from streaming.types import SPEECH_RATE
from streaming.worker import cut_off_by
from tools.manifest import EvaluationError, read_manifest, read_speech

RATE = 48_000
FRAME = RATE // 50
SILENT = 10 ** (-50 / 20)  # of full scale: what a listener takes for silence
VOICED = 10 ** (-40 / 20)  # of an utterance's loudest 10 ms, by energy
DIGITAL_SILENCE = 2 / 32768
LATE_S = 0.06
HELD_FRAMES = 2
"""Of 20 ms, in the client's jitter buffer. Chromium's, which adapts, holds 30 ms on the same machine; aiortc's four."""

START_TIMEOUT_S = 180.0  # longer than the server itself waits for its worker: then it says why
REPLY_TIMEOUT_S = 90.0
SOUNDLESS_AFTER_S = 1.0  # a reply that has ended and of which nothing was heard for so long has no sound
ON_THE_WAY_S = 0.3  # sound waits in the jitter buffer when the server's word of its end has come
PAUSE_S = 0.5  # between a reply and the next utterance


class LatencyError(Exception):
    """It cannot be measured; the message says why."""


# What is measured, without a network ----------------------------------------------------------------------------------


def last_voiced_sample(pcm: np.ndarray, rate: int) -> int:
    """How many samples of [samples] float32 it is to the end of the last 10 ms with VOICED energy."""
    window = rate // 100
    loudness = [float(np.sqrt(np.mean(np.square(pcm[at : at + window])))) for at in range(0, len(pcm), window)]
    voiced = [index for index, level in enumerate(loudness) if level > VOICED * max(loudness)]
    if not voiced:
        raise LatencyError("there is nothing but silence in an utterance")
    return min((voiced[-1] + 1) * window, len(pcm))


@dataclass(frozen=True, slots=True)
class Heard:
    """What matters of 20 ms of the server's sound."""

    at: float  # s, when it arrived: its first sample can be heard
    pts: int  # RTP time, RATE ticks a second
    peak: float
    onset: int | None  # the first sample that is not silent

    @classmethod
    def of(cls, pcm: np.ndarray, pts: int, at: float) -> Heard:
        """pcm: [samples] of full scale 1 at RATE."""
        level = np.abs(pcm)
        loud = np.flatnonzero(level > SILENT)
        return cls(at, pts, float(level.max(initial=0.0)), int(loud[0]) if len(loud) else None)


def first_sound(frames: Iterable[Heard], after: float) -> float | None:
    """When the first sound that came after that time could be heard, in s. None: there was none."""
    sounds = (frame.at + frame.onset / RATE for frame in frames if frame.at > after and frame.onset is not None)
    return next(sounds, None)


@dataclass(frozen=True, slots=True)
class Gaps:
    """What is wrong with a reply's frames of 20 ms."""

    frames: int = 0
    late: int = 0
    lost: int = 0
    silent: int = 0


def gaps(frames: Sequence[Heard]) -> Gaps:
    """frames: those of one reply, with whatever silence before and behind it."""
    loud = [index for index, frame in enumerate(frames) if frame.onset is not None]
    if not loud:
        return Gaps()
    reply = frames[loud[0] : loud[-1] + 1]
    transit = [frame.at - frame.pts / RATE for frame in reply]
    return Gaps(
        frames=len(reply),
        late=sum(each - min(transit) > LATE_S for each in transit),
        lost=(reply[-1].pts - reply[0].pts) // FRAME + 1 - len(reply),
        silent=sum(frame.peak <= DIGITAL_SILENCE for frame in reply),
    )


def stages(total_ms: float, noticed_ms: float, milestones_ms: dict[str, float]) -> dict[str, float]:
    """One after the other; they add up to the total.

    noticed_ms: from the last sample to the server's word that speech has ended. milestones_ms: of
    `response.latency.updated`, from the beginning of the silence that the server waited for. What an eager answer
    passed during that silence took no time of its own.
    """
    waited = milestones_ms["end_of_speech_ms"]
    later = {name: max(at, waited) for name, at in milestones_ms.items() if name != "end_of_speech_ms"}
    rest = sorted(later.items(), key=lambda named: named[1])
    passed = {"silence waited for": waited, "noticing it": noticed_ms - waited}
    before = waited
    for name, at in rest:
        passed[name.removesuffix("_ms").replace("_", " ")] = at - before
        before = at
    passed["way back"] = total_ms - sum(passed.values())
    return passed


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and max, and of how many."""
    if not values:
        return {"count": 0}
    p50, p95 = np.percentile(values, (50, 95))
    return {"count": len(values), "p50": round(p50, 1), "p95": round(p95, 1), "max": round(max(values), 1)}


def percentiles_by_name(rows: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: percentiles([row[name] for row in rows if name in row]) for name in names}


# The server -----------------------------------------------------------------------------------------------------------


class Callee(Protocol):
    """Who can be called. Both methods block."""

    def call(self, offer_sdp: str, resume_token: str | None = None) -> str:
        """Returns the SDP answer. resume_token: of a session that is to go on."""
        ...

    def metrics_text(self) -> str: ...


def worker_seconds(metrics: str) -> dict[str, float]:
    """What the worker's milestones of all replies add up to."""
    return {
        sample.labels["milestone"]: sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "tertulia_worker_milestone_seconds_sum"
    }


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs in a process of its own."""

    url: str
    process_id: int
    start_s: float  # from its start to its being ready

    def metrics_text(self) -> str:
        with urllib.request.urlopen(f"{self.url}/metrics") as response:
            return response.read().decode()

    def call(self, offer_sdp: str, resume_token: str | None = None) -> str:
        headers = {"Content-Type": "application/sdp"}
        if resume_token is not None:
            headers["Resume-Session"] = resume_token
        request = urllib.request.Request(f"{self.url}/v1/realtime/calls", offer_sdp.encode(), headers)
        with urllib.request.urlopen(request) as response:
            return response.read().decode()

    def resident_mb(self) -> dict[str, float]:
        """Of the server and of the processes it has started."""
        own = resident_bytes(self.process_id)
        workers = sum(resident_bytes(process_id) for process_id in descendants(self.process_id))
        return {name: round(size / 1e6, 1) for name, size in (("server", own), ("worker", workers))}


@contextlib.asynccontextmanager
async def running_server(config: Path) -> AsyncIterator[Server]:
    """Raises LatencyError when it does not get ready. SIGTERM cancels who is in here, so that the server ends too."""
    command = [sys.executable, str(ROOT / "server.py"), "--config", str(config), "--host", "127.0.0.1", "--port", "0"]
    began = time.monotonic()
    with cut_off_by(signal.SIGTERM):
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, cwd=ROOT)
        assert process.stdout is not None
        try:
            try:
                async with asyncio.timeout(START_TIMEOUT_S):
                    line = (await process.stdout.readline()).decode()
            except TimeoutError:
                raise LatencyError(f"the server was not ready after {START_TIMEOUT_S:g} s") from None
            if "http://" not in line:
                raise LatencyError("the server did not start")
            yield Server(line.split()[-1], process.pid, time.monotonic() - began)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()


def descendants(process_id: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{process_id}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            children += map(int, (task / "children").read_text().split())
    return children + [deeper for child in children for deeper in descendants(child)]


def resident_bytes(process_id: int) -> int:
    pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# The client -----------------------------------------------------------------------------------------------------------


class Microphone(MediaStreamTrack):
    """Silence in real time, and what is said into it. As with a real one, a frame leaves when it has been spoken."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._words = np.zeros(0, np.int16)
        self._to_last = 0  # samples from here to the end of what is voiced; 0: it is over
        self._last_said: asyncio.Future[float] | None = None
        self._count = 0
        self._start: float | None = None

    async def say(self, pcm: np.ndarray) -> float:
        """pcm: [samples] float32 at SPEECH_RATE. Returns when its last voiced sample was spoken, in s."""
        self._to_last = last_voiced_sample(pcm, SPEECH_RATE) * (RATE // SPEECH_RATE)
        self._words = np.rint(np.clip(soxr.resample(pcm, SPEECH_RATE, RATE), -1, 1) * 32767).astype(np.int16)
        self._last_said = asyncio.get_running_loop().create_future()
        return await self._last_said

    async def recv(self) -> AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        loop = asyncio.get_running_loop()
        self._start = loop.time() if self._start is None else self._start
        await asyncio.sleep(self._start + (self._count + 1) * FRAME / RATE - loop.time())
        samples = np.zeros((1, FRAME), np.int16)
        samples[0, : min(FRAME, len(self._words))] = self._words[:FRAME]
        self._words = self._words[FRAME:]
        if 0 < self._to_last <= FRAME and self._last_said is not None:
            self._last_said.set_result(loop.time() - (FRAME - self._to_last) / RATE)
        self._to_last = max(0, self._to_last - FRAME)
        frame = AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._count * FRAME, fractions.Fraction(1, RATE)
        self._count += 1
        return frame


@dataclass(frozen=True, slots=True)
class Told:
    """An event, and when it came, in s."""

    at: float
    event: dict[str, Any]

    @property
    def response_id(self) -> str:
        return self.event.get("response_id") or self.event["response"]["id"]


@dataclass(slots=True)
class Record:
    """What the server told and played since an utterance began."""

    told: list[Told] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)

    def all(self, kind: str) -> list[Told]:
        return [told for told in self.told if told.event["type"] == kind]

    def of(self, kind: str, response_id: str) -> Told | None:
        return next((told for told in self.all(kind) if told.response_id == response_id), None)

    def settled(self, now: float) -> bool:
        """Whether nobody speaks any more: the newest response was made and played."""
        heard, ended = (self.all(f"input_audio_buffer.speech_{what}") for what in ("started", "stopped"))
        responses = self.all("response.created")
        if not heard or len(ended) < len(heard) or not responses:
            return False
        done = self.of("response.done", responses[-1].response_id)
        if done is None or done.event["response"]["status"] == "cancelled":
            return False
        if self.of("output_audio_buffer.started", done.response_id) is None:
            return now - done.at > SOUNDLESS_AFTER_S
        stopped = self.of("output_audio_buffer.stopped", done.response_id)
        return stopped is not None and now - stopped.at > ON_THE_WAY_S


class Peer:
    """A caller. `call`, then `ask` again and again."""

    def __init__(self) -> None:
        self.microphone = Microphone()
        self.record = Record()
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connection.addTrack(self.microphone)
        (receiver,) = self._connection.getReceivers()
        exchange_jitter_buffer(receiver, JitterBuffer(capacity=16, prefetch=HELD_FRAMES))
        self._connection.on("track", self._start_listening)
        self._channel = self._connection.createDataChannel(CHANNEL)
        self._channel.on("message", self._take)
        self._listening: asyncio.Task[None] | None = None

    async def call(self, server: Callee) -> None:
        await self._connection.setLocalDescription(await self._connection.createOffer())
        answer = await asyncio.to_thread(server.call, self._connection.localDescription.sdp)
        await self._connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await until(lambda: bool(self.record.all("session.created")), 30, "the call was not connected")

    async def ask(self, pcm: np.ndarray) -> tuple[float, Record]:
        """Say it and hear the reply out. Returns when the last voiced sample was spoken. Raises LatencyError."""
        self.record = record = Record()
        last_said = await self.microphone.say(pcm)
        await until(lambda: record.settled(now()), REPLY_TIMEOUT_S, "no reply came to its end")
        return last_said, record

    def write(self, text: str) -> None:
        """Ask it in writing."""
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        for event in ({"type": "conversation.item.create", "item": item}, {"type": "response.create"}):
            self._channel.send(json.dumps(event))

    async def close(self) -> None:
        await self._connection.close()
        if self._listening is not None:
            await self._listening

    def _take(self, message: str) -> None:
        self.record.told.append(Told(now(), json.loads(message)))

    def _start_listening(self, track: MediaStreamTrack) -> None:
        self._listening = asyncio.create_task(self._listen(track))

    async def _listen(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, AudioFrame) and frame.pts is not None and frame.sample_rate == RATE
                channels = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
                self.record.heard.append(Heard.of(channels.mean(axis=1) / 32768, frame.pts, now()))


def now() -> float:
    return asyncio.get_running_loop().time()


async def until(condition: Callable[[], bool], timeout_s: float, words: str) -> None:
    """Raises LatencyError with those words."""
    deadline = now() + timeout_s
    while not condition():
        if now() > deadline:
            raise LatencyError(f"{words} within {timeout_s:g} s")
        await asyncio.sleep(0.02)


# The measurement ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Measured:
    """One utterance. Without a total, `failure` says why."""

    file: str
    session: int = 0
    total_ms: float | None = None
    failure: str | None = None
    turns: int = 0  # more than one: the server took a pause for the end
    stages_ms: dict[str, float] = field(default_factory=dict)
    worker_ms: dict[str, float] = field(default_factory=dict)
    gaps: Gaps = Gaps()


def measured(file: str, last_said: float, record: Record) -> Measured:
    """What the record of one utterance says."""
    ends = record.all("input_audio_buffer.speech_stopped")
    row = Measured(file, turns=len(ends))
    done = record.all("response.done")[-1].event["response"]
    latency = record.of("response.latency.updated", done["id"])
    heard_at = first_sound(record.heard, ends[-1].at)
    if done["status"] == "failed" or heard_at is None or latency is None:
        row.failure = f"{done['status']}, {'without sound' if heard_at is None else 'with sound'}"
        return row
    row.total_ms = 1000 * (heard_at - last_said)
    row.stages_ms = stages(row.total_ms, 1000 * (ends[-1].at - last_said), latency.event["stages"])
    row.gaps = gaps([frame for frame in record.heard if frame.at > ends[-1].at])
    return row


async def measure(server: Callee, utterances: Sequence[Path], sessions: int = 1) -> list[Measured]:
    """So many sessions at once, each of which says all the utterances."""
    rows: list[Measured] = []
    async with asyncio.TaskGroup() as talks:
        for session in range(sessions):
            first = session * len(utterances) // sessions
            own = [*utterances[first:], *utterances[:first]]
            talks.create_task(_talk(server, session, own, rows, alone=sessions == 1))
    return rows


async def _talk(server: Callee, session: int, utterances: Sequence[Path], rows: list[Measured], alone: bool) -> None:
    """alone: what the worker's milestones have added up to meanwhile is this session's."""
    peer = Peer()
    try:
        await peer.call(server)
        before = worker_seconds(await asyncio.to_thread(server.metrics_text))
        for number, path in enumerate(utterances, 1):
            await asyncio.sleep(PAUSE_S)
            try:
                row = measured(path.name, *await peer.ask(read_speech(path)))
            except LatencyError as reason:
                row = Measured(path.name, failure=str(reason))
            row.session = session
            after = worker_seconds(await asyncio.to_thread(server.metrics_text))
            if alone and row.turns == 1:
                row.worker_ms = {name: 1000 * (value - before.get(name, 0.0)) for name, value in after.items()}
            before = after
            rows.append(row)
            words = row.failure if row.total_ms is None else f"{row.total_ms:6.0f} ms"
            place = f"{number:3}/{len(utterances)}" + ("" if alone else f" of session {session}")
            print(f"{place}  {path.name:24} {words}", file=sys.stderr, flush=True)
    finally:
        await peer.close()


async def run(options: argparse.Namespace) -> dict[str, Any]:
    configuration = load(options.config)
    utterances = spoken(options.manifest, options.count)
    load_before = os.getloadavg()[0]
    async with running_server(options.config) as server:
        rows = await measure(server, utterances, options.sessions)
        memory_mb = server.resident_mb()
    return {
        "model": configuration.model.name,
        "device": f"{configuration.model.device}, {processor()}",
        "threads": configuration.model.threads,
        "commit": commit(),
        "load_before": round(load_before, 2),
        "start_to_ready_s": round(server.start_s, 2),
        "resident_mb": memory_mb | {"together": round(sum(memory_mb.values()), 1)},
        "sessions": options.sessions,
        "summary": summary(rows),
        "by_session": [summary([row for row in rows if row.session == n])["total_ms"] for n in range(options.sessions)],
        "utterances": [rounded(asdict(row)) for row in rows],
    }


def spoken(manifest: Path, count: int) -> list[Path]:
    """So many utterances of a manifest, from the beginning again where it holds fewer."""
    paths = [turn.speech for row in read_manifest(manifest) for turn in row.turns if turn.speech is not None]
    if not paths:
        raise LatencyError(f"nobody speaks in {manifest}")
    return list(itertools.islice(itertools.cycle(paths), count))


def summary(rows: Sequence[Measured]) -> dict[str, Any]:
    answered = [row for row in rows if row.total_ms is not None]
    return {
        "asked": len(rows),
        "total_ms": percentiles([row.total_ms for row in answered if row.total_ms is not None]),
        "stages_ms": percentiles_by_name([row.stages_ms for row in answered]),
        "worker_ms": percentiles_by_name([row.worker_ms for row in answered]),
        "split": sum(row.turns > 1 for row in rows),
        "gaps": {name: sum(asdict(row.gaps)[name] for row in answered) for name in asdict(Gaps())},
    }


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return round(value, 1) if isinstance(value, float) else value


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} × {names[0] if names else 'unnamed processor'}"


def commit() -> str:
    """Of the working tree, with a + when it has changes of its own; "unknown" outside a clone."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def table(report: dict[str, Any]) -> str:
    figures, memory, missing = report["summary"], report["resident_mb"], report["summary"]["gaps"]
    lines = [
        f"{report['model']} on {report['device']}; {report['threads']} threads, commit {report['commit']}, "
        f"load before {report['load_before']}",
        f"ready after {report['start_to_ready_s']} s; resident: server {memory['server']} MB, worker "
        f"{memory['worker']} MB, together {memory['together']} MB",
        f"{figures['total_ms']['count']} of {figures['asked']} utterances answered with sound, {report['sessions']} "
        f"{'session' if report['sessions'] == 1 else 'sessions at once'}; "
        f"{figures['split']} taken for more than one",
        f"{'from the last sample to the first sound':42} {'p50':>8} {'p95':>8} {'max':>8}   (ms)",
    ]
    lines += [_line(name, at) for name, at in {"total": figures["total_ms"], **figures["stages_ms"]}.items()]
    if report["sessions"] > 1:
        lines.append("the total, by session")
        lines += [_line(f"session {number}", at) for number, at in enumerate(report["by_session"])]
    if figures["worker_ms"]:
        lines.append("in the worker, since the request reached it")
        lines += [_line(name.replace("_", " "), at) for name, at in figures["worker_ms"].items()]
    lines.append(
        f"of {missing['frames']} frames of 20 ms within replies: {missing['late']} late, {missing['lost']} lost, "
        f"{missing['silent']} of digital silence"
    )
    return "\n".join(lines)


def _line(name: str, at: dict[str, float]) -> str:
    values = " ".join(f"{at[key]:8.0f}" if key in at else f"{'-':>8}" for key in ("p50", "p95", "max"))
    return f"  {name:40} {values}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.latency", description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path, metavar="MANIFEST.jsonl")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "nano.toml")
    parser.add_argument("--count", type=int, default=30, help="of utterances of each session (default: 30)")
    parser.add_argument("--sessions", type=int, default=1, help="that talk at the same time (default: 1)")
    parser.add_argument("--json", type=Path, metavar="OUT")
    options = parser.parse_args(arguments)
    try:
        report = uvloop.run(run(options))
    except (LatencyError, EvaluationError) as reason:
        print(f"No measurement: {reason}.", file=sys.stderr)
        return 1
    print(table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
