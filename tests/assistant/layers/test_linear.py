from __future__ import annotations

import copy

import pytest
import torch

from assistant.layers.linear import FEW, ROUND, Int8Linear, Linear, quantize
from assistant.models.llama import Llama


@pytest.fixture
def linear() -> Linear:
    torch.manual_seed(1)
    return Linear(64, 48).requires_grad_(False)


@pytest.mark.parametrize("rows", [None, slice(5, 20)], ids=["all", "some"])
@pytest.mark.parametrize("count", [1, 2, FEW, FEW + 1, 40])
def test_eight_bits_are_close_whatever_the_batch(linear: Linear, count: int, rows: slice | None) -> None:
    x = torch.randn(count, 64, generator=torch.Generator().manual_seed(2))
    expected = linear(x, rows)
    got = Int8Linear(linear)(x, rows)
    assert got.dtype == torch.float32 and got.shape == expected.shape
    assert (got.float() - expected).norm() < 0.01 * expected.norm()


def test_lengths_share_a_product(linear: Linear, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    product = torch.nn.functional.linear
    monkeypatch.setattr("assistant.layers.linear.F.linear", lambda x, w: computed.append(len(x)) or product(x, w))
    small = Int8Linear(linear)
    for count in range(FEW + 1, 2 * ROUND + 1):
        assert len(small(torch.ones(count, 64))) == count
    assert set(computed) == {ROUND, 2 * ROUND}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("count", [1, 16, 33, 65])
def test_eight_bits_on_a_gpu_are_close_and_keep_no_other_copy(linear: Linear, count: int) -> None:
    x = torch.randn(count, 64, generator=torch.Generator().manual_seed(2))
    small = Int8Linear(linear.cuda())
    assert small._kept is None
    got, expected = small(x.cuda().bfloat16()), linear(x.cuda())
    assert got.dtype == torch.bfloat16 and (got.float() - expected).norm() < 0.02 * expected.norm()


def test_a_weight_that_is_not_kept_is_made_anew(linear: Linear) -> None:
    small = Int8Linear(linear)
    small._kept = None  # as on a GPU
    x = torch.randn(FEW + 1, 64, generator=torch.Generator().manual_seed(2))
    assert small.weight.dtype == torch.bfloat16
    assert (small(x) - linear(x)).norm() < 0.02 * linear(x).norm()


def test_rounding_is_to_the_nearest_of_127_steps(linear: Linear) -> None:
    small = Int8Linear(linear)
    restored = small.quantized.float() * small.scales.float().unsqueeze(1)
    assert small.quantized.dtype == torch.int8 and small.quantized.abs().max() > 120
    assert ((restored - linear.weight).abs() <= small.scales.float().unsqueeze(1) * 1.01).all()
    assert (restored - linear.weight).abs().mean() < small.scales.float().mean() * 0.3


def test_a_row_of_zeros_stays_zero(linear: Linear) -> None:
    linear.weight[3] = 0
    assert Int8Linear(linear)(torch.ones(1, 64))[0, 3] == 0


@torch.inference_mode()
def test_a_quantized_model_follows_the_exact_one() -> None:
    torch.manual_seed(3)
    sizes = {"vocab_size": 90, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3}
    exact = Llama.from_config(sizes | {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.1})
    small = copy.deepcopy(exact)
    quantize(small)
    assert not any(isinstance(module, torch.nn.Linear) for module in small.modules())
    assert small.attention_dtype == torch.float32
    for count in (1, 5, 30):
        tokens = torch.arange(count)
        hidden, expected = small.hidden(tokens), exact.hidden(tokens)
        assert (hidden - expected).norm() < 0.03 * expected.norm()
        torch.testing.assert_close(small.logits(hidden, slice(10, 20)), small.logits(hidden)[:, 10:20])
