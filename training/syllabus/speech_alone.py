"""Dialogues for a nano that has learned speech alone: it says that it cannot see, draw or play music yet."""

from __future__ import annotations

from dataclasses import replace

from training.syllabus.dialogue import Dialogue, Turn
from training.syllabus.music import MUSIC
from training.syllabus.pictures import PICTURES

_SEE = "I cannot see yet. I can only hear you."
_DRAW = "I cannot draw yet. I can only talk."
_PLAY = "I cannot play music yet. I can only talk."
_LISTEN = "I cannot tell anything about music yet."
_ABLE = "I can talk, count, add, tell jokes, and answer small questions."
REPLIES = (_SEE, _DRAW, _PLAY, _LISTEN, _ABLE)
_DRAWING = {"draw", "change_colour", "draw_again", "draw_this", "draw_something", "cannot_draw", "what_did_you_draw"}
_ANSWERS = {
    **{intent.name: (_SEE, "see") for intent in PICTURES},
    **{intent.name: (_LISTEN if intent.takes == "music" else _PLAY, "music") for intent in MUSIC},
    **dict.fromkeys(_DRAWING, (_DRAW, "draw")),
    "can_you_see": (_SEE, "see"),
    "can_you_draw": (_DRAW, "draw"),
    "can_you_play": (_PLAY, "music"),
    "what_can_you_do": (_ABLE, "jokes"),
}
_QUOTING = ("repeat", "another_one", "yes", "what_did_i_say")
"""Intents whose answers depend on the answer before."""


def speech_alone(dialogue: Dialogue) -> Dialogue | None:
    """The same questions to a nano that only hears and speaks. None where a turn goes on with a changed answer."""
    turns: list[Turn] = []
    for turn in dialogue.turns:
        if turns and turns[-1].intent in _ANSWERS and turn.intent in _QUOTING:
            return None
        turn = replace(turn, shown=None, dark=False, given=None, draws=None, plays=None)
        if turn.intent in _ANSWERS:
            reply, expected = _ANSWERS[turn.intent]
            turn = replace(turn, reply=reply, expect_any=(expected,))
        turns.append(turn)
    return Dialogue(tuple(turns))
