"""Benchmarks of the parts, each against a reference in the same run, since figures of a busy machine mean little alone.

    python -m tools.bench [PART ...] [--config configs/nano.toml] [--json OUT]      (make bench)

engine    the language model beside transformers' generate and llama.cpp
parts     ears, SoundStorm and speech decoder, alone and batched
media     what a call's sound costs, beside plain aiortc
pipeline  milestones of an answer; each part's share of ten seconds of speech
network   what a bad network leaves of the sound, beside aiortc
works     drawings and tunes in a call, and the speech beside them

The last two take minutes: only where they are asked for.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from tools import bench_engine, bench_media, bench_network, bench_parts, bench_pipeline, bench_works
from tools.latency import commit, processor


@dataclass(frozen=True, slots=True)
class Part:
    run: Callable[[argparse.Namespace], dict[str, Any]]
    table: Callable[[dict[str, Any]], str]
    add_arguments: Callable[[Any], None]


def network(options: argparse.Namespace) -> dict[str, Any]:
    asked = argparse.Namespace(seconds=options.network_seconds, speech=bench_network.SPEECH)
    return uvloop.run(bench_network.run(asked))


def network_arguments(parser: Any) -> None:
    parser.add_argument("--network-seconds", type=float, default=12.0, help="of speech over each network")


PARTS = {
    "engine": Part(bench_engine.run, bench_engine.table, bench_engine.add_arguments),
    "parts": Part(bench_parts.run, bench_parts.table, bench_parts.add_arguments),
    "media": Part(bench_media.run, bench_media.table, bench_media.add_arguments),
    "pipeline": Part(bench_pipeline.run, bench_pipeline.table, bench_pipeline.add_arguments),
    "network": Part(network, bench_network.table, network_arguments),
    "works": Part(bench_works.run, bench_works.table, bench_works.add_arguments),
}
UNASKED = ("engine", "parts", "media", "pipeline")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all but the last two)")
    parser.add_argument("--config", type=Path, default=Path("configs/nano.toml"))
    parser.add_argument("--json", type=Path, metavar="OUT")
    for name, part in PARTS.items():
        part.add_arguments(parser.add_argument_group(name))
    options = parser.parse_args(arguments)
    for name in options.parts:
        if name not in PARTS:
            parser.error(f"there is no part {name!r}; there are {', '.join(PARTS)}")
    report: dict[str, Any] = {"device": processor(), "commit": commit(), "load_before": os.getloadavg()[0]}
    print(f"{report['device']}, commit {report['commit']}, load before {report['load_before']:.2f}")
    for name in options.parts or UNASKED:
        report[name] = PARTS[name].run(options)
        print(f"\n{name}: {PARTS[name].table(report[name])}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
