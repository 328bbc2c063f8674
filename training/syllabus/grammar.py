"""Phrasings as a small slot grammar, and the fixed split of phrasings into trained and held-out ones.

A phrasing line such as ``(tell me|say) what colour {x:is} {x:a}`` has alternatives in round brackets (an empty
alternative means "may be left out"; brackets do not nest) and slots in Python's format syntax. Expanding the
alternatives gives *phrasings*: the unit of the split. A line that starts with ``!`` is held out with all its
expansions; of the other phrasings about one in twelve is held out by a hash of its text, so the split depends on
nothing but the text itself.
"""

from __future__ import annotations

import itertools
import random
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Split = Literal["train", "held_out"]

_ALTERNATIVES = re.compile(r"\(([^()]*)\)")
_SHORT_FORMS = {"what is": "what's", "who is": "who's", "where is": "where's", "i would like": "i'd like",
                "i am": "i'm", "it is": "it's", "you are": "you're", "that is": "that's"}
_HELD_OUT_PHRASINGS = 1 / 12
_HELD_OUT_COMBINATIONS = 1 / 12


def expand(line: str) -> list[str]:
    """All phrasings of one line, in order, single spaces, slots untouched, beginnings also in their short forms."""
    parts = _ALTERNATIVES.split(line)
    choices = [part.split("|") if index % 2 else [part] for index, part in enumerate(parts)]
    phrasings = [" ".join("".join(choice).split()) for choice in itertools.product(*choices)]
    return list(dict.fromkeys(form for phrasing in phrasings for form in (phrasing, _shortened(phrasing))))


def _shortened(phrasing: str) -> str:
    for full, short in _SHORT_FORMS.items():
        if phrasing.startswith(full + " "):
            return short + phrasing.removeprefix(full)
    return phrasing


def fraction(text: str) -> float:
    """A fixed pseudo-random number in [0, 1) that belongs to the text."""
    return zlib.crc32(text.encode()) / 2**32


@dataclass(frozen=True)
class Phrasings:
    """One intent's phrasings, grouped by the line they come from; each stands in exactly one split."""

    groups: dict[Split, tuple[tuple[str, ...], ...]]

    @staticmethod
    def of(lines: Iterable[str]) -> Phrasings:
        split_of: dict[str, Split] = {}
        groups: dict[Split, list[tuple[str, ...]]] = {"train": [], "held_out": []}
        for line in lines:
            whole_line = line.startswith("!")
            fresh = [phrasing for phrasing in expand(line.removeprefix("!")) if phrasing not in split_of]
            for phrasing in fresh:
                kept_back = whole_line or fraction("phrasing " + phrasing) < _HELD_OUT_PHRASINGS
                split_of[phrasing] = "held_out" if kept_back else "train"
            for split, found in groups.items():
                if group := tuple(phrasing for phrasing in fresh if split_of[phrasing] == split):
                    found.append(group)
        return Phrasings({split: tuple(found) for split, found in groups.items()})

    @cached_property
    def train(self) -> tuple[str, ...]:
        return tuple(itertools.chain.from_iterable(self.groups["train"]))

    @cached_property
    def held_out(self) -> tuple[str, ...]:
        return tuple(itertools.chain.from_iterable(self.groups["held_out"]))

    @cached_property
    def has_slots(self) -> bool:
        return any("{" in phrasing for phrasing in self.train)

    def draw(self, rng: random.Random, split: Split) -> str:
        """A phrasing of the split, each line as likely as the next however many alternatives it has."""
        return rng.choice(rng.choice(self.groups[split]))


def combination_held_out(phrasing: str, sentence: str) -> bool:
    """Whether this filling of a phrasing's slots is kept back from training (about one in twelve)."""
    return "{" in phrasing and fraction("combination " + sentence) < _HELD_OUT_COMBINATIONS


def fill(phrasing: str, row: object) -> str:
    """The sentence as it is spoken: slots filled, lower case, single spaces."""
    return " ".join(phrasing.format_map(row).lower().split())  # type: ignore[arg-type]
