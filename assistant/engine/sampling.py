"""Choosing the next token. The order of the steps is that of transformers' generate: repetition penalty, temperature,
top-k, top-p; so the published settings mean here what they meant there."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from assistant.engine.grammar import Kind


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one kind of token is chosen. `temperature` 0 is greedy; `top_k` 0 keeps all.

    `repetition_penalty` (CTRL, arXiv 1909.05858) weakens every token of the prompt and of the reply so far. With
    several `beams` nothing is drawn and nothing penalized: the likeliest of so many runs of tokens is searched.
    """

    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    beams: int = 1

    def __post_init__(self) -> None:
        wrong = self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1
        if wrong or self.repetition_penalty <= 0 or self.beams < 1:
            raise ValueError(f"impossible {self}")


GREEDY = Sampling(temperature=0.0)

PUBLISHED: Mapping[Kind, Sampling] = {
    "text": Sampling(),
    "transcript": Sampling(beams=5),
    "speech": Sampling(repetition_penalty=1.05),
    "image": Sampling(),
    "music": Sampling(top_k=200, repetition_penalty=1.15),
}
"""The settings that come with AnyGPT. Replies are sampled: their five beams would have to wait for the end. What was
heard is short and is needed whole."""


def penalize(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """logits [R] with those of tokens `seen` [R] (bool) made less likely by `penalty`."""
    weakened = torch.where(logits < 0, logits * penalty, logits / penalty)
    return torch.where(seen, weakened, logits)


def choose(logits: Tensor, settings: Sequence[Sampling], uniforms: Sequence[float]) -> list[int]:
    """One index in 0..R-1 for each row of logits [B, R]; -1 for a row that is not a number.

    Row b is drawn by `settings[b]` with `uniforms[b]` in [0, 1): the inverse of the cumulative distribution over
    its candidates, likeliest first. Equal logits, settings and number give an equal token, alone or in a batch.
    """
    if all(s.temperature == 0 for s in settings):
        best, index = logits.max(dim=-1)
        return [-1 if math.isnan(b) else i for b, i in zip(best.tolist(), index.tolist(), strict=True)]

    rows = logits.shape[-1]
    widths = [1 if s.temperature == 0 else min(s.top_k or rows, rows) for s in settings]
    values, index = logits.topk(max(widths), dim=-1)
    if any(s.temperature not in (0, 1) for s in settings):
        values = values / torch.tensor([[s.temperature or 1.0] for s in settings], device=logits.device)
    cumulative = values.softmax(dim=-1).cumsum(dim=-1)
    chosen = []
    for sums, tokens, width, setting, uniform in zip(
        cumulative.tolist(), index.tolist(), widths, settings, uniforms, strict=True
    ):
        total, last = sums[width - 1], width - 1
        if setting.top_p < 1:
            last = bisect_left(sums, setting.top_p * total, hi=last)
            total = sums[last]
        chosen.append(-1 if math.isnan(total) else tokens[bisect_right(sums, uniform * total, hi=last)])
    return chosen
