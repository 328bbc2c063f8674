"""Questions for `tools.evaluate` that nano has never heard: held-out phrasings, whole dialogues, in voices kept apart.

`python -m training.acceptance --voices reserved|development --dialogues N` writes WAVs and manifest.jsonl. The reserved
voices decide whether nano is good enough; recipes are compared on the development voices.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from training.kokoro import DEVELOPMENT, RATE, RESERVED, Kokoro
from training.syllabus import Dialogue, generate
from training.wav import write_wav

SEEDS = {"reserved": 20_001, "development": 10_001}


def spoken_dialogues(seed: int) -> Iterator[Dialogue]:
    """Held-out ones in which nothing is shown: there is nothing but speech in the manifest."""
    for dialogue in generate(seed, "held_out"):
        if not any(turn.shown or turn.dark or turn.given for turn in dialogue.turns):
            yield dialogue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", choices=list(SEEDS), default="reserved")
    parser.add_argument("--dialogues", type=int, default=100)
    parser.add_argument("--kokoro", type=Path, default=Path("data/kokoro"))
    parser.add_argument("--out", type=Path, default=Path("data/acceptance"))
    options = parser.parse_args()
    folder: Path = options.out / options.voices
    folder.mkdir(parents=True, exist_ok=True)
    kokoro = Kokoro(options.kokoro)
    voices = sorted(RESERVED if options.voices == "reserved" else DEVELOPMENT)
    noise = np.random.default_rng(0)
    rows = []
    for number, dialogue in enumerate(islice(spoken_dialogues(SEEDS[options.voices]), options.dialogues)):
        voice = voices[number % len(voices)]
        turns = []
        for index, turn in enumerate(dialogue.turns):
            name = f"{number:04d}-{index}.wav"
            speech = kokoro.speak(turn.user, {voice: 1.0}).speech if turn.user else np.zeros(2 * RATE, np.float32)
            write_wav(folder / name, speech + 0.0005 * noise.standard_normal(len(speech)).astype(np.float32), RATE)
            turns.append(
                {"speech": name, "expect_heard": turn.heard, "expect_any": list(turn.expect_any), "intent": turn.intent}
            )
        rows.append({"id": f"{number:04d}", "voice": voice, "turns": turns})
        print(f"{number + 1} of {options.dialogues} dialogues", end="\r", flush=True)
    (folder / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    print(f"\n{sum(len(row['turns']) for row in rows)} turns in {folder / 'manifest.jsonl'}")


if __name__ == "__main__":
    main()
