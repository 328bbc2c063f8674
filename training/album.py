"""Pictures and music in codes, found by what they show and how they sound, for the dialogues that speak of them."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.music.score import Tags
from training.syllabus import Split
from training.syllabus.intent import Picture
from training.syllabus.world import COLOURS, PICTURED

HELD_OUT = 20
"""Every so many-th camera picture and piece is kept for the held-out dialogues."""

Index = dict[Any, list[int]]


class Album:
    """Owns the codes of camera pictures, drawings and music. What is not there is not found: None."""

    def __init__(self, pictures: Path, music: Path) -> None:
        """pictures: a folder with camera.npz and drawing.npz (`codes` [N, 32], `labels` [N, 3]: thing, colour, count;
        -1 for none); music: a file with `codes` [pieces, codebooks, frames] and `meta`. Any of them may be missing."""
        self._seen, labels = _pictures(pictures / "camera.npz")
        self._drawn, drawn = _pictures(pictures / "drawing.npz")
        self._labels = [_picture(*label) for label in labels.tolist()]
        self._exact = _index(self._labels)
        self._any_colour = _index([(picture.thing, picture.count) for picture in self._labels])
        self._drawings = _rows([_picture(*label) for label in drawn.tolist()])
        self._music, tags = _pieces(music)
        self._pieces = _index(tags)

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(len(self._seen) or len(self._drawn) or len(self._music))

    def __str__(self) -> str:
        return f"{len(self._seen)} pictures, {len(self._drawn)} drawings, {len(self._music)} pieces of music"

    def camera(
        self, rng: random.Random, split: Split, wanted: Picture, coloured: bool
    ) -> tuple[list[int], Picture] | None:
        """A picture of the thing and the number of it, of the colour only if `coloured`; and what it shows."""
        index, key = (self._exact, wanted) if coloured else (self._any_colour, (wanted.thing, wanted.count))
        if not (rows := index[split].get(key)):
            return None
        row = rng.choice(rows)
        return self._seen[row].tolist(), self._labels[row]

    def any_picture(self, rng: random.Random) -> list[int]:
        """The codes of some picture that a camera saw."""
        return self._seen[rng.randrange(len(self._seen))].tolist()

    def drawing(self, rng: random.Random, wanted: Picture) -> list[int] | None:
        rows = self._drawings.get(wanted)
        return self._drawn[rng.choice(rows)].tolist() if rows else None

    def music(self, rng: random.Random, split: Split, tags: Tags) -> np.ndarray | None:
        """Codes [codebooks, frames] of a piece."""
        rows = self._pieces[split].get(tags)
        return self._music[rng.choice(rows)] if rows else None


def _picture(thing: int, colour: int, count: int) -> Picture:
    if thing < 0:
        return Picture("", "", 0)
    return Picture(_NAMES[thing], COLOURS[colour] if colour >= 0 else "", count)


def _index(keys: Sequence[Any]) -> dict[Split, Index]:
    found: dict[Split, Index] = {"train": {}, "held_out": {}}
    for key, rows in _rows(keys).items():
        found["held_out"][key] = [row for row in rows if row % HELD_OUT == HELD_OUT - 1]
        found["train"][key] = [row for row in rows if row % HELD_OUT != HELD_OUT - 1]
    return found


def _rows(keys: Sequence[Any]) -> Index:
    found: Index = defaultdict(list)
    for row, key in enumerate(keys):
        found[key].append(row)
    return dict(found)


def _pictures(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not path.exists():
        return np.zeros((0, 0), np.int16), np.zeros((0, 3), np.int16)
    with np.load(path) as file:
        return file["codes"], file["labels"]


def _pieces(path: Path) -> tuple[np.ndarray, list[Tags]]:
    if not path.exists():
        return np.zeros((0, 0, 0), np.int16), []
    with np.load(path) as file:
        meta: Iterable[dict[str, Any]] = json.loads(str(file["meta"]))
        return file["codes"], [Tags(piece["instrument"], piece["mood"], piece["tempo"]) for piece in meta]


_NAMES = list(PICTURED)
