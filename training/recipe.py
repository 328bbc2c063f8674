"""What every training recipe's command line has in common."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch


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
