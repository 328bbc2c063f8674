"""A configuration file of a tiny untrained model set."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant.tokenizers.text import TextTokenizer
from assistant.vocabulary import Vocabulary
from tests.assistant.conftest import tokenizer_folder  # noqa: F401 (a fixture)
from tests.assistant.tiny import babbling, write_model_set


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = TextTokenizer.load(tokenizer_folder)
    write_model_set(folder, tokenizer_folder, babbling(Vocabulary.load(tokenizer_folder, tokenizer.text_size)))
    path = folder / "tiny.toml"
    path.write_text(
        f"""
[model]
directory = "{folder}"
threads = 1
context_tokens = 512
[generation.text]
temperature = 0.0
max_tokens = 8
[generation.speech]
max_tokens = 40
[speech]
soundstorm_steps = 1
first_chunk_frames = 6
max_chunk_frames = 16
"""
    )
    return path
