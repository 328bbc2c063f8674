"""What a listener apart from nano hears in the tunes of an evaluation.

`python -m training.listen REPORT.json` lets that of `training.music.ears` hear every tune in a report of
`tools.evaluate` of which the manifest said what it was to be, and adds to the report how often it finds the instrument,
mood and tempo asked for, and what it takes for what.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from streaming.events import Limits
from streaming.music import read_sound
from training.music.corpus import RATE
from training.music.ears import CHECKPOINT, CLASSES, MusicListener, load_ears


def tunes(report: dict[str, Any]) -> Iterator[tuple[Path, dict[str, str]]]:
    """The files of the tunes, and the instrument, mood and tempo that each should have."""
    for row in report["rows"]:
        for turn in row["turns"]:
            if turn.keys() >= CLASSES.keys():
                wanted = {kind: turn[kind] for kind in CLASSES}
                yield from ((Path(out["file"]), wanted) for out in turn["outputs"] if out["kind"] == "music")


def listen(report: dict[str, Any], listener: MusicListener) -> None:
    """Adds `listener` (shares of right tags, and of all three right) to the report's `made_music`, and confusions."""
    right, mistaken = Counter[str](), {kind: Counter[str]() for kind in CLASSES}
    heard = 0
    for path, wanted in tunes(report):
        found = asdict(listener.hear(read_sound(path.read_bytes(), RATE, Limits(), "music")))
        heard += 1
        right["all"] += found == wanted
        for kind, tag in wanted.items():
            right[kind] += found[kind] == tag
            if found[kind] != tag:
                mistaken[kind][f"{tag} → {found[kind]}"] += 1
    if not heard:
        raise SystemExit("the report has no tunes of which it is known what they should be")
    made = report["made_music"]
    made["listener"] = {kind: round(right[kind] / heard, 4) for kind in (*CLASSES, "all")}
    made["confusions"] |= {
        f"listener, {kind}": dict(counts.most_common()) for kind, counts in mistaken.items() if counts
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--ears", type=Path, default=Path("runs/music_ears") / CHECKPOINT)
    options = parser.parse_args()
    report = json.loads(options.report.read_text("utf-8"))
    listen(report, load_ears(options.ears))
    options.report.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", "utf-8")
    print(", ".join(f"{kind} {share:.3f}" for kind, share in report["made_music"]["listener"].items()))


if __name__ == "__main__":
    main()
