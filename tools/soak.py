"""Real calls for a long time: many sessions, lost packets, interruptions; what was slow, silent, mixed up or leaked.

    python -m tools.soak --sessions 2 --minutes 30 --loss 2 --html soak.html --limit gaps_percent=0.5

Starts the server as `make run` does and calls it over WebRTC, each session through a relay that loses packets of both
directions. A session tells its name, asks questions, interrupts some replies, and now and then asks for its name: a
reply with the name of another session, one by which this session was never called before, is a leak. (nano may mishear
a name; that is no leak.) Where the model sees, it shows pictures; where sessions can be resumed, it is cut off now and
then and comes back for its own. What is said lies in tools/soak_speech.

The caller hears as a browser does: a jitter buffer, Opus's error correction, and a loudspeaker that begins BUFFER_S
after the first frame of a reply. What it has to make up between a reply's first and last sound is a gap: frames of
20 ms that were lost for good, and the time that it waits for one that comes too late. A barge-in lasts from the onset
of the interrupting speech to the last frame with sound; where no sound came after the onset nothing was cut off.

What goes wrong in a session is counted and named, and it calls again. Memory and open files are those of the server and
of all processes that it started, compared behind the warm-up. Any `--limit NAME=VALUE` that a figure of the summary
exceeds, or that was not measured, makes the exit code 1; no leaks and no errors are limits that are always set.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import functools
import io
import json
import math
import os
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from av import AudioCodecContext, CodecContext, Packet
from PIL import Image, ImageDraw
from prometheus_client.parser import text_string_to_metric_families

from configuration import ROOT
from streaming.transports.microphone import Ears
from streaming.transports.opus import OpusDecoder, make_decoder
from streaming.transports.webrtc import CHANNEL
from streaming.types import SPEECH_RATE
from tools.latency import (
    RATE,
    SILENT,
    VOICED,
    Callee,
    LatencyError,
    Microphone,
    Record,
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
from tools.manifest import read_speech
from tools.network import Link, Relay, without_candidates
from tools.soak_report import Verdict, page

SPEECH = Path(__file__).parent / "soak_speech"
FRAME_S = 0.02
BUFFER_S = 0.08
SAMPLE_EVERY_S = 5.0
REPLY_TIMEOUT_S = 60.0
TAKEN_WITHIN_S = 10.0
SILENCE_TIMEOUT_S = 5.0
ASKS_NAME, INTERRUPTS, SHOWS, RECONNECTS = 0.2, 0.3, 0.1, 0.03  # shares of the turns
WARM_UP, WARM_UP_S = 0.2, 60.0  # share of the time, and what it is at least, where there is twice that: not compared
CALL_AGAIN_S, MOST_FAILED_CALLS = 2.0, 5  # in a row, until a session gives up
TELL_EVERY_S = 15.0
LOOK_EVERY_S = 0.05  # how late the callers themselves are
HELD_UP_MS = 40.0
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
        self._session: dict[str, Any] = {}
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

    @property
    def can(self) -> set[str]:
        """The extensions that its session has."""
        return set(self._session.get("extensions", ()))

    @property
    def resume_token(self) -> str | None:
        return (self._session.get("resume") or {}).get("token")

    async def call(self, server: Callee, link: Link, seed: int, token: str | None = None) -> None:
        """token: of an older session that is to go on. Raises LatencyError when no session comes of it, or another."""
        await self._connection.setLocalDescription(await self._connection.createOffer())
        (receiver,) = self._connection.getReceivers()
        self._ears.tap(receiver)
        offer = without_candidates(self._connection.localDescription.sdp)
        answer = await asyncio.to_thread(server.call, offer, *([] if token is None else [token]))
        self._relay = await Relay.open(answer, link, link, seed)
        self._listening = asyncio.create_task(self._listen())
        await self._connection.setRemoteDescription(RTCSessionDescription(self._relay.sdp, "answer"))
        await until(lambda: bool(self._session), 30, "the call was not connected")
        if token is not None and not self.record.all("session.resumed"):
            raise LatencyError("the session was not there any more")

    async def say(self, pcm: np.ndarray) -> float:
        """As Microphone.say. Raises LatencyError when the call is lost."""
        self._check()
        try:
            async with asyncio.timeout(len(pcm) / SPEECH_RATE + TAKEN_WITHIN_S):
                return await self.microphone.say(pcm)
        except TimeoutError:
            raise LatencyError("the call was lost: what is said leaves no more") from None

    async def until(self, condition: Callable[[], bool], timeout_s: float, words: str) -> None:
        """Raises LatencyError with those words, or when the call is lost."""
        await until(lambda: condition() or self._is_lost, timeout_s, words)
        self._check()

    def show(self, picture_url: str) -> None:
        content = [{"type": "input_image", "image_url": picture_url}]
        item = {"type": "message", "role": "user", "content": content}
        self._channel.send(json.dumps({"type": "conversation.item.create", "item": item}))

    def vanish(self) -> None:
        """Nothing gets through any more, either way."""
        if self._relay is not None:
            self._relay.close()

    def begin_turn(self) -> Record:
        """Forget what was told and heard before."""
        self.record = Record()
        self.loudspeaker.sounds = []
        return self.record

    async def close(self) -> None:
        await self._connection.close()
        self.vanish()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    def _take(self, message: str) -> None:
        event = json.loads(message)
        if event["type"] in ("session.created", "session.resumed"):
            self._session = event["session"]
        self.record.told.append(Told(now(), event))
        if event["type"] == "error":
            self.errors.append(event["error"]["message"])

    @property
    def _is_lost(self) -> bool:
        return self._connection.connectionState in ("failed", "closed") or self._channel.readyState != "open"

    def _check(self) -> None:
        if self._is_lost:
            raise LatencyError("the call was lost")

    async def _listen(self) -> None:
        while True:
            await self._ears.hear()


# What is measured -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing that was said to the server, and what came of it."""

    session: int
    at_s: float  # since the soak began
    kind: str  # "name", "question", "interruption", "picture", "who am i", "back"
    latency_ms: float | None = None  # last sample to first sound; None: no sound came, or too early to tell
    barge_in_ms: float | None = None
    frames: int = 0  # of 20 ms within the reply
    gaps: int = 0
    soundless: bool = False  # a reply came, and nothing of it was heard
    said: str = ""  # its words
    leak: str | None = None
    failure: str | None = None


def gaps(sounds: Sequence[Sound]) -> tuple[int, int]:
    """(frames that a loudspeaker plays from a reply's first sound to its last, how many of them it has to make up).

    It begins BUFFER_S after the first one is there. When it has nothing to play it waits, and goes on that much later.
    """
    loud = [index for index, sound in enumerate(sounds) if sound.loud]
    if not loud:
        return 0, 0
    reply = sounds[loud[0] : loud[-1] + 1]
    transit = [sound.at - sound.number * FRAME_S for sound in reply]
    waited_s = max(0.0, max(transit) - transit[0] - BUFFER_S)
    waited = math.ceil(round(waited_s / FRAME_S, 3))
    return len(reply) + waited, sum(not sound.real for sound in reply) + waited


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


def why_it_failed(record: Record) -> str | None:
    """In words, if the newest reply failed."""
    done = [told.event["response"] for told in record.all("response.done")]
    if not done or done[-1]["status"] != "failed":
        return None
    error = (done[-1].get("status_details") or {}).get("error") or {}
    return f"the reply failed: {error.get('code')}: {error.get('message')}"


def a_picture(chance: random.Random) -> str:
    """A round thing of some colour on paper, as a data URI."""
    image = Image.new("RGB", (128, 128), (240, 232, 220))
    colour = tuple(chance.randrange(30, 220) for _ in range(3))
    ImageDraw.Draw(image).ellipse((28, 28, 100, 100), fill=colour)
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


@dataclass(frozen=True, slots=True)
class Sample:
    """The server's processes at one time."""

    at_s: float
    resident_mb: float  # of all of them
    open_files: int
    server_mb: float = 0.0  # of the one that has the sockets


def sample(process_id: int, at_s: float) -> Sample:
    """Raises ProcessLookupError when the server has ended. A worker may end at any time."""
    try:
        processes = [process_id, *descendants(process_id)]
    except OSError:
        processes = [process_id]
    resident, files = dict.fromkeys(processes, 0.0), 0
    for each in processes:
        with contextlib.suppress(OSError):
            resident[each] = resident_bytes(each) / 1e6
            files += len(os.listdir(f"/proc/{each}/fd"))
    if not resident[process_id]:
        raise ProcessLookupError
    return Sample(at_s, sum(resident.values()), files, resident[process_id])


@dataclass(slots=True)
class Soak:
    """Owns what was measured."""

    began: float
    turns: list[Turn] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    metrics: str = ""  # what the server's /metrics said at the end
    lags_ms: list[float] = field(default_factory=list)  # by how much this process woke up too late

    def went_wrong(self, session: int, reason: Exception) -> None:
        words = str(reason) if isinstance(reason, LatencyError) else f"{type(reason).__name__}: {reason}"
        self.errors.append(f"session {session}, {(now() - self.began) / 60:.1f} min: {words}")

    async def watch(self, process_id: int) -> None:
        """As long as there is a server."""
        while True:
            try:
                self.samples.append(sample(process_id, now() - self.began))
            except ProcessLookupError:
                self.errors.append(f"the server has ended after {(now() - self.began) / 60:.1f} min")
                return
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def watch_itself(self) -> None:
        """Callers that are held up hear late, whatever the server does."""
        while True:
            due = now() + LOOK_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)
            self.lags_ms.append(1000 * (now() - due))

    async def tell(self, minutes: float) -> None:
        """How it goes, on the terminal."""
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            print(progress(self, now() - self.began, minutes), file=sys.stderr, flush=True)


def progress(soak: Soak, at_s: float, minutes: float) -> str:
    """One line."""
    at, newest = summary(soak), soak.samples[-1] if soak.samples else None
    shown = [
        f"{int(at_s) // 60:3}:{int(at_s) % 60:02} of {minutes:g} min",
        f"{at['turns']:g} turns",
        f"latency {_value(at['latency_p50_ms'])}/{_value(at['latency_p95_ms'])} ms",
        f"barge-in {_value(at['barge_in_p50_ms'])} ms",
        f"gaps {_value(at['gaps_percent'])} %",
        f"leaks {at['leaks']:g}",
        f"errors {at['errors']:g}",
    ]
    if newest is not None:
        shown.append(f"{newest.resident_mb:.0f} MB, {newest.open_files} files")
    return "  ".join(shown)


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
        self._caller: Caller

    async def hold(self, server: Callee, link: Link, seed: int, over: Callable[[], bool]) -> None:
        """Until it is over. What goes wrong is put down, and the session calls again, unless calls alone go wrong."""
        failed = 0
        while not over() and failed < MOST_FAILED_CALLS:
            turns_before = self._turns
            try:
                await self._hold_call(server, link, seed, over)
            except Exception as reason:
                self._soak.went_wrong(self._number, reason)
                failed = 1 if self._turns > turns_before else failed + 1
                await asyncio.sleep(CALL_AGAIN_S)
        if failed == MOST_FAILED_CALLS:
            self._soak.went_wrong(self._number, LatencyError(f"gives up after {failed} calls"))

    async def _hold_call(self, server: Callee, link: Link, seed: int, over: Callable[[], bool]) -> None:
        self._caller = Caller()
        try:
            await self._caller.call(server, link, seed)
            self._called = set()
            introduced = await self._ask("name", self._repertoire.introductions[self._name])
            self._called |= names_in(introduced.said, self._others)
            while not over():
                await asyncio.sleep(self._chance.uniform(0.3, 1.5))
                await self._do_something(server, link, seed)
            await self._ask("who am i", self._repertoire.who_am_i)
        finally:
            await self._hang_up()

    async def _do_something(self, server: Callee, link: Link, seed: int) -> None:
        kind = self._chance.random()
        if kind < ASKS_NAME:
            await self._ask("who am i", self._repertoire.who_am_i)
        elif kind < ASKS_NAME + INTERRUPTS:
            await self._interrupt()
        elif kind < ASKS_NAME + INTERRUPTS + SHOWS and "camera" in self._caller.can:
            self._caller.show(a_picture(self._chance))
            await self._ask("picture", self._question())
        elif kind > 1 - RECONNECTS and self._caller.resume_token is not None:
            await self._come_back(server, link, seed)
        else:
            await self._ask("question", self._question())

    async def _come_back(self, server: Callee, link: Link, seed: int) -> None:
        """Cut the line, call again, and go on with the same session."""
        token = self._caller.resume_token
        self._caller.vanish()
        cut_off, self._caller = self._caller, Caller()
        try:
            await self._caller.call(server, link, seed + 1, token)
        finally:
            self._soak.errors += [f"session {self._number}: {words}" for words in cut_off.errors]
            await cut_off.close()
        await self._ask("back", self._repertoire.who_am_i)

    async def _hang_up(self) -> None:
        self._soak.errors += [f"session {self._number}: {words}" for words in self._caller.errors]
        await self._caller.close()

    @property
    def _turns(self) -> int:
        return sum(turn.session == self._number for turn in self._soak.turns)

    def _question(self) -> np.ndarray:
        return self._chance.choice(list(self._repertoire.questions.values()))

    async def _ask(self, kind: str, pcm: np.ndarray) -> Turn:
        record, began = self._caller.begin_turn(), now()
        last_said = await self._caller.say(pcm)
        return await self._hear_out(kind, record, began, last_said)

    async def _hear_out(
        self, kind: str, record: Record, began: float, last_said: float, barge_in_ms: float | None = None
    ) -> Turn:
        """Wait for the reply's end and put the turn down."""
        at_s, failure = began - self._soak.began, None
        try:
            await self._caller.until(lambda: record.settled(now()), REPLY_TIMEOUT_S, "no reply came to its end")
        except LatencyError as reason:
            failure = str(reason)
        failure = failure or why_it_failed(record)
        ends = record.all("input_audio_buffer.speech_stopped")
        since = ends[-1].at if ends else last_said
        sounds = [sound for sound in self._caller.sounds if sound.at > since]
        first = next((sound.at for sound in sounds if sound.loud), None)
        latency = 1000 * (first - last_said) if first is not None and len(ends) == 1 else None
        said = words_of(record)
        leaks = names_in(said, self._others) - self._called
        soundless, leak = first is None and failure is None, next(iter(leaks), None)
        turn = Turn(self._number, at_s, kind, latency, barge_in_ms, *gaps(sounds), soundless, said, leak, failure)
        self._soak.turns.append(turn)
        return turn

    async def _interrupt(self) -> None:
        """Ask, and speak into the reply when it has been heard for a moment."""
        record, began = self._caller.begin_turn(), now()
        await self._caller.say(self._question())
        talking = self._chance.uniform(0.3, 1.0)
        try:
            await self._caller.until(lambda: self._heard_s() > talking, REPLY_TIMEOUT_S, "no reply to interrupt came")
        except LatencyError as reason:
            self._soak.turns.append(Turn(self._number, began - self._soak.began, "interruption", failure=str(reason)))
            return
        pcm, before = self._question(), record
        onset, last = onset_and_last(pcm)
        record = self._caller.record = Record()
        last_said = await self._caller.say(pcm)
        spoken_from = last_said - (last - onset)
        with contextlib.suppress(LatencyError):
            await self._caller.until(
                lambda: bool(record.all("output_audio_buffer.cleared") or before.all("output_audio_buffer.stopped")),
                SILENCE_TIMEOUT_S,
                "it was not cut off",
            )
        cleared = record.all("output_audio_buffer.cleared")
        barge_in = None
        if cleared:
            # What is under way when the server falls silent is heard, too; the next reply comes later than that.
            silent = silent_at(self._caller.sounds, cleared[0].at + 0.25)
            barge_in = 1000 * (silent - spoken_from) if silent is not None and silent > spoken_from else None
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
        besides = (soak.watch(server.process_id), soak.watch_itself(), soak.tell(options.minutes))
        beside = [asyncio.create_task(each) for each in besides]
        deadline = soak.began + 60 * options.minutes
        async with asyncio.TaskGroup() as sessions:
            for number in range(options.sessions):
                conversation = Conversation(soak, number, names[: options.sessions], repertoire, options.seed + number)
                over = functools.partial(_passed, deadline)
                sessions.create_task(conversation.hold(server, link, options.seed + 2 * number, over))
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        with contextlib.suppress(OSError):  # it may have ended: then that is among the errors
            soak.metrics = await asyncio.to_thread(server.metrics_text)
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
        "seed": options.seed,
        "warnings": held_up(summary(soak)),
        "warm_up_s": warm_up_s(soak.samples),
        "summary": summary(soak),
        "milestones_ms": mean_milestones_ms(soak.metrics),
        "errors": soak.errors,
        "turns": [asdict(turn) for turn in soak.turns],
        "samples": [asdict(each) for each in soak.samples],
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
        "without_sound": sum(turn.soundless for turn in soak.turns),
        "errors": len(soak.errors) + sum(turn.failure is not None for turn in soak.turns),
        "memory_growth_percent": growth_percent(soak.samples, lambda each: each.resident_mb),
        "open_files_growth_percent": growth_percent(soak.samples, lambda each: each.open_files),
        "prompt_reused_percent": prompt_reused_percent(soak.metrics),
        "callers_lag_p99_ms": round(float(np.percentile(soak.lags_ms, 99)), 1) if soak.lags_ms else None,
    }


def warm_up_s(samples: Sequence[Sample]) -> float:
    """So much at the beginning is not compared."""
    lasted = samples[-1].at_s if samples else 0.0
    return min(max(WARM_UP * lasted, WARM_UP_S), lasted / 2)


def growth_percent(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float | None:
    """From the tenth of the time behind the warm-up to the last tenth, by medians. None: there are too few."""
    if len(samples) < 10:
        return None
    lasted, warm = samples[-1].at_s, warm_up_s(samples)
    before = statistics.median(value(each) for each in samples if warm <= each.at_s <= warm + lasted / 10)
    after = statistics.median(value(each) for each in samples if each.at_s >= 0.9 * lasted)
    return round(100 * (after - before) / before, 2)


def mean_milestones_ms(metrics: str) -> dict[str, float]:
    """From the end of speech, by name, in the order of time."""
    seconds = _values(metrics, "tertulia_milestone_seconds_sum", "milestone")
    counts = _values(metrics, "tertulia_milestone_seconds_count", "milestone")
    means = {name: round(1000 * seconds[name] / count, 1) for name, count in counts.items() if count}
    return dict(sorted(means.items(), key=lambda named: named[1]))


def prompt_reused_percent(metrics: str) -> float | None:
    tokens = _values(metrics, "tertulia_prompt_tokens_total", "kind")
    return round(100 * tokens["reused"] / sum(tokens.values()), 1) if sum(tokens.values()) else None


def _values(metrics: str, name: str, label: str) -> dict[str, float]:
    """The values of one metric by one of its labels."""
    families = text_string_to_metric_families(metrics)
    return {each.labels[label]: each.value for family in families for each in family.samples if each.name == name}


def held_up(summary: Mapping[str, float | None]) -> list[str]:
    """A warning, if the callers were too slow to measure."""
    lag_ms = summary["callers_lag_p99_ms"]
    if lag_ms is None or lag_ms <= HELD_UP_MS:
        return []
    return [f"the callers themselves were held up (p99 {lag_ms:g} ms): that they heard late is their own doing, too"]


def judged(summary: Mapping[str, float | None], limits: Iterable[str]) -> list[Verdict]:
    """What became of the limits (NAME=VALUE). Raises ValueError for one that cannot be understood."""
    verdicts = []
    for limit in limits:
        name, _, most = limit.partition("=")
        if name not in summary:
            raise ValueError(f"no figure is called '{name}': there are {', '.join(summary)}")
        try:
            verdicts.append(Verdict(name, summary[name], float(most)))
        except ValueError:
            raise ValueError(f"'{limit}' is no limit: write {name}=NUMBER") from None
    return verdicts


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
        judged(summary(Soak(0.0)), limits)  # before the long wait
        result = uvloop.run(run(options))
    except (LatencyError, ValueError) as reason:
        print(f"No soak: {reason}.", file=sys.stderr)
        return 2
    verdicts = judged(result["summary"], limits)
    failures = [each.words for each in verdicts if not each.holds]
    for name, value in result["summary"].items():
        print(f"{name.replace('_', ' '):28}{_value(value):>12}")
    for words in [*result["errors"], *failures, *held_up(result["summary"])]:
        print(words, file=sys.stderr)
    if options.html:
        options.html.parent.mkdir(parents=True, exist_ok=True)
        options.html.write_text(page(result, verdicts), "utf-8")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
