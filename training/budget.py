"""Training by the clock: so many minutes are to be spent, however fast the machine happens to be."""

from __future__ import annotations

import math
import time
from copy import deepcopy

import torch
from torch import nn

WARMUP = 0.03
FLOOR = 0.02


class Budget:
    """Minutes to spend in all, those `spent` before an interruption included."""

    def __init__(self, minutes: float, spent: float = 0.0) -> None:
        self.minutes, self._before, self._began = minutes, spent, time.monotonic()

    @property
    def spent(self) -> float:
        """Minutes so far."""
        return self._before + (time.monotonic() - self._began) / 60

    @property
    def fraction(self) -> float:
        """0 at the beginning, 1 when nothing is left."""
        return min(1.0, self.spent / self.minutes)

    @property
    def rate(self) -> float:
        """The learning rate as a share of its peak: a short linear rise, then half a cosine."""
        if self.fraction < WARMUP:
            return max(self.fraction / WARMUP, FLOOR)
        return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * (self.fraction - WARMUP) / (1 - WARMUP)))


class Average:
    """Exponential moving average of a model, quick to follow at first: `model` is the average."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.updates = deepcopy(model).eval().requires_grad_(False), decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine, theirs = ([*m.parameters(), *filter(torch.is_floating_point, m.buffers())] for m in (self.model, model))
        torch._foreach_lerp_(mine, theirs, 1 - decay)
