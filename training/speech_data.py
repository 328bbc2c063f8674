"""The spoken corpus: syllabus sentences by many voices, with a phoneme for every 20 ms frame.

`python -m training.speech_data PART --minutes M` speaks until M minutes of speech are there; run again, it goes on
where it stopped. Parts: `words` (words in any order, for phonemes in many surroundings), `train` (user sentences by
voices and mixtures that may be learned from), `reply` (every reply once, by the voice whose speech the language model
learns), `voices` (replies by nano's other voices), `development` (voices and phrasings kept out of training).
On a GPU (`--device cuda --workers 4`) sentences are spoken many at once, some hundred times faster than they last.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import random
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.kokoro import DEVELOPMENT, FRAME, RATE, RESERVED, Kokoro, frame_labels

REPLY_VOICES = ("af_heart", "am_michael", "bf_emma", "bm_george")
"""The voices that ship. The language model learns to speak from the first."""
FREE_REPLIES = 300
"""Replies that repeat the user's own words, which no list holds, sampled beside the listed ones."""
SHARD = 50
_SHARD_MINUTES = 1.5
"""What a shard lasts at least, about."""
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
    """One English voice, or mixed with one or two voices of any language."""
    first = rng.choice([v for v in voices if v[0] in "ab"])
    others = [v for v in voices if v != first]
    if rng.random() < 0.4 or not others:
        return {first: 1.0}
    weight = rng.uniform(0.35, 0.9)
    if rng.random() < 0.6 or len(others) == 1:
        return {first: weight, rng.choice(others): 1 - weight}
    second, third = rng.sample(others, 2)
    share = rng.uniform(0.2, 0.8)
    return {first: weight, second: (1 - weight) * share, third: (1 - weight) * (1 - share)}


@lru_cache(1)
def replies() -> list[str]:
    """Every listed reply and some that repeat the user's words, in an order that looks random, those about pictures
    and music last."""
    from training.syllabus import all_replies, generate
    from training.syllabus.music import MUSIC
    from training.syllabus.pictures import PICTURES
    from training.syllabus.speech_alone import REPLIES

    listed = sorted({*all_replies(), *REPLIES})
    later = {
        intent.answer(state, row).text
        for intent in (*PICTURES, *MUSIC)
        for state in intent.states
        for row in intent.rows
    }
    known, free = set(listed), {}
    for dialogue in generate(1, "train"):
        free.update((turn.reply, None) for turn in dialogue.turns if turn.reply not in known)
        if len(free) >= FREE_REPLIES:
            break
    return sorted(listed + list(free), key=lambda text: (text in later, zlib.crc32(text.encode())))


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
            yield Line(text, _mixtures(rng, allowed), rng.uniform(0.75, 1.3), 0, 0)
    closed = sorted(DEVELOPMENT)
    for number, dialogue in enumerate(generate(shard, "train" if part == "train" else "held_out")):
        voice = {closed[(shard + number) % len(closed)]: 1.0}
        for turn, spoken in enumerate(dialogue.turns):
            if not spoken.user:
                continue
            if part == "train":
                yield Line(spoken.user, _mixtures(rng, allowed), rng.uniform(0.75, 1.3), number, turn)
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
    temporary = path.with_name(f".{path.name}")  # which no other worker takes for a shard
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


def make(
    folder: Path,
    kokoro: Kokoro,
    part: str,
    minutes: float,
    worker: int = 0,
    workers: int = 1,
    first: int = 0,
    spoken: frozenset[str] = frozenset(),
) -> None:
    """Speak every `workers`th shard from `first` + `worker` on, until all workers' shards last `minutes`.

    Of replies, those in `spoken` are left out.
    """
    began = time.monotonic()
    paths = (folder / f"{part}-{number:05d}.npz" for number in itertools.count(first + worker, workers))
    free = (path for path in paths if not path.exists())
    while True:
        there = [meta for path in folder.glob(f"{part}-*.npz") for meta in _meta(path)]
        done = sum(len(meta["labels"]) for meta in there) * FRAME / RATE / 60
        ahead = math.ceil(min(kokoro.ahead, (minutes - done) / _SHARD_MINUTES / workers))
        unspoken = lines("reply", kokoro.voices, 0, spoken | {meta["text"] for meta in there})
        replies = (line for line in unspoken if zlib.crc32(line.text.encode()) % workers == worker)
        shards = {}
        for path in itertools.islice(free, max(0, ahead)):
            source = replies if part == "reply" else lines(part, kokoro.voices, int(path.stem[-5:]))
            shards[path] = list(itertools.islice(source, SHARD))
        every = [line for shard in shards.values() for line in shard]
        if not every:
            return
        said = iter(kokoro.speak_all([(line.text, line.voices, line.speed) for line in every]))
        for path, shard in shards.items():
            heard = [(line, one) for line, one in zip(shard, said, strict=False) if one.phones.strip("_")]
            if heard:
                write_shard(path, [(line, *trimmed(one.speech, frame_labels(one))) for line, one in heard])
                print(f"{part} {done:.1f} min before, {time.monotonic() - began:.0f} s, {path.stem}", flush=True)


def _meta(path: Path) -> list[dict]:
    with np.load(path) as shard:
        return json.loads(str(shard["meta"]))


def work(options: argparse.Namespace, worker: int) -> None:
    """What one process speaks of all the parts that are asked for."""
    torch.set_num_threads(1)
    kokoro = Kokoro(options.folder.parent / "kokoro", device=options.device)
    spoken = frozenset(json.loads(options.spoken.read_text())) if options.spoken else frozenset()
    for part, minutes in zip(options.parts, options.minutes, strict=True):
        make(options.folder, kokoro, part, minutes, worker, options.workers, options.first, spoken)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=["words", "train", "reply", "voices", "development"])
    parser.add_argument("--minutes", type=float, nargs="+", required=True, help="of speech, for each part")
    parser.add_argument("--folder", type=Path, default=Path("data/speech"))
    parser.add_argument("--device", help="speak with torch on this device; by default with OpenVINO on the CPU")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the work")
    parser.add_argument("--first", type=int, default=0, help="number of the first shard")
    parser.add_argument("--spoken", type=Path, help="a JSON list of replies to leave out")
    options = parser.parse_args()
    if len(options.minutes) != len(options.parts):
        parser.error("--minutes takes one number for each part")
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.workers == 1:
        work(options, 0)
    else:
        start = multiprocessing.get_context("spawn").Process
        processes = [start(target=work, args=(options, worker)) for worker in range(options.workers)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        sys.exit(max(abs(process.exitcode or 0) for process in processes))
