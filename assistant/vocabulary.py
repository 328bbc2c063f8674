"""The one vocabulary of text, speech, pictures and music, read from a checkpoint's added_tokens.json.

Published order: text pieces, dialogue marks, then for each modality its codes followed by its start and end marks. No
id and no count is ever computed from the published sizes: the file decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

USER_NAME = "[Human]"
USER_END = "<eoh>"
TRANSCRIPT_MARK = "<-Ins->"
REPLY_MARK = "<-Res->"
REPLY_ENDS = ("<eos>", "<eom>")
MUSIC_CODEBOOKS = 4


@dataclass(frozen=True, slots=True)
class Markup:
    """How one modality is written: `<{prefix}{code}>` between `start` and `end`."""

    prefix: str
    start: str
    end: str

    def code(self, code: int) -> str:
        return f"<{self.prefix}{code}>"


MARKUP = {
    "image": Markup("👀", "<soim>", "<eoim>"),
    "speech": Markup("🗣️", "<sosp>", "<eosp>"),  # two code points: U+1F5E3 and the variation selector U+FE0F
    "music": Markup("🎶", "<somu>", "<eomu>"),
    "audio": Markup("👂", "<soau>", "<eoau>"),
}


@dataclass(frozen=True, slots=True)
class Modality:
    """The tokens of one modality: `tokens[code]` is a code's token; `start` and `end` enclose a segment."""

    tokens: range
    start: int
    end: int

    def to_tokens(self, codes: Iterable[int]) -> list[int]:
        """Codes 0..len(tokens)-1 as tokens. IndexError for any other code."""
        return [self.tokens[_natural(code)] for code in codes]

    def to_codes(self, tokens: Iterable[int]) -> list[int]:
        """The inverse of to_tokens. ValueError for a token of another kind."""
        return [self.tokens.index(int(token)) for token in tokens]

    def segment(self, codes: Iterable[int]) -> list[int]:
        """start, the codes' tokens, end."""
        return [self.start, *self.to_tokens(codes), self.end]


def _natural(code: int) -> int:
    if code < 0:
        raise IndexError(f"code {code} is negative")
    return int(code)


class Vocabulary:
    """Says what each token is. Made once from a checkpoint's files; shared by all that reads or writes tokens.

    `text` is the range of sentencepiece's tokens. `speech` is always there; `image`, `music` and `audio` are None in a
    checkpoint without them.
    """

    bos, eos, pad = 1, 2, 0  # <s>, </s> and <unk>, which is what the published tokenizer pads with

    def __init__(self, text_size: int, added_tokens: Mapping[str, int]) -> None:
        """text_size: sentencepiece's number of pieces. ValueError where the added tokens are no such vocabulary."""
        self.added = dict(added_tokens)
        self.text = range(text_size)
        taken = sorted(self.added.values())
        if len(set(taken)) != len(taken) or (taken and taken[0] < text_size):
            raise ValueError("added tokens overlap each other or the text pieces")
        self.size = max(text_size, taken[-1] + 1) if taken else text_size
        self._modalities = {name: self._modality(markup) for name, markup in MARKUP.items()}
        speech = self._modalities["speech"]
        if speech is None:
            raise ValueError("added tokens hold no speech codes")
        self.speech: Modality = speech
        self.image = self._modalities["image"]
        self.music = self._modalities["music"]
        self.audio = self._modalities["audio"]
        self.user = self[USER_NAME]
        self.user_end = self[USER_END]
        self.transcript_mark = self[TRANSCRIPT_MARK]
        self.reply_mark = self[REPLY_MARK]
        self.reply_ends = (self.eos, *(self.added[end] for end in REPLY_ENDS if end in self.added))
        """A reply is over at whichever of </s>, <eos> and <eom> comes first."""

    @classmethod
    def load(cls, directory: Path, text_size: int) -> Vocabulary:
        return cls(text_size, json.loads((directory / "added_tokens.json").read_text(encoding="utf-8")))

    def __getitem__(self, token: str) -> int:
        """The id of an added token. KeyError with its name if there is none."""
        return self.added[token]

    def kind(self, token: int) -> str:
        """'text'; 'image', 'speech', 'music' or 'audio' for a code; 'mark' for what structures dialogues, </s> too."""
        if token in self.text:
            return "text" if token not in (self.bos, self.eos, self.pad) else "mark"
        for name, modality in self._modalities.items():
            if modality is not None and token in modality.tokens:
                return name
        if 0 <= token < self.size:
            return "mark"
        raise ValueError(f"token {token} is outside the vocabulary of {self.size}")

    def kind_begun(self, token: int) -> str | None:
        """'image', 'speech', 'music' or 'audio' for the mark that begins such a segment, None for any other token."""
        present = ((name, modality) for name, modality in self._modalities.items() if modality is not None)
        return next((name for name, modality in present if token == modality.start), None)

    def music_tokens(self, codes: Sequence[Sequence[int]]) -> list[int]:
        """codes [codebook][frame] as tokens, frame by frame; level l of a frame is offset by l codebooks."""
        assert self.music is not None
        return self.music.to_tokens(interleave_music(codes, len(self.music.tokens) // MUSIC_CODEBOOKS))

    def music_codes(self, tokens: Iterable[int]) -> list[list[int]]:
        """The inverse of music_tokens; an incomplete last frame is dropped."""
        assert self.music is not None
        return deinterleave_music(self.music.to_codes(tokens), len(self.music.tokens) // MUSIC_CODEBOOKS)

    def _modality(self, markup: Markup) -> Modality | None:
        first = self.added.get(markup.code(0))
        if first is None:
            return None
        count = sum(1 for token in self.added if token.startswith(f"<{markup.prefix}"))
        for code in range(count):
            if self.added.get(markup.code(code)) != first + code:
                raise ValueError(f"{markup.code(code)} is not token {first + code}: codes must lie in one run")
        return Modality(range(first, first + count), self[markup.start], self[markup.end])


def interleave_music(codes: Sequence[Sequence[int]], codebook_size: int) -> list[int]:
    """codes [codebook][frame] -> [frame * codebook], level l offset by l * codebook_size."""
    return [level * codebook_size + int(code) for frame in zip(*codes, strict=True) for level, code in enumerate(frame)]


def deinterleave_music(codes: Sequence[int], codebook_size: int) -> list[list[int]]:
    """The inverse. As in the original, only the position tells the level, and an incomplete last frame is dropped."""
    whole = len(codes) - len(codes) % MUSIC_CODEBOOKS
    return [
        [int(code) % codebook_size for code in codes[level:whole:MUSIC_CODEBOOKS]] for level in range(MUSIC_CODEBOOKS)
    ]
