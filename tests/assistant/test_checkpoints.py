"""Model files: what is verified, how published names come in, and what a fault says."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from assistant.checkpoints import (
    MODEL_SET,
    CheckpointError,
    fold_weight_norm,
    load_model_set,
    load_soundstorm,
    load_speech_tokenizer,
    load_tensors,
)
from assistant.models.soundstorm import SoundStorm
from assistant.models.speech_tokenizer import SpeechTokenizer

CODEC = {
    "n_filters": 2,
    "strides": [3, 2],
    "dimension": 6,
    "semantic_dimension": 6,
    "bidirectional": True,
    "dilation_base": 2,
    "residual_kernel_size": 3,
    "n_residual_layers": 1,
    "lstm_layers": 1,
    "activation": "Snake",
    "codebook_size": 8,
    "n_q": 3,
    "sample_rate": 16000,
}
SOUNDSTORM = {
    "codebook_size": 8,
    "num_quantizers": 2,
    "dim": 8,
    "depth": 1,
    "heads": 2,
    "dim_head": 4,
    "num_semantic_token_ids": 8,
    "ff_mult": 2,
    "conv_expansion_factor": 2,
    "conv_kernel_size": 5,
}
LLAMA = {
    "vocab_size": 10,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def write_manifest(folder: Path) -> None:
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in MODEL_SET]
    (folder / "MANIFEST").write_text("\n".join(["# tiny and untrained", "", *lines]), encoding="utf-8")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A whole model folder at tiny sizes."""
    torch.manual_seed(0)
    write_json(tmp_path / "speech_tokenizer.json", CODEC)
    save_file(SpeechTokenizer.from_config(CODEC).state_dict(), tmp_path / "speech_tokenizer.safetensors")
    write_json(tmp_path / "soundstorm.json", SOUNDSTORM)
    save_file(SoundStorm.from_config(SOUNDSTORM).half().state_dict(), tmp_path / "soundstorm.safetensors")
    write_json(tmp_path / "llama.json", LLAMA)
    save_file({"lm_head.weight": torch.zeros(10, 8)}, tmp_path / "llama.safetensors")
    save_file({"rosa": torch.ones(5, 3, dtype=torch.int64)}, tmp_path / "voices.safetensors")
    (tmp_path / "tokenizer.model").write_bytes(b"not read here")
    write_json(tmp_path / "added_tokens.json", {"<sosp>": 9})
    write_manifest(tmp_path)
    return tmp_path


def test_a_model_folder_loads_in_parts(folder):
    parts = load_model_set(folder)
    assert parts.speech_tokenizer.n_q == 3 and not parts.speech_tokenizer.training
    assert parts.soundstorm.head_norm.weight.dtype == torch.float32
    assert parts.llama_config.vocab_size == 10 and set(parts.llama_state) == {"lm_head.weight"}
    assert parts.tokenizer_model.is_file() and parts.added_tokens.is_file()
    assert {name: tuple(codes.shape) for name, codes in parts.voices.items()} == {"rosa": (5, 3)}


@pytest.mark.parametrize("name", MODEL_SET)
def test_a_flipped_bit_is_found_and_named(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"{re.escape(name)} is damaged .* check the file out again"):
        load_model_set(folder)


def test_a_missing_file_is_named(folder):
    (folder / "soundstorm.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"soundstorm\.safetensors is missing"):
        load_model_set(folder)


def test_a_file_must_be_listed(folder):
    manifest = folder / "MANIFEST"
    manifest.write_text("\n".join(manifest.read_text().splitlines()[:-1]), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"does not list voices\.safetensors"):
        load_model_set(folder)


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["seed.json", "seed_quantizer.safetensors", "vision_tower.safetensors"], {"seed"}),
        (["unclip/model_index.json", "unclip/unet/x.safetensors"], {"unclip"}),
        (["encodec/config.json", "encodec/model.safetensors"], {"encodec"}),
    ],
)
def test_further_parts_must_be_whole_and_listed(folder, names, parts):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    with pytest.raises(CheckpointError, match="does not list"):
        load_model_set(folder)
    manifest = (folder / "MANIFEST").read_text()
    sums = [f"{hashlib.sha256(name.encode()).hexdigest()}  {name}" for name in names]
    (folder / "MANIFEST").write_text("\n".join([manifest, *sums]))
    assert load_model_set(folder).parts == parts
    (folder / names[-1]).unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load_model_set(folder)


def test_a_manifest_that_is_none_is_named(folder):
    (folder / "MANIFEST").write_text("<html>", encoding="utf-8")
    with pytest.raises(CheckpointError, match="<html>"):
        load_model_set(folder)


def test_no_folder_says_what_to_set(tmp_path):
    with pytest.raises(CheckpointError, match=r"\[model\] directory"):
        load_model_set(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "codes", [torch.ones(5, 2, dtype=torch.int64), torch.ones(5, 3), torch.full((5, 3), 8), torch.full((5, 3), -1)]
)
def test_a_voice_of_another_codec_is_refused(folder, codes):
    save_file({"rosa": codes}, folder / "voices.safetensors")
    write_manifest(folder)
    with pytest.raises(CheckpointError, match="voice rosa"):
        load_model_set(folder)


def test_keys_that_do_not_fit_are_named(folder):
    weights, config = folder / "soundstorm.safetensors", folder / "soundstorm.json"
    state = load_file(weights)
    state["stray"] = state.pop("blocks.0.attn.to_q.weight")
    save_file(state, weights)
    with pytest.raises(CheckpointError, match=r"missing: blocks\.0\.attn\.to_q\.weight; unknown: stray"):
        load_soundstorm(config, weights)
    write_json(config, SOUNDSTORM | {"codebook_size": 9})
    with pytest.raises(CheckpointError, match=r"of another shape: .*code_embedding\.weight"):
        load_soundstorm(config, weights)


def test_a_configuration_that_does_not_fit_is_named(folder):
    config = folder / "speech_tokenizer.json"
    for value, fault in (({}, "no field 'strides'"), (CODEC | {"activation": "Mish"}, "Mish"), ([], "list")):
        write_json(config, value)
        with pytest.raises(CheckpointError, match=rf"speech_tokenizer\.json cannot be used .*{fault}"):
            load_speech_tokenizer(config, folder / "speech_tokenizer.safetensors")


def published_codec_state(model: SpeechTokenizer) -> dict[str, torch.Tensor]:
    """The state as published files hold it: weight norm in two tensors, the codebooks' training state beside them."""
    state = {}
    for key, tensor in model.state_dict().items():
        if key.endswith(("conv.weight", "convtr.weight")):
            state[f"{key}_g"] = tensor.flatten(1).norm(dim=1).view(-1, 1, 1)
            state[f"{key}_v"] = 3 * tensor
        else:
            state[key] = tensor
        if key.endswith("_codebook.embed"):
            state |= {f"{key}_avg": tensor.clone(), key.replace("embed", "inited"): torch.ones(1)}
            state |= {key.replace("embed", "cluster_size"): torch.zeros(8)}
    return state


def test_a_published_pickle_gives_the_same_codec(folder):
    config, weights = folder / "speech_tokenizer.json", folder / "ckpt.dev"
    own = load_speech_tokenizer(config, folder / "speech_tokenizer.safetensors")
    torch.save(published_codec_state(own), weights)
    published, wav = load_speech_tokenizer(config, weights), torch.randn(1, 1, 100)
    assert torch.allclose(published.encoder(wav), own.encoder(wav), atol=1e-6)
    assert torch.allclose(published.decode(own.encode(wav)), own.decode(own.encode(wav)), atol=1e-6)


def test_half_of_a_weight_norm_pair_is_named(folder):
    state = published_codec_state(SpeechTokenizer.from_config(CODEC))
    del state["encoder.model.0.conv.conv.weight_g"]
    save_file(state, folder / "half.safetensors")
    with pytest.raises(CheckpointError, match=r"missing: encoder\.model\.0\.conv\.conv\.weight; unknown: .*weight_v"):
        load_speech_tokenizer(folder / "speech_tokenizer.json", folder / "half.safetensors")


@pytest.mark.parametrize("layer", [torch.nn.Conv1d(3, 4, 5), torch.nn.ConvTranspose1d(3, 4, 5)])
def test_folding_equals_torchs_weight_norm(layer):
    normed = torch.nn.utils.parametrizations.weight_norm(layer)
    parts = normed.parametrizations.weight
    torch.nn.init.uniform_(parts.original0, 0.5, 2.0)
    folded = fold_weight_norm({"a.weight_g": parts.original0, "a.weight_v": parts.original1})
    assert set(folded) == {"a.weight"} and torch.allclose(folded["a.weight"], normed.weight, atol=1e-6)


def published_soundstorm_state(model: SoundStorm, convolution: dict[str, str]) -> dict[str, torch.Tensor]:
    names = {
        ".ff1.up": ".ff1.fn.fn.net.0",
        ".ff1.down": ".ff1.fn.fn.net.3",
        ".ff1.norm": ".ff1.fn.norm",
        ".ff2.up": ".ff2.fn.fn.net.0",
        ".ff2.down": ".ff2.fn.fn.net.3",
        ".ff2.norm": ".ff2.fn.norm",
        ".attn.to": ".attn.fn.to",
        "blocks.": "net.conformer.layers.",
        "code_embedding": "net.code_embeds",
        "heads": "net.heads.0",
        "head_norm": "net.to_logits.0",
        "logit_": "net.to_logits.2.",
        "semantic_embedding": "semantic_token_emb",
    }
    state = {}
    for key, tensor in model.state_dict().items():
        for own, published in (names | convolution).items():
            key = key.replace(own, published)
        if ".conv." in key:
            tensor = tensor[..., None] if "gamma" not in key and tensor.dim() == 2 else tensor
            tensor = tensor[None, :, None] if "gamma" in key else tensor
        state[key] = tensor
    return state


ANYGPT = {
    ".conv.norm": ".conv.net1.0",
    ".conv.expand": ".conv.net1.2",
    ".conv.depthwise": ".conv.ds_conv.conv",
    ".conv.gamma": ".conv.net2.1.gamma",
    ".conv.contract": ".conv.net2.2",
}
PUBLIC = {
    ".conv.norm": ".conv.net.0",
    ".conv.expand": ".conv.net.2",
    ".conv.depthwise": ".conv.net.4.conv",
    ".conv.gamma": ".conv.net.6.gamma",
    ".conv.contract": ".conv.net.7",
}


@pytest.mark.parametrize("convolution", [ANYGPT, PUBLIC], ids=["anygpt", "soundstorm-speechtokenizer"])
def test_both_published_namings_give_the_same_soundstorm(folder, convolution):
    own = load_soundstorm(folder / "soundstorm.json", folder / "soundstorm.safetensors")
    torch.save(published_soundstorm_state(own, convolution), folder / "mls.pt")
    published = load_soundstorm(folder / "soundstorm.json", folder / "mls.pt")
    tokens, semantic = torch.randint(8, (1, 6, 2)), torch.randint(8, (1, 6))
    assert torch.equal(published(tokens, semantic), own(tokens, semantic))


class Intruder:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_a_pickle_that_would_run_code_is_refused(tmp_path, capsys):
    torch.save({"weight": Intruder()}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"weights\.pt cannot be read"):
        load_tensors(tmp_path / "weights.pt")
    assert capsys.readouterr().out == ""


def test_files_of_another_kind_are_named(tmp_path):
    torch.save({"step": 3}, tmp_path / "optimizer.pt")
    with pytest.raises(CheckpointError, match=r"optimizer\.pt is not a plain state dict"):
        load_tensors(tmp_path / "optimizer.pt")
    (tmp_path / "page.safetensors").write_text("<html>" * 9)
    with pytest.raises(CheckpointError, match=r"page\.safetensors cannot be read .* fetch it again"):
        load_tensors(tmp_path / "page.safetensors")
