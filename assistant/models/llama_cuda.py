"""A LLaMA's blocks for decoding on a GPU: what lies between two products is one Triton kernel.

One token through a large model is a matter of reading its weights; each small kernel between costs as much as some
megabytes of them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from assistant.layers.attention import Attend
from assistant.models.llama import Llama, RMSNorm

CHUNK = 1024  # of the feed-forward layer's width, for one program


class FusedBlocks:
    """Runs a model's blocks as Llama.hidden does, within rounding, for tokens [T] in half precision."""

    def __init__(self, model: Llama) -> None:
        self._model = model

    def hidden(self, tokens: Tensor, rotary: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """Normalized states [T, hidden_size] of tokens [T]; rotary: tables [T, 1, head_dim]."""
        decoder = self._model.model
        x = decoder.embed_tokens(tokens)
        norms = [*(block.input_layernorm for block in decoder.layers), decoder.norm]
        normed = norms[0](x)
        for block, following in zip(decoder.layers, norms[1:], strict=True):
            attention, mlp = block.self_attn, block.mlp
            heads = attention.qkv_proj(normed).view(len(tokens), -1, attention.head_dim)
            rotate_(heads, attention.heads + attention.kv_heads, *rotary)
            q, k, v = heads.split_with_sizes((attention.heads, attention.kv_heads, attention.kv_heads), dim=1)
            attended = attention.o_proj(attend(attention.layer, q, k, v).flatten(1))
            normed = add_and_norm_(x, attended, block.post_attention_layernorm)
            normed = add_and_norm_(x, mlp.down_proj(gated(mlp.gate_up_proj(normed))), following)
        return normed


def rotate_(heads: Tensor, count: int, cos: Tensor, sin: Tensor) -> None:
    """Rotate the first `count` of heads [T, all heads, dim] in place, by tables [T, 1, dim]."""
    _rotate[(len(heads), count)](heads, cos, sin, heads.stride(0), HALF=heads.shape[2] // 2)


def add_and_norm_(x: Tensor, y: Tensor, norm: RMSNorm) -> Tensor:
    """Add y to x [T, size] in place; returns norm(x)."""
    normed = torch.empty_like(x)
    size = x.shape[1]
    _add_and_norm[(len(x),)](x, y, norm.weight, normed, size, norm.eps, SIZE=triton.next_power_of_2(size), num_warps=8)
    return normed


def gated(gate_up: Tensor) -> Tensor:
    """[T, 2 width] -> silu of the first half times the second."""
    rows, width = len(gate_up), gate_up.shape[1] // 2
    out = gate_up.new_empty(rows, width)
    _gate[(rows, triton.cdiv(width, CHUNK))](gate_up, out, width, SIZE=CHUNK)
    return out


@triton.jit
def _rotate(heads, cos, sin, row_stride, HALF: tl.constexpr):
    row, half = tl.program_id(0), tl.arange(0, HALF)
    first = heads + row * row_stride + tl.program_id(1) * 2 * HALF + half
    table = row * 2 * HALF + half
    a, b = tl.load(first).to(tl.float32), tl.load(first + HALF).to(tl.float32)
    c, d = tl.load(cos + table).to(tl.float32), tl.load(cos + table + HALF).to(tl.float32)
    s, t = tl.load(sin + table).to(tl.float32), tl.load(sin + table + HALF).to(tl.float32)
    tl.store(first, (a * c + b * s).to(heads.dtype.element_ty))
    tl.store(first + HALF, (b * d + a * t).to(heads.dtype.element_ty))


@triton.jit
def _add_and_norm(x, y, weight, normed, size, eps, SIZE: tl.constexpr):
    column = tl.arange(0, SIZE)
    within = column < size
    at = tl.program_id(0) * size + column
    total = tl.load(x + at, mask=within, other=0.0).to(tl.float32) + tl.load(y + at, mask=within, other=0.0).to(
        tl.float32
    )
    rounded = total.to(x.dtype.element_ty)
    tl.store(x + at, rounded, mask=within)
    total = rounded.to(tl.float32)
    scale = tl.rsqrt(tl.sum(total * total, 0) / size + eps)
    scaled = total * scale * tl.load(weight + column, mask=within, other=0.0).to(tl.float32)
    tl.store(normed + at, scaled.to(normed.dtype.element_ty), mask=within)


@triton.jit
def _gate(gate_up, out, width, SIZE: tl.constexpr):
    row, column = tl.program_id(0), tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    within = column < width
    gate = tl.load(gate_up + row * 2 * width + column, mask=within, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + column, mask=within, other=0.0).to(tl.float32)
    tl.store(out + row * width + column, (gate * tl.sigmoid(gate) * up).to(out.dtype.element_ty), mask=within)
