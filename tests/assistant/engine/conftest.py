from __future__ import annotations

import pytest
import torch

from assistant.models.llama import Llama
from assistant.vocabulary import Vocabulary

TEXT = 20
SIZES = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "rms_norm_eps": 1e-5,
    "initializer_range": 0.3,
}


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    """The published order of ranges with a handful of each: 20 pieces, 16 image, 8 speech, 4 x 4 music codes."""
    words = ["[Human]", "[MMGPT]", "<eoh>", "<eos>"]
    words += [*(f"<👀{i}>" for i in range(16)), "<soim>", "<eoim>"]
    words += [*(f"<🗣️{i}>" for i in range(8)), "<sosp>", "<eosp>"]
    words += [*(f"<🎶{i}>" for i in range(16)), "<somu>", "<eomu>", "<-Res->", "<-Ins->"]
    return Vocabulary(TEXT, {word: TEXT + place for place, word in enumerate(words)})


@pytest.fixture(scope="session", params=[4, 2], ids=["heads", "grouped"])
def model(request: pytest.FixtureRequest, vocabulary: Vocabulary) -> Llama:
    """Random weights, so large that greedy choices are far apart."""
    torch.manual_seed(3)
    return Llama.from_config(SIZES | {"vocab_size": vocabulary.size, "num_key_value_heads": request.param}).eval()
