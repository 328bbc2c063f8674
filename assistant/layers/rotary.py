"""Rotary position embedding (RoFormer, arXiv 2104.09864), halves rotated: dimension i is paired with i + dim / 2."""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_tables(positions: Tensor, dim: int, theta: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """What apply_rotary needs at positions [...]: cosines and signed sines, each [..., dim] float32."""
    exponents = torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32) / dim
    angles = positions.float().unsqueeze(-1) / theta**exponents
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate x [..., dim] by tables that broadcast against it. The result has x's dtype."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin).to(x.dtype)
