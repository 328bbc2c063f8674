"""How long a drawing and a tune take, over a real call, and whether speech goes on undisturbed meanwhile.

    python -m tools.bench works [--config configs/nano.toml] [--works 10] [--json OUT]

Starts the server as `make run` does and calls it over the loopback interface. Drawings and tunes are asked for in
writing, in turns; the reply is spoken while the work is being made, and when it has been heard a question follows,
whose answer is spoken beside the work too, unless that is done by then. Measured at the client: from the announcement
of the work, which its first token causes, until it is complete; and the gaps in the replies heard meanwhile, as
`tools.latency` counts them. The first of each kind also waits for its models to be loaded: it is told apart.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

from tools.latency import Gaps, LatencyError, Peer, Record, Server, Told, gaps, now, percentiles, running_server, until

ASKED = {
    "drawing": ("draw me a red apple", "draw a blue car", "please draw a yellow bird", "can you draw a green tree"),
    "tune": (
        "play some happy piano music",
        "play a slow sad tune on the violin",
        "play fast music on the guitar",
    ),
}
MEANWHILE = ("what comes after tuesday", "tell me a joke", "what does a cow say", "count to ten")
WORK_TIMEOUT_S = 90.0
_ATTACHMENT = "conversation.item.attachment"
_WORKS = ("output_image", "output_audio_file")
_MUST_S = {"drawing": 4.0, "tune": 8.0}


@dataclass(frozen=True, slots=True)
class Made:
    """One work: seconds from its announcement to its end, and what was amiss in the speech meanwhile."""

    kind: str
    asked: str
    seconds: float
    failure: str | None
    speech: Gaps


async def make(peer: Peer, kind: str, asked: str, meanwhile: str) -> Made:
    """Raises LatencyError where nothing is made."""
    peer.record = record = Record()
    peer.write(asked)
    await until(lambda: heard_out(record, 1), WORK_TIMEOUT_S, f"{asked!r} was not answered aloud")
    if not announced(record):
        said = [told.event["transcript"] for told in record.all("response.output_audio_transcript.done")]
        raise LatencyError(f"it made nothing, and said {said}")
    peer.write(meanwhile)
    await until(lambda: heard_out(record, 2), WORK_TIMEOUT_S, f"{meanwhile!r} was not answered aloud")
    await until(
        lambda: all(ended(record, work) for work in announced(record)),
        WORK_TIMEOUT_S,
        f"{asked!r} did not come to its end",
    )
    begun = announced(record)[0]
    end = ended(record, begun)[0]
    failure = end.event["error"]["message"] if "error" in end.event else None
    return Made(kind, asked, end.at - begun.at, failure, speech(record, end.at))


def announced(record: Record) -> list[Told]:
    """The items that are works."""
    items = record.all("conversation.item.added")
    return [told for told in items if any(part["type"] in _WORKS for part in told.event["item"]["content"])]


def ended(record: Record, work: Told) -> list[Told]:
    """What was told of its end; nothing until then."""
    ends = record.all(f"{_ATTACHMENT}.completed") + record.all(f"{_ATTACHMENT}.failed")
    return [told for told in ends if told.event["item_id"] == work.event["item"]["id"]]


def heard_out(record: Record, replies: int) -> bool:
    """Whether so many replies were played to their end and have arrived."""
    stopped = record.all("output_audio_buffer.stopped")
    return len(stopped) >= replies and now() - stopped[replies - 1].at > 0.3


def speech(record: Record, until_s: float) -> Gaps:
    """Of the replies that began to be heard before that time."""
    total = Gaps()
    starts, stops = (record.all(f"output_audio_buffer.{what}") for what in ("started", "stopped"))
    for start, stop in zip(starts, stops, strict=False):
        if start.at < until_s:
            found = gaps([frame for frame in record.heard if start.at < frame.at < stop.at + 0.3])
            total = Gaps(**{name: asdict(total)[name] + count for name, count in asdict(found).items()})
    return total


async def measure(server: Server, count: int) -> list[Made]:
    peer = Peer()
    rows = []
    asides = itertools.cycle(MEANWHILE)
    try:
        await peer.call(server)
        for number in range(count):
            for kind, sentences in ASKED.items():
                try:
                    rows.append(await make(peer, kind, sentences[number % len(sentences)], next(asides)))
                except LatencyError as reason:
                    rows.append(Made(kind, sentences[number % len(sentences)], 0.0, str(reason), Gaps()))
    finally:
        await peer.close()
    return rows


async def _run(options: argparse.Namespace) -> dict[str, Any]:
    async with running_server(options.config) as server:
        rows = await measure(server, options.works)
        memory = server.resident_mb()
    report: dict[str, Any] = {"start_to_ready_s": round(server.start_s, 2), "resident_mb": memory}
    for kind in ASKED:
        first, *rest = [row for row in rows if row.kind == kind]
        made = [row for row in rest if row.failure is None]
        heard = {name: sum(asdict(row.speech)[name] for row in (first, *rest)) for name in asdict(Gaps())}
        report[kind] = {
            "first_s": round(first.seconds, 2),
            "seconds": percentiles([row.seconds for row in made]),
            "failures": [f"{row.asked}: {row.failure}" for row in (first, *rest) if row.failure is not None],
            "speech": heard,
        }
    return report


def run(options: argparse.Namespace) -> dict[str, Any]:
    return uvloop.run(_run(options))


def table(report: dict[str, Any]) -> str:
    memory = report["resident_mb"]
    lines = [
        f"ready after {report['start_to_ready_s']} s; resident with all models: server {memory['server']} MB, "
        f"worker {memory['worker']} MB"
    ]
    for kind in ASKED:
        found, seconds = report[kind], report[kind]["seconds"]
        times = ", ".join(f"{name} {seconds[name]:.1f}" for name in ("p50", "p95", "max") if name in seconds)
        missing = found["speech"]
        lines += [
            f"{kind}: {seconds['count']} made in {times or 'no'} s (must hold {_MUST_S[kind]:g}), the first with its "
            f"models in {found['first_s']} s",
            f"  of {missing['frames']} frames of speech meanwhile {missing['late']} late, {missing['lost']} lost, "
            f"{missing['silent']} of digital silence",
            *(f"  failed: {failure}" for failure in found["failures"]),
        ]
    return "\n".join(lines)


def add_arguments(parser: Any) -> None:
    parser.add_argument("--works", type=_at_least_two, default=10, help="drawings, and as many tunes")


def _at_least_two(text: str) -> int:
    if (number := int(text)) < 2:
        raise argparse.ArgumentTypeError("at least 2: the first waits for its models")
    return number
