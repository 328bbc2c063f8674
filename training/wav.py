"""Mono 16-bit WAV files."""

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


def read_wav(path: Path) -> tuple[np.ndarray, int]:
    """[samples] float32 in -1..1 and the samples per second."""
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2), f"{path} is not mono with 16 bits"
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return pcm.astype(np.float32) / 32767, file.getframerate()
