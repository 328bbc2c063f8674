"""What stands around the language model, each part alone: ears, SoundStorm, speech decoder; one at a time and batched.

    python -m tools.bench parts [--config configs/nano.toml] [--rounds 10]

For each part and batch size the processor time of one item, the median over rounds that take turns. The batch pays
where an item costs clearly less in it than alone; `batched / alone` is the median of each round's own ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from assistant.checkpoints import load_model_set
from configuration import load

BATCHES = (1, 2, 4)
PROMPT_FRAMES = 75  # a voice, and what was spoken before
CHUNK_FRAMES = {"first chunk": 21, "long chunk": 105}
UTTERANCE_S = 2.0


def works(config: Path) -> dict[str, Callable[[int], object]]:
    """By name, a function of the batch size."""
    configuration = load(config)
    torch.set_num_threads(configuration.model.threads)
    parts = load_model_set(configuration.model.path)
    codec, soundstorm, steps = parts.speech_tokenizer, parts.soundstorm, configuration.speech.soundstorm_steps
    wav = torch.randn(max(BATCHES), 1, int(UTTERANCE_S * codec.sample_rate), generator=torch.Generator().manual_seed(1))
    prompt = torch.zeros(max(BATCHES), PROMPT_FRAMES, codec.n_q, dtype=torch.long)

    def ears(batch: int) -> object:
        return codec.encode(0.1 * wav[:batch], n_q=1)

    def storm(frames: int) -> Callable[[int], object]:
        semantic = (torch.arange(frames) % codec.codebook_size).repeat(max(BATCHES), 1)
        return lambda batch: soundstorm.generate(semantic[:batch], prompt[:batch], steps)

    def decoder(frames: int) -> Callable[[int], object]:
        codes = (torch.arange(frames) % codec.codebook_size).repeat(codec.n_q, max(BATCHES), 1)
        return lambda batch: codec.decode(codes[:, :batch])

    found: dict[str, Callable[[int], object]] = {f"ears, {UTTERANCE_S:g} s": ears}
    for name, frames in CHUNK_FRAMES.items():
        found[f"SoundStorm, {name}"] = storm(frames)
        found[f"decoder, {name}"] = decoder(frames)
    return found


@torch.inference_mode()
def run(options: argparse.Namespace) -> dict[str, Any]:
    rows = []
    for name, work in works(options.config).items():
        times: dict[int, list[float]] = {batch: [] for batch in BATCHES}
        for number in range(-1, options.rounds):  # the first round warms up
            for batch in BATCHES:
                start = time.process_time()
                work(batch)
                if number >= 0:
                    times[batch].append((time.process_time() - start) / batch)
        for batch, items in times.items():
            ratio = statistics.median(item / alone for item, alone in zip(items, times[1], strict=True))
            milliseconds = round(1000 * statistics.median(items), 2)
            rows.append({"part": name, "batch": batch, "item_ms": milliseconds, "batched_to_alone": round(ratio, 2)})
    return {"threads": torch.get_num_threads(), "rounds": options.rounds, "rows": rows}


def table(report: dict[str, Any]) -> str:
    lines = [f"{report['threads']} thread(s), {report['rounds']} rounds, processor time"]
    lines.append(f"{'':28}{'batch':>7}{'an item, ms':>13}{'batched / alone':>17}")
    for row in report["rows"]:
        lines.append(f"{row['part']:28}{row['batch']:>7}{row['item_ms']:>13.2f}{row['batched_to_alone']:>17.2f}")
    return "\n".join(lines)


def add_arguments(parser: Any) -> None:
    parser.add_argument("--rounds", type=int, default=10)
