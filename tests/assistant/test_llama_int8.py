"""The blocks in ONNX Runtime compute what the model computes, but for the rounding to 8 bits."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from assistant.engine.engine import Engine, EngineConfig
from assistant.engine.grammar import GrammarState, Segment
from assistant.engine.sampling import GREEDY
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
    [{}, {"num_key_value_heads": 2}, {"num_key_value_heads": 1, "head_dim": 32}, {"hidden_size": 48, "rms_norm_eps": 0.1}],
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
    assert not restored[:, BLOCK + 8 :].any() and not restored[2].any()


def test_the_engine_decodes_8_bit_models_with_them_however_the_batch_is_made_up() -> None:
    exact = random_model(num_key_value_heads=2)
    small = copy.deepcopy(exact)
    quantize(small)
    replies, steps = [], []
    for model, together in ((exact, True), (small, True), (small, False)):
        engine = Engine(model, EngineConfig(pages=64, page_size=4, max_context=100, chunk_tokens=16))
        names = [str(length) for length in (1, 5, 19)]
        for name in names:
            sequence = engine.open(name)
            engine.set_prompt(sequence, [(7 * place) % 90 for place in range(int(name))])
            engine.generate(sequence, GrammarState(Segment("text", (range(90),), ())), {"text": GREEDY}, 6)
            while not together and not engine.idle:
                engine.step()
        if engine._forward._few is not None:
            _count(engine._forward._few, steps)
        while not engine.idle:
            engine.step()
        replies.append([engine._sequences[name].generated for name in names])
    assert replies[0] == replies[1] == replies[2]
    assert 3 in steps and max(steps) <= MOST_TOKENS


def _count(blocks: Int8Blocks, steps: list[int]) -> None:
    hidden = blocks.hidden

    def counted(tokens, rotary, attend):
        steps.append(len(tokens))
        return hidden(tokens, rotary, attend)

    blocks.hidden = counted
