"""Speech tokens for text that nobody has spoken: real runs of tokens, phoneme by phoneme, from what was spoken.

The tokenizer turned hours of speech into tokens whose phonemes are known. A sentence is put together from the runs of
its phonemes in the most similar surroundings, as unit selection does with sound. A language model learns far more
sentences this way than there is speech.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property, lru_cache
from itertools import accumulate, chain, groupby

import numpy as np

from training.phonemes import SILENCE, phones

Run = tuple[int, ...]
ENOUGH = 3
"""Runs of a phoneme in some surroundings; where there are fewer, those in less similar ones are taken."""
ACCENTS = (
    {"θ": "s", "ð": "z", "w": "v", "æ": "ɛ", "ʌ": "a", "ʤ": "ʧ", "z": "s"},
    {"θ": "s", "ð": "z", "h": "", "ɪ": "i", "ʌ": "ə", "ʊ": "u", "ʧ": "ʃ", "æ": "a"},
    {"θ": "t", "ð": "d", "ɪ": "i", "z": "s", "v": "b", "ʃ": "ʧ", "æ": "a", "ʌ": "a", "ŋ": "n"},
    {"θ": "s", "ð": "d", "v": "w", "ɹ": "l", "æ": "ɛ", "z": "s", "ɪ": "i"},
    {"θ": "t", "ð": "d", "w": "v", "æ": "ɛ", "ɔ": "ɑ", "A": "ɛ", "O": "ɔ"},
    {"ɪ": "i", "ʊ": "u", "θ": "f", "ð": "v", "ŋ": "n", "ə": "a"},
)
"""What speakers of other languages make of English phonemes."""
ACCENTED = 0.75
"""How often they do."""


@dataclass(frozen=True)
class Utterance:
    """Speech as codes, one a frame, and its words, each with the frame that it ends with."""

    codes: list[int]
    words: list[tuple[int, str]]

    def __len__(self) -> int:
        return len(self.codes)

    def __add__(self, other: Utterance) -> Utterance:
        start = len(self.codes)
        return Utterance(self.codes + other.codes, self.words + [(start + end, word) for end, word in other.words])

    def between(self, first: int, last: int) -> Utterance:
        """From the beginning of one of its words to the end of one."""
        start = self.words[first - 1][0] + 1 if first else 0
        words = [(end - start, word) for end, word in self.words[first : last + 1]]
        return Utterance(self.codes[start : self.words[last][0] + 1], words)


@dataclass(frozen=True, eq=False)
class Recording:
    """An utterance whose words are looked for when it is first used: tokens [frames], a phoneme a frame, the text."""

    codes: np.ndarray
    labels: str
    text: str
    accent: str

    @cached_property
    def speech(self) -> Utterance:
        return with_words(self.codes, self.labels, self.text, self.accent)

    @property
    def whole(self) -> bool:
        """Whether every word of it was found."""
        return len(self.speech.words) == len(self.text.split())


def with_words(codes: np.ndarray, labels: str, text: str, accent: str) -> Utterance:
    """A recording with the words that are found in it: labels are a phoneme a frame, text is what was said."""
    ends, heard, frame = {}, [], 0
    for phone, group in groupby(labels):
        frame += len(list(group))
        if phone != SILENCE:
            heard.append((phone, frame - 1))
    names = text.split()
    said = [(phone, word) for word, name in enumerate(names) for phone in _phones(name, accent)]
    matcher = SequenceMatcher(None, [phone for phone, _ in heard], [phone for phone, _ in said], autojunk=False)
    for first, second, size in matcher.get_matching_blocks():
        for k in range(size):
            ends[said[second + k][1]] = heard[first + k][1]
    at = {end: names[word] for word, end in ends.items()}
    return Utterance(codes.tolist(), sorted(at.items()))


@lru_cache(100_000)
def _phones(word: str, accent: str) -> tuple[str, ...]:
    return tuple(phones(word, accent))


class Runs:
    """Token runs by phoneme and its neighbours; `speak` puts them together."""

    def __init__(self, utterances: Iterable[tuple[np.ndarray, str]]) -> None:
        """utterances: tokens [frames] of layer 0 and a phoneme a frame."""
        self._runs: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
        self._near: dict[tuple[str, str, str], list[Run]] = {}
        for codes, labels in utterances:
            tokens, start, pieces = codes.tolist(), 0, []
            for phone, group in groupby(labels):
                end = start + len(list(group))
                pieces.append((phone, tuple(tokens[start:end])))
                start = end
            names = [SILENCE, *(phone for phone, _ in pieces), SILENCE]
            for before, (phone, run), after in zip(names, pieces, names[2:], strict=False):
                for key in ((before, phone, after), (before, phone, ""), ("", phone, after), ("", phone, "")):
                    self._runs[key].append(run)
        self._runs.default_factory = None

    def silence(self, rng: random.Random, frames: int) -> Utterance:
        """About `frames` tokens of a quiet room."""
        found: list[int] = []
        while len(found) < frames:
            found += rng.choice(self._runs["", SILENCE, ""])
        start = rng.randint(0, len(found) - frames)
        return Utterance(found[start : start + frames], [])

    def speak(
        self, rng: random.Random, text: str, accent: str, pause: float = 0.02, foreign: bool = False
    ) -> Utterance:
        """A sentence; `pause` is the chance of a short silence before a word, foreign speakers have one of ACCENTS."""
        names: list[str] = []
        ends: list[tuple[int, str]] = []
        swapped = rng.choice(ACCENTS) if foreign else {}
        for word in text.split():
            if names and rng.random() < pause:
                names.append(SILENCE)
            for phone in _phones(word, accent):
                other = swapped.get(phone)
                names.append(phone if other is None or rng.random() > ACCENTED else other)
            ends.append((len(names), word))
        if foreign:
            names = [name if ("", name, "") in self._runs else "" for name in names]
        runs = self._spoken(rng, names)
        lengths = [0, *accumulate(map(len, runs))]
        words = [(max(lengths[end] - 1, 0), word) for end, word in ends]
        return Utterance(list(chain.from_iterable(runs)), words)

    def _spoken(self, rng: random.Random, names: list[str]) -> list[Run]:
        around, chance, near = [SILENCE, *names, SILENCE], rng.random, self._near
        runs = []
        for key in zip(around, names, around[2:], strict=False):
            found = near.get(key)
            if found is None:
                found = near[key] = self._nearest(*key)
            runs.append(found[int(chance() * len(found))])
        return runs

    def _nearest(self, before: str, phone: str, after: str) -> list[Run]:
        """The phoneme's runs in these surroundings, or, where they are few, in less similar ones."""
        for key in ((before, phone, after), ("", phone, after), (before, phone, "")):
            if len(found := self._runs.get(key, [])) >= ENOUGH:
                return found
        return self._runs.get(("", phone, ""), [()])


def sounding_alike(utterances: Iterable[tuple[np.ndarray, str]], size: int, choices: int = 256) -> np.ndarray:
    """For every token [size, choices] others that stand for the same phonemes, each as often as it does.

    utterances: tokens [frames] and a phoneme a frame.
    """
    names: dict[str, int] = {}
    pairs = [(codes, np.array([names.setdefault(p, len(names)) for p in labels])) for codes, labels in utterances]
    codes, heard = (np.concatenate(arrays).astype(np.int64) for arrays in zip(*pairs, strict=True))
    seen = np.bincount(codes * len(names) + heard, minlength=size * len(names)).reshape(size, -1) + 1e-3
    alike = (seen / seen.sum(1, keepdims=True)) @ (seen / seen.sum(0)).T
    rising = alike.cumsum(1)
    steps = (np.arange(choices) + 0.5) / choices
    return np.stack([np.searchsorted(row / row[-1], steps) for row in rising])


def disturbed(rng: random.Random, speech: Utterance, alike: np.ndarray, share: float, pace: float = 1.0) -> Utterance:
    """A worse recording of the same, or another voice, `pace` times as fast. No word is lost.

    About `share` of the tokens are mistaken for others (`sounding_alike`): now and then, as noise does it, or whenever
    they occur, as in a voice that was never heard. Noise also loses half as many and doubles half as many.
    """
    count = len(speech)
    if not count or (share == 0 and pace == 1):
        return speech
    size, choices = alike.shape
    codes, copies = np.array(speech.codes), np.ones(count)
    if rng.random() < 0.5:
        chance, other = np.frombuffer(rng.randbytes(4 * size), np.uint16).reshape(2, size)
        voice = np.where(chance < share * 65536, alike[np.arange(size), other % choices], np.arange(size))
        codes = voice[codes]
    else:
        chance, other = np.frombuffer(rng.randbytes(4 * count), np.uint16).reshape(2, count)
        mistaken = chance < share * 65536
        codes[mistaken] = alike[codes[mistaken], other[mistaken] % choices]
        copies[(chance >= share * 65536) & (chance < 1.5 * share * 65536)] = 0
        copies[(chance >= 1.5 * share * 65536) & (chance < 2 * share * 65536)] = 2
    past = np.ceil(copies.cumsum() / pace).astype(int)
    words = [(max(int(past[end]) - 1, 0), word) for end, word in speech.words]
    return Utterance(codes.repeat(np.diff(past, prepend=0)).tolist(), words)
