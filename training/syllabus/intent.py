"""What an intent is: how people phrase it, the facts its slots range over, and the one right answer in a given state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from training.syllabus.grammar import Phrasings

Row = Mapping[str, Any]  # one filling of an intent's slots, with the facts its answer needs


@dataclass(frozen=True)
class State:
    """What nano may remember of a dialogue: what it was told, what was said last, and how far its repertoire has got."""

    name: str = ""
    colour: str = ""
    pet: str = ""
    age: str = ""
    liked: str = ""
    heard: str = ""  # the user's last sentence
    said: str = ""  # nano's last reply
    question: str = ""  # the last sentence that asked for knowledge
    told: Mapping[str, int] = field(default_factory=dict)  # jokes, riddles, ... told so far
    last: str = ""  # name of the last intent
    offer: str = ""  # intent that nano has just offered
    riddle: str = ""  # the answer to the riddle it has just asked


@dataclass(frozen=True)
class Answer:
    """A reply, the words of which at least one proves the intent, and what is to be remembered."""

    text: str
    expect_any: tuple[str, ...]
    remember: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Intent:
    """One competence. `after` names the intents that prepare it; `directly` says whether one must be the turn before."""

    name: str
    about: str
    phrasings: Phrasings
    rows: tuple[Row, ...]
    answer: Callable[[State, Row], Answer]
    weight: float = 1.0
    after: tuple[str, ...] = ()
    directly: bool = False
    alone: float = 0.0  # share of its uses that come without preparation
    follow: Phrasings | None = None  # elliptic phrasings usable right after the same intent: "and a cat"
    polite: bool = False  # takes "please"
    bare: bool = False  # takes no "nano," or "okay" before it
    states: tuple[State, ...] = (State(),)  # states that give different answers, for enumeration


def sentence(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[0].upper() + text[1:]


def lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines() if line.strip())


def intent(
    name: str,
    about: str,
    phrasings: str,
    reply: str | Callable[[State, Row], Answer],
    expect: str = "",
    rows: Iterable[Row] = ({},),
    *,
    follow: str = "",
    offer: str = "",
    **options: Any,
) -> Intent:
    """An intent from text tables. A `reply` that is a string is formatted with the row; so is `expect` (words)."""
    if isinstance(reply, str):
        template: str = reply

        def answer(state: State, row: Row) -> Answer:
            remember = {"offer": offer} if offer else {}
            return Answer(sentence(template.format(**row)), tuple(expect.format(**row).lower().split()), remember)
    else:
        answer = reply
    return Intent(name, about, Phrasings.of(lines(phrasings)), tuple(rows), answer,
                  follow=Phrasings.of(lines(follow)) if follow else None, **options)
