"""Where the golden folders of the parity tests lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def parity_dir() -> Path:
    """The folder of golden folders: PARITY_DIR, relative paths counted from the repository."""
    return ROOT / os.environ.get("PARITY_DIR", "../shared/parity")


def golden(name: str) -> Path:
    """One golden folder; the calling test is skipped, with the reason, where it does not exist."""
    folder = parity_dir() / name
    if not folder.is_dir():
        pytest.skip(f"no golden data at {folder} (set PARITY_DIR)")
    return folder
