"""Text to tokens and back: sentencepiece, split at the added tokens, as transformers 4.34 did for the published model.

`legacy` (the published setting) encodes every piece between added tokens on its own, with sentencepiece's dummy prefix:
`<eosp> Please` is <eosp> followed by the pieces of two spaces and `Please`. Without it only the start of the whole text
gets the prefix. Newer transformers versions reproduce neither, hence this file.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sentencepiece

PREFIX = "▁"  # U+2581, sentencepiece's visible space
NO_DUMMY_PREFIX = b"\x1a\x02\x18\x00"
"""Appended to a serialized ModelProto, protobuf merges it in: normalizer_spec (3) { add_dummy_prefix (3): false }."""
SPECIAL = ("bos_token", "eos_token", "unk_token")


class TextTokenizer:
    """Owns the sentencepiece model and the table of added tokens. Stateless after construction."""

    def __init__(
        self,
        model: Path,
        added_tokens: Mapping[str, int],
        *,
        legacy: bool = True,
        special: Sequence[str] = ("<s>", "</s>", "<unk>"),
    ) -> None:
        self._pieces = sentencepiece.SentencePieceProcessor(
            model_proto=model.read_bytes() + (b"" if legacy else NO_DUMMY_PREFIX)
        )
        self.legacy = legacy
        self.text_size = self._pieces.get_piece_size()
        self.added = dict(added_tokens)
        self._special = {token: self._pieces.piece_to_id(token) for token in special}
        self._whole = self._special | self.added  # what sentencepiece never sees
        self._names = {token_id: token for token, token_id in self._whole.items()}
        self.bos = self._special[special[0]]
        self._lengths: dict[str, list[int]] = defaultdict(
            list
        )  # first character -> lengths of added tokens, longest first
        for first, length in sorted({(token[0], len(token)) for token in self._whole}, reverse=True):
            self._lengths[first].append(length)

    @classmethod
    def load(cls, directory: Path, model: Path | None = None) -> TextTokenizer:
        """Read added_tokens.json, tokenizer_config.json if there is one, and tokenizer.model (or `model`)."""
        path = directory / "tokenizer_config.json"
        config = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        added = json.loads((directory / "added_tokens.json").read_text(encoding="utf-8"))
        names = [
            _content(config.get(key)) or default for key, default in zip(SPECIAL, ("<s>", "</s>", "<unk>"), strict=True)
        ]
        legacy = config.get("legacy")
        return cls(model or directory / "tokenizer.model", added, legacy=legacy is None or bool(legacy), special=names)

    def encode(self, text: str, *, bos: bool = True) -> list[int]:
        """Tokens of a text in which added tokens (longest match first) stand for themselves; <s> first."""
        if text and not self.legacy:
            text = text.replace(PREFIX, " ")
            if not text.startswith(tuple(self._special)):
                text = PREFIX + text
        tokens = [self.bos] if bos else []
        for piece in self._split(text):
            if piece in self._whole:
                tokens.append(self._whole[piece])
            else:
                tokens += self.encode_plain(piece)
        return tokens

    def encode_plain(self, text: str) -> list[int]:
        """Tokens of a text in which nothing is an added token: what a peer typed can never pose as a dialogue mark."""
        if self.legacy or not text.startswith((PREFIX, " ")):
            return self._pieces.encode(text)
        guard = self._pieces.encode("<unk>")  # keeps leading spaces from being taken for a dummy prefix
        return self._pieces.encode("<unk>" + text)[len(guard) :]

    def decode(self, tokens: Iterable[int], *, skip_special: bool = True) -> str:
        """Text of tokens, a space on each side of every added token. skip_special leaves out <s>, </s> and <unk>.

        IndexError for a token that neither sentencepiece nor the added tokens know.
        """
        parts: list[str] = []
        run: list[str] = []
        for token in tokens:
            name = self._names.get(token)
            if name in self._special:
                if not skip_special:
                    run.append(name)
            elif name is not None:
                parts += [text for text in [self._join(run)] if text]
                parts.append(name)
                run = []
            else:
                run.append(self._pieces.id_to_piece(token))
        if run:
            parts.append(self._join(run))
        return " ".join(parts)

    def padded_batch(self, texts: Sequence[str], pad: int = 0) -> tuple[list[list[int]], list[list[int]]]:
        """Tokens of each text, padded on the left to one length, and the masks (1 for a token, 0 for padding)."""
        rows = [self.encode(text) for text in texts]
        width = max(map(len, rows), default=0)
        ids = [[pad] * (width - len(row)) + row for row in rows]
        return ids, [[0] * (width - len(row)) + [1] * len(row) for row in rows]

    def _split(self, text: str) -> Iterator[str]:
        start = at = 0
        while at < len(text):
            found = next((n for n in self._lengths.get(text[at], ()) if text[at : at + n] in self._whole), 0)
            if found:
                if at > start:
                    yield text[start:at]
                yield text[at : at + found]
                start = at = at + found
            else:
                at += 1
        if at > start:
            yield text[start:at]

    def _join(self, run: list[str]) -> str:
        if not run:
            return ""
        if run[0].startswith(PREFIX):  # the dummy prefix was added by encode
            run = [run[0][1:], *run[1:]]
        text, after_special = "", False
        words: list[str] = []
        for position, piece in enumerate(run):
            if piece in self._special:
                if self.legacy and position and not after_special:
                    text += " "
                text += self._pieces.decode(words) + piece
                words, after_special = [], True
            else:
                words.append(piece)
                after_special = False
        return text + self._pieces.decode(words)


class TextStream:
    """Turns the tokens of one piece of text into deltas as they come. Joined deltas are the stripped text.

    `push` each token, then `finish`. Added tokens do not belong in it. A character of several byte tokens comes out
    whole; spaces come out with the word that follows.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._sent = 0
        self.text = ""

    def push(self, token: int) -> str:
        self._tokens.append(token)
        return self._advance(self._tokenizer.decode(self._tokens).strip())

    def finish(self) -> str:
        """What was still held back: nothing, unless the text ends within a character."""
        return self._advance(self._tokenizer.decode(self._tokens).strip(), last=True)

    def _advance(self, text: str, last: bool = False) -> str:
        settled = text if last else text.rstrip("\ufffd")
        delta = settled[self._sent :]
        self._sent = max(self._sent, len(settled))
        self.text += delta
        return delta


def _content(token: Any) -> str | None:
    """tokenizer_config.json names a token by its string or by an object that has it as `content`."""
    return token.get("content") if isinstance(token, dict) else token
