"""Phrasings as a small slot grammar, and the fixed split of phrasings into trained and held-out ones.

A phrasing line such as ``(tell me|say) what colour {x:is} {x:a}`` has alternatives in round brackets (an empty
alternative means "may be left out"; brackets do not nest) and slots in Python's format syntax. Expanding the
alternatives gives *phrasings*: the unit of the split. A line that starts with ``!`` is held out with all its
expansions; of the other phrasings about one in nine is held out by a hash of its text, so the split depends on nothing
but the text itself.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "held_out"]

_ALTERNATIVES = re.compile(r"\(([^()]*)\)")
_HELD_OUT_SHARE = 0.11


def expand(line: str) -> list[str]:
    """All phrasings of one line, in order, single spaces, slots untouched."""
    parts = _ALTERNATIVES.split(line)
    choices = [part.split("|") if index % 2 else [part] for index, part in enumerate(parts)]
    return list(dict.fromkeys(" ".join("".join(choice).split()) for choice in itertools.product(*choices)))


def fraction(text: str) -> float:
    """A fixed pseudo-random number in [0, 1) that belongs to the text."""
    return zlib.crc32(text.encode()) / 2**32


@dataclass(frozen=True)
class Phrasings:
    """One intent's phrasings, split for good. Every phrasing stands in exactly one of the two tuples."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]

    @staticmethod
    def of(lines: Iterable[str]) -> Phrasings:
        train: dict[str, None] = {}
        held_out: dict[str, None] = {}
        for line in lines:
            for phrasing in expand(line.removeprefix("!")):
                kept_back = line.startswith("!") or fraction("phrasing " + phrasing) < _HELD_OUT_SHARE
                (held_out if kept_back else train)[phrasing] = None
        return Phrasings(tuple(p for p in train if p not in held_out), tuple(held_out))

    def of_split(self, split: Split) -> tuple[str, ...]:
        return self.train if split == "train" else self.held_out


def combination_held_out(phrasing: str, sentence: str) -> bool:
    """Whether this filling of a trained phrasing's slots is kept back from training (one in twelve)."""
    return "{" in phrasing and fraction("combination " + sentence) < 1 / 12
