"""Speech tokens for text that nobody has spoken: real runs of tokens, phoneme by phoneme, from what was spoken.

The tokenizer turned hours of speech into tokens whose phonemes are known. A sentence is put together from the runs of
its phonemes in the most similar surroundings, as unit selection does with sound. A language model learns far more
sentences this way than there is speech.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from difflib import SequenceMatcher
from itertools import groupby

import numpy as np

from training.kokoro import SILENCE
from training.phonemes import phones

Run = tuple[int, ...]
Frame = tuple[int, str]
"""A token and the word that ends with it, "" within words."""


def with_words(tokens: Iterable[int], labels: str, text: str, accent: str) -> list[Frame]:
    """Tokens of a recording with the words that end there: labels are a phoneme a frame, text is what was said."""
    ends, heard, frame = {}, [], 0
    for phone, group in groupby(labels):
        frame += len(list(group))
        if phone != SILENCE:
            heard.append((phone, frame - 1))
    said = [(phone, word) for word, name in enumerate(text.split()) for phone in phones(name, accent)]
    matcher = SequenceMatcher(None, [phone for phone, _ in heard], [phone for phone, _ in said], autojunk=False)
    for first, second, size in matcher.get_matching_blocks():
        for k in range(size):
            ends[said[second + k][1]] = heard[first + k][1]
    at = {end: text.split()[word] for word, end in ends.items()}
    return [(int(token), at.get(k, "")) for k, token in enumerate(tokens)]


class Runs:
    """Token runs by phoneme and its neighbours; `speak_words` puts them together."""

    def __init__(self, utterances: Iterable[tuple[np.ndarray, str]]) -> None:
        """utterances: tokens [frames] of layer 0 and a phoneme a frame."""
        self._runs: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
        self._known: dict[str, set[str]] = defaultdict(set)
        for codes, labels in utterances:
            pieces, start = [], 0
            for phone, group in groupby(labels):
                end = start + len(list(group))
                pieces.append((phone, tuple(int(c) for c in codes[start:end])))
                start = end
            names = [SILENCE, *(phone for phone, _ in pieces), SILENCE]
            for before, (phone, run), after in zip(names, pieces, names[2:], strict=False):
                for key in ((before, phone, after), (before, phone, ""), ("", phone, after), ("", phone, "")):
                    self._runs[key].append(run)

    def silence(self, rng: random.Random, frames: int) -> list[int]:
        """About `frames` tokens of a quiet room."""
        found: list[int] = []
        while len(found) < frames:
            found += rng.choice(self._runs["", SILENCE, ""])
        start = rng.randint(0, len(found) - frames)
        return found[start : start + frames]

    def speak_words(self, rng: random.Random, text: str, accent: str, pause: float = 0.02) -> list[Frame]:
        """Tokens of a sentence with its words; `pause` is the chance of a short silence before one."""
        names: list[str] = []
        words: list[str] = []
        for word in text.split():
            if names and rng.random() < pause:
                names.append(SILENCE)
                words.append("")
            found = phones(word, accent)
            names += found
            words += [*[""] * (len(found) - 1), word][: len(found)]
        frames: list[Frame] = []
        for run, word in zip(self._spoken(rng, names), words, strict=True):
            frames += [(token, "") for token in run]
            if word and frames:
                frames[-1] = (frames[-1][0], word)
        return frames

    def _spoken(self, rng: random.Random, names: list[str]) -> list[Run]:
        around = [SILENCE, *names, SILENCE]
        return [self._run(rng, *three) for three in zip(around, names, around[2:], strict=False)]

    def _run(self, rng: random.Random, before: str, phone: str, after: str) -> Run:
        for key in ((before, phone, after), ("", phone, after), (before, phone, ""), ("", phone, "")):
            found = self._runs.get(key)
            if found and (len(found) > 1 or key == ("", phone, "") or rng.random() < 0.7):
                return rng.choice(found)
        return ()


def disturbed(rng: random.Random, frames: list[Frame], size: int, share: float) -> list[Frame]:
    """A worse recording of the same: some tokens lost, some doubled, some mistaken for others. No word is lost."""
    found: list[Frame] = []
    for token, word in frames:
        chance = rng.random()
        if chance < share:
            found.append((rng.randrange(size), word))
        elif chance < 2 * share:
            found += [(token, ""), (token, word)]
        elif chance >= 3 * share or word:
            found.append((token, word))
    return found
