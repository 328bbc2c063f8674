"""What an intent is: how people phrase it, the facts its slots range over, and the one right answer in a state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from training.music.score import Tags
from training.syllabus.grammar import Phrasings

ANYTHING = "anything"  # any intent that needs no preparation itself
OUTSIDE, NOTHING = "not_understood", "nothing_heard"  # the intents of sentences outside the syllabus, and of mere noise
Takes = Literal["", "picture", "music"]
Row = Mapping[str, Any]  # one filling of an intent's slots, with the facts its answer needs


@dataclass(frozen=True)
class Picture:
    """What a picture shows: so many of a thing in a colour, or a count of 0 where there is nothing to be seen."""

    thing: str  # of training.pictures.NAMES
    colour: str  # of world.COLOURS
    count: int = 1


@dataclass(frozen=True)
class State:
    """What nano may remember of a dialogue: what it was told and shown, what was said last, what it told and made."""

    name: str = ""
    colour: str = ""
    pet: str = ""
    age: str = ""
    liked: str = ""
    heard: str = ""  # the user's last sentence
    said: str = ""  # nano's last reply
    told: Mapping[str, int] = field(default_factory=dict)  # how many jokes, riddles, ... it has told
    topic: str = ""  # the intent that "another one" or "and a cat" refers to
    offer: str = ""  # what nano has just offered to tell
    riddle: str = ""  # the answer to the riddle it has just asked
    seen: Picture | None = None  # the last picture it was shown
    seen_before: Picture | None = None  # the last one before that with a thing in it
    dark: bool = False  # the camera sees nothing now
    drawn: Picture | None = None  # its last drawing
    given: Tags | None = None  # the last music that it was given to hear
    tune: Tags | None = None  # the last music that it played


@dataclass(frozen=True)
class Answer:
    """A reply, the words of which at least one proves the intent, what is to be remembered, and what follows it."""

    text: str
    expect_any: tuple[str, ...]
    remember: Mapping[str, Any] = field(default_factory=dict)
    draws: Picture | None = None
    plays: Tags | None = None


Answering = Callable[[State, Row], Answer]


@dataclass(frozen=True)
class Intent:
    """One competence of nano."""

    name: str
    about: str
    phrasings: Phrasings
    rows: tuple[Row, ...]
    answer: Answering
    weight: float = 1.5
    after: tuple[str, ...] = ()  # intents that prepare it
    directly: bool = False  # one of them must be the turn before
    alone: float = 0.0  # share of its uses that come without preparation
    follow: tuple[str, ...] = ()  # elliptic phrasings right after the same intent: "and a cat"
    keeps: tuple[str, ...] = ()  # slots that such a follow-up leaves as they were
    suits: Callable[[State], bool] = lambda state: True  # whether the preparation was of use
    likely: Callable[[State, Row], bool] | None = None  # rows that people choose half of the time
    polite: bool = False  # a request that takes "please"
    bare: bool = False  # takes nothing before or after it
    states: tuple[State, ...] = (State(),)  # the states that give different answers
    takes: Takes = ""  # what it is about, shown or played with it or a few turns ago


def intent(
    name: str,
    about: str,
    phrasings: str,
    reply: str | Answering,
    expect: str = "",
    rows: Iterable[Row] = ({},),
    **options: Any,
) -> Intent:
    """An intent from text: one phrasing a line; `reply` and the words of `expect` are filled from the row."""
    lines = (line.strip() for line in phrasings.strip().splitlines())
    answer = _answer_from(reply, expect) if isinstance(reply, str) else reply
    return Intent(name, about, Phrasings.of(lines), tuple(rows), answer, **options)


def _answer_from(reply: str, expect: str) -> Answering:
    def answer(state: State, row: Row) -> Answer:
        return Answer(sentence(reply.format_map(row)), tuple(expect.format_map(row).lower().split()))

    return answer


def sentence(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[0].upper() + text[1:]
