"""A whole model set of tiny untrained models, for tests of what is built on them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from assistant.checkpoints import MODEL_SET
from assistant.models.llama import Llama
from assistant.models.soundstorm import SoundStorm
from assistant.models.speech_tokenizer import SpeechTokenizer
from assistant.vocabulary import Vocabulary

CODEC = {
    "n_filters": 2,
    "strides": [8, 5, 4, 2],
    "dimension": 8,
    "semantic_dimension": 8,
    "bidirectional": True,
    "dilation_base": 2,
    "residual_kernel_size": 3,
    "n_residual_layers": 1,
    "lstm_layers": 1,
    "activation": "ELU",
    "codebook_size": 16,
    "n_q": 3,
    "sample_rate": 16_000,
}
SOUNDSTORM = {
    "codebook_size": 16,
    "num_quantizers": 2,
    "dim": 16,
    "depth": 1,
    "heads": 2,
    "dim_head": 8,
    "num_semantic_token_ids": 16,
    "ff_mult": 2,
    "conv_expansion_factor": 2,
    "conv_kernel_size": 5,
}
WIDTH = 64
LLAMA = {"hidden_size": WIDTH, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def babbling(vocabulary: Vocabulary) -> dict[str, Tensor]:
    """A LLaMA of random weights, so large that greedy choices are far apart."""
    torch.manual_seed(9)
    return Llama.from_config(LLAMA | {"vocab_size": vocabulary.size, "initializer_range": 0.3}).state_dict()


def write_model_set(folder: Path, tokenizer_folder: Path, llama: dict[str, Tensor]) -> None:
    """The files of a model folder: a LLaMA of sizes LLAMA with these weights, a text tokenizer copied."""
    torch.manual_seed(6)
    for name, value in {
        "speech_tokenizer": CODEC,
        "soundstorm": SOUNDSTORM,
        "llama": LLAMA | {"vocab_size": len(llama["lm_head.weight"])},
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    save_file(SpeechTokenizer.from_config(CODEC).state_dict(), folder / "speech_tokenizer.safetensors")
    save_file(SoundStorm.from_config(SOUNDSTORM).state_dict(), folder / "soundstorm.safetensors")
    save_file({name: weight.contiguous() for name, weight in llama.items()}, folder / "llama.safetensors")
    voices = {name: torch.randint(16, (9, 3)) for name in ("ann", "bob")}
    save_file(voices, folder / "voices.safetensors")
    for name in ("tokenizer.model", "added_tokens.json"):
        (folder / name).write_bytes((tokenizer_folder / name).read_bytes())
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in MODEL_SET]
    (folder / "MANIFEST").write_text("\n".join(sums))
