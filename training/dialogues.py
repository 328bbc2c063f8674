"""Dialogues of the syllabus as tokens, with what is learned at each: real recordings' speech tokens and made-up ones.

What the assistant says, draws and plays is learned: the transcript, the reply, its speech, the codes of pictures and
music. And, because words are learned far sooner when their place is known, what nothing asks for at inference: where a
word of the user's speech ends, its text pieces; where one of the assistant's ends, in some of its replies, the piece
that the next word begins with; in a picture or music that is shown, the words for it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from assistant.conversation import DARK, Dialogue
from assistant.tokenizers.text import TextTokenizer
from assistant.vocabulary import MUSIC_CODEBOOKS, Vocabulary
from training import syllabus
from training.album import Album
from training.codes import read_codes
from training.music.score import Tags, all_tags
from training.phonemes import SILENCE
from training.spoken import Recording, Runs, Utterance, disturbed, sounding_alike
from training.syllabus.intent import Picture
from training.syllabus.speech_alone import speech_alone
from training.syllabus.world import NUMBERS

TEXT_PIECES = 1536
CODES = {"image": 1024, "speech": 512, "music": 1024}
ROW = 1536
"""Tokens of a row of a batch. Whole dialogues are packed into rows; longer ones lose their oldest turns."""
IGNORE = -100
SENTENCES = 8_000
"""Sentences whose pieces are scrambled."""
KEPT_BACK = 15_000
"""Held-out sentences that are looked for among the recordings."""
DRILLS = 1.0
"""How often a dialogue is followed by a sentence that is only to be heard right."""
SCRAMBLED, SPLICED = 0.35, 0.4
"""Shares of the drills that are put together from pieces of sentences, or of recordings."""
TASKS = 0.2
"""How often it is followed by a task for pictures or music."""
TYPED, WRITTEN = 0.12, 0.25
"""Shares of the dialogues in which the user types and is answered in speech or, short as they are, in text alone."""
SILENT_REPLIES = 0.35
"""Share of the replies to speech that are text only: they leave room for more to listen to."""
PAST = 0.8
"""Share of the earlier turns of which, as in the product, only the words are left."""
PLAYED = 0.25
"""Share of them whose tune is left, where they had one."""
REFUSALS = 0.35
"""Share of the dialogues about pictures and music that are kept where there are none: nano says what it cannot do."""
PIECED = 0.4
"""Share of the replies that nobody spoke that are put together from pieces; the others are text only."""
ANNOUNCED = 0.4
"""Share of the spoken replies in which the next word is asked for where one ends."""
RECORDED = 0.6
"""Share of the sentences of which there are recordings that are heard from one."""
FOREIGN, HESITANT = 0.15, 0.06
"""Shares of the made-up speech with a foreign accent, and with a word said twice."""
DISTURBED = {0.0: 2, 0.05: 3, 0.12: 3, 0.25: 2}
"""What share of what is heard is mistaken for something else: how often."""
OTHER_PACE = 0.4
"""Share of the utterances that are faster or slower than they were spoken."""
CUT = 0.5
"""Share of the tunes of which only the beginning is learned."""
MISSEEN, MISSEEN_CODES = 0.5, 0.2
"""Share of the pictures of which some codes are those of another picture, and of how many at most: what other artists
draw has codes that fit it less well."""
SLIPPED = 0.5
"""Share of the tunes in which some frames before the next are those of another tune, as if nano had drifted into it:
what comes next is then told by what was asked for, not by what was just played."""
SLIP, BETWEEN_SLIPS = (5, 40), (10, 120)
"""Frames of a slip, and between two: fewest and most."""
_SECOND = 50 * MUSIC_CODEBOOKS
"""Tokens of music."""
_QUESTIONS = tuple("what which who where how why when can could do does is are will would".split())
_LAST_LOOK = 12
"""Codes of a picture in whose place words for it are asked for."""


@dataclass(frozen=True)
class Example:
    """Tokens of a dialogue and what is learned at each: the token after it, a piece of a word just heard, or IGNORE."""

    tokens: list[int]
    targets: list[int]


@dataclass(frozen=True)
class Segment:
    """A picture or music in tokens, with its marks, and the words that are asked for in it: by place."""

    tokens: list[int]
    words: dict[int, str]


class Remembering(TextTokenizer):
    """Encodes a text once: dialogues say the same again and again."""

    @lru_cache(300_000)  # noqa: B019 (there is one)
    def encode_plain(self, text: str) -> list[int]:
        return super().encode_plain(text)


class Dialogues:
    """Endless training examples. Owns the corpus in tokens: what was spoken, and the pictures and music, if any."""

    def __init__(
        self,
        folder: Path,
        model: Path,
        seed: int,
        split: syllabus.Split = "train",
        *,
        music: Path | None = None,
        row: int = ROW,
    ) -> None:
        """folder: codes of speech and pictures; model: the tokenizer; music: codes of music, by default those in the
        folder `music` beside the codes; row: the longest example."""
        self.words = Vocabulary.load(model, TEXT_PIECES)
        self.dialogue = Dialogue(Remembering.load(model), self.words)
        self.album = Album(folder, music or folder.parent / "music" / "train-codes.npz")
        self.rng = random.Random(seed)
        self.seed, self.split, self.row = seed, split, row
        self.heard: dict[str, list[Recording]] = {}
        self._pieces: dict[str, list[int]] = {}
        heard, spoken = [], []
        kept_back = set(islice(syllabus.user_sentences("held_out"), KEPT_BACK))
        for part in ("words", "train"):
            for name in (part, f"{part}-augmented"):
                if not (folder / f"{name}.npz").exists():
                    continue
                for record, codes in read_codes(folder, name):
                    if record["text"] in kept_back:  # spoken before the syllabus held it out
                        continue
                    accent = "gb" if max(record["voices"], key=record["voices"].get).startswith("b") else "us"
                    recording = Recording(codes[0], record["labels"], record["text"], accent)
                    self.heard.setdefault(record["text"], []).append(recording)
                    heard.append((codes[0], record["labels"]))
        self.replies: dict[str, Recording] = {}
        self._said: dict[str, Utterance] = {}
        for record, codes in read_codes(folder, "reply"):
            text, labels = record["text"], record["labels"]
            self.replies[text] = Recording(codes[0], labels, text, "us")
            spoken.append((codes[0], labels))
            text = _as_heard(text)
            self.heard.setdefault(text, []).append(Recording(codes[0], labels, text, "us"))
        self.ears, self.mouth = Runs(heard), Runs(spoken)
        self.alike = sounding_alike(heard, CODES["speech"])
        self.drills = [*self.heard, *map(_as_heard, syllabus.all_replies())]
        self.recordings = [recording for text, found in self.heard.items() for recording in found if text]
        self.sentences = [text.split() for text in islice(syllabus.user_sentences("train"), SENTENCES) if text]
        print(
            f"{len(self.heard)} sentences to hear in {len(self.recordings)} recordings; "
            f"{len(self.replies)} spoken replies; {self.album}",
            flush=True,
        )

    def __iter__(self) -> Iterator[Example]:
        """Without pictures and music nano says that it has learned speech alone; with some, dialogues about others are
        left out."""
        tasks = syllabus.tasks(self.seed)
        for dialogue in syllabus.generate(self.seed, self.split):
            able = dialogue if self.album else speech_alone(dialogue)
            if able != dialogue and self.rng.random() > REFUSALS:
                continue
            if able and (example := self.example(able)):
                yield example
            if self.rng.random() < DRILLS:
                yield self.drill()
            if self.rng.random() < TASKS and (example := self.example(next(tasks), written=True)):
                yield example

    def example(self, dialogue: syllabus.Dialogue, written: bool = False) -> Example | None:
        """None where a picture or music is missing. written: the user types and is answered in text."""
        parts: list[Example] = []
        kind = 0.0 if written else self.rng.random()
        for index, turn in enumerate(dialogue.turns):
            last = index == len(dialogue.turns) - 1
            shown, made = self.shown(dialogue, turn), self.made(turn)
            if shown is None or made is None:
                return None
            silent = kind < WRITTEN or self.rng.random() < (0 if kind < WRITTEN + TYPED else SILENT_REPLIES)
            silent |= turn.reply not in self.replies and self.rng.random() > PIECED
            typed = kind < WRITTEN + TYPED and bool(turn.heard)
            if not last and not (typed and silent) and self.rng.random() < PAST:
                parts.append(self.past(turn, shown, made))
                continue
            speech = None if typed else self.user_speech(turn.user)
            reply = None if silent else self.reply_speech(turn.reply)
            part = self.turn(turn, speech, reply, shown, made)
            parts.append(self._begun(part) if last and turn.plays and self.rng.random() < CUT else part)
        return self._joined(parts)

    def drill(self) -> Example:
        """To be heard right and not to be guessed: pieces of sentences, words in any order, nano's own replies."""
        kind = self.rng.random()
        if kind < SPLICED:
            speech = self.spliced()
            text = " ".join(word for _, word in speech.words)
        else:
            text = self.scrambled() if kind < SPLICED + SCRAMBLED else self.rng.choice(self.drills)
            speech = self.user_speech(text)
        turn = self.turn(syllabus.Turn(text, text, "", "", ()), speech, None)
        end = turn.tokens.index(self.words.reply_mark) + 1
        return self._joined([Example(turn.tokens[:end], [*turn.targets[: end - 1], IGNORE])])

    def spliced(self) -> Utterance:
        """A few words of one recording, then of another."""
        speech = self.room(2, 22)
        for _ in range(self.rng.randint(2, 4)):
            while not (chosen := self.rng.choice(self.recordings)).whole:
                pass
            recording = chosen.speech
            first = self.rng.randrange(len(recording.words))
            speech += recording.between(first, min(first + self.rng.randint(0, 3), len(recording.words) - 1))
        return self._disturbed(speech + self.room(4, 28))

    def scrambled(self) -> str:
        """A few words of one sentence, then of another."""
        words: list[str] = []
        for _ in range(self.rng.randint(2, 4)):
            sentence = self.rng.choice(self.sentences)
            start = self.rng.randrange(len(sentence))
            words += sentence[start : start + self.rng.randint(1, 4)]
        return " ".join(words)

    # ---- turns

    def turn(
        self,
        turn: syllabus.Turn,
        speech: Utterance | None,
        reply: Utterance | None,
        shown: Sequence[Segment] = (),
        made: Sequence[Sequence[int]] = (),
    ) -> Example:
        """The user's turn, spoken or (without speech) typed, and the reply, spoken or not."""
        dark = DARK if turn.dark else ""
        if speech is None:
            user = self.dialogue.user_turn_tokens(text=f"{dark} {self.typed(turn.heard)}".strip(), shown=bool(shown))
        else:
            user = self.dialogue.user_turn_tokens(speech.codes, dark)
        said = None if reply is None else reply.codes
        answer = self.dialogue.assistant_turn_tokens(None if speech is None else turn.heard, turn.reply, said, made)
        learned = answer[1:]
        if reply is not None and self.rng.random() < ANNOUNCED:
            self._announce(learned, answer.index(self.words.speech.start), reply)
        if turn.plays and self.rng.random() < SLIPPED:
            self._slip(answer, learned, turn.plays)
        return self._learned(user, speech, shown, answer, learned)

    def past(self, turn: syllabus.Turn, shown: Sequence[Segment], made: Sequence[Sequence[int]]) -> Example:
        """A turn of which only the words are left, and what was shown and made. Of music, some."""
        speech = None if turn.heard else self.user_speech("")
        text = f"{DARK if turn.dark else ''} {turn.heard}".strip()
        user = self.dialogue.user_turn_tokens(None if speech is None else speech.codes, text, shown=bool(shown))
        answer = self.dialogue.assistant_turn_tokens(None if speech is None else "", turn.reply)
        if turn.plays and self.rng.random() > PLAYED:
            learned = answer[1:]
            learned[learned.index(self.dialogue.reply_end)] = IGNORE  # it did not end there
        else:
            for segment in made:
                answer = self.dialogue.with_made(answer, segment)
            learned = answer[1:]
        return self._learned(user, speech, shown, answer, learned)

    def _learned(
        self, user: list[int], speech: Utterance | None, shown: Sequence[Segment], answer: list[int], learned: list[int]
    ) -> Example:
        if shown:
            user = self.dialogue.with_shown(user, [segment.tokens for segment in shown])
        targets = [IGNORE] * len(user)
        if speech is not None:
            start = user.index(self.words.speech.start) + 1
            for at, word in speech.words:
                for k, piece in enumerate(self.pieces(word)):
                    for frame in range(at + 2 * k, min(at + 2 * k + 2, len(speech))):
                        targets[start + frame] = piece
        for segment in shown:
            start = user.index(segment.tokens[0])
            for place, word in segment.words.items():
                targets[start + place] = self.pieces(word)[0]
        targets[-1] = answer[0]
        return Example(user + answer, targets + learned + [IGNORE])

    def _announce(self, learned: list[int], start: int, speech: Utterance) -> None:
        """Where a word begins or the one before it ends, its first piece in place of the next speech token."""
        for at, (_, word) in zip([0, *(at for at, _ in speech.words)], speech.words, strict=False):
            learned[start + 1 + at] = self.pieces(word)[0]

    def _slip(self, answer: list[int], learned: list[int], tune: Tags) -> None:
        """Frames of another tune on the same instrument are read here and there; what is learned stays, but for the
        codes that those before them in such a frame do not fit."""
        other = self.rng.choice([t for t in all_tags() if t.instrument == tune.instrument and t != tune])
        codes = self.album.music(self.rng, self.split, other)
        if codes is None:
            return
        assert self.words.music is not None
        start, size = answer.index(self.words.music.start) + 1, MUSIC_CODEBOOKS
        wrong = self.words.music_tokens(codes.tolist())
        end = min(len(wrong), answer.index(self.words.music.end) - start) // size
        frame = self.rng.randint(*BETWEEN_SLIPS)
        while (back := frame + self.rng.randint(*SLIP)) < end:
            answer[start + frame * size : start + back * size] = wrong[frame * size : back * size]
            for place in range(start + frame * size, start + back * size, size):
                learned[place : place + size - 1] = [IGNORE] * (size - 1)
            frame = back + self.rng.randint(*BETWEEN_SLIPS)

    def _begun(self, part: Example) -> Example:
        """A turn that is broken off in the middle of its tune."""
        assert self.words.music is not None
        end = part.tokens.index(self.words.music.start) + 1 + MUSIC_CODEBOOKS * self.rng.randint(50, 150)
        return Example(part.tokens[:end], part.targets[:end])

    def _joined(self, parts: list[Example]) -> Example:
        system = self.dialogue.system_tokens()
        while len(parts) > 1 and len(system) + sum(len(p.tokens) for p in parts) > self.row:
            parts = parts[1:]
        tokens = system + [t for p in parts for t in p.tokens]
        targets = [IGNORE] * len(system) + [t for p in parts for t in p.targets]
        return Example(tokens[: self.row], targets[: self.row])

    def pieces(self, word: str) -> list[int]:
        """A word's pieces as they stand in a transcript."""
        if word not in self._pieces:
            alone, after = self.dialogue.tokenizer.encode_plain(" "), self.dialogue.tokenizer.encode_plain(f" {word}")
            self._pieces[word] = [t for t in after if t not in alone]
        return self._pieces[word]

    def typed(self, text: str) -> str:
        """A sentence as people type it: with or without a capital letter and a mark at its end."""
        style = self.rng.random()
        if style < 0.4:
            return text
        mark = "?" if text.startswith(_QUESTIONS) else "."
        return text[:1].upper() + text[1:] + (mark if style < 0.8 else "")

    # ---- what is shown and made

    def shown(self, dialogue: syllabus.Dialogue, turn: syllabus.Turn) -> list[Segment] | None:
        """What the user shows and plays before his words; None where the album has no such thing."""
        segments: list[Segment] = []
        if turn.shown is not None:
            coloured = any(turn.shown.colour in one.reply for one in dialogue.turns)
            found = self.album.camera(self.rng, self.split, turn.shown, coloured)
            if found is None:
                return None
            segments.append(self._seen(*found))
        if turn.given is not None:
            codes = self.album.music(self.rng, self.split, turn.given)
            if codes is None:
                return None
            frames = min(codes.shape[1], self.rng.randint(100, 250))
            start = self.rng.randint(0, codes.shape[1] - frames)
            segments.append(self._given(codes[:, start : start + frames].tolist(), turn.given))
        return segments

    def _seen(self, codes: list[int], picture: Picture) -> Segment:
        assert self.words.image is not None
        if self.rng.random() < MISSEEN:
            share, other = self.rng.uniform(0, MISSEEN_CODES), self.album.any_picture(self.rng)
            codes = [wrong if self.rng.random() < share else code for code, wrong in zip(codes, other, strict=True)]
        tokens = self.words.image.segment(codes)
        named = [picture.thing, picture.colour, NUMBERS[picture.count]] if picture.count else ["nothing"] * 3
        places = range(len(tokens) - 1 - _LAST_LOOK, len(tokens) - 1)
        return Segment(tokens, {place: named[k % 3] for k, place in enumerate(places) if named[k % 3]})

    def _given(self, codes: list[list[int]], tags: Tags) -> Segment:
        """After every second the words for the instrument, the mood and the tempo."""
        assert self.words.music is not None
        music = self.words.music
        tokens = [music.start, *self.words.music_tokens(codes), music.end]
        named = (tags.instrument, tags.mood, tags.tempo)
        ends = range(_SECOND, len(tokens) - 1, _SECOND)
        return Segment(tokens, {end - k: word for end in ends for k, word in enumerate(named)})

    def made(self, turn: syllabus.Turn) -> list[list[int]] | None:
        """What the assistant draws and plays behind its words; None where the album has no such thing."""
        segments = []
        if turn.draws is not None:
            drawn = self.album.drawing(self.rng, turn.draws)
            if drawn is None:
                return None
            assert self.words.image is not None
            segments.append(self.words.image.segment(drawn))
        if turn.plays is not None:
            codes = self.album.music(self.rng, self.split, turn.plays)
            if codes is None:
                return None
            assert self.words.music is not None
            segments.append([self.words.music.start, *self.words.music_tokens(codes.tolist()), self.words.music.end])
        return segments

    # ---- what is heard and said

    def user_speech(self, text: str) -> Utterance:
        rng = self.rng
        recordings = self.heard.get(text)
        if recordings and rng.random() < RECORDED:
            return self._disturbed(rng.choice(recordings).speech)
        if not text:
            return self._disturbed(self.room(10, 90))
        spoken = self._hesitant(text) if rng.random() < HESITANT else text
        accent = "us" if rng.random() < 0.7 else "gb"
        speech = self.ears.speak(rng, spoken, accent, foreign=rng.random() < FOREIGN)
        return self._disturbed(self.room(2, 22) + speech + self.room(4, 28))

    def _hesitant(self, text: str) -> str:
        """One of the words is said twice, though it will be written down once."""
        words = text.split()
        again = self.rng.randrange(len(words))
        return " ".join([*words[: again + 1], *words[again:]])

    def _disturbed(self, speech: Utterance) -> Utterance:
        rng = self.rng
        share = rng.choices(list(DISTURBED), list(DISTURBED.values()))[0]
        pace = rng.uniform(0.8, 1.25) if rng.random() < OTHER_PACE else 1.0
        return disturbed(rng, speech, self.alike, share, pace)

    def room(self, least: int, most: int) -> Utterance:
        """Nobody speaks for so many frames; now and then for long."""
        frames = self.rng.randint(least, most) * (3 if self.rng.random() < 0.05 else 1)
        return self.ears.silence(self.rng, frames)

    def reply_speech(self, text: str) -> Utterance:
        said = self._said.get(text)
        if said is None:
            if recording := self.replies.get(text):
                said = _without_margins(recording.speech, recording.labels)
            else:
                rng = random.Random(text)
                before, after = (self.mouth.silence(rng, count) for count in (2, 4))
                said = before + self.mouth.speak(rng, text, "us", pause=0) + after
            self._said[text] = said
        return said


def _as_heard(reply: str) -> str:
    """A reply as it would be written down if a user said it."""
    return " ".join("".join(c if c.isalpha() or c in "'’" else " " for c in reply.lower()).split())


def _without_margins(speech: Utterance, labels: str) -> Utterance:
    """A reply starts at once: two frames of silence before it, four after."""
    voiced = [k for k, phone in enumerate(labels) if phone != SILENCE]
    first, end = max(0, voiced[0] - 2), voiced[-1] + 5
    return Utterance(speech.codes[first:end], [(at - first, word) for at, word in speech.words])
