"""Dialogues from the grammar: each is built around one intent, with what prepares it and what may follow it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import accumulate
from typing import Any

from training.music.score import Tags, all_tags
from training.syllabus.counting import CALENDAR, COUNTING
from training.syllabus.grammar import Split, combination_held_out, fill
from training.syllabus.intent import ANYTHING, NOTHING, OUTSIDE, Answer, Intent, Picture, Row, State, Takes
from training.syllabus.memory import MEMORY
from training.syllabus.music import MUSIC
from training.syllabus.nano import NANO
from training.syllabus.outside import outside_sentence, written
from training.syllabus.pictures import PICTURES, any_picture
from training.syllabus.play import PLAY
from training.syllabus.social import SOCIAL
from training.syllabus.things import THINGS

GRAMMAR: dict[str, Intent] = {
    intent.name: intent
    for intent in (*SOCIAL, *NANO, *COUNTING, *CALENDAR, *THINGS, *PLAY, *MEMORY, *PICTURES, *MUSIC)
}
NOT_UNDERSTOOD = "I am sorry, I did not understand that."
NOT_HEARD = "I am sorry, I heard nothing."
_OUTSIDE_SHARE, _NOTHING_SHARE = 0.07, 0.015
_MAX_TURNS = 4
_LOOKED_AT = 400
"""Rows among which likely ones are looked for."""
_CAMERA = 0.08
"""Share of the dialogues in which the camera shows this and that while other things are talked about."""
_BEFORE = ("nano", "hey nano", "okay", "well", "so", "hello nano", "okay nano", "um", "now", "please", "hello")
_FILLERS = ("um", "uh", "well", "just", "please", "maybe", "now", "then", "actually")
_REWORDED, _FILLED = 0.3, 0.05
"""Shares of the trained sentences in which some words are said otherwise, and of those with one that says nothing."""
_OTHERWISE = {
    "can you": ("could you", "would you", "will you", "are you able to", "i want you to", "you can", "can you maybe"),
    "could you": ("can you", "would you", "will you", "are you able to", "could you maybe"),
    "tell me": ("say", "let me know", "tell us", "answer me"),
    "do you know": ("do you happen to know", "do you maybe know", "you know", "can you know", "do you still know"),
    "what is": ("what's", "what would be", "what might be", "so what is", "what is then"),
    "what are": ("so what are", "what are then"),
    "how many": ("what number of", "how many then", "so how many"),
    "how much": ("so how much", "how much then"),
    "what colour": ("which colour", "what sort of colour", "what kind of colour"),
    "which colour": ("what colour", "what sort of colour"),
    "i want": ("i would like", "i wish", "i need", "we want", "i really want"),
    "i would like": ("i want", "i wish", "i need", "i would love", "we would like"),
    "for me": ("for us", "for me now"),
    "draw": ("paint", "sketch", "please draw"),
    "play": ("please play", "let us hear"),
    "make it": ("let it be", "have it", "it should be"),
    "show me": ("let me see", "give me", "i want to see"),
    "of the week": ("in a week", "in the week"),
    "of the year": ("in a year", "in the year"),
    "this": ("this one", "this here", "that"),
    "that": ("that one", "this"),
}
"""What else people say for the first of these that a sentence has."""
_ASKING = ("tell me", "can you tell me", "could you tell me", "please tell me", "do you know", "i want to know",
           "i would like to know")
_SLOT = re.compile(r"\S*{[^}]*}\S*")
_QUESTION_WORDS = ("what", "which", "who", "where", "how", "why", "when")


Sensed = dict[str, Any]
"""Fields of a Turn that are not words."""


@dataclass(frozen=True)
class Turn:
    """One exchange. `user` is what is spoken ("" is noise or silence), `heard` its right transcript, `reply` the right
    answer; a reply that has none of the words `expect_any` (lower case) answers another intent. Before it nano may be
    shown a picture or given music, or have its camera covered; behind the reply it may draw or play."""

    user: str
    heard: str
    reply: str
    intent: str
    expect_any: tuple[str, ...]
    shown: Picture | None = None
    dark: bool = False
    given: Tags | None = None
    draws: Picture | None = None
    plays: Tags | None = None


@dataclass(frozen=True)
class Dialogue:
    """One to four turns that share a memory."""

    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Listing:
    """One competence as the README lists it."""

    name: str
    about: str
    example: str


def generate(seed: int, split: Split) -> Iterator[Dialogue]:
    """Endless dialogues, the same for the same seed.

    `train` never contains a held-out phrasing or a held-out filling of a phrasing's slots; `held_out` is made of
    these. Follow-ups ("and a cat") carry the name of the intent they go on with.
    """
    rng = random.Random(f"{split} {seed}")
    while True:
        yield _dialogue(rng, split)


def user_sentences(split: Split, seed: int = 0) -> Iterator[str]:
    """Endless user sentences as they occur in dialogues, without the empty ones."""
    for dialogue in generate(seed, split):
        yield from (turn.user for turn in dialogue.turns if turn.user)


def all_replies() -> list[str]:
    """Every reply there is, sorted, but for "You said: ...", which quotes the user's last sentence."""
    replies = {NOT_UNDERSTOOD, NOT_HEARD}
    for intent in GRAMMAR.values():
        replies |= {intent.answer(state, row).text for state in intent.states for row in intent.rows}
    return sorted(replies)


@cache
def words() -> frozenset[str]:
    """The syllabus' words in lower case, of users and of nano; those of sentences outside it do not count."""
    return frozenset(user_words()).union(*map(plain_words, all_replies()))


@cache
def user_words() -> tuple[str, ...]:
    """The words of all in-syllabus user sentences, sorted."""
    otherwise = (other for others in _OTHERWISE.values() for other in others)
    found = set(" ".join((*_BEFORE, *_ASKING, *_FILLERS, *otherwise)).split())
    for intent in GRAMMAR.values():
        text = " ".join((*intent.phrasings.train, *intent.phrasings.held_out, *intent.follow))
        slots = sorted(set(_SLOT.findall(text)))
        found.update(_SLOT.sub(" ", text).split())
        found.update(word for slot in slots for row in intent.rows for word in fill(slot, row).split())
    return tuple(sorted(found))


def plain_words(reply: str) -> list[str]:
    """The words of a reply in lower case, without punctuation."""
    return "".join(c if c.isalpha() or c == "'" else " " for c in reply.lower()).split()


def _dialogue(rng: random.Random, split: Split) -> Dialogue:
    """Something before (at times), what the goal needs, the goal, and what comes to mind after it (at times)."""
    speaker = _Speaker(rng, split)
    goal = _any_intent(rng)
    if rng.random() < 0.3:
        speaker.say(_opening(rng))
    if goal in GRAMMAR:
        speaker.prepare(GRAMMAR[goal])
    speaker.say(goal)
    if rng.random() < 0.55 and not speaker.follow_up():
        speaker.say(_opening(rng))
    return Dialogue(tuple(speaker.turns[:_MAX_TURNS]))


class _Speaker:
    """Plays one dialogue turn by turn: draws what the user says and gives nano's answer, which changes its memory."""

    def __init__(self, rng: random.Random, split: Split) -> None:
        self._rng, self._split = rng, split
        self._camera = rng.random() < _CAMERA
        self._state = State()
        self._row: Row = {}
        self.turns: list[Turn] = []

    def say(self, name: str) -> None:
        """A turn of the intent, or one outside the syllabus, or nothing but noise."""
        intent = GRAMMAR.get(name)
        sensed = self._sense(intent.takes if intent else "")
        if intent is not None:
            user, row = _sentence(self._rng, self._split, intent, self._state)
            self._exchange(sensed, user, intent, row)
        elif name == OUTSIDE:
            user = outside_sentence(self._rng, self._split, user_words())
            self._miss(sensed, OUTSIDE, user, NOT_UNDERSTOOD, "understand")
        else:
            self._miss(sensed, NOTHING, "", NOT_HEARD, "nothing")

    def prepare(self, intent: Intent) -> None:
        """The turn that the intent needs before it, at times with another one between."""
        if not intent.after or self._rng.random() < intent.alone:
            return
        start = self._state, self.turns
        while True:
            self._state, self.turns = start[0], list(start[1])
            self.say(_opening(self._rng) if intent.after == (ANYTHING,) else self._rng.choice(intent.after))
            if intent.suits(self._state):
                break
        if not intent.directly and self._rng.random() < 0.45:
            self.say(_opening(self._rng))

    def follow_up(self) -> bool:
        """An elliptic follow-up ("and a cat") where the topic allows it; False where not."""
        topic = GRAMMAR.get(self._state.topic)
        if topic is None or not topic.follow or self.turns[-1].intent != topic.name:
            return False
        rows: Sequence[Row] = topic.rows
        if topic.keeps:
            rows = [row for row in rows if all(row[slot] == self._row[slot] for slot in topic.keeps)]
        chosen = _combination(self._rng, self._split, partial(self._rng.choice, topic.follow), rows, self._row)
        if chosen is None:
            return False
        self._exchange(self._sense(topic.takes), fill(*chosen), topic, chosen[1])
        return True

    def _sense(self, takes: Takes) -> Sensed:
        """What nano sees and hears before the words. Questions about a picture or music come with it, or later, or at
        times without any."""
        rng, state, chance = self._rng, self._state, self._rng.random()
        shown, given, dark = None, None, False
        if takes == "picture" or (not takes and self._camera):
            new = chance >= ((0.35 if state.seen else 0.1) if takes else 0.5)
            shown, dark = any_picture(rng) if new else None, chance < 0.06
        elif takes == "music" and chance >= (0.3 if state.given else 0.05):
            given = rng.choice(all_tags())
        before = state.seen if shown and state.seen and state.seen.count else state.seen_before
        self._state = replace(
            state, seen=shown or state.seen, seen_before=before, dark=dark, given=given or state.given
        )
        return {"shown": shown, "dark": dark, "given": given}

    def _exchange(self, sensed: Sensed, user: str, intent: Intent, row: Row) -> None:
        answer = intent.answer(self._state, row)
        made: Sensed = {"draws": answer.draws, "plays": answer.plays}
        self.turns.append(Turn(user, user, answer.text, intent.name, answer.expect_any, **sensed, **made))
        self._state, self._row = _remember(self._state, user, intent, answer), row

    def _miss(self, sensed: Sensed, name: str, user: str, reply: str, expect: str) -> None:
        self.turns.append(Turn(user, user, reply, name, (expect,), **sensed))
        self._state = replace(self._state, heard=user, said=reply, topic=name, offer="", riddle="")


def _remember(state: State, user: str, intent: Intent, answer: Answer) -> State:
    """The memory after an answer. Saying things again changes nothing else; an offer or a riddle lasts for a turn."""
    if intent.name in ("repeat", "what_did_i_say"):
        return replace(state, heard=user, said=answer.text)
    topic = {"another_one": state.topic, "yes": state.offer}.get(intent.name, "") or intent.name
    made = {"drawn": answer.draws or state.drawn, "tune": answer.plays or state.tune}
    changes = {"topic": topic, "offer": "", "riddle": "", **made, **answer.remember}
    return replace(state, heard=user, said=answer.text, **changes)


def _sentence(rng: random.Random, split: Split, intent: Intent, state: State) -> tuple[str, Row]:
    """A sentence of the intent and the slots it was filled with.

    Held-out ones are phrasings never trained on or, one time in four, trained phrasings in a filling never trained on.
    """
    rows: Sequence[Row] = intent.rows
    if intent.likely and rng.random() < 0.5:
        rows = rng.sample(rows, min(len(rows), _LOOKED_AT))
        rows = [row for row in rows if intent.likely(state, row)] or rows
    chosen = None
    if split == "train" or (rng.random() < 0.25 and intent.phrasings.has_slots):
        chosen = _combination(rng, split, partial(intent.phrasings.draw, rng, "train"), rows)
    phrasing, row = chosen or (intent.phrasings.draw(rng, split), rng.choice(rows))
    if split == "train":
        forms = [phrasing, _reworded(rng, phrasing)]
        forms.append(_decorated(rng, intent, _hesitating(rng, forms[-1])))
        kept_back = any(form in _held_out_phrasings() or combination_held_out(form, fill(form, row)) for form in forms)
        return fill(phrasing if kept_back else forms[-1], row), row
    decorated = _decorated(rng, intent, phrasing)
    return fill(phrasing if decorated in _trained_phrasings() else decorated, row), row


def _reworded(rng: random.Random, phrasing: str) -> str:
    """At times a phrasing that no line of the grammar has, with the same meaning."""
    padded = f" {phrasing} "
    if rng.random() < _REWORDED and (found := [part for part in _OTHERWISE if f" {part} " in padded]):
        part = rng.choice(found)
        padded = padded.replace(f" {part} ", f" {rng.choice(_OTHERWISE[part])} ", 1)
    return padded.strip()


def _hesitating(rng: random.Random, phrasing: str) -> str:
    """At times with a word that says nothing."""
    words = phrasing.split()
    if rng.random() < _FILLED:
        words.insert(rng.randrange(len(words)), rng.choice(_FILLERS))
    return " ".join(words)


@cache
def _trained_phrasings() -> frozenset[str]:
    return frozenset(phrasing for intent in GRAMMAR.values() for phrasing in intent.phrasings.train)


@cache
def _held_out_phrasings() -> frozenset[str]:
    return frozenset(phrasing for intent in GRAMMAR.values() for phrasing in intent.phrasings.held_out)


def _combination(
    rng: random.Random, split: Split, draw: Callable[[], str], rows: Sequence[Row], besides: Row | None = None
) -> tuple[str, Row] | None:
    """A phrasing and a row (another than `besides`) that go together in this split and never in the other; None where
    there seem to be none."""
    for _ in range(200):
        phrasing, row = draw(), rng.choice(rows)
        if row is not besides and combination_held_out(phrasing, fill(phrasing, row)) == (split == "held_out"):
            return phrasing, row
    return None


def _decorated(rng: random.Random, intent: Intent, phrasing: str) -> str:
    """The phrasing as people also begin and end it: "nano ...", "tell me ...", "... please"."""
    if intent.bare:
        return phrasing
    words = phrasing.split()
    form = phrasing
    if words[0] in _QUESTION_WORDS and rng.random() < 0.08:
        form = f"{rng.choice(_ASKING)} {form}"
    if (before := rng.choice(_BEFORE)).split()[-1] not in words and rng.random() < 0.12:
        form = f"{before} {form}"
    if intent.polite and "please" not in words and rng.random() < 0.15:
        form = f"{form} please"
    elif "nano" not in words and rng.random() < 0.03:
        form = f"{form} nano"
    return form


@cache
def _weights() -> dict[str, float]:
    """How often each intent is the goal of a dialogue, relative to the others."""
    weights = {name: intent.weight for name, intent in GRAMMAR.items()}
    total = sum(weights.values()) / (1 - _OUTSIDE_SHARE - _NOTHING_SHARE)
    return weights | {OUTSIDE: _OUTSIDE_SHARE * total, NOTHING: _NOTHING_SHARE * total}


@cache
def _goals() -> tuple[list[str], list[float]]:
    """Intents and their cumulated weights."""
    return list(_weights()), list(accumulate(_weights().values()))


def _any_intent(rng: random.Random) -> str:
    names, sums = _goals()
    return rng.choices(names, cum_weights=sums)[0]


def _opening(rng: random.Random) -> str:
    """An intent that needs nothing before it."""
    while (name := _any_intent(rng)) in GRAMMAR and GRAMMAR[name].after:
        pass
    return name


def _listings() -> tuple[Listing, ...]:
    listed = []
    for intent in GRAMMAR.values():
        plainest = min(intent.phrasings.groups["train"][0], key=lambda phrasing: len(phrasing.split()))
        listed.append(Listing(intent.name, intent.about, fill(plainest, intent.rows[len(intent.rows) // 2])))
    return (*listed, Listing(OUTSIDE, "says that it did not understand", written("train")[0]),
            Listing(NOTHING, "says that it heard nothing", ""))


INTENTS: tuple[Listing, ...] = _listings()
