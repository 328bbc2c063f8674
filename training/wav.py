"""Mono 16-bit WAV files, to listen to."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np


def write_wav(path: Path, pcm: np.ndarray, rate: int) -> None:
    """pcm: [samples] float in -1..1, clipped there; rate: samples per second."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((pcm.clip(-1, 1) * 32767).astype("<i2").tobytes())
