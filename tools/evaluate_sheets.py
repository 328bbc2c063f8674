"""Sheets to look at: the drawings of an evaluation side by side, and the spectrograms of its tunes."""

from __future__ import annotations

import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

DRAWINGS, TUNES = 60, 24
"""So many fit on a sheet: the first ones."""
_SIDE, _CAPTION = 128, 14  # pixels
_PAPER, _INK = "white", "black"
_WIDTH, _HEIGHT = 320, 128  # of a spectrogram
_WINDOW = 1024  # samples
_RANGE_DB = 70.0


def write_sheets(report: dict[str, Any], folder: Path) -> None:
    """drawings.png and tunes.png, where there are any, each under what was said of it."""
    for kind, name, most, picture in (
        ("image", "drawings", DRAWINGS, thumbnail),
        ("music", "tunes", TUNES, spectrogram),
    ):
        made = list(works(report, kind))[:most]
        if made:
            cells = [(picture(Path(output["file"])), caption) for output, caption in made]
            sheet(cells, 10 if kind == "image" else 4).save(folder / f"{name}.png")


def works(report: dict[str, Any], kind: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Outputs of that kind and the reply that came with each."""
    for row in report["rows"]:
        for turn in row["turns"]:
            yield from ((output, turn["reply"]) for output in turn["outputs"] if output["kind"] == kind)


def thumbnail(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB").resize((_SIDE, _SIDE))


def spectrogram(path: Path) -> Image.Image:
    """Time from left to right, frequencies from below on a scale of octaves, dark is loud."""
    with wave.open(str(path)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
        rate = file.getframerate()
    pcm = np.pad(pcm, (0, max(0, _WINDOW - len(pcm))))
    starts = np.linspace(0, len(pcm) - _WINDOW, _WIDTH).astype(int)
    frames = pcm[starts[:, None] + np.arange(_WINDOW)] * np.hanning(_WINDOW)
    power_db = 20 * np.log10(np.abs(np.fft.rfft(frames, axis=1)) + 1e-6)  # [_WIDTH, _WINDOW / 2 + 1]
    octaves = np.geomspace(60, rate / 2, _HEIGHT) * _WINDOW / rate
    rows = np.stack([np.interp(octaves, np.arange(power_db.shape[1]), column) for column in power_db], axis=1)
    dark = ((rows - rows.max()) / _RANGE_DB + 1).clip(0, 1)
    return Image.fromarray((255 * (1 - dark[::-1])).astype(np.uint8)).convert("RGB")


def sheet(cells: Sequence[tuple[Image.Image, str]], columns: int) -> Image.Image:
    """Pictures of one size with their captions below."""
    width, height = cells[0][0].size
    rows = -(-len(cells) // columns)
    whole = Image.new("RGB", (columns * width, rows * (height + _CAPTION)), _PAPER)
    draw = ImageDraw.Draw(whole)
    for number, (image, caption) in enumerate(cells):
        left, top = number % columns * width, number // columns * (height + _CAPTION)
        whole.paste(image, (left, top))
        draw.text((left + 2, top + height + 1), caption[: width // 6], fill=_INK)
    return whole
