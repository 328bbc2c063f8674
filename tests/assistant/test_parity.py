"""The published checkpoints' formats, reproduced: every golden folder of PARITY_DIR against this code.

Sizes, lengths and case names come from the golden files, so any folder of the same layout must pass.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.assistant.parity import golden

from assistant.checkpoints import load_tensors, load_weights, soundstorm_state, speech_tokenizer_state
from assistant.models.soundstorm import SoundStorm
from assistant.models.speech_tokenizer import SpeechTokenizer


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= tolerance


# ---- SpeechTokenizer


@pytest.fixture(scope="module", params=["speechtokenizer_elu", "speechtokenizer_snake"])
def codec(request):
    folder = golden(request.param)
    model = SpeechTokenizer.from_config(read_json(folder / "config.json"))
    weights = folder / "weights.safetensors"
    load_weights(model, speech_tokenizer_state(load_tensors(weights)), weights)
    return model, load_file(folder / "io.safetensors")


@torch.inference_mode()
def test_speech_encoding(codec):
    model, io = codec
    cases = [key.removesuffix(".wav") for key in io if key.endswith(".wav")]
    assert cases
    for case in cases:
        latent = model.encoder(io[f"{case}.wav"])
        assert_close(latent, io[f"{case}.encoder_out"], 1e-3)
        assert torch.equal(model.encode(io[f"{case}.wav"]), io[f"{case}.codes"])


@torch.inference_mode()
def test_speech_decoding(codec):
    model, io = codec
    for key in [key for key in io if key.endswith(".codes")]:
        case = key.removesuffix(".codes")
        assert_close(model.decode(io[key]), io[f"{case}.decoded"], 1e-4)
    codes = io["main.codes"]
    assert_close(model.decode(codes[:1]), io["main.decoded_semantic_only"], 1e-4)
    assert_close(model.decode(codes[1:], st=1), io["main.decoded_layers_1_on"], 1e-4)


@torch.inference_mode()
def test_speech_codebooks_one_by_one(codec):
    model, io = codec
    wav = io["main.wav"]
    partial = [key for key in io if re.search(r"codes_(st\d+_)?nq\d+$", key)]
    assert partial
    for key in partial:
        st, n_q = re.search(r"codes_(?:st(\d+)_)?nq(\d+)$", key).groups(default="0")
        assert torch.equal(model.encode(wav, n_q=int(n_q), st=int(st)), io[key])
    codes, contributions = model.quantizer(io["main.encoder_out"])
    assert_close(contributions, io["main.quantized_per_layer"], 1e-4)
    assert_close(model.quantizer.decode(codes), io["main.quantized_sum"], 1e-4)
    assert_close(model.decoder(model.quantizer.decode(codes)), io["main.forward_out"], 1e-4)
    assert_close(model.semantic_features(wav), io["main.feature_layer0"], 1e-3)


# ---- SoundStorm


@pytest.fixture(scope="module", params=["soundstorm"])
def voice(request):
    folder = golden(request.param)
    model = SoundStorm.from_config(read_json(folder / "config.json"))
    weights = folder / "weights.safetensors"
    load_weights(model, soundstorm_state(load_tensors(weights)), weights)
    return model, load_file(folder / "io.safetensors")


@torch.inference_mode()
def test_soundstorm_network(voice):
    model, io = voice
    tokens, semantic = io["net.tokens"], io["net.cond_tokens"]
    embeds = model.embeds(tokens, model.semantic_embedding(semantic))
    assert_close(embeds.flatten(1, 2), io["net.embeds"], 1e-4)
    assert_close(model(tokens, semantic), io["net.logits"], 1e-3)
    assert_close(model(tokens, semantic, io["net.padmask"].bool()), io["net.logits_padmask"], 1e-3)


def test_soundstorm_generation(voice):
    model, io = voice
    cases = [key for key in io if key.startswith("generate.steps")]
    assert cases
    for case in cases:
        levels = re.search(r"_(\d+)levels", case)
        grid = model.generate(
            io["semantic_tokens"],
            io["prompt_tokens"] if "_prompt" in case else None,
            steps=int(re.search(r"steps(\d+)", case)[1]),
            full_sampling_levels=int(levels[1]) if levels else 1,
            noise=torch.zeros if "_nonoise" in case else None,
        )
        assert torch.equal(grid[..., 1:] if "_nosemantic" in case else grid, io[case]), case


def test_soundstorm_trace(voice, monkeypatch):
    model, io = voice
    traces = [key.removesuffix(".net_inputs") for key in io if key.endswith(".net_inputs")]
    assert traces
    for trace in traces:
        grids, batch = [], io[f"{trace}.output"].shape[0]
        embeds = model.embeds
        with monkeypatch.context() as patch:
            patch.setattr(model, "embeds", lambda tokens, *rest, **named: grids.append(tokens) or embeds(tokens, *rest, **named))
            grid = model.generate(
                io["semantic_tokens"][:batch],
                io["prompt_tokens"][:batch] if "_prompt" in trace else None,
                steps=int(re.search(r"steps(\d+)", trace)[1]),
                noise=torch.zeros,
            )
        assert torch.equal(torch.stack(grids), io[f"{trace}.net_inputs"])
        assert torch.equal(grid, io[f"{trace}.output"])
