"""The spoken corpus: syllabus sentences by many voices, with a phoneme for every 20 ms frame.

`python -m training.speech_data PART --minutes M` speaks until M minutes of speech are there; run again, it goes on
where it stopped. Parts: `words` (words in any order, for phonemes in many surroundings), `train` (user sentences by
voices and mixtures that may be learned from), `reply` (every reply once, by the voice whose speech the language model
learns), `voices` (replies by nano's other voices), `development` (voices and phrasings kept out of training).
"""

from __future__ import annotations

import argparse
import json
import random
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.kokoro import DEVELOPMENT, FRAME, RATE, RESERVED, Kokoro, frame_labels

REPLY_VOICES = ("af_heart", "am_michael", "bf_emma", "bm_george")
"""The voices that ship. The language model learns to speak from the first."""
FREE_REPLIES = 300
"""Replies that repeat the user's own words, which no list holds, sampled beside the listed ones."""
SHARD = 50
_MARGIN = 8  # frames of silence kept at most at each end


@dataclass(frozen=True)
class Line:
    """One sentence to speak, and where it comes from."""

    text: str
    voices: dict[str, float]
    speed: float
    dialogue: int
    turn: int


def _mixtures(rng: random.Random, voices: list[str]) -> dict[str, float]:
    english = [v for v in voices if v[0] in "ab"]
    if rng.random() < 0.45:
        return {rng.choice(english): 1.0}
    first, second = rng.choice(english), rng.choice(voices)
    weight = rng.uniform(0.35, 0.9)
    return {first: weight, second: 1 - weight} if first != second else {first: 1.0}


def replies() -> list[str]:
    """Every listed reply and some that repeat the user's words, in an order that looks random."""
    from training.syllabus import all_replies, generate

    listed = sorted(all_replies())
    known, free = set(listed), {}
    for dialogue in generate(1, "train"):
        free.update((turn.reply, None) for turn in dialogue.turns if turn.reply not in known)
        if len(free) >= FREE_REPLIES:
            break
    return sorted(listed + list(free), key=lambda text: zlib.crc32(text.encode()))


def lines(part: str, voices: list[str], shard: int, spoken: frozenset[str] = frozenset()) -> Iterator[Line]:
    """The lines of a shard of a part of the corpus: endless, but for `reply`, which is all that is not yet spoken."""
    from training.syllabus import generate, words

    rng = random.Random(f"{part} {shard}")
    allowed = [v for v in voices if v not in RESERVED | DEVELOPMENT]
    if part == "reply":
        for text in replies():
            if text not in spoken:
                yield Line(text, {REPLY_VOICES[0]: 1.0}, 1.0, 0, 0)
        return
    if part == "voices":
        sentences = replies()
        while True:
            yield Line(rng.choice(sentences), {rng.choice(REPLY_VOICES[1:]): 1.0}, 1.0, 0, 0)
    if part == "words":
        vocabulary = sorted(words())
        while True:
            text = " ".join(rng.choice(vocabulary) for _ in range(rng.randint(3, 7)))
            yield Line(text, _mixtures(rng, allowed), rng.uniform(0.8, 1.25), 0, 0)
    closed = sorted(DEVELOPMENT)
    for number, dialogue in enumerate(generate(shard, "train" if part == "train" else "held_out")):
        voice = {closed[(shard + number) % len(closed)]: 1.0}
        for turn, spoken in enumerate(dialogue.turns):
            if not spoken.user:
                continue
            if part == "train":
                yield Line(spoken.user, _mixtures(rng, allowed), rng.uniform(0.8, 1.25), number, turn)
            else:
                yield Line(spoken.user, voice, 1.0, number, turn)


def trimmed(speech: np.ndarray, labels: str) -> tuple[np.ndarray, str]:
    """Cut silence at both ends to a few frames."""
    voiced = [i for i, c in enumerate(labels) if c != "_"]
    start, end = max(0, voiced[0] - _MARGIN), min(len(labels), voiced[-1] + 1 + _MARGIN)
    return speech[start * FRAME : end * FRAME], labels[start:end]


def write_shard(path: Path, records: list[tuple[Line, np.ndarray, str]]) -> None:
    """One compressed file: `speech` int16 back to back, and a JSON list that says what is what."""
    speech = np.concatenate([s for _, s, _ in records])
    meta = [{**line.__dict__, "samples": len(s), "labels": labels} for line, s, labels in records]
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, speech=(speech.clip(-1, 1) * 32767).astype(np.int16), meta=json.dumps(meta, ensure_ascii=False))
    temporary.rename(path)


def read_shard(path: Path) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """One file of the corpus: descriptions, with where they stand in it, and speech [samples] float32 at 16 kHz."""
    with np.load(path) as shard:
        speech, start = shard["speech"], 0
        for index, record in enumerate(json.loads(str(shard["meta"]))):
            end = start + record["samples"]
            place = {"shard": path.stem, "index": index, "labels": record["labels"][: record["samples"] // FRAME]}
            yield record | place, speech[start:end].astype(np.float32) / 32767
            start = end


def read(folder: Path, part: str) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """All utterances of a part."""
    for path in sorted(folder.glob(f"{part}-*.npz")):
        yield from read_shard(path)


def make(folder: Path, part: str, minutes: float, worker: int, workers: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    kokoro = Kokoro(folder.parent / "kokoro")
    began, shard = time.monotonic(), worker
    while True:
        done = (
            sum(len(labels["labels"]) for p in folder.glob(f"{part}-*.npz") for labels in _meta(p)) * FRAME / RATE / 60
        )
        if done >= minutes:
            return
        path = folder / f"{part}-{shard:05d}.npz"
        if not path.exists():
            records = []
            spoken = frozenset(m["text"] for p in folder.glob(f"{part}-*.npz") for m in _meta(p))
            for line in lines(part, kokoro.voices, shard, spoken):
                spoken = kokoro.speak(line.text, line.voices, line.speed)
                if spoken.phones.strip("_"):
                    records.append((line, *trimmed(spoken.speech, frame_labels(spoken))))
                if len(records) == SHARD:
                    break
            if not records:
                return
            write_shard(path, records)
            print(f"{part} {done:.1f} min in all, {time.monotonic() - began:.0f} s, shard {shard}", flush=True)
        shard += workers


def _meta(path: Path) -> list[dict]:
    with np.load(path) as shard:
        return json.loads(str(shard["meta"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["words", "train", "reply", "voices", "development"])
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--folder", type=Path, default=Path("data/speech"))
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    make(options.folder, options.part, options.minutes, options.worker, options.workers)
