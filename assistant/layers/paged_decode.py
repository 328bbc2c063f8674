"""Attention of one new token a sequence to its pages, on a GPU: flash decoding (arXiv 2311.01282) in Triton.

A sequence's past is cut into shares that are read side by side, each by the softmax of its own; a second kernel joins
them by their softmax sums. Shapes alone decide what is launched, so a CUDA graph can hold it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

MOST_SHARES = 16
PROGRAMS = 512
"""How many programs keep a large GPU busy: fewer sequences and heads are cut into more shares."""
BLOCK = 64  # keys that a program reads at once


def paged_decode(
    q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, past: Tensor, table: Tensor, page_size: int
) -> Tensor:
    """Attention [B, heads, dim] of q [B, heads, dim] to the past and to the new k and v [B, kv_heads, dim].

    keys and values [slots, kv_heads, dim] hold past [B] tokens of each sequence in the pages of its row of table
    [B, pages]; k and v are stored behind them. dim is a power of 2, the last dimension of all has no gaps.
    """
    batch, heads, dim = q.shape
    kv_heads = k.shape[1]
    shares = max(1, min(MOST_SHARES, PROGRAMS // (batch * heads)))
    parts = q.new_empty(batch, heads, shares, dim, dtype=torch.float32)
    log_sums = q.new_empty(batch, heads, shares, dtype=torch.float32)
    out = torch.empty(batch, heads, dim, dtype=q.dtype, device=q.device)
    _attend_share[(batch, heads, shares)](
        q,
        k,
        v,
        keys,
        values,
        past,
        table,
        parts,
        log_sums,
        dim**-0.5,
        q.stride(0),
        k.stride(0),
        v.stride(0),
        past.stride(0),
        table.stride(0),
        GROUPS=heads // kv_heads,
        DIM=dim,
        PAGE=page_size,
        KEYS=BLOCK,
    )
    _join_shares[(batch, heads)](parts, log_sums, out, shares, DIM=dim, MOST=MOST_SHARES)
    return out


@triton.jit(do_not_specialize=["q_row", "k_row", "v_row", "past_row", "table_row"])
def _attend_share(
    q,
    k,
    v,
    keys,
    values,
    past,
    table,
    parts,
    log_sums,
    scale,
    q_row,
    k_row,
    v_row,
    past_row,
    table_row,
    GROUPS: tl.constexpr,
    DIM: tl.constexpr,
    PAGE: tl.constexpr,
    KEYS: tl.constexpr,
):
    row, head, share = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    heads, shares = tl.num_programs(1), tl.num_programs(2)
    kv_head, kv_heads = head // GROUPS, heads // GROUPS
    dims = tl.arange(0, DIM)
    length = tl.load(past + row * past_row)
    query = tl.load(q + row * q_row + head * DIM + dims).to(tl.float32) * scale

    # The new token belongs to the first share.
    new_k = tl.load(k + row * k_row + kv_head * DIM + dims)
    new_v = tl.load(v + row * v_row + kv_head * DIM + dims)
    own = tl.sum(query * new_k.to(tl.float32), 0)
    first = share == 0
    best = tl.where(first, own, -float("inf"))
    total = tl.where(first, 1.0, 0.0)
    mixed = tl.where(first, new_v.to(tl.float32), 0.0)
    if first and head % GROUPS == 0:
        page = tl.load(table + row * table_row + length // PAGE).to(tl.int64)
        slot = (page * PAGE + length % PAGE) * kv_heads + kv_head
        tl.store(keys + slot * DIM + dims, new_k)
        tl.store(values + slot * DIM + dims, new_v)

    width = tl.cdiv(tl.cdiv(length, shares), KEYS) * KEYS
    end = tl.minimum((share + 1) * width, length)
    for start in range(share * width, end, KEYS):
        places = start + tl.arange(0, KEYS)
        known = places < end
        page = tl.load(table + row * table_row + places // PAGE, mask=known, other=0).to(tl.int64)
        slots = (page * PAGE + places % PAGE) * kv_heads + kv_head
        at = slots[:, None] * DIM + dims[None, :]
        scores = tl.sum(tl.load(keys + at, mask=known[:, None], other=0.0).to(tl.float32) * query[None, :], 1)
        scores = tl.where(known, scores, -float("inf"))
        highest = tl.maximum(best, tl.max(scores, 0))
        weights = tl.exp(scores - highest)
        kept = tl.exp(best - highest)
        seen = tl.load(values + at, mask=known[:, None], other=0.0).to(tl.float32)
        mixed = mixed * kept + tl.sum(weights[:, None] * seen, 0)
        total = total * kept + tl.sum(weights, 0)
        best = highest

    at = (row * heads + head) * shares + share
    tl.store(parts + at * DIM + dims, mixed / tl.maximum(total, 1e-30))
    tl.store(log_sums + at, best + tl.log(total))


@triton.jit(do_not_specialize=["shares"])
def _join_shares(parts, log_sums, out, shares, DIM: tl.constexpr, MOST: tl.constexpr):
    at = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    dims, each = tl.arange(0, DIM), tl.arange(0, MOST)
    sums = tl.load(log_sums + at * shares + each, mask=each < shares, other=-float("inf"))
    weights = tl.exp(sums - tl.max(sums, 0))
    weights = weights / tl.sum(weights, 0)
    mixed = tl.load(
        parts + (at * shares + each[:, None]) * DIM + dims[None, :], mask=(each < shares)[:, None], other=0.0
    )
    tl.store(out + at * DIM + dims, tl.sum(mixed * weights[:, None], 0).to(out.dtype.element_ty))
