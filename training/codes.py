"""The corpus as the frozen SpeechTokenizer hears it.

`python -m training.codes PART ...` writes `data/codes/PART.npz`: all code levels of every utterance, clean. With
`--augment K` it writes `PART-augmented.npz` too: what is said (level 0 alone) in K recordings of every utterance,
each at another speed, in another room, between moments of near-silence, as voice activity detection cuts it out.
Run again, either goes on with the shards that have come since; after a change of the encoder it starts afresh.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assistant.models.speech_tokenizer import SpeechTokenizer
from assistant.tokenizers.speech import at_speech_level
from training import augment
from training.kokoro import FRAME, RATE, SILENCE
from training.speech_data import read_shard
from training.speech_tokenizer import RESULT, ContentTraining, load_training

Utterance = tuple[dict[str, Any], np.ndarray]
"""A description and speech [samples], or a description and codes [levels, frames]."""
Batch = tuple[list[dict[str, Any]], torch.Tensor]
"""Descriptions and sound at speech level, [B, samples]."""
BLOCK = 20
"""Shards between two saves."""
BATCH_FRAMES = 8000
ROUND = 16
"""Augmented utterances last a multiple of this many frames, so that many share a length."""
MARGIN = 0.6
"""Seconds of near-silence at most on either side."""


def read_codes(folder: Path, part: str) -> Iterator[Utterance]:
    """Descriptions (text, voices, labels: a phoneme a frame, ...) and codes [levels, frames] int16 of a part."""
    with np.load(folder / f"{part}.npz") as file:
        codes, records = file["codes"], json.loads(str(file["meta"]))
    start = 0
    for record in records:
        end = start + record["frames"]
        yield record, codes[:, start:end]
        start = end


def write_codes(path: Path, utterances: list[Utterance], encoder: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.npz")
    codes = np.concatenate([codes for _, codes in utterances], axis=1)
    meta = json.dumps([record for record, _ in utterances], ensure_ascii=False)
    np.savez_compressed(temporary, codes=codes.astype(np.int16), meta=meta, encoder=encoder)
    temporary.replace(path)


def grouped(utterances: list[Utterance], lengths: list[int]) -> Iterator[tuple[int, list[Utterance]]]:
    """Utterances of one length in frames at a time, with it, at most BATCH_FRAMES together."""
    groups: dict[int, list[Utterance]] = defaultdict(list)
    for utterance, length in zip(utterances, lengths, strict=True):
        groups[length].append(utterance)
    for length, group in sorted(groups.items(), key=lambda item: item[0]):
        size = max(1, BATCH_FRAMES // length)
        yield from ((length, group[start : start + size]) for start in range(0, len(group), size))


def clean(utterances: list[Utterance], device: torch.device) -> Iterator[Batch]:
    """Utterances as they are, as if each were alone: a batch holds one length."""
    for _, group in grouped(utterances, [len(speech) for _, speech in utterances]):
        wav = np.stack([at_speech_level(speech) for _, speech in group])
        yield [record for record, _ in group], torch.from_numpy(wav).to(device)


def augmented(utterances: list[Utterance], turn: int, device: torch.device) -> Iterator[Batch]:
    """Utterances in the recording number `turn`; their labels follow."""
    seed = [turn, *(zlib.crc32(record["shard"].encode()) for record, _ in utterances[:1])]
    rng = np.random.default_rng(seed)
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**32)))
    placed, frames = [], []
    for record, speech in utterances:
        factor = rng.uniform(*augment.SPEEDS) if rng.random() < 0.6 else 1.0
        before, after = (rng.uniform(0, MARGIN, 2) * RATE).astype(int)
        length = len(record["labels"]) * FRAME
        frames.append(-(-int(before + length / factor + after) // (ROUND * FRAME)) * ROUND)
        placed.append((record | {"place": (length, factor, before)}, speech[:length]))
    for size, group in grouped(placed, frames):
        length, factor, before = torch.tensor([record.pop("place") for record, _ in group], device=device).T
        length = length.long()
        place = length.cumsum(0) - length, length, factor, before, size * FRAME
        store = torch.from_numpy(np.concatenate([(speech * 32767).astype(np.int16) for _, speech in group]))
        names = torch.tensor([ord(name) for record, _ in group for name in record["labels"]])
        heard = augment.labels_played(names.to(device), *place).tolist()
        labels = ["".join(SILENCE if name < 0 else chr(name) for name in row) for row in heard]
        records = [record | {"labels": row, "recording": turn} for (record, _), row in zip(group, labels, strict=True)]
        wav = augment.recorded(augment.played(store.to(device), *place), generator)
        yield records, augment.at_speech_level(wav)


@torch.inference_mode()
def encoded(tokenizer: SpeechTokenizer, batches: Iterable[Batch], levels: int) -> list[Utterance]:
    done: list[Utterance] = []
    for records, wav in batches:
        codes = tokenizer.encode(wav.unsqueeze(1), n_q=levels).transpose(0, 1).cpu().numpy().astype(np.int16)
        done += [(record | {"frames": row.shape[1]}, row) for record, row in zip(records, codes, strict=True)]
    return done


def fingerprint(tokenizer: SpeechTokenizer) -> str:
    """Changes with whatever changes codes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tokenizer.state_dict().items()):
        if not name.startswith("decoder."):
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def load_tokenizer(path: Path, device: str = "cpu") -> ContentTraining:
    """The trained encoder and codebooks, frozen, and the phoneme classifier beside them."""
    return load_training(path).eval().requires_grad_(False).to(device)


def encode_part(tokenizer: SpeechTokenizer, data: Path, codes: Path, part: str, recordings: int) -> None:
    """Write the codes of a part: clean if `recordings` is 0, else of so many recordings."""
    path, encoder = codes / f"{part}{'-augmented' if recordings else ''}.npz", fingerprint(tokenizer)
    device = next(tokenizer.parameters()).device
    utterances: list[Utterance] = []
    if path.exists():
        with np.load(path) as file:
            same = str(file["encoder"]) == encoder
        utterances = list(read_codes(codes, path.stem)) if same else []
    turns = range(1, recordings + 1) if recordings else range(1)
    known = {(record["shard"], record.get("recording", 0)) for record, _ in utterances}
    todo = [(shard, turn) for shard in sorted(data.glob(f"{part}-*.npz")) for turn in turns]
    todo = [(shard, turn) for shard, turn in todo if (shard.stem, turn) not in known]
    began = time.monotonic()
    for start in range(0, len(todo), BLOCK):
        block: dict[int, list[Utterance]] = defaultdict(list)
        for shard, turn in todo[start : start + BLOCK]:
            block[turn] += read_shard(shard)
        for turn, group in block.items():
            batches = augmented(group, turn, device) if turn else clean(group, device)
            utterances += encoded(tokenizer, batches, 1 if recordings else tokenizer.n_q)
        utterances.sort(key=lambda u: (u[0]["shard"], u[0]["index"], u[0].get("recording", 0)))
        write_codes(path, utterances, encoder)
        minutes = sum(record["frames"] for record, _ in utterances) * FRAME / RATE / 60
        done = min(start + BLOCK, len(todo))
        seconds = time.monotonic() - began
        print(f"{path.stem}: {done} of {len(todo)} shards, {minutes:.0f} min, {seconds:.0f} s", flush=True)


def told(codes: Path, part: str) -> float:
    """Share of the frames of a part whose phoneme is the commonest one of their token in what may be learned from."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for learned in ("words", "train"):
        if (codes / f"{learned}.npz").exists():
            for record, row in read_codes(codes, learned):
                for token, name in zip(row[0].tolist(), record["labels"], strict=False):
                    counts[token][name] += 1
    common = {token: names.most_common(1)[0][0] for token, names in counts.items()}
    right = [
        common.get(token) == name
        for record, row in read_codes(codes, part)
        for token, name in zip(row[0].tolist(), record["labels"], strict=False)
    ]
    return sum(right) / len(right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+")
    parser.add_argument("--augment", type=int, default=0, metavar="K", help="write K noisy recordings of each too")
    parser.add_argument("--data", type=Path, default=Path("data/speech"))
    parser.add_argument("--codes", type=Path, default=Path("data/codes"))
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/speech_tokenizer") / RESULT)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False  # the same codes as on a CPU
    tokenizer = load_tokenizer(options.tokenizer, options.device).tokenizer
    for part in options.parts:
        for recordings in sorted({0, options.augment}):
            encode_part(tokenizer, options.data, options.codes, part, recordings)
    if "development" in options.parts:
        for name in ("development", "development-augmented")[: 1 + bool(options.augment)]:
            print(f"{name}: tokens alone tell the phoneme of {told(options.codes, name):.3f} of the frames")


if __name__ == "__main__":
    main()
