"""Single tasks for pictures and music, as they are typed (assistant.tasks, style "plain")."""

from __future__ import annotations

import random
from collections.abc import Iterator

from assistant.prompts import one_shot
from training.music.score import all_tags
from training.syllabus.dialogue import GRAMMAR, Dialogue, Turn
from training.syllabus.intent import Row, State
from training.syllabus.music import captions
from training.syllabus.pictures import any_picture, named
from training.syllabus.world import COLOURS, PICTURED

_KINDS = {"describe image": 6, "draw": 3, "describe music": 2, "compose": 2}


def tasks(seed: int) -> Iterator[Dialogue]:
    """Endless dialogues of one turn: a picture or music to describe, to draw or to compose."""
    rng = random.Random(f"tasks {seed}")
    while True:
        yield Dialogue((_turn(rng, rng.choices(list(_KINDS), list(_KINDS.values()))[0]),))


def _turn(rng: random.Random, kind: str) -> Turn:
    text, state, tags = "", State(), rng.choice(all_tags())
    row: Row = {}
    if kind == "draw":
        name, thing, colour = "draw", rng.choice(list(PICTURED)), rng.choice(("", *COLOURS))
        row, text = {"thing": thing, "colour": colour}, named(thing, colour)
    elif kind == "compose":
        name, row, text = "play_music", {"asked": (tags.instrument, tags.mood, tags.tempo)}, rng.choice(captions(tags))
    elif kind == "describe image":
        name, state = "what_is_this", State(seen=any_picture(rng))
    else:
        name, state = "describe_music", State(given=tags)
    asked = one_shot("plain", kind, text)
    answer = GRAMMAR[name].answer(state, row)
    return Turn(
        asked,
        asked,
        answer.text,
        name,
        answer.expect_any,
        shown=state.seen,
        given=state.given,
        draws=answer.draws,
        plays=answer.plays,
    )
