"""The files of one-shot tasks: sounds and pictures read, what the model made written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from streaming.events import Limits
from streaming.fields import ProtocolError
from streaming.music import music_format, read_sound, wav_file
from streaming.pictures import picture_file, picture_format, read_picture
from streaming.types import MUSIC_RATE, SPEECH_RATE

LIMITS = replace(
    Limits(), picture_bytes=50 << 20, picture_pixels=80_000_000, music_bytes=200 << 20, music_s=600.0
)  # the owner's own files: larger than what strangers may send
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".webm")
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
Making = Literal["speech", "image", "music"]
WRITES: dict[Making, tuple[str, ...]] = {"speech": (".wav",), "music": (".wav",), "image": (".png", ".webp")}


class FileFault(Exception):
    """A file that cannot be used; the sentence says why and what to do."""


def looks_like_a_file(word: str) -> bool:
    """Whether a word of a command means a file, there or not."""
    return Path(word).is_file() or (" " not in word and Path(word).suffix.lower() in SOUNDS + PICTURES)


def kind_of(path: Path) -> Literal["sound", "image"]:
    """By the first bytes, whatever the name says. Raises FileFault."""
    head = _read(path)[:4096]
    if picture_format(head) is not None:
        return "image"
    if music_format(head) is not None:
        return "sound"
    known = "a WAV, FLAC, MP3 or Ogg sound, or a PNG, JPEG or WebP picture"
    raise FileFault(f"{path} is of a kind that is not known: give {known}.")


def read_speech(path: Path) -> np.ndarray:
    """[samples] float32 at SPEECH_RATE. Raises FileFault."""
    return _sound(path, SPEECH_RATE, "speech")


def read_music(path: Path) -> np.ndarray:
    """[samples] float32 at MUSIC_RATE. Raises FileFault."""
    return _sound(path, MUSIC_RATE, "music")


def read_image(path: Path) -> np.ndarray:
    """[height, width, 3] uint8 RGB. Raises FileFault."""
    try:
        return read_picture(_read(path), LIMITS).pixels
    except ProtocolError as fault:
        raise FileFault(f"{path}: {fault.message}") from None


def check_writable(path: Path, kind: Making) -> None:
    """Raises FileFault, before any work, where the output could not be written there."""
    if path.suffix.lower() not in WRITES[kind]:
        raise FileFault(f"{path}: {kind} is written as {' or '.join(WRITES[kind])}; name the output so.")
    if not path.parent.is_dir():
        raise FileFault(f"{path} cannot be written: there is no folder {path.parent}.")


def write_sound(path: Path, pcm: np.ndarray, rate: int) -> None:
    """A WAV of 16 bits. pcm: [samples] float32."""
    _write(path, wav_file(pcm, rate))


def write_image(path: Path, pixels: np.ndarray) -> None:
    """A PNG or WebP, as the name says. pixels: [height, width, 3] uint8 RGB."""
    _write(path, picture_file(pixels, path.suffix.lower().removeprefix(".")))


def _sound(path: Path, rate: int, what: str) -> np.ndarray:
    try:
        return read_sound(_read(path), rate, LIMITS, what)
    except ProtocolError as fault:
        raise FileFault(f"{path}: {fault.message}") from None


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > max(LIMITS.music_bytes, LIMITS.picture_bytes):
            raise FileFault(f"{path} is too large: at most {LIMITS.music_bytes >> 20} MiB.")
        return path.read_bytes()
    except OSError as fault:
        raise FileFault(f"{path} cannot be read: {fault.strerror}.") from None


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as fault:
        raise FileFault(f"{path} cannot be written: {fault.strerror}.") from None
