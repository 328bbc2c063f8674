"""What every training recipe's command line has in common."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from assistant.layers.linear import WIDE


def quick_dtype(device: torch.device) -> torch.dtype:
    """What products are computed in: bfloat16, or float32 on a processor that has no bfloat16."""
    return WIDE if device.type == "cpu" else torch.bfloat16


def reduced(device: torch.device) -> torch.autocast:
    """Autocast to `quick_dtype`."""
    dtype = quick_dtype(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)


def parsed(parser: argparse.ArgumentParser, run: Path, threads: int = 1) -> argparse.Namespace:
    """The parser's options with --run, --seed, --threads and --device; torch is seeded and the run's folder made.

    `threads` 0 leaves their number to torch.
    """
    parser.add_argument("--run", type=Path, default=run)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    options.run.mkdir(parents=True, exist_ok=True)
    return options
