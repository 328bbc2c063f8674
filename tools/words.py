"""Words of what was said and heard, and how far they differ."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def word_list(text: str) -> list[str]:
    """Lower case without punctuation: apostrophes vanish, all other marks part words."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = re.sub(r"['’ʼ`]", "", text)
    return re.findall(r"[^\W_]+", text)


def word_errors(expected: Sequence[str], heard: Sequence[str]) -> int:
    """Substitutions, insertions and deletions of the cheapest way from one to the other (Levenshtein 1966)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(expected, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


@dataclass(slots=True)
class WordErrors:
    """Errors over the words that were to be heard; a rate of None where there were none."""

    errors: int = 0
    words: int = 0

    @classmethod
    def between(cls, expected: str, heard: str) -> WordErrors:
        wanted = word_list(expected)
        return cls(word_errors(wanted, word_list(heard)), len(wanted))

    def add(self, other: WordErrors | None) -> None:
        if other is not None:
            self.errors += other.errors
            self.words += other.words

    @property
    def rate(self) -> float | None:
        return round(self.errors / self.words, 4) if self.words else None


def says_any(reply: str, wanted: Iterable[str]) -> bool:
    """Whether any of the words (or phrases) stands in the reply as whole words."""
    said = f" {' '.join(word_list(reply))} "
    return any(f" {' '.join(word_list(words))} " in said for words in wanted)
