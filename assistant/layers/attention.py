"""The attention seam: a model calls `attend(layer, q, k, v)` and never learns where keys and values are kept.

`causal_attention` keeps them nowhere: whole sequences, as in training. `paged_attention` keeps them in a cache of pages
(arXiv 2309.06180) and gives the implementation for the cache's device. All give the same numbers within rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, q [..., T, heads, dim], k [..., T, kv_heads, dim], v like k) -> [..., T, heads, dim]"""


def causal_attention(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Whole sequences without a cache: every token sees itself and what came before it."""
    q, k, v = q.transpose(-3, -2), k.transpose(-3, -2), v.transpose(-3, -2)
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[-3] != k.shape[-3])
    return out.transpose(-3, -2)


@dataclass(frozen=True, slots=True)
class Span:
    """One sequence's part of a batch: `new` tokens behind `past` tokens that the cache already holds.

    `pages` has room for all of them. Spans of one batch lie one behind the other in its token dimension.
    """

    pages: Sequence[int]
    past: int
    new: int


class PagedAttention(Protocol):
    def bind(self, spans: Sequence[Span]) -> Attend:
        """The attention of one batch: stores the new keys and values, then lets every new token see its whole past."""
        ...


def paged_attention(keys: Tensor, values: Tensor, page_size: int) -> PagedAttention:
    """Attention over a pool of keys and values, each [layers, slots, kv_heads, dim], on the pool's device.

    A page is `page_size` slots in a row.
    """
    if keys.is_cuda:
        return CudaPagedAttention(keys, values, page_size)
    return CpuPagedAttention(keys, values, page_size)


def slots_of(span: Span, page_size: int) -> list[int]:
    """The slots of the new tokens."""
    return [
        span.pages[place // page_size] * page_size + place % page_size
        for place in range(span.past, span.past + span.new)
    ]


def runs_of(pages: Sequence[int], length: int, page_size: int) -> list[slice]:
    """The slots of tokens 0 to length - 1, as few slices as the pages allow."""
    runs: list[slice] = []
    start = end = -1
    for page in pages[: -(-length // page_size)]:
        if page * page_size == end:
            end += page_size
            continue
        if end >= 0:
            runs.append(slice(start, end))
        start, end = page * page_size, (page + 1) * page_size
    if end >= 0:
        runs.append(slice(start, end - -length % page_size))
    return runs


class CpuPagedAttention:
    """Reads each run of neighbouring pages as a view, attends to it alone, and joins the results by their softmax sums.

    The new tokens of a chunk see each other causally and every run of the past whole, so no mask is ever made.
    """

    def __init__(self, keys: Tensor, values: Tensor, page_size: int) -> None:
        self._keys, self._values = keys.unbind(), values.unbind()
        self._views = [(_as_heads(k), _as_heads(v)) for k, v in zip(self._keys, self._values, strict=True)]
        self._page_size = page_size

    def bind(self, spans: Sequence[Span]) -> Attend:
        slots = torch.tensor([slot for span in spans for slot in slots_of(span, self._page_size)])
        parts: list[tuple[int, int, list[slice]]] = []
        row = 0
        for span in spans:
            seen = span.past + (span.new == 1)  # a single token finds itself in the cache, too
            parts.append((row, span.new, runs_of(span.pages, seen, self._page_size)))
            row += span.new

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self._keys[layer].index_copy_(0, slots, k)
            self._values[layer].index_copy_(0, slots, v)
            if len(parts) == 1:
                return self._attend(layer, q, k, v, parts[0][2])
            rows = [(q.narrow(0, row, new), k.narrow(0, row, new), v.narrow(0, row, new)) for row, new, _ in parts]
            return torch.cat([self._attend(layer, *row, runs) for row, (_, _, runs) in zip(rows, parts, strict=True)])

        return attend

    def _attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, runs: list[slice]) -> Tensor:
        """One sequence's new tokens, q [T, heads, dim], with themselves and the runs of their past."""
        new, heads, dim = q.shape
        kv_heads = k.shape[1]
        groups = heads // kv_heads
        joined = None
        if new == 1:  # the query heads of a key's head stand where a chunk has its tokens
            q = q.view(1, kv_heads, groups, dim)
        else:
            q = q.view(new, kv_heads, groups, dim).permute(2, 1, 0, 3)
            joined = _partial(q, _as_heads(k).expand(groups, -1, -1, -1), _as_heads(v).expand(groups, -1, -1, -1), True)
        keys, values = self._views[layer]
        for run in runs:
            past_k = keys.narrow(2, run.start, run.stop - run.start)
            past_v = values.narrow(2, run.start, run.stop - run.start)
            if new > 1:
                past_k, past_v = past_k.expand(groups, -1, -1, -1), past_v.expand(groups, -1, -1, -1)
            part = _partial(q, past_k, past_v)
            joined = part if joined is None else _join(joined, part)
        assert joined is not None
        out = joined[0]
        return (out if new == 1 else out.permute(2, 1, 0, 3)).reshape(new, heads, dim)


_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
"""The kernel behind F.scaled_dot_product_attention on the CPU; only it gives the softmax sums."""


def _as_heads(tensor: Tensor) -> Tensor:
    """[S, kv_heads, dim] -> [1, kv_heads, S, dim]"""
    return tensor.transpose(0, 1).unsqueeze(0)


def _partial(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> tuple[Tensor, Tensor]:
    """Attention of q [B, kv_heads, T, dim] to k and v [B, kv_heads, S, dim], and the logarithms of its softmax sums."""
    out, log_sums = _flash(q, k, v, 0.0, causal)
    return out, log_sums


def _join(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    (out_1, log_1), (out_2, log_2) = first, second
    weight = torch.sigmoid(log_2 - log_1).unsqueeze(-1).to(out_1.dtype)
    return torch.lerp(out_1, out_2, weight.expand_as(out_1)), torch.logaddexp(log_1, log_2)


class CudaPagedAttention:
    """Single tokens by flash decoding over the pages; anything else by flash attention over a copy of them.

    Both want half precision.
    """

    def __init__(self, keys: Tensor, values: Tensor, page_size: int, decode: Decode | None = None) -> None:
        """decode: the kernel for single tokens, by default `paged_decode`."""
        self._keys, self._values, self._page_size = keys.unbind(), values.unbind(), page_size
        if decode is None:
            from assistant.layers.paged_decode import paged_decode as decode  # Triton comes with torch for CUDA alone
        self._decode = decode

    def bind(self, spans: Sequence[Span]) -> Attend:
        batch = PagedBatch.of(spans, self._page_size, self._keys[0].device)
        if batch.longest_q == 1:
            return self.decode(batch.lengths - 1, batch.table)
        slots = torch.tensor([slot for span in spans for slot in slots_of(span, self._page_size)])
        slots = slots.to(self._keys[0].device, non_blocking=True)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self._keys[layer].index_copy_(0, slots, k)
            self._values[layer].index_copy_(0, slots, v)
            keys, values = (store[layer].index_select(0, batch.slots) for store in (self._keys, self._values))
            return _flash_attention(q, keys, values, batch)

        return attend

    def decode(self, past: Tensor, table: Tensor) -> Attend:
        """The attention of one new token a sequence behind past [B] others in the pages of table [B, pages], int32.

        What it launches depends on the shapes alone, as a CUDA graph needs it.
        """

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return self._decode(q, k, v, self._keys[layer], self._values[layer], past, table, self._page_size)

        return attend


Decode = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, int], Tensor]
"""As assistant.layers.paged_decode.paged_decode."""


@dataclass(frozen=True, eq=False)
class PagedBatch:
    """Spans as flash attention's tensors."""

    page_size: int
    q_starts: Tensor  # [B + 1] int32, where each sequence's new tokens start in the batch
    k_starts: Tensor  # [B + 1] int32, the running sum of the sequences' lengths
    lengths: Tensor  # [B] int32, past and new
    table: Tensor  # [B, pages] int32
    longest_q: int
    longest_k: int
    tokens: int  # the sum of the lengths

    @classmethod
    def of(cls, spans: Sequence[Span], page_size: int, device: torch.device) -> PagedBatch:
        def on_device(numbers: Sequence[object]) -> Tensor:
            return torch.tensor(numbers, dtype=torch.int32).to(device, non_blocking=True)

        lengths = [span.past + span.new for span in spans]
        width = max(len(span.pages) for span in spans)
        return cls(
            page_size,
            q_starts=on_device([0, *accumulate(span.new for span in spans)]),
            k_starts=on_device([0, *accumulate(lengths)]),
            lengths=on_device(lengths),
            table=on_device([[*span.pages, *[0] * (width - len(span.pages))] for span in spans]),
            longest_q=max(span.new for span in spans),
            longest_k=max(lengths),
            tokens=sum(lengths),
        )

    @cached_property
    def slots(self) -> Tensor:
        """[tokens] int64: where the sequences' tokens lie, one sequence behind the other."""
        lengths = self.lengths.long()
        sequence = torch.repeat_interleave(lengths, output_size=self.tokens)  # without the size the host would wait
        place = torch.arange(self.tokens, device=sequence.device) - self.k_starts.long()[sequence]
        return self.table.long()[sequence, place // self.page_size] * self.page_size + place % self.page_size


def _flash_attention(q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch) -> Tensor:
    """The kernel behind torch's `varlen_attn`, whose options differ from version to version. It aligns causality to the
    end of each sequence, and takes fewer heads of keys than of queries."""
    starts = (batch.q_starts, batch.k_starts, batch.longest_q, batch.longest_k)
    return torch.ops.aten._flash_attention_forward(q, keys, values, *starts, 0.0, True, False)[0]
