"""Dialogues from the grammar: each is built around one intent, with what prepares it and what may follow it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from training.music.score import Tags, all_tags
from training.syllabus.counting import CALENDAR, COUNTING
from training.syllabus.grammar import Split, combination_held_out, fill
from training.syllabus.intent import ANYTHING, NOTHING, OUTSIDE, Answer, Intent, Picture, Row, State
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
_CAMERA = 0.12
"""Share of the dialogues in which the camera shows this and that while other things are talked about."""
_BEFORE = ("nano", "hey nano", "okay", "well", "so", "hello nano", "okay nano", "um", "now", "please", "hello")
_ASKING = ("tell me", "can you tell me", "could you tell me", "please tell me", "do you know", "i want to know",
           "i would like to know")
_QUESTION_WORDS = ("what", "which", "who", "where", "how", "why", "when")


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
    found = set(" ".join((*_BEFORE, *_ASKING)).split())
    for intent in GRAMMAR.values():
        for phrasing in (*intent.phrasings.train, *intent.phrasings.held_out, *intent.follow):
            for row in intent.rows if "{" in phrasing else intent.rows[:1]:
                found.update(fill(phrasing, row).split())
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
        turn = self._before_words(intent)
        if intent is not None:
            user, row = _sentence(self._rng, self._split, intent, self._state)
            self._exchange(turn, user, intent, row)
        elif name == OUTSIDE:
            user = outside_sentence(self._rng, self._split, user_words())
            self._miss(turn, OUTSIDE, user, NOT_UNDERSTOOD, "understand")
        else:
            self._miss(turn, NOTHING, "", NOT_HEARD, "nothing")

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
        rows = [row for row in topic.rows
                if row != self._row and all(row[slot] == self._row[slot] for slot in topic.keeps)]
        chosen = _combination(self._rng, self._split, partial(self._rng.choice, topic.follow), rows) if rows else None
        if chosen is None:
            return False
        self._exchange(self._before_words(topic), fill(*chosen), topic, chosen[1])
        return True

    def _before_words(self, intent: Intent | None) -> Turn:
        """A turn without words yet: what nano sees and hears before them. Questions about a picture or music come with
        it, or later, or at times without any."""
        rng, takes = self._rng, intent.takes if intent else ""
        chance = rng.random()
        turn = Turn("", "", "", "", ())
        if takes == "picture":
            known = 0.35 if self._state.seen else 0.1
            turn = replace(turn, dark=chance < 0.06, shown=any_picture(rng) if chance >= known else None)
        elif takes == "music":
            if chance >= (0.3 if self._state.given else 0.05):
                turn = replace(turn, given=rng.choice(all_tags()))
        elif self._camera:
            turn = replace(turn, dark=chance < 0.06, shown=any_picture(rng) if chance >= 0.5 else None)
        seen, before = self._state.seen, self._state.seen_before
        if turn.shown and seen and seen.count:
            before = seen
        self._state = replace(
            self._state,
            seen=turn.shown or seen,
            seen_before=before,
            dark=turn.dark,
            given=turn.given or self._state.given,
        )
        return turn

    def _exchange(self, turn: Turn, user: str, intent: Intent, row: Row) -> None:
        answer = intent.answer(self._state, row)
        self.turns.append(
            replace(
                turn,
                user=user,
                heard=user,
                reply=answer.text,
                intent=intent.name,
                expect_any=answer.expect_any,
                draws=answer.draws,
                plays=answer.plays,
            )
        )
        self._state, self._row = _remember(self._state, user, intent, answer), row

    def _miss(self, turn: Turn, name: str, user: str, reply: str, expect: str) -> None:
        self.turns.append(replace(turn, user=user, heard=user, reply=reply, intent=name, expect_any=(expect,)))
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
        rows = [row for row in rows if intent.likely(state, row)] or rows
    chosen = None
    if split == "train" or rng.random() < 0.25:
        chosen = _combination(rng, split, partial(intent.phrasings.draw, rng, "train"), rows)
    phrasing, row = chosen or (intent.phrasings.draw(rng, split), rng.choice(rows))
    return fill(_decorated(rng, split, intent, phrasing), row), row


def _combination(
    rng: random.Random, split: Split, draw: Callable[[], str], rows: Sequence[Row]
) -> tuple[str, Row] | None:
    """A phrasing and a row that go together in this split and never in the other; None where there seem to be none."""
    for _ in range(200):
        phrasing, row = draw(), rng.choice(rows)
        if combination_held_out(phrasing, fill(phrasing, row)) == (split == "held_out"):
            return phrasing, row
    return None


def _decorated(rng: random.Random, split: Split, intent: Intent, phrasing: str) -> str:
    """The phrasing as people also begin and end it: "nano ...", "tell me ...", "... please"."""
    if intent.bare:
        return phrasing
    other_split = intent.phrasings.held_out if split == "train" else intent.phrasings.train
    words = phrasing.split()
    forms = [phrasing]
    if words[0] in _QUESTION_WORDS and rng.random() < 0.06:
        forms.append(f"{rng.choice(_ASKING)} {forms[-1]}")
    if (before := rng.choice(_BEFORE)).split()[-1] not in words and rng.random() < 0.1:
        forms.append(f"{before} {forms[-1]}")
    if intent.polite and "please" not in words and rng.random() < 0.15:
        forms.append(f"{forms[-1]} please")
    elif "nano" not in words and rng.random() < 0.03:
        forms.append(f"{forms[-1]} nano")
    return phrasing if any(form in other_split for form in forms) else forms[-1]


@cache
def _weights() -> dict[str, float]:
    """How often each intent is the goal of a dialogue, relative to the others."""
    weights = {name: intent.weight for name, intent in GRAMMAR.items()}
    total = sum(weights.values()) / (1 - _OUTSIDE_SHARE - _NOTHING_SHARE)
    return weights | {OUTSIDE: _OUTSIDE_SHARE * total, NOTHING: _NOTHING_SHARE * total}


def _any_intent(rng: random.Random) -> str:
    return rng.choices(list(_weights()), list(_weights().values()))[0]


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
