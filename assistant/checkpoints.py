"""Model files: find, verify, load, rename.

A model folder (`load_model_set`) holds safetensors beside their JSON configurations and a MANIFEST of SHA-256 sums.
Published checkpoints may be torch pickles and have other key names; `load_speech_tokenizer` and `load_soundstorm` take
both.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from assistant.models.llama import LlamaConfig
from assistant.models.soundstorm import SoundStorm
from assistant.models.speech_tokenizer import SpeechTokenizer

Built = TypeVar("Built")

MANIFEST = "MANIFEST"
MODEL_SET = (
    "llama.json",
    "llama.safetensors",
    "speech_tokenizer.json",
    "speech_tokenizer.safetensors",
    "soundstorm.json",
    "soundstorm.safetensors",
    "tokenizer.model",
    "added_tokens.json",
    "voices.safetensors",
)
"""What a model folder must hold and its MANIFEST must list."""
PARTS: Mapping[str, tuple[str, ...]] = {
    "seed": ("seed.json", "seed_quantizer.safetensors", "vision_tower.safetensors"),
    "unclip": ("unclip/model_index.json",),
    "encodec": ("encodec/config.json", "encodec/model.safetensors"),
}
"""What it may hold besides: eyes (assistant.tokenizers.image), a hand that draws (assistant.decoders.image), and ears
and hands for music. Loaded when first asked for; of a part that is there, MANIFEST must list every file."""


class CheckpointError(Exception):
    """A model file is missing, damaged or of another kind than expected. The message says which, and what to do."""


@dataclass(frozen=True, eq=False)
class ModelSet:
    """The parts of a model folder, ready for inference on the CPU. LLaMA is left to the engine to build and place."""

    speech_tokenizer: SpeechTokenizer
    soundstorm: SoundStorm
    llama_config: LlamaConfig
    llama_state: dict[str, Tensor]  # LlamaForCausalLM's key names, in the file's dtype
    tokenizer_model: Path  # sentencepiece
    added_tokens: Path  # JSON {token: id}
    voices: dict[str, Tensor]  # [frames, n_q] int64 codes of each voice's prompt, in the file's order
    parts: frozenset[str] = frozenset()  # those of PARTS that the folder holds


def load_model_set(directory: Path) -> ModelSet:
    """Verify every file of a model folder against its MANIFEST and load it.

    Raises CheckpointError naming the file at fault, and the keys or values in it where that is known.
    """
    directory = Path(directory)
    parts = {name: part_files(directory, name) for name in PARTS}
    verify(directory, (*MODEL_SET, *(file for files in parts.values() for file in files)))
    tokenizer = load_speech_tokenizer(directory / "speech_tokenizer.json", directory / "speech_tokenizer.safetensors")
    return ModelSet(
        speech_tokenizer=tokenizer,
        soundstorm=load_soundstorm(directory / "soundstorm.json", directory / "soundstorm.safetensors"),
        llama_config=configured(LlamaConfig.from_dict, directory / "llama.json"),
        llama_state=load_tensors(directory / "llama.safetensors"),
        tokenizer_model=directory / "tokenizer.model",
        added_tokens=directory / "added_tokens.json",
        voices=load_voices(directory / "voices.safetensors", tokenizer),
        parts=frozenset(name for name, files in parts.items() if files),
    )


def part_files(directory: Path, part: str) -> tuple[str, ...]:
    """The files of one of PARTS, relative to the model folder: its own, and all else in its folder; none if no file of
    it is there."""
    folder = directory / part
    found = sorted(path.relative_to(directory).as_posix() for path in folder.rglob("*") if path.is_file())
    if found or any((directory / name).exists() for name in PARTS[part]):
        return tuple(dict.fromkeys((*PARTS[part], *found)))
    return ()


def verify(directory: Path, required: tuple[str, ...]) -> None:
    """Compare every file that the folder's MANIFEST lists with its SHA-256 sum; all of `required` must be listed.

    Raises CheckpointError naming the first file that is missing, unlisted or changed.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise CheckpointError(f"{directory} holds no model (no {MANIFEST}): set [model] directory to one that does")
    sums = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            entry = re.fullmatch(r"([0-9a-f]{64}) [ *](\S.*)", line.strip())
            if entry is None:
                raise CheckpointError(f"{path}: {line!r} is not `sha256  file`: check the file out again")
            sums[entry[2]] = entry[1]
    for name in required:
        if name not in sums:
            raise CheckpointError(f"{path} does not list {name}: check the model folder out again")
    for name, expected in sums.items():
        if not (directory / name).is_file():
            raise CheckpointError(f"{directory / name} is missing: check the model folder out again")
        with (directory / name).open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != expected:
            raise CheckpointError(
                f"{directory / name} is damaged (SHA-256 {actual[:12]}…, {MANIFEST} says {expected[:12]}…): "
                "check the file out again"
            )


def configured(build: Callable[[Mapping[str, Any]], Built], path: Path) -> Built:
    """What `build` makes of a JSON configuration file. Raises CheckpointError for one that it cannot use."""
    try:
        return build(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, KeyError, ValueError, TypeError) as fault:
        reason = f"no field {fault}" if isinstance(fault, KeyError) else fault
        raise CheckpointError(f"{path} cannot be used ({reason}): use the file of the weights' release") from fault


def load_speech_tokenizer(config: Path, weights: Path) -> SpeechTokenizer:
    """The codec of a published or own `config.json` and weights file. Raises CheckpointError."""
    model = configured(SpeechTokenizer.from_config, config)
    load_weights(model, speech_tokenizer_state(load_tensors(weights)), weights)
    return model


def load_soundstorm(config: Path, weights: Path) -> SoundStorm:
    """The acoustic model of a configuration and a published or own weights file. Raises CheckpointError."""
    model = configured(SoundStorm.from_config, config)
    load_weights(model, soundstorm_state(load_tensors(weights)), weights)
    return model


def load_voices(path: Path, tokenizer: SpeechTokenizer) -> dict[str, Tensor]:
    """Voice prompts by name, each [frames, n_q] int64. Raises CheckpointError for what is not the tokenizer's."""
    voices = load_tensors(path)
    if not voices:
        raise CheckpointError(f"{path} holds no voice: check the file out again")
    for name, codes in voices.items():
        shaped = codes.dtype == torch.int64 and codes.dim() == 2 and codes.shape[1] == tokenizer.n_q and len(codes)
        if not shaped or codes.min() < 0 or codes.max() >= tokenizer.codebook_size:
            wanted = f"int64 [frames, {tokenizer.n_q}] below {tokenizer.codebook_size}"
            raise CheckpointError(f"{path}: voice {name} is not {wanted}: use the files of one release")
    return voices


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a torch pickle holding nothing else.

    Raises CheckpointError for a file that is neither.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:
        raise CheckpointError(f"{path} cannot be read ({fault}): fetch it again") from fault
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path} is not a plain state dict: use the published weights file")
    return state


def load_weights(model: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    """Fill the model for inference from a state dict of exactly its keys and shapes.

    Raises CheckpointError naming the keys that are missing, unknown or of another shape.
    """
    expected = model.state_dict()
    faults = {
        "missing": sorted(expected.keys() - state.keys()),
        "unknown": sorted(state.keys() - expected.keys()),
        "of another shape": sorted(k for k in expected.keys() & state.keys() if expected[k].shape != state[k].shape),
    }
    found = "; ".join(f"{kind}: {', '.join(keys)}" for kind, keys in faults.items() if keys)
    if found:
        raise CheckpointError(f"{source} does not fit its configuration ({found}): use the files of one release")
    model.load_state_dict(state)
    model.eval().requires_grad_(False)


def fold_weight_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace each pair weight_g, weight_v by the weight it stands for: g v / |v|, norm over all but dimension 0."""
    folded = dict(state)
    for key in state:
        stem = key.removesuffix("_v")
        if key.endswith("weight_v") and f"{stem}_g" in state:
            length, direction = folded.pop(f"{stem}_g"), folded.pop(key)
            norm = direction.flatten(1).norm(dim=1).view(-1, *[1] * (direction.dim() - 1))
            folded[stem] = direction * (length / norm)
    return folded


def speech_tokenizer_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A codec checkpoint as SpeechTokenizer loads it: weight norm folded, the codebooks' training state dropped."""
    training_only = ("._codebook.embed_avg", "._codebook.cluster_size", "._codebook.inited")
    return fold_weight_norm({key: tensor for key, tensor in state.items() if not key.endswith(training_only)})


SOUNDSTORM_NAMES = (
    (r"^net\.conformer\.layers\.", "blocks."),
    (r"\.(ff[12])\.fn\.fn\.net\.0\.", r".\1.up."),
    (r"\.(ff[12])\.fn\.fn\.net\.3\.", r".\1.down."),
    (r"\.(ff[12])\.fn\.norm\.", r".\1.norm."),
    (r"\.attn\.fn\.", ".attn."),
    (r"\.conv\.(net1|net)\.0\.", ".conv.norm."),
    (r"\.conv\.(net1|net)\.2\.", ".conv.expand."),
    (r"\.conv\.(ds_conv|net\.4)\.conv\.", ".conv.depthwise."),
    (r"\.conv\.(net2\.1|net\.6)\.gamma$", ".conv.gamma"),
    (r"\.conv\.(net2\.2|net\.7)\.", ".conv.contract."),
    (r"^net\.code_embeds\.", "code_embedding."),
    (r"^net\.heads\.0\.", "heads."),
    (r"^net\.to_logits\.0\.", "head_norm."),
    (r"^net\.to_logits\.2\.", "logit_"),
    (r"^semantic_token_emb\.", "semantic_embedding."),
)
"""Published names, in AnyGPT's copy and in soundstorm-speechtokenizer (`conv.net.N`), to this code's."""


def soundstorm_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A SoundStorm checkpoint as SoundStorm loads it: names changed, pointwise convolutions as matrices."""
    renamed = {}
    for key, tensor in state.items():
        for pattern, name in SOUNDSTORM_NAMES:
            key = re.sub(pattern, name, key)
        if key.endswith((".conv.expand.weight", ".conv.contract.weight")):
            tensor = tensor.flatten(1)
        elif key.endswith(".conv.gamma"):
            tensor = tensor.flatten()
        elif key == "logit_bias":
            tensor = tensor.flatten(0, -2)
        renamed[key] = tensor
    return renamed
