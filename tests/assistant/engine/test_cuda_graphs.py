"""What CUDA graphs replay equals what the model computes. Without a GPU, the step that they capture is run as it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from assistant.engine.cuda_graphs import BATCH_SIZES, DecodeGraphs
from assistant.engine.engine import Engine, EngineConfig
from assistant.engine.kv_cache import KVCache, PageTable
from assistant.layers.attention import CudaPagedAttention, Span, causal_attention
from assistant.models.llama import Llama

PAGE, CONTEXT = 4, 32


def plain(
    q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, past: Tensor, table: Tensor, page_size: int
) -> Tensor:
    """As paged_decode, with every page of the longest context gathered and masked."""
    rows = torch.arange(len(q))
    slots = (table[:, :, None] * page_size + torch.arange(page_size)).flatten(1)  # [B, pages * page_size]
    keys[slots[rows, past]], values[slots[rows, past]] = k, v
    groups = q.shape[1] // k.shape[1]
    seen_k, seen_v = keys[slots].repeat_interleave(groups, 2), values[slots].repeat_interleave(groups, 2)
    scores = torch.einsum("bhd,bshd->bhs", q, seen_k) * q.shape[-1] ** -0.5
    hidden = torch.arange(slots.shape[1]) > past.unsqueeze(1)
    seen_v = seen_v.masked_fill(hidden[:, :, None, None], 0)  # 0 * NaN is NaN
    return torch.einsum("bhs,bshd->bhd", scores.masked_fill(hidden[:, None], -torch.inf).softmax(-1), seen_v)


def run_step(model: Llama, lengths: list[int], size: int) -> tuple[Tensor, Tensor]:
    """The last states of sequences of these lengths: as the step computes them, and as the model does."""
    cache = KVCache(
        model.config.num_hidden_layers,
        model.config.num_key_value_heads,
        model.config.head_dim,
        pages=40,
        page_size=PAGE,
        dtype=torch.float32,
    )
    cache.keys.fill_(torch.nan)  # as fresh memory may hold
    cache.values.fill_(torch.nan)
    attention = CudaPagedAttention(cache.keys, cache.values, PAGE, decode=plain)
    graphs = DecodeGraphs(model.hidden, attention, model.rotary(torch.arange(CONTEXT)), PAGE)
    tokens, spans, expected = [], [], []
    for seed, length in enumerate(lengths):
        sequence = torch.randint(60, (length,), generator=torch.Generator().manual_seed(seed))
        table = PageTable()
        cache.extend(table, length)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, pages: list[int] = table.pages) -> Tensor:
            slots = [pages[place // PAGE] * PAGE + place % PAGE for place in range(len(k) - 1)]
            cache.keys[layer, slots], cache.values[layer, slots] = k[:-1], v[:-1]
            return causal_attention(layer, q, k, v)

        expected.append(model.hidden(sequence, None, attend)[-1])
        tokens.append(int(sequence[-1]))
        spans.append(Span(table.pages, length - 1, 1))
    assert graphs.take(spans)
    return graphs.step(graphs.rows(tokens, spans, size))[: len(spans)], torch.stack(expected)


@pytest.mark.parametrize(("lengths", "size"), [([1], 1), ([5], 2), ([4, 32, 1, 9, 8], 8)], ids=str)
@torch.inference_mode()
def test_the_captured_step_equals_the_model(model: Llama, lengths: list[int], size: int) -> None:
    torch.testing.assert_close(*run_step(model, lengths, size), atol=1e-4, rtol=0)


def test_prompts_and_crowds_are_not_for_graphs(model: Llama) -> None:
    one, two = Span([0], 1, 1), Span([1], 0, 2)
    graphs = DecodeGraphs.__new__(DecodeGraphs)
    assert graphs.take([one]) and graphs.take([one] * BATCH_SIZES[-1])
    assert not graphs.take([one, two]) and not graphs.take([one] * (BATCH_SIZES[-1] + 1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_decoding_with_graphs_equals_decoding_without() -> None:
    torch.manual_seed(3)
    sizes = {"vocab_size": 90, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.05}
    model = Llama.from_config(sizes | heads).eval().bfloat16().cuda()
    states = []
    for graphs in (True, False):
        engine = Engine(model, EngineConfig(pages=32, max_context=512))
        if not graphs:
            engine._forward._graphs = None
        sequences = {length: engine.open(str(length)) for length in (3, 255, 256)}
        for more in range(8):
            for length, sequence in sequences.items():
                engine.set_prompt(sequence, [(7 * place + length) % 90 for place in range(length + more)])
            while not engine.idle:
                engine.step()
        states.append(torch.cat([sequence.last_hidden for sequence in sequences.values()]).float())
    assert (states[0] - states[1]).norm() < 0.03 * states[1].norm()
