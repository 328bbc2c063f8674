"""Beam search: the likeliest run of tokens up to a closing one, where the likeliest next token may lead astray.

Beams that have fallen far behind are given up (relative threshold pruning, arXiv 1702.01806): where the model is sure
of every token, the search costs what taking the likeliest one costs. Pure: the engine keeps a sequence for each beam,
and asks what comes of their scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from torch import Tensor

from assistant.engine.grammar import GrammarState

REACH = 4.0
"""How far behind the best a beam's score may be: what is 55 times less likely hardly ever wins."""


@dataclass(frozen=True, slots=True)
class Beam:
    """A run of tokens and the logarithm of its probability. `state` is None where it has left the segment."""

    tokens: tuple[int, ...]
    score: float
    state: GrammarState | None


@dataclass(frozen=True, slots=True)
class Grown:
    """What beams have become: those to go on with, each with the index of its parent, and the best that has ended."""

    live: tuple[tuple[int, Beam], ...]
    ended: Beam | None

    @property
    def decided(self) -> bool:
        """No live beam can overtake the one that has ended: scores only fall."""
        return self.ended is not None and (not self.live or self.ended.score >= self.live[0][1].score)


def grow(beams: Sequence[Beam], logits: Tensor, width: int, ended: Beam | None) -> Grown:
    """Every beam longer by a token. logits: [beams, allowed tokens] of the states that all beams are in.

    The best `width` within REACH go on; `ended` is the best that had ended before.
    """
    state = beams[0].state
    assert state is not None
    tokens = [token for ids in state.allowed for token in ids]
    scores = logits.log_softmax(-1)
    best, places = scores.topk(min(width + len(state.segment.closings), len(tokens)), dim=-1)
    candidates = [
        (beam.score + score, parent, tokens[place])
        for parent, (beam, row, columns) in enumerate(zip(beams, best.tolist(), places.tolist(), strict=True))
        for score, place in zip(row, columns, strict=True)
    ]
    candidates.sort(key=lambda candidate: -candidate[0])
    least = max(candidates[0][0], -inf if ended is None else ended.score) - REACH
    live: list[tuple[int, Beam]] = []
    for score, parent, token in candidates:
        beam = beams[parent]
        assert beam.state is not None
        following = beam.state.advance(token)
        if following is None or following.segment is not state.segment:
            if ended is None or score > ended.score:
                ended = Beam((*beam.tokens, token), score, None)
        elif len(live) < width and score >= least:
            live.append((parent, Beam((*beam.tokens, token), score, following)))
    return Grown(tuple(live), ended)
