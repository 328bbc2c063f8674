"""The blocks in ONNX Runtime compute what the model computes, but for the rounding to 8 bits."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from assistant.engine.engine import Engine, EngineConfig
from assistant.layers.attention import causal_attention
from assistant.layers.linear import quantize
from assistant.models.llama import Llama, LlamaConfig
from assistant.models.llama_int8 import BLOCK, MOST_TOKENS, Int8Blocks, round_to_8_bits

SIZES = LlamaConfig(
    vocab_size=90,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=4,
    head_dim=16,
    initializer_range=0.1,
)


def random_model(**changes: object) -> Llama:
    torch.manual_seed(3)
    model = Llama(dataclasses.replace(SIZES, **changes)).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_key_value_heads": 2},
        {"num_key_value_heads": 1, "head_dim": 32},
        {"hidden_size": 48, "rms_norm_eps": 0.1},
    ],
    ids=["heads", "grouped", "own_head_dim", "ragged_blocks_and_eps"],
)
@torch.inference_mode()
def test_blocks_follow_the_exact_model(changes: dict) -> None:
    model = random_model(**changes)
    blocks = Int8Blocks(model)
    for count in (1, 3, MOST_TOKENS, 1):
        tokens = torch.arange(count) * 7
        rotary = model.rotary(torch.arange(count) + 5)
        expected = model.hidden(tokens, rotary)
        hidden = blocks.hidden(tokens, rotary, causal_attention)
        assert hidden.dtype == torch.float32 and hidden.shape == expected.shape
        assert (hidden - expected).norm() < 0.03 * expected.norm()


@torch.inference_mode()
def test_what_was_returned_does_not_change_with_the_next_call() -> None:
    model = random_model()
    blocks, rotary = Int8Blocks(model), model.rotary(torch.arange(1))
    first = blocks.hidden(torch.tensor([1]), rotary, causal_attention)
    kept = first.clone()
    assert not torch.equal(blocks.hidden(torch.tensor([2]), rotary, causal_attention), kept)
    assert torch.equal(first, kept)


def test_rounding_is_to_the_nearest_of_127_steps_in_each_block() -> None:
    weight = np.random.default_rng(1).normal(size=(5, BLOCK + 8)).astype(np.float32)
    weight[:, BLOCK:] *= 100  # its neighbours do not lose by it
    weight[2] = 0
    rounded, scales = round_to_8_bits(weight)
    restored = ((rounded.astype(np.float32) - 128) * scales[..., None]).reshape(5, -1)
    assert rounded.shape == (5, 2, BLOCK) and scales.shape == (5, 2)
    assert (np.abs(restored[:, : BLOCK + 8] - weight) <= np.repeat(scales, BLOCK, 1)[:, : BLOCK + 8] * 0.501).all()
    assert (scales[[0, 1, 3, 4], 0] * 10 < scales[[0, 1, 3, 4], 1]).all()
    assert not restored[:, BLOCK + 8 :].any() and not restored[2].any()


@torch.inference_mode()
def test_the_engine_takes_them_for_few_tokens_batched_or_alone() -> None:
    exact = random_model(num_key_value_heads=2)
    small = copy.deepcopy(exact)
    quantize(small)
    together, alone = (Engine(small, EngineConfig(pages=64, page_size=4, max_context=100)) for _ in range(2))
    steps = count_steps(together)
    tokens = {name: [(7 * place + seed) % 90 for place in range(30)] for seed, name in enumerate("abc")}
    for engine in (together, alone):
        for start, name in enumerate(tokens):
            engine.set_prompt(engine.open(name), tokens[name][: 12 + start])
        while not engine.idle:
            engine.step()
    for length in range(15, 31):
        for name in tokens:
            together.set_prompt(together._sequences[name], tokens[name][:length])
            alone.set_prompt(alone._sequences[name], tokens[name][:length])
            alone.step()
        together.step()
        for name in tokens:
            hidden = together._sequences[name].last_hidden
            expected = exact.hidden(torch.tensor(tokens[name][:length]))[-1:]
            assert (hidden - expected).norm() < 0.04 * expected.norm()
            torch.testing.assert_close(hidden, alone._sequences[name].last_hidden, atol=0.02, rtol=0)
    assert steps[0] == 3 + 2 + 1 and steps[1:] == [3] * 15  # the prompts before were too long for them


def count_steps(engine: Engine) -> list[int]:
    """How many tokens the blocks are given at each step from now on."""
    blocks, steps = engine._forward._few, []
    hidden = blocks.hidden
    blocks.hidden = lambda tokens, *rest: (steps.append(len(tokens)), hidden(tokens, *rest))[1]
    return steps


def test_a_model_in_full_precision_does_without_them() -> None:
    assert Engine(random_model(), EngineConfig(pages=4, page_size=4, max_context=16))._forward._few is None
