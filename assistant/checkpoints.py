"""Model files: find, verify, load, rename.

A model folder holds safetensors beside their JSON configurations and a MANIFEST of SHA-256 sums. Published checkpoints
are torch pickles with other key names; `speech_tokenizer_state` and `soundstorm_state` bring both to this code's names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


class CheckpointError(Exception):
    """A model file is missing, damaged or of another kind than expected. The message says which, and what to do."""


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
    """Replace each pair weight_g, weight_v by the weight it stands for: g v / |v|, the norm over all but dimension 0."""
    folded = {key: tensor for key, tensor in state.items() if not key.endswith(("weight_g", "weight_v"))}
    for key, direction in state.items():
        if key.endswith("weight_v"):
            length = direction.flatten(1).norm(dim=1).view(-1, *[1] * (direction.dim() - 1))
            folded[key.removesuffix("_v")] = direction * (state[key.removesuffix("v") + "g"] / length)
    return folded


def speech_tokenizer_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A SpeechTokenizer checkpoint as SpeechTokenizer loads it: weight norm folded, the codebooks' training state dropped."""
    training_only = re.compile(r"\._codebook\.(embed_avg|cluster_size|inited)$")
    return fold_weight_norm({key: tensor for key, tensor in state.items() if not training_only.search(key)})


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
