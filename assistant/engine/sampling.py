"""Choosing the next token. The order of the steps is that of transformers' generate: repetition penalty, temperature,
top-k, top-p; so the published settings mean here what they meant there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from assistant.engine.grammar import Kind


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one kind of token is chosen. `temperature` 0 is greedy; `top_k` 0 keeps all.

    `repetition_penalty` (CTRL, arXiv 1909.05858) weakens every token of the prompt and of the reply so far.
    """

    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1 or self.repetition_penalty <= 0:
            raise ValueError(f"impossible {self}")


GREEDY = Sampling(temperature=0.0)

PUBLISHED: Mapping[Kind, Sampling] = {
    "text": Sampling(),
    "speech": Sampling(repetition_penalty=1.05),
    "image": Sampling(),
    "music": Sampling(top_k=200, repetition_penalty=1.15),
}
"""The settings that come with AnyGPT. Text is sampled: its five beams would have to wait for the end of the reply."""


def penalize(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """logits [R] with those of tokens `seen` [R] (bool) made less likely by `penalty`."""
    weakened = torch.where(logits < 0, logits * penalty, logits / penalty)
    return torch.where(seen, weakened, logits)


def choose(logits: Tensor, settings: Sequence[Sampling], uniforms: Sequence[float]) -> list[int]:
    """One index in 0..R-1 for each row of logits [B, R]; -1 for a row with a NaN.

    Row b is drawn by `settings[b]` with `uniforms[b]` in [0, 1): the inverse of the cumulative distribution over
    its candidates, likeliest first. Equal logits, settings and number give an equal token, alone or in a batch.
    """
    rows = logits.shape[-1]
    widths = [1 if s.temperature == 0 else min(s.top_k or rows, rows) for s in settings]
    if max(widths) == 1:
        best, index = logits.max(dim=-1)
        return index.masked_fill(best.isnan(), -1).tolist()

    values, index = logits.float().topk(max(widths), dim=-1)
    column = _column(logits, [1.0 if s.temperature == 0 else s.temperature for s in settings])
    rank = torch.arange(values.shape[-1], device=logits.device)
    outside = rank >= _column(logits, widths)
    probabilities = (values / column).masked_fill(outside, -torch.inf).softmax(dim=-1)
    cumulative = probabilities.cumsum(dim=-1)
    if any(s.top_p < 1 for s in settings):
        beyond = cumulative - probabilities >= _column(logits, [s.top_p for s in settings])
        probabilities = probabilities.masked_fill(beyond, 0.0)
        cumulative = probabilities.cumsum(dim=-1)
    total = cumulative[:, -1:]
    place = (cumulative <= _column(logits, uniforms) * total).sum(dim=-1, keepdim=True).clamp(max=max(widths) - 1)
    return index.gather(-1, place).masked_fill(total.isnan(), -1).squeeze(-1).tolist()


def _column(like: Tensor, numbers: Sequence[float]) -> Tensor:
    return torch.tensor(numbers, device=like.device, dtype=torch.float32).unsqueeze(-1)
