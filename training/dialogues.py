"""Dialogues of the syllabus as tokens, with what is learned at each: real recordings' speech tokens and made-up ones.

What the assistant says is learned: the transcript, the reply, its speech. And, because words are learned far sooner
when their place is known, what nothing asks for at inference: where a word of the user's speech ends, its text pieces;
where one of the assistant's ends, in some of its replies, the piece that the next word begins with.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from assistant.conversation import Dialogue
from assistant.tokenizers.text import TextTokenizer
from assistant.vocabulary import Vocabulary
from training import syllabus
from training.codes import read_codes
from training.kokoro import SILENCE
from training.spoken import Frame, Runs, disturbed, with_words

TEXT_PIECES = 1536
CODES = {"image": 1024, "speech": 512, "music": 1024}
ROW = 768
"""Tokens of a row of a batch. Whole dialogues are packed into rows; longer ones lose their oldest turns."""
IGNORE = -100
SENTENCES = 20_000
"""Sentences whose pieces are scrambled."""
KEPT_BACK = 30_000
"""Held-out sentences that are looked for among the recordings."""
DRILLS = 1.0
"""How often a dialogue is followed by a sentence that is only to be heard right."""
SCRAMBLED, SPLICED = 0.35, 0.4
"""Shares of the drills that are put together from pieces of sentences, or of recordings."""
TYPED = 0.2
"""Share of the dialogues in which the user types: short, and mostly about speaking."""
SILENT_REPLIES = 0.35
"""Share of the replies to speech that are text only: they leave room for more to listen to."""
ANNOUNCED = 0.4
"""Share of the spoken replies in which the next word is asked for where one ends."""


@dataclass(frozen=True)
class Example:
    """Tokens of a dialogue and what is learned at each: the token after it, a piece of a word just heard, or IGNORE."""

    tokens: list[int]
    targets: list[int]


class Dialogues:
    """Endless training examples. Owns the spoken corpus in tokens."""

    def __init__(self, folder: Path, model: Path, seed: int, split: syllabus.Split = "train") -> None:
        tokenizer = TextTokenizer.load(model)
        self.words = Vocabulary.load(model, TEXT_PIECES)
        self.dialogue = Dialogue(tokenizer, self.words)
        self.rng = random.Random(seed)
        self.seed, self.split = seed, split
        self.heard: dict[str, list[list[Frame]]] = {}
        self._pieces: dict[str, list[int]] = {}
        heard, spoken = [], []
        kept_back = set(islice(syllabus.user_sentences("held_out"), KEPT_BACK))
        for part in ("words", "train"):
            for name in (part, f"{part}-augmented"):
                for record, codes in read_codes(folder, name):
                    if record["text"] in kept_back:  # spoken before the syllabus held it out
                        continue
                    accent = "gb" if max(record["voices"], key=record["voices"].get).startswith("b") else "us"
                    frames = with_words(codes[0], record["labels"], record["text"], accent)
                    self.heard.setdefault(record["text"], []).append(frames)
                    heard.append((codes[0], record["labels"]))
        self.said: dict[str, list[Frame]] = {}
        for record, codes in read_codes(folder, "reply"):
            text, labels = record["text"], record["labels"]
            self.said[text] = _without_margins(with_words(codes[0], labels, text, "us"), labels)
            spoken.append((codes[0], labels))
            text = _as_heard(text)
            self.heard.setdefault(text, []).append(with_words(codes[0], labels, text, "us"))
        self.ears, self.mouth = Runs(heard), Runs(spoken)
        self.drills = [*self.heard, *map(_as_heard, syllabus.all_replies())]
        self.aligned = [
            frames
            for text, recordings in self.heard.items()
            for frames in recordings
            if text and sum(bool(word) for _, word in frames) == len(text.split())
        ]
        self.sentences = [text.split() for text in islice(syllabus.user_sentences("train"), SENTENCES) if text]
        print(
            f"{len(self.heard)} sentences to hear in {sum(map(len, self.heard.values()))} recordings, every word of "
            f"{len(self.aligned)} found; {len(self.said)} spoken replies",
            flush=True,
        )

    def __iter__(self) -> Iterator[Example]:
        for dialogue in syllabus.generate(self.seed, self.split):
            yield self.example(dialogue)
            if self.rng.random() < DRILLS:
                yield self.drill()

    def example(self, dialogue: syllabus.Dialogue) -> Example:
        parts: list[Example] = []
        typed = self.rng.random() < TYPED
        for index, turn in enumerate(dialogue.turns):
            last = index == len(dialogue.turns) - 1
            compact = typed or (not last and self.rng.random() < 0.4)
            frames = None if compact and turn.heard else self.user_speech(turn.user)
            silent = self.rng.random() < (0.2 if typed else SILENT_REPLIES) or (compact and not last and not typed)
            parts.append(self.turn(frames, turn.heard, turn.reply, None if silent else self.reply_speech(turn.reply)))
        return self._joined(parts)

    def drill(self) -> Example:
        """To be heard right and not to be guessed: pieces of sentences, words in any order, nano's own replies."""
        kind = self.rng.random()
        if kind < SPLICED:
            frames = self.spliced()
            text = " ".join(word for _, word in frames if word)
        else:
            text = self.scrambled() if kind < SPLICED + SCRAMBLED else self.rng.choice(self.drills)
            frames = self.user_speech(text)
        turn = self.turn(frames, text, "", None)
        end = turn.tokens.index(self.words.reply_mark) + 1
        return self._joined([Example(turn.tokens[:end], [*turn.targets[: end - 1], IGNORE])])

    def spliced(self) -> list[Frame]:
        """A few words of one recording, then of another."""
        frames = self.room(self.rng.randint(2, 22))
        for _ in range(self.rng.randint(2, 4)):
            recording = self.rng.choice(self.aligned)
            ends = [at for at, (_, word) in enumerate(recording) if word]
            first = self.rng.randrange(len(ends))
            last = min(first + self.rng.randint(0, 3), len(ends) - 1)
            frames += recording[ends[first - 1] + 1 if first else 0 : ends[last] + 1]
        return self._disturbed(frames + self.room(self.rng.randint(4, 28)))

    def scrambled(self) -> str:
        """A few words of one sentence, then of another."""
        words: list[str] = []
        for _ in range(self.rng.randint(2, 4)):
            sentence = self.rng.choice(self.sentences)
            start = self.rng.randrange(len(sentence))
            words += sentence[start : start + self.rng.randint(1, 4)]
        return " ".join(words)

    def turn(self, frames: list[Frame] | None, heard: str, text: str, speech: list[Frame] | None) -> Example:
        """The user's turn, spoken or (without frames) typed, and the reply, spoken or not."""
        said = speech and [token for token, _ in speech]
        reply = self.dialogue.assistant_turn_tokens(None if frames is None else heard, text, said)
        learned = reply[1:]
        if speech and self.rng.random() < ANNOUNCED:
            self._announce(learned, reply.index(self.words.speech.start), speech)
        if frames is None:
            user = self.dialogue.user_turn_tokens(None, heard)
        else:
            user = self.dialogue.user_turn_tokens([token for token, _ in frames])
        targets = [IGNORE] * len(user)
        start = user.index(self.words.speech.start) + 1 if frames else 0
        for at, (_, word) in enumerate(frames or ()):
            for k, piece in enumerate(self.pieces(word) if word else ()):
                for frame in (at + 2 * k, at + 2 * k + 1):
                    if start + frame < len(user):
                        targets[start + frame] = piece
        targets[-1] = reply[0]
        return Example(user + reply, targets + learned + [IGNORE])

    def _announce(self, learned: list[int], start: int, speech: list[Frame]) -> None:
        """Where a word begins or the one before it ends, its first piece in place of the next speech token."""
        ends = [(at, word) for at, (_, word) in enumerate(speech) if word]
        for at, (_, word) in zip([0, *(at for at, _ in ends)], ends, strict=False):
            learned[start + 1 + at] = self.pieces(word)[0]

    def pieces(self, word: str) -> list[int]:
        """A word's pieces as they stand in a transcript."""
        if word not in self._pieces:
            alone, after = self.dialogue.tokenizer.encode_plain(" "), self.dialogue.tokenizer.encode_plain(f" {word}")
            self._pieces[word] = [t for t in after if t not in alone]
        return self._pieces[word]

    def user_speech(self, text: str) -> list[Frame]:
        rng = self.rng
        recordings = self.heard.get(text)
        if recordings and rng.random() < 0.6:
            frames = list(rng.choice(recordings))
        elif text:
            spoken = self.ears.speak_words(rng, text, "us" if rng.random() < 0.7 else "gb")
            frames = [*self.room(rng.randint(2, 22)), *spoken, *self.room(rng.randint(4, 28))]
        else:
            frames = self.room(rng.randint(10, 70))
        return self._disturbed(frames)

    def _disturbed(self, frames: list[Frame]) -> list[Frame]:
        return disturbed(self.rng, frames, CODES["speech"], self.rng.choice([0.0, 0.01, 0.03]))

    def room(self, frames: int) -> list[Frame]:
        """Nobody speaks."""
        return [(token, "") for token in self.ears.silence(self.rng, frames)]

    def reply_speech(self, text: str) -> list[Frame]:
        said = self.said.get(text)
        if said is None:
            rng = random.Random(text)
            before, after = ([(token, "") for token in self.mouth.silence(rng, count)] for count in (2, 4))
            said = self.said[text] = [*before, *self.mouth.speak_words(rng, text, "us", pause=0), *after]
        return said

    def _joined(self, parts: list[Example]) -> Example:
        system = self.dialogue.system_tokens()
        while len(parts) > 1 and len(system) + sum(len(p.tokens) for p in parts) > ROW:
            parts = parts[1:]
        tokens = system + [t for p in parts for t in p.tokens]
        targets = [IGNORE] * len(system) + [t for p in parts for t in p.targets]
        return Example(tokens[:ROW], targets[:ROW])


def _as_heard(reply: str) -> str:
    """A reply as it would be written down if a user said it."""
    return " ".join("".join(c if c.isalpha() or c in "'’" else " " for c in reply.lower()).split())


def _without_margins(frames: list[Frame], labels: str) -> list[Frame]:
    """A reply starts at once: two frames of silence before it, four after."""
    voiced = [k for k, phone in enumerate(labels) if phone != SILENCE]
    return frames[max(0, voiced[0] - 2) : voiced[-1] + 5]
