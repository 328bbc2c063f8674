from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from assistant.models.llama import Llama, LlamaConfig

transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "max_position_embeddings": 128,
}


def reference(**changes) -> torch.nn.Module:
    torch.manual_seed(1)
    config = transformers.LlamaConfig(**{**SIZES, "initializer_range": 0.2, **changes})
    return transformers.LlamaForCausalLM(config).eval()


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(SIZES["vocab_size"], shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_key_value_heads": 2},
        {"num_key_value_heads": 1, "head_dim": 16},
        {"rms_norm_eps": 1e-2},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        {"tie_word_embeddings": True},
    ],
    ids=["plain", "grouped", "own_head_dim", "eps", "theta", "tied"],
)
@torch.inference_mode()
def test_logits_equal_transformers(changes: dict) -> None:
    theirs = reference(**changes)
    ours = Llama.from_config(theirs.config.to_dict())
    ours.load_state_dict(theirs.state_dict())
    batch = tokens(2, 21)
    torch.testing.assert_close(ours(batch), theirs(batch).logits, atol=1e-4, rtol=0)


def test_state_dict_has_the_published_keys_and_round_trips(tmp_path) -> None:
    theirs = reference(num_key_value_heads=2)
    ours = Llama.from_config(theirs.config.to_dict())
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}

    save_file(ours.state_dict(), tmp_path / "llama.safetensors")
    again = Llama(ours.config)
    again.load_state_dict(load_file(tmp_path / "llama.safetensors"))
    assert torch.equal(again(tokens(1, 9)), ours(tokens(1, 9)))


def test_a_missing_or_unknown_key_is_named() -> None:
    model = Llama.from_config(SIZES)
    state = model.state_dict()
    del state["model.layers.1.self_attn.k_proj.weight"]
    with pytest.raises(RuntimeError, match="layers.1.self_attn"):
        Llama.from_config(SIZES).load_state_dict(state)
    with pytest.raises(RuntimeError, match="extra.weight"):
        Llama.from_config(SIZES).load_state_dict(model.state_dict() | {"extra.weight": torch.zeros(1)})


def test_a_tied_output_layer_may_be_left_out_of_a_file() -> None:
    model = Llama.from_config(SIZES | {"tie_word_embeddings": True})
    state = model.state_dict()
    del state["lm_head.weight"]
    again = Llama(model.config)
    again.load_state_dict(state)
    assert again.lm_head.weight is again.model.embed_tokens.weight
    assert torch.equal(again(tokens(1, 9)), model(tokens(1, 9)))


@torch.inference_mode()
def test_a_range_of_rows_equals_that_part_of_all_logits() -> None:
    model = Llama.from_config(SIZES)
    hidden = model.hidden(tokens(1, 5))
    torch.testing.assert_close(model.logits(hidden, slice(20, 60)), model.logits(hidden)[..., 20:60])


def test_training_step_under_bf16_autocast_gives_finite_gradients_everywhere() -> None:
    model = Llama.from_config(SIZES | {"num_key_value_heads": 2})
    batch = tokens(2, 17)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(batch[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
    loss.backward()
    assert abs(loss.item() - torch.tensor(97.0).log().item()) < 0.3
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize(
    "field", [{"attention_bias": True}, {"hidden_act": "gelu"}, {"rope_scaling": {"type": "linear", "factor": 2.0}}]
)
def test_an_unsupported_variant_is_refused(field: dict) -> None:
    with pytest.raises(ValueError, match="not supported"):
        LlamaConfig.from_dict(SIZES | field)
