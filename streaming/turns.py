"""Who has the floor: one pure function from (state, event) to (state, actions).

"Reply" means the making of an answer to the default conversation. What is still being played after it was made is the
client's or the playout's business; INTERRUPT, PAUSE and RESUME cover it too.

Who makes a noise while a reply can be heard may want the floor, or may have coughed, or agreed: the sound is held, and
the reply is made on, until it is sure. Then either the reply is cut off or it goes on as if nothing had happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class State(Enum):
    LISTENING = auto()  # nobody speaks, nothing is being made
    HEARING = auto()  # the user speaks
    DOUBTING = auto()  # the user may be speaking while the last reply can be heard
    REPLYING = auto()  # a reply is being made
    DOUBTING_REPLY = auto()  # the user may be speaking while a reply is being made and can be heard
    OVERLAPPING = auto()  # the user speaks while a reply is being made, and lets it
    OWING = auto()  # the user has spoken during a reply; another one is due when it ends


SPEAKS = (State.HEARING, State.OVERLAPPING)
"""It is sure that the user speaks."""

DOUBTS = (State.DOUBTING, State.DOUBTING_REPLY)
DOUBTFUL = (State.LISTENING, State.REPLYING)
"""Where speech may be suspected before it has begun."""


class Event(Enum):
    SPEECH_SUSPECTED = auto()
    SPEECH_BEGAN = auto()
    SPEECH_ENDED = auto()
    SPEECH_DROPPED = auto()  # it is not to become a turn: too short, cleared, committed by hand, detection switched off
    REPLY_BEGAN = auto()
    REPLY_ENDED = auto()


class Action(Enum):
    PAUSE = auto()  # hold what can be heard
    RESUME = auto()
    ANNOUNCE_SPEECH = auto()
    INTERRUPT = auto()  # stop what can be heard, cancel what is being made
    COMMIT = auto()  # the speech becomes an item
    REPLY = auto()


@dataclass(frozen=True, slots=True)
class Policy:
    """What the session's turn_detection asks for."""

    create_response: bool = True
    interrupt_response: bool = True


class IllegalTransition(AssertionError):
    """An event that cannot occur in this state: a defect of the caller."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"{event.name} cannot happen while {state.name}")


Step = tuple[State, tuple[Action, ...]]

_S, _E, _A = State, Event, Action
_TABLE: dict[tuple[State, Event], Step] = {
    (_S.LISTENING, _E.SPEECH_SUSPECTED): (_S.DOUBTING, (_A.PAUSE,)),
    (_S.LISTENING, _E.SPEECH_BEGAN): (_S.HEARING, (_A.ANNOUNCE_SPEECH, _A.INTERRUPT)),
    (_S.LISTENING, _E.REPLY_BEGAN): (_S.REPLYING, ()),
    (_S.HEARING, _E.SPEECH_ENDED): (_S.LISTENING, (_A.COMMIT, _A.REPLY)),
    (_S.HEARING, _E.SPEECH_DROPPED): (_S.LISTENING, ()),
    (_S.HEARING, _E.REPLY_BEGAN): (_S.OVERLAPPING, ()),
    (_S.DOUBTING, _E.SPEECH_BEGAN): (_S.HEARING, (_A.ANNOUNCE_SPEECH, _A.INTERRUPT)),
    (_S.DOUBTING, _E.SPEECH_DROPPED): (_S.LISTENING, (_A.RESUME,)),
    (_S.DOUBTING, _E.REPLY_BEGAN): (_S.DOUBTING_REPLY, ()),
    (_S.REPLYING, _E.SPEECH_SUSPECTED): (_S.DOUBTING_REPLY, (_A.PAUSE,)),
    (_S.REPLYING, _E.SPEECH_BEGAN): (_S.OVERLAPPING, (_A.ANNOUNCE_SPEECH, _A.INTERRUPT)),
    (_S.REPLYING, _E.REPLY_ENDED): (_S.LISTENING, ()),
    (_S.DOUBTING_REPLY, _E.SPEECH_BEGAN): (_S.OVERLAPPING, (_A.ANNOUNCE_SPEECH, _A.INTERRUPT)),
    (_S.DOUBTING_REPLY, _E.SPEECH_DROPPED): (_S.REPLYING, (_A.RESUME,)),
    (_S.DOUBTING_REPLY, _E.REPLY_ENDED): (_S.DOUBTING, ()),
    (_S.OVERLAPPING, _E.SPEECH_ENDED): (_S.OWING, (_A.COMMIT,)),
    (_S.OVERLAPPING, _E.SPEECH_DROPPED): (_S.REPLYING, ()),
    (_S.OVERLAPPING, _E.REPLY_ENDED): (_S.HEARING, ()),
    (_S.OWING, _E.SPEECH_BEGAN): (_S.OVERLAPPING, (_A.ANNOUNCE_SPEECH, _A.INTERRUPT)),
    (_S.OWING, _E.REPLY_ENDED): (_S.LISTENING, (_A.REPLY,)),
}


def step(state: State, event: Event, policy: Policy) -> Step:
    """Raises IllegalTransition, naming state and event.

    INTERRUPT, carried out, ends a pause, and brings REPLY_ENDED if a reply was being made; REPLY brings REPLY_BEGAN.
    """
    if (state, event) not in _TABLE:
        raise IllegalTransition(state, event)
    held = state in DOUBTS
    state, actions = _TABLE[state, event]
    if not policy.interrupt_response:
        actions = _without_interrupting(actions, held)
    if not policy.create_response:
        actions = tuple(action for action in actions if action is not Action.REPLY)
        state = State.REPLYING if state is State.OWING else state
    return state, actions


def _without_interrupting(actions: tuple[Action, ...], held: bool) -> tuple[Action, ...]:
    """The policy may have changed while the sound was held: then it goes on."""
    kept = (Action.RESUME if action is Action.INTERRUPT and held else action for action in actions)
    return tuple(action for action in kept if action is not Action.INTERRUPT)
