"""A text tokenizer trained on the spot, with the published order of added tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sentencepiece

from assistant.tokenizers.text import TextTokenizer
from assistant.vocabulary import MARKUP, Vocabulary

SENTENCES = [
    "You are an AI assistant named MMGPT who can understand and generate multimodal content.",
    "Please recognize the voice command and give reply and voice",
    "hello, who are you? I am fine: thank you. what colour is the sky today",
    "the river runs past the old mill and the children play there in the summer",
]


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 20),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=380,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    size = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model")).get_piece_size()
    names = ["[Human]", "[MMGPT]", "<eoh>", "<eos>"]
    for modality, count in {"image": 8, "speech": 16, "music": 8}.items():
        markup = MARKUP[modality]
        names += [*(markup.code(code) for code in range(count)), markup.start, markup.end]
    names += ["<eom>", "[AnyGPT]", "<-Res->", "<-Ins->"]
    added = {name: size + index for index, name in enumerate(names)}
    (folder / "added_tokens.json").write_text(json.dumps(added, ensure_ascii=False), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def text_tokenizer(tokenizer_folder: Path) -> TextTokenizer:
    return TextTokenizer.load(tokenizer_folder)


@pytest.fixture(scope="session")
def vocabulary(text_tokenizer: TextTokenizer) -> Vocabulary:
    return Vocabulary(text_tokenizer.text_size, text_tokenizer.added)
