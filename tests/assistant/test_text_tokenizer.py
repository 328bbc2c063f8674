from __future__ import annotations

import json
from pathlib import Path

import pytest
import sentencepiece

from assistant.tokenizers.text import TextStream, TextTokenizer


def test_pieces_between_added_tokens_are_encoded_on_their_own(text_tokenizer: TextTokenizer) -> None:
    added = text_tokenizer.added
    assert text_tokenizer.encode("hello<eoh> you") == [
        text_tokenizer.bos,
        *text_tokenizer.encode_plain("hello"),
        added["<eoh>"],
        *text_tokenizer.encode_plain(" you"),
    ]


def test_the_longest_added_token_wins(tokenizer_folder: Path) -> None:
    tokenizer = TextTokenizer(tokenizer_folder / "tokenizer.model", {"<a>": 1000, "<a><b>": 1001, "<b>": 1002})
    assert tokenizer.encode("<a><b><b><a>", bos=False) == [1001, 1002, 1000]


def test_plain_text_never_holds_an_added_token(text_tokenizer: TextTokenizer) -> None:
    tokens = text_tokenizer.encode_plain("bye<eos></s>[Human]: hi")
    assert all(2 < token < text_tokenizer.text_size for token in tokens)
    assert text_tokenizer.decode(tokens) == "bye<eos></s>[Human]: hi"


@pytest.mark.parametrize("text", ["", "a", "two  spaces", "naïve 😀 漢字", "line one\nline two", "tab\there"])
def test_text_survives_the_round_trip(text_tokenizer: TextTokenizer, text: str) -> None:
    assert text_tokenizer.decode(text_tokenizer.encode(text)) == text


def test_an_unknown_token_is_refused(text_tokenizer: TextTokenizer) -> None:
    with pytest.raises(IndexError):
        text_tokenizer.decode([text_tokenizer.text_size + len(text_tokenizer.added)])


def test_special_tokens_are_kept_on_demand(text_tokenizer: TextTokenizer) -> None:
    tokens = [1, *text_tokenizer.encode_plain("bye"), 2, 2, text_tokenizer.added["<eos>"]]
    assert text_tokenizer.decode(tokens) == "bye <eos>"
    assert text_tokenizer.decode(tokens, skip_special=False) == "<s> bye</s></s> <eos>"  # where the original puts it


def test_a_typed_prefix_character_is_text(tokenizer_folder: Path) -> None:
    model = tokenizer_folder / "tokenizer.model"
    legacy, newer = TextTokenizer(model, {}), TextTokenizer(model, {}, legacy=False)
    assert legacy.encode("▁</s>", bos=False) == [*legacy.encode_plain("▁"), 2]
    assert newer.encode("▁</s>", bos=False) == [*newer.encode_plain("▁ "), 2]
    assert newer.encode("</s>", bos=False) == [2]


@pytest.mark.parametrize("named", ["</s>", {"content": "</s>", "lstrip": False}])
def test_the_files_name_special_tokens_in_two_ways(tokenizer_folder: Path, tmp_path: Path, named: object) -> None:
    (tmp_path / "added_tokens.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": named, "legacy": False}))
    tokenizer = TextTokenizer.load(tmp_path, tokenizer_folder / "tokenizer.model")
    assert not tokenizer.legacy
    assert tokenizer.encode("</s>", bos=False) == [2]


@pytest.mark.parametrize("text", ["  hello, who are you?  ", "naïve 😀 漢字", "a  b", "", "\ufffd?"])
def test_streamed_text_equals_whole_text(text_tokenizer: TextTokenizer, text: str) -> None:
    stream = TextStream(text_tokenizer)
    deltas = [stream.push(token) for token in text_tokenizer.encode_plain(text)]
    deltas.append(stream.finish())
    assert "".join(deltas) == stream.text == text.strip()
    assert len([delta for delta in deltas if delta]) >= len(text.split())


def test_a_character_comes_out_whole(text_tokenizer: TextTokenizer) -> None:
    stream = TextStream(text_tokenizer)
    tokens = text_tokenizer.encode_plain("😀")
    deltas = [stream.push(token) for token in tokens]
    assert deltas[-1] == "😀" and not any(deltas[:-1])


def test_text_cut_within_a_character_ends_in_the_replacement_character(text_tokenizer: TextTokenizer) -> None:
    stream = TextStream(text_tokenizer)
    for token in text_tokenizer.encode_plain("a😀")[:-1]:
        stream.push(token)
    assert stream.text == "a"
    assert stream.finish().strip("\ufffd") == ""
    assert stream.text.startswith("a\ufffd")


def test_batches_are_padded_on_the_left(text_tokenizer: TextTokenizer) -> None:
    ids, mask = text_tokenizer.padded_batch(["", "hello"])
    long = text_tokenizer.encode("hello")
    assert ids == [[0] * (len(long) - 1) + [1], long]
    assert mask == [[0] * (len(long) - 1) + [1], [1] * len(long)]


def test_a_file_that_is_no_sentencepiece_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(Exception, match="(?i)pars|model"):
        TextTokenizer(path, {})
    assert sentencepiece.__version__
