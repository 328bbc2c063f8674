"""What the next step computes: the next token of every reply, and as many waiting prompt tokens as fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Waiting(Protocol):
    @property
    def pending(self) -> list[int]:
        """Tokens to be computed, in order."""
        ...


S = TypeVar("S", bound=Waiting)


def schedule(sequences: Iterable[S], budget: int) -> list[tuple[S, int]]:
    """Which sequences run, and how many of their pending tokens each.

    The shortest go first, whole: replies (one or two tokens a step) and the few new tokens of a listener never wait for
    someone's long history, which takes what is left of `budget` tokens, chunk by chunk.
    """
    work = []
    for sequence in sorted(sequences, key=lambda sequence: len(sequence.pending)):
        count = min(len(sequence.pending), budget)
        if count:
            work.append((sequence, count))
            budget -= count
    return work
