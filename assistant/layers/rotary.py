"""Rotary position embedding (RoFormer, arXiv 2104.09864), halves rotated: dimension i is paired with i + dim / 2."""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_tables(positions: Tensor, dim: int, theta: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines for positions [...], each [..., dim] float32."""
    exponents = torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32) / dim
    angles = positions.float().unsqueeze(-1) / theta**exponents
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate x [..., dim] by tables that broadcast against it. The result has x's dtype."""
    first, second = x.chunk(2, dim=-1)
    rotated = torch.cat((-second, first), dim=-1)
    return (x * cos + rotated * sin).to(x.dtype)
