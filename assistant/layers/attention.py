"""The attention seam: a model calls `attend(layer, q, k, v)` and never learns where keys and values are kept."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, q [..., T, heads, dim], k [..., T, kv_heads, dim], v like k) -> [..., T, heads, dim]"""


def causal_attention(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Whole sequences without a cache: every token sees itself and what came before it."""
    q, k, v = q.transpose(-3, -2), k.transpose(-3, -2), v.transpose(-3, -2)
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[-3] != k.shape[-3])
    return out.transpose(-3, -2)
