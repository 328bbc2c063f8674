"""Prints the syllabus: `python -m training.syllabus` some dialogues, with `--table` the competences as Markdown."""

from __future__ import annotations

import argparse
from itertools import islice

from training.syllabus.dialogue import INTENTS, generate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true", help="the competences as a Markdown table")
    parser.add_argument("--dialogues", type=int, default=20, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("train", "held_out"), default="train")
    options = parser.parse_args()
    if options.table:
        print("| intent | nano ... | for example |\n|---|---|---|")
        for listing in INTENTS:
            print(f"| `{listing.name}` | {listing.about} | {listing.example} |")
        return
    for dialogue in islice(generate(options.seed, options.split), options.dialogues):
        for turn in dialogue.turns:
            print(f"  {turn.user or '(noise)':<50} {turn.reply}  [{turn.intent}]")
        print()


if __name__ == "__main__":
    main()
