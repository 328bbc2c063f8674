"""Who speaks into a reply: how soon it falls silent for who wants the floor, and that it goes on for who coughs.

    python -m tools.barge_in --config configs/nano.toml [--count 24] [--loss 0] [--json OUT]

Starts the server as `make run` does and calls it over WebRTC. The caller asks, and when the reply has been heard for a
moment, he interrupts it with another question, or says "uh-huh" and the like (tools/barge_in_speech), or coughs (bursts
of noise). An interruption is measured from the onset of his speech to the last sound of the reply in what arrives; a
loudspeaker's and a microphone's own delays, and a browser's jitter buffer, are not in it. Sound that had stopped for
REST_S and came again before the reply was cut off is told apart: the server had doubts. A reply that was cut off by a
cough or by agreement was cut off falsely; else the length of the pause that it made is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from configuration import ROOT
from streaming.types import SPEECH_RATE
from tools.latency import (
    PAUSE_S,
    SILENT,
    Callee,
    LatencyError,
    Record,
    commit,
    now,
    percentiles,
    processor,
    rounded,
    running_server,
    until,
)
from tools.manifest import read_speech
from tools.network import Link
from tools.soak import REPLY_TIMEOUT_S, SPEECH, Caller, Loudspeaker, Repertoire, onset_and_last

AGREEMENT = Path(__file__).parent / "barge_in_speech"
ASKED = ("tell_me_a_joke", "what_can_you_do")  # whose replies are long enough to be spoken into
HEARD_S = (0.2, 0.8)  # of a reply, before somebody speaks into it
UNDER_WAY_S = 0.25  # when the server falls silent, so much may be on its way
REST_S = 0.1
AFTERWARDS_S = 1.0  # until it is sure that what was said was speech
COUGH_S = (0.1, 0.25)
KINDS = ("interruption", "agreement", "cough")


# What is said ---------------------------------------------------------------------------------------------------------


def coughs(seed: int) -> np.ndarray:
    """[samples] float32 at SPEECH_RATE: one or two bursts of noise below 3 kHz, sharp at first and then decaying."""
    chance = np.random.default_rng(seed)
    bursts = []
    for _ in range(int(chance.integers(1, 3))):
        length = int(chance.uniform(*COUGH_S) * SPEECH_RATE)
        noise = np.convolve(chance.standard_normal(length), np.hanning(6) / np.hanning(6).sum(), "same")
        decay = np.exp(-np.arange(length) / (0.35 * length)) * np.minimum(1, np.arange(length) / (0.01 * SPEECH_RATE))
        bursts += [0.4 * noise / np.abs(noise).max() * decay, np.zeros(SPEECH_RATE // 10)]
    return np.concatenate([*bursts, np.zeros(SPEECH_RATE // 10)]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing that is said into a reply."""

    kind: str  # of KINDS
    name: str
    pcm: np.ndarray  # [samples] float32 at SPEECH_RATE


def trials(count: int, kinds: Sequence[str], repertoire: Repertoire, agreement: Path, seed: int) -> list[Trial]:
    """So many of each of these kinds, in turn."""
    agreeing = {path.stem: read_speech(path) for path in sorted(agreement.glob("*.ogg"))}
    if not agreeing:
        raise LatencyError(f"there is nothing to say in {agreement}")
    questions, agreements = itertools.cycle(repertoire.questions.items()), itertools.cycle(agreeing.items())
    made = []
    for number in range(count):
        made.append(Trial("interruption", *next(questions)))
        made.append(Trial("agreement", *next(agreements)))
        made.append(Trial("cough", f"cough {number}", coughs(seed + number)))
    return [trial for trial in made if trial.kind in kinds]


# What is measured -----------------------------------------------------------------------------------------------------


class Tape(Loudspeaker):
    """Remembers where in what it gave the sound was."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[float, float]] = []  # of each loud piece: when its sound began and ended, in s

    def _remember(self, pcm: np.ndarray, real: bool) -> np.ndarray:
        loud = np.flatnonzero(np.abs(pcm) > SILENT)
        if len(loud):
            at = now()
            self.heard.append((at + loud[0] / SPEECH_RATE, at + (loud[-1] + 1) / SPEECH_RATE))
        return super()._remember(pcm, real)


def silences(heard: Iterable[tuple[float, float]], onset: float, before: float) -> tuple[float, float] | None:
    """When a sound that lasted at `onset` fell silent for the first time, for REST_S at least, and for the last time
    before `before`. None: it was silent already.

    heard: when each piece of sound began and ended, in order."""
    pieces = [(began, ended) for began, ended in heard if began < before]
    ends = [ended for _, ended in pieces]
    following = [*(began for began, _ in pieces[1:]), float("inf")]
    rests = [end for end, began in zip(ends, following, strict=True) if began - end > REST_S and end > onset]
    return (rests[0], rests[-1]) if rests else None


@dataclass(frozen=True, slots=True)
class Spoken:
    """What came of one trial. Without `failure` the reply was heard when it was spoken into."""

    kind: str
    name: str
    failure: str | None = None
    cut: bool = False
    noticed_ms: float | None = None  # from the onset to the server's word that it pauses
    silent_ms: float | None = None  # from the onset to the first silence
    silent_for_good_ms: float | None = None
    paused_ms: float | None = None  # of a reply that went on: how long it was held altogether


def spoken(trial: Trial, onset: float, record: Record, heard: Iterable[tuple[float, float]]) -> Spoken:
    """What the record says of what was spoken into a reply at `onset` (s)."""
    cleared, paused, resumed, stopped = (
        [told.at for told in record.all(f"output_audio_buffer.{what}") if told.at > onset]
        for what in ("cleared", "paused", "resumed", "stopped")
    )
    if not (cleared or stopped) or min(told.at for told in record.all("output_audio_buffer.started")) > onset:
        return Spoken(trial.kind, trial.name, "no reply was being heard")
    noticed_ms = 1000 * (paused[0] - onset) if paused else None
    if not cleared:
        held_ms = sum(1000 * (until - since) for since, until in zip(paused, resumed, strict=True))
        return Spoken(trial.kind, trial.name, noticed_ms=noticed_ms, paused_ms=held_ms)
    silent = silences(heard, onset, cleared[0] + UNDER_WAY_S)
    first_ms, last_ms = (1000 * (at - onset) for at in silent) if silent else (None, None)
    return Spoken(trial.kind, trial.name, None, True, noticed_ms, first_ms, last_ms)


class Listener:
    """One call. `call`, then `speak_into` a reply again and again; `close`."""

    def __init__(self, repertoire: Repertoire, seed: int) -> None:
        self._tape = Tape()
        self._caller = Caller(self._tape)
        asked = [pcm for name, pcm in repertoire.questions.items() if name in ASKED]
        self._questions = itertools.cycle(asked or repertoire.questions.values())
        self._chance = random.Random(seed)

    async def call(self, server: Callee, link: Link, seed: int) -> None:
        await self._caller.call(server, link, seed)

    async def close(self) -> None:
        await self._caller.close()

    async def speak_into(self, trial: Trial) -> Spoken:
        """Ask, say it into the reply, and hear out what follows."""
        record = self._caller.begin_turn()
        self._tape.heard.clear()
        await self._caller.microphone.say(next(self._questions))
        talking = self._chance.uniform(*HEARD_S)
        begins, last = onset_and_last(trial.pcm)
        words = trial.pcm[int(begins * SPEECH_RATE) :]
        try:
            await until(lambda: self._heard_s() > talking, REPLY_TIMEOUT_S, "no reply was heard")
            last_said = await self._caller.microphone.say(words)
            await asyncio.sleep(AFTERWARDS_S)
            await until(lambda: record.settled(now()), REPLY_TIMEOUT_S, "no reply came to its end")
        except LatencyError as reason:
            return Spoken(trial.kind, trial.name, str(reason))
        return spoken(trial, last_said - (last - begins), record, self._tape.heard)

    def _heard_s(self) -> float:
        return sum(end - begin for begin, end in self._tape.heard)


# The measurement ------------------------------------------------------------------------------------------------------


async def measure(
    server: Callee, spoken_into: Sequence[Trial], repertoire: Repertoire, link: Link, seed: int
) -> list[Spoken]:
    """All in one session."""
    rows: list[Spoken] = []
    listener = Listener(repertoire, seed)
    try:
        await listener.call(server, link, seed)
        for number, trial in enumerate(spoken_into, 1):
            await asyncio.sleep(PAUSE_S)
            rows.append(await listener.speak_into(trial))
            print(f"{number:3}/{len(spoken_into)}  {line(rows[-1])}", file=sys.stderr, flush=True)
    finally:
        await listener.close()
    return rows


def line(row: Spoken) -> str:
    what = row.failure or ("cut off" if row.cut else "went on" if row.paused_ms else "did not notice")
    values = ((name, getattr(row, name)) for name in ("noticed_ms", "silent_ms", "silent_for_good_ms", "paused_ms"))
    figures = (
        f"{name.removesuffix('_ms').replace('_', ' ')} {value:.0f}" for name, value in values if value is not None
    )
    return f"{row.kind:13} {row.name:22} {what:10} {', '.join(figures)}"


def summary(rows: Sequence[Spoken]) -> dict[str, Any]:
    """For each kind: how many of how many were cut off, and percentiles of what was measured."""
    figures: dict[str, Any] = {}
    for kind in dict.fromkeys(row.kind for row in rows):
        heard = [row for row in rows if row.kind == kind and row.failure is None]
        measured = {
            name: percentiles([value for row in heard if (value := getattr(row, name)) is not None])
            for name in ("noticed_ms", "silent_ms", "silent_for_good_ms", "paused_ms")
        }
        figures[kind] = {"said": len(heard), "cut_off": sum(row.cut for row in heard), **measured}
    return figures


async def run(options: argparse.Namespace) -> dict[str, Any]:
    repertoire = Repertoire.read(options.speech)
    into = trials(options.count, options.only, repertoire, options.agreement, options.seed)
    link, load_before = Link(loss=options.loss / 100), os.getloadavg()[0]
    async with running_server(options.config) as server:
        rows = await measure(server, into, repertoire, link, options.seed)
    return {
        "device": processor(),
        "commit": commit(),
        "load_before": round(load_before, 2),
        "loss_percent": options.loss,
        "summary": summary(rows),
        "trials": [rounded(asdict(row)) for row in rows],
    }


def table(report: dict[str, Any]) -> str:
    lines = [
        f"{report['device']}, commit {report['commit']}, load before {report['load_before']}, "
        f"{report['loss_percent']:g} % lost"
    ]
    for kind, figures in report["summary"].items():
        lines.append(f"{kind}: {figures['cut_off']} of {figures['said']} cut the reply off")
        for name in ("noticed_ms", "silent_ms", "silent_for_good_ms", "paused_ms"):
            if figures[name]["count"]:
                values = " ".join(f"{key} {figures[name][key]:6.0f}" for key in ("p50", "p95", "max"))
                lines.append(
                    f"  {name.removesuffix('_ms').replace('_', ' '):20} {values} ms, of {figures[name]['count']}"
                )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.barge_in", description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "nano.toml")
    parser.add_argument("--count", type=int, default=24, help="of each kind (default: 24)")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="of these kinds (default: all)")
    parser.add_argument("--loss", type=float, default=0.0, help="percent of the packets, each way (default: 0)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder of questions")
    parser.add_argument("--agreement", type=Path, default=AGREEMENT, help="folder of what is said while listening")
    parser.add_argument("--json", type=Path, metavar="OUT")
    options = parser.parse_args(arguments)
    try:
        report = uvloop.run(run(options))
    except LatencyError as reason:
        print(f"No measurement: {reason}.", file=sys.stderr)
        return 1
    print(table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
