"""The corpus as the frozen SpeechTokenizer hears it.

`python -m training.codes PART ...` writes `data/codes/PART.npz`: all code levels of every utterance, clean. With
`--augment K` it writes `PART-augmented.npz` instead: what is said (level 0 alone) in K recordings of every utterance,
each at another speed, in another room, between moments of near-silence, as voice activity detection cuts it out.
Run again, either goes on with the shards that have come since; after a change of the encoder it starts afresh.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assistant.models.speech_tokenizer import SpeechTokenizer
from assistant.tokenizers.speech import at_speech_level
from training.augment import recorded, warped
from training.kokoro import FRAME, RATE
from training.speech_data import read_shard
from training.speech_tokenizer import ContentTraining

Utterance = tuple[dict[str, Any], np.ndarray]
"""A description and speech [samples], or a description and codes [levels, frames]."""
BLOCK = 20
"""Shards between two saves."""
BATCH_FRAMES = 4000
ROUND = 8
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
    np.savez(temporary, codes=codes.astype(np.int16), meta=meta, encoder=encoder)
    temporary.replace(path)


def augmented(record: dict[str, Any], speech: np.ndarray, turn: int) -> Utterance:
    """The utterance in the recording number `turn`; its labels follow."""
    rng = np.random.default_rng([turn, zlib.crc32(record["shard"].encode()), record["index"]])
    labels = np.array(list(record["labels"]))
    speech = speech[: len(labels) * FRAME]
    if rng.random() < 0.6:
        speech, labels = warped(speech, labels, rng.uniform(0.85, 1.18))
    before, after = (rng.uniform(0, MARGIN, 2) * RATE).astype(int)
    frames = -(-(before + len(speech) + after) // (ROUND * FRAME)) * ROUND
    wav = np.zeros(frames * FRAME, np.float32)
    wav[before : before + len(speech)] = speech
    level = np.sqrt((speech**2).mean())
    if rng.random() < 0.85:  # the rest: a microphone that is gated to nothing
        wav += rng.standard_normal(len(wav)).astype(np.float32) * level * np.float32(10 ** (-rng.uniform(40, 65) / 20))
    # The label of the middle of a frame, or silence.
    index = (np.arange(frames) * FRAME + FRAME // 2 - before) // FRAME
    spoken = (index >= 0) & (index < len(labels))
    heard = np.where(spoken, labels[index.clip(0, len(labels) - 1)], "_")
    return record | {"labels": "".join(heard), "recording": turn}, recorded(wav, rng)


@torch.inference_mode()
def encoded(tokenizer: SpeechTokenizer, utterances: Iterable[Utterance], levels: int) -> list[Utterance]:
    """Codes of each utterance, brought to speech level, as if encoded alone: a batch holds one length."""
    lengths: dict[int, list[Utterance]] = defaultdict(list)
    for record, speech in utterances:
        lengths[len(speech)].append((record, at_speech_level(speech)))
    device, done = next(tokenizer.parameters()).device, []
    for length, group in lengths.items():
        size = max(1, BATCH_FRAMES * FRAME // length)
        for start in range(0, len(group), size):
            batch = group[start : start + size]
            wav = torch.from_numpy(np.stack([speech for _, speech in batch])).unsqueeze(1)
            codes = tokenizer.encode(wav.to(device), n_q=levels).transpose(0, 1).cpu().numpy().astype(np.int16)
            done += [(record | {"frames": row.shape[1]}, row) for (record, _), row in zip(batch, codes, strict=True)]
    return sorted(done, key=lambda u: (u[0]["shard"], u[0]["index"], u[0].get("recording", 0)))


def fingerprint(tokenizer: SpeechTokenizer) -> str:
    """Changes with whatever changes codes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tokenizer.state_dict().items()):
        if not name.startswith("decoder."):
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def load_tokenizer(path: Path, device: str = "cpu") -> ContentTraining:
    """The trained encoder and codebooks, frozen, and the phoneme classifier beside them."""
    model = ContentTraining()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval().requires_grad_(False).to(device)


def encode_part(tokenizer: SpeechTokenizer, data: Path, codes: Path, part: str, recordings: int) -> None:
    """Write the codes of a part: clean if `recordings` is 0, else of so many recordings."""
    path, encoder = codes / f"{part}{'-augmented' if recordings else ''}.npz", fingerprint(tokenizer)
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
        block = [
            augmented(record, speech, turn) if turn else (record, speech)
            for shard, turn in todo[start : start + BLOCK]
            for record, speech in read_shard(shard)
        ]
        utterances += encoded(tokenizer, block, 1 if recordings else tokenizer.n_q)
        write_codes(path, utterances, encoder)
        minutes = sum(record["frames"] for record, _ in utterances) * FRAME / RATE / 60
        done = min(start + BLOCK, len(todo))
        seconds = time.monotonic() - began
        print(f"{path.stem}: {done} of {len(todo)} shards, {minutes:.0f} min, {seconds:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+")
    parser.add_argument("--augment", type=int, default=0, metavar="K", help="write K noisy recordings of each instead")
    parser.add_argument("--data", type=Path, default=Path("data/speech"))
    parser.add_argument("--codes", type=Path, default=Path("data/codes"))
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/speech_tokenizer/codebooks.pt"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokenizer = load_tokenizer(options.tokenizer, options.device).tokenizer
    for part in options.parts:
        encode_part(tokenizer, options.data, options.codes, part, options.augment)


if __name__ == "__main__":
    main()
