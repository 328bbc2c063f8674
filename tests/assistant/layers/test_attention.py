"""Paged attention on each device gives what plain causal attention gives."""

from __future__ import annotations

import random

import pytest
import torch

from assistant.layers.attention import (
    CpuPagedAttention,
    PagedBatch,
    Span,
    causal_attention,
    paged_attention,
    runs_of,
    slots_of,
)

DIM = 64


def ragged_batch(page_size: int, pages: int, scattered: bool, seed: int, single: bool = False) -> list[Span]:
    """`single`: one new token each."""
    rng = random.Random(seed)
    free = list(range(pages))
    if scattered:
        rng.shuffle(free)
    spans = []
    for past, new in [(0, 1), (0, 9), (5, 1), (17, 1), (page_size, 1), (page_size - 1, 3), (30, 8), (2 * page_size, 5)]:
        new = 1 if single else new
        count = -(-(past + new) // page_size)
        spans.append(Span([free.pop(0) for _ in range(count)], past, new))
    return spans


def check(
    device: str,
    dtype: torch.dtype,
    page_size: int,
    heads: int,
    kv_heads: int,
    scattered: bool,
    single: bool = False,
) -> None:
    generator = torch.Generator().manual_seed(4)
    pages, layers = 100, 2
    store = torch.full((2, layers, pages * page_size, kv_heads, DIM), 77.0)  # what lies in other slots must not count
    spans = ragged_batch(page_size, pages, scattered, 5, single)
    for layer in range(layers):
        q, k, v, expected = [], [], [], []
        for span in spans:
            total = span.past + span.new
            whole = [torch.randn(total, count, DIM, generator=generator) for count in (heads, kv_heads, kv_heads)]
            whole = [tensor.to(dtype).float() for tensor in whole]
            expected.append(causal_attention(layer, *whole)[span.past :])
            past = slots_of(Span(span.pages, 0, span.past), page_size)
            store[0, layer, past], store[1, layer, past] = whole[1][: span.past], whole[2][: span.past]
            for parts, tensor in zip((q, k, v), whole, strict=True):
                parts.append(tensor[span.past :])
        on_device = store.to(device, dtype)
        attend = paged_attention(on_device[0], on_device[1], page_size).bind(spans)
        out = attend(layer, *(torch.cat(parts).to(device, dtype) for parts in (q, k, v)))
        tolerance = 1e-5 if dtype == torch.float32 else 2e-2
        torch.testing.assert_close(out.cpu().float(), torch.cat(expected), atol=tolerance, rtol=0)


@pytest.mark.parametrize("scattered", [False, True], ids=["in_a_row", "scattered"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (4, 1)])
@pytest.mark.parametrize(
    ("page_size", "dtype"), [(1, torch.float32), (8, torch.float32), (16, torch.bfloat16)], ids=str
)
def test_on_the_cpu(page_size: int, dtype: torch.dtype, heads: int, kv_heads: int, scattered: bool) -> None:
    check("cpu", dtype, page_size, heads, kv_heads, scattered)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("single", [False, True], ids=["prefill", "decode"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2)])
@pytest.mark.parametrize("page_size", [16, 256])
def test_on_cuda(page_size: int, heads: int, kv_heads: int, single: bool) -> None:
    check("cuda", torch.bfloat16, page_size, heads, kv_heads, scattered=True, single=single)


def test_pages_in_a_row_are_one_view() -> None:
    assert runs_of([3, 4, 5], 10, 4) == [slice(12, 22)]
    assert runs_of([3, 4, 9], 12, 4) == [slice(12, 20), slice(36, 40)]
    assert runs_of([3, 5, 6], 9, 4) == [slice(12, 16), slice(20, 25)]
    assert runs_of([3, 5, 6], 4, 4) == [slice(12, 16)]
    assert runs_of([], 0, 4) == runs_of([3], 0, 4) == []


def test_the_cpu_serves_the_cpu() -> None:
    store = torch.zeros(2, 1, 4, 1, 8)
    assert isinstance(paged_attention(store[0], store[1], 2), CpuPagedAttention)


@pytest.mark.parametrize("scattered", [False, True])
def test_a_batch_for_the_gpu_says_where_all_its_tokens_lie(scattered: bool) -> None:
    spans = ragged_batch(8, 100, scattered, seed=6)
    batch = PagedBatch.of(spans, 8, torch.device("cpu"))
    expected = [slots_of(Span(span.pages, 0, span.past + span.new), 8) for span in spans]
    assert batch.slots.tolist() == sum(expected, [])
    assert batch.k_starts.tolist() == [0, *torch.tensor([len(slots) for slots in expected]).cumsum(0).tolist()]
    assert batch.q_starts[-1] == sum(span.new for span in spans)
    assert (batch.longest_q, batch.longest_k) == (9, max(len(slots) for slots in expected))
