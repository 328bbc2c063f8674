"""Dialogues from the grammar: each is built around one intent, with what prepares it and what may follow it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from training.syllabus.grammar import Split, combination_held_out
from training.syllabus.intent import Answer, Intent, Row, State
from training.syllabus.knowledge import KNOWLEDGE
from training.syllabus.memory import MEMORY
from training.syllabus.outside import NOT_HEARD, NOT_UNDERSTOOD
from training.syllabus.outside import sentence as outside_sentence
from training.syllabus.play import PLAY
from training.syllabus.social import SOCIAL

GRAMMAR: dict[str, Intent] = {intent.name: intent for intent in (*SOCIAL, *KNOWLEDGE, *PLAY, *MEMORY)}
OUTSIDE, NOTHING = "not_understood", "nothing_heard"
_OUTSIDE_SHARE, _NOTHING_SHARE = 0.07, 0.02
_BEFORE = ("nano", "hey nano", "okay", "well", "so", "hello nano", "okay nano", "um", "now")


@dataclass(frozen=True)
class Turn:
    """One exchange. `user` is what is spoken ("" = noise or silence), `heard` the transcript that is right, `reply` the
    right answer; a reply with none of the words in `expect_any` (lower case) counts as a wrong intent."""

    user: str
    heard: str
    reply: str
    intent: str
    expect_any: tuple[str, ...]


@dataclass(frozen=True)
class Dialogue:
    """One to four turns that share a memory."""

    turns: tuple[Turn, ...]


@cache
def outside_sentences() -> tuple[str, ...]:
    """The written sentences outside the syllabus (one in six is held out)."""
    return tuple(files(__package__).joinpath("outside.txt").read_text("utf-8").split("\n"))


def _outside(rng: random.Random, split: Split) -> str:
    written = [line for index, line in enumerate(outside_sentences()) if line and (index % 6 == 5) == (split == "held_out")]
    return outside_sentence(rng, tuple(written))


class _Speaker:
    """Draws user sentences and plays one dialogue; `state` is nano's memory so far."""

    def __init__(self, rng: random.Random, split: Split) -> None:
        self.rng, self.split, self.state = rng, split, State()
        self.turns: list[Turn] = []

    def say(self, intent: Intent, phrasings_of: Split | None = None) -> None:
        """Adds a turn of this intent: a sentence of the split, and the answer the state asks for."""
        user, row = sentence_of(self.rng, intent, phrasings_of or self.split)
        self._add(user, intent, row, intent.name)

    def follow_up(self) -> bool:
        """Adds an elliptic follow-up ("and a cat") to the last turn where its intent has one."""
        last = GRAMMAR.get(self.state.last)
        if last is None or last.follow is None:
            return False
        row = self.rng.choice(last.rows)
        pool = last.follow.of_split(self.split) or last.follow.train + last.follow.held_out
        self._add(self.rng.choice(pool).format(**row).lower(), last, row, last.name)
        return True

    def outside(self) -> None:
        user = _outside(self.rng, self.split)
        self.turns.append(Turn(user, user, NOT_UNDERSTOOD, OUTSIDE, ("understand",)))
        self.state = replace(self.state, heard=user, said=NOT_UNDERSTOOD, last=OUTSIDE, offer="", riddle="")

    def nothing(self) -> None:
        self.turns.append(Turn("", "", NOT_HEARD, NOTHING, ("hear",)))
        self.state = replace(self.state, heard="", said=NOT_HEARD, last=NOTHING, offer="", riddle="")

    def _add(self, user: str, intent: Intent, row: Row, name: str) -> None:
        answer = intent.answer(self.state, row)
        self.turns.append(Turn(user, user, answer.text, name, answer.expect_any))
        self.state = after(self.state, user, intent, answer)


def after(state: State, user: str, intent: Intent, answer: Answer) -> State:
    """The memory after an answered turn. An offer or a riddle lasts for one turn; asking again keeps the topic."""
    topic = state.last if intent.name in ("another_one", "repeat", "what_did_i_say") else intent.name
    changes = {"offer": "", "riddle": "", **answer.remember}
    return replace(state, heard=user, said=answer.text, last=topic, **changes)


def sentence_of(rng: random.Random, intent: Intent, split: Split) -> tuple[str, Row]:
    """A sentence of the intent and the slots it was filled with.

    Held-out sentences are phrasings never trained on or, one time in four, a trained phrasing with slots that were kept
    back from training in it.
    """
    combinations = split == "held_out" and len(intent.rows) > 1 and (rng.random() < 0.25)
    phrasings = intent.phrasings.train if combinations else intent.phrasings.of_split(split)
    while True:
        phrasing, row = rng.choice(phrasings), rng.choice(intent.rows)
        plain = " ".join(phrasing.format(**row).lower().split())
        kept_back = combination_held_out(phrasing, plain)
        if split == "train" and kept_back and len(intent.rows) > 1:
            continue
        if combinations and not kept_back and rng.random() > 0.02:
            continue
        break
    return _decorated(rng, intent, plain), row


def _decorated(rng: random.Random, intent: Intent, plain: str) -> str:
    if not intent.bare and rng.random() < 0.1:
        plain = f"{rng.choice(_BEFORE)} {plain}"
    words = plain.split()
    if intent.polite and "please" not in words and rng.random() < 0.15:
        plain = f"{plain} please"
    elif not intent.bare and "nano" not in words and rng.random() < 0.03:
        plain = f"{plain} nano"
    return plain


def _goal(rng: random.Random) -> str:
    names, weights = _weighted()
    return rng.choices(names, weights)[0]


@cache
def _weighted() -> tuple[list[str], list[float]]:
    names, weights = [*GRAMMAR], [intent.weight for intent in GRAMMAR.values()]
    total = sum(weights) / (1 - _OUTSIDE_SHARE - _NOTHING_SHARE)
    return names + [OUTSIDE, NOTHING], weights + [_OUTSIDE_SHARE * total, _NOTHING_SHARE * total]


def _fresh(speaker: _Speaker, name: str) -> None:
    if name == OUTSIDE:
        speaker.outside()
    elif name == NOTHING:
        speaker.nothing()
    else:
        speaker.say(GRAMMAR[name])


def _starter(rng: random.Random) -> str:
    """Any intent that makes sense without preparation."""
    while True:
        name = _goal(rng)
        if name in (OUTSIDE, NOTHING) or not GRAMMAR[name].after:
            return name


def _dialogue(rng: random.Random, split: Split) -> Dialogue:
    speaker = _Speaker(rng, split)
    goal = _goal(rng)
    intent = GRAMMAR.get(goal)
    if rng.random() < 0.3:
        _fresh(speaker, _starter(rng))
    if intent and intent.after and rng.random() >= intent.alone:
        _prepare(speaker, intent)
    _fresh(speaker, goal)
    if rng.random() < 0.4 and not speaker.follow_up() and rng.random() < 0.6:
        _fresh(speaker, _starter(rng))
    return Dialogue(tuple(speaker.turns[-4:] if len(speaker.turns) <= 4 else speaker.turns[:4]))


def _prepare(speaker: _Speaker, intent: Intent) -> None:
    rng = speaker.rng
    if "*" in intent.after:
        _fresh(speaker, _starter(rng))
    else:
        speaker.say(GRAMMAR[rng.choice(intent.after)])
    if not intent.directly and rng.random() < 0.4:
        _fresh(speaker, _starter(rng))


def generate(seed: int, split: Split) -> Iterator[Dialogue]:
    """Endless dialogues, the same for the same seed. `held_out` uses phrasings and slot fillings never in `train`."""
    rng = random.Random(f"{seed} {split}")
    while True:
        yield _dialogue(rng, split)


def user_sentences(split: Split, seed: int = 0) -> Iterator[str]:
    """Endless user sentences as they occur in dialogues, without the empty ones."""
    for dialogue in generate(seed, split):
        yield from (turn.user for turn in dialogue.turns if turn.user)


def all_replies() -> list[str]:
    """Every reply there is, sorted, except "You said: ..." which quotes the user (the sentences are endless)."""
    replies = {NOT_UNDERSTOOD, NOT_HEARD}
    for intent in GRAMMAR.values():
        if intent.name not in ("repeat", "what_did_i_say"):
            replies |= {intent.answer(state, row).text for state in intent.states for row in intent.rows}
    for echo in ("repeat", "what_did_i_say"):
        replies.add(GRAMMAR[echo].answer(State(), {}).text)
    return sorted(replies)


def words() -> frozenset[str]:
    """The syllabus' words in lower case: all in-syllabus user sentences and all replies."""
    found: set[str] = set()
    for intent in GRAMMAR.values():
        follow = intent.follow.train + intent.follow.held_out if intent.follow else ()
        for phrasing in (*intent.phrasings.train, *intent.phrasings.held_out, *follow):
            for row in intent.rows if "{" in phrasing else intent.rows[:1]:
                found.update(phrasing.format(**row).lower().split())
    for text in (*all_replies(), *_BEFORE):
        found.update(plain_words(text))
    return frozenset(found)


def plain_words(text: str) -> list[str]:
    """The words of a reply in lower case, without punctuation."""
    return "".join(c if c.isalpha() or c == "'" else " " for c in text.lower()).split()


@dataclass(frozen=True)
class Listing:
    """One line of the README's table."""

    name: str
    about: str
    example: str


def _listings() -> tuple[Listing, ...]:
    rows = [Listing(i.name, i.about, " ".join(i.phrasings.train[0].format(**i.rows[len(i.rows) // 2]).lower().split()))
            for i in GRAMMAR.values()]
    return (*rows, Listing(OUTSIDE, "says that it did not understand", outside_sentences()[0]),
            Listing(NOTHING, "says that it heard nothing", ""))


INTENTS: tuple[Listing, ...] = _listings()
