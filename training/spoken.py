"""Speech tokens for text that nobody has spoken: real runs of tokens, phoneme by phoneme, from what was spoken.

The tokenizer turned hours of speech into tokens whose phonemes are known. A sentence is put together from the runs of
its phonemes in the most similar surroundings, as unit selection does with sound. A language model learns far more
sentences this way than there is speech.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from itertools import groupby

import numpy as np

from training.kokoro import SILENCE
from training.phonemes import phones

Run = tuple[int, ...]


class Runs:
    """Token runs by phoneme and its neighbours; `speak` puts them together."""

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

    def speak(self, rng: random.Random, text: str, accent: str, pause: float = 0.02) -> list[int]:
        """Tokens of a sentence; `pause` is the chance of a short silence between two words."""
        names: list[str] = []
        for word in text.split():
            if names and rng.random() < pause:
                names.append(SILENCE)
            names += phones(word, accent) if pause else []
        if not pause:
            names = phones(text, accent)
        tokens: list[int] = []
        around = [SILENCE, *names, SILENCE]
        for before, phone, after in zip(around, names, around[2:], strict=False):
            tokens += self._run(rng, before, phone, after)
        return tokens

    def _run(self, rng: random.Random, before: str, phone: str, after: str) -> Run:
        for key in ((before, phone, after), ("", phone, after), (before, phone, ""), ("", phone, "")):
            found = self._runs.get(key)
            if found and (len(found) > 1 or key == ("", phone, "") or rng.random() < 0.7):
                return rng.choice(found)
        return ()


def disturbed(rng: random.Random, tokens: list[int], size: int, share: float) -> list[int]:
    """A worse recording of the same tokens: some lost, some doubled, some mistaken for others."""
    found: list[int] = []
    for token in tokens:
        chance = rng.random()
        if chance < share:
            found.append(rng.randrange(size))
        elif chance < 2 * share:
            found += [token, token]
        elif chance >= 3 * share:
            found.append(token)
    return found
