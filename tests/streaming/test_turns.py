from __future__ import annotations

import itertools

import pytest

from streaming.turns import Action, Event, IllegalTransition, Policy, State, step

BOTH = Policy()
NO_INTERRUPTION = Policy(interrupt_response=False)
BY_HAND = Policy(create_response=False, interrupt_response=False)


def run(events: list[Event], policy: Policy, state: State = State.LISTENING) -> tuple[State, list[Action]]:
    actions = []
    for event in events:
        state, new = step(state, event, policy)
        actions += new
    return state, actions


def test_a_turn_and_its_reply():
    state, actions = run([Event.SPEECH_BEGAN, Event.SPEECH_ENDED], BOTH)
    assert actions == [Action.ANNOUNCE_SPEECH, Action.INTERRUPT, Action.COMMIT, Action.REPLY]
    assert run([Event.REPLY_BEGAN, Event.REPLY_ENDED], BOTH, state) == (State.LISTENING, [])


def test_speech_during_a_reply_interrupts_it():
    state, actions = run([Event.REPLY_BEGAN, Event.SPEECH_BEGAN], BOTH)
    assert actions == [Action.ANNOUNCE_SPEECH, Action.INTERRUPT]
    assert step(state, Event.REPLY_ENDED, BOTH) == (State.HEARING, ())


def test_without_interruption_the_answer_follows_when_the_running_reply_ends():
    state, actions = run([Event.REPLY_BEGAN, Event.SPEECH_BEGAN, Event.SPEECH_ENDED], NO_INTERRUPTION)
    assert actions == [Action.ANNOUNCE_SPEECH, Action.COMMIT]
    assert step(state, Event.REPLY_ENDED, NO_INTERRUPTION) == (State.LISTENING, (Action.REPLY,))


def test_with_neither_only_speech_is_announced_and_committed():
    state, actions = run([Event.REPLY_BEGAN, Event.SPEECH_BEGAN, Event.SPEECH_ENDED], BY_HAND)
    assert (state, actions) == (State.REPLYING, [Action.ANNOUNCE_SPEECH, Action.COMMIT])


def test_dropped_speech_leaves_no_turn():
    assert run([Event.SPEECH_BEGAN, Event.SPEECH_DROPPED], NO_INTERRUPTION) == (
        State.LISTENING,
        [Action.ANNOUNCE_SPEECH],
    )
    assert step(State.OVERLAPPING, Event.SPEECH_DROPPED, BOTH) == (State.REPLYING, ())


def test_a_client_may_ask_for_a_reply_while_the_user_speaks():
    assert run([Event.SPEECH_BEGAN, Event.REPLY_BEGAN], BOTH)[0] is State.OVERLAPPING


@pytest.mark.parametrize(
    ("before", "doubting"), [(State.LISTENING, State.DOUBTING), (State.REPLYING, State.DOUBTING_REPLY)]
)
def test_a_suspicion_holds_the_sound_and_what_was_no_speech_lets_it_go_on(before, doubting):
    assert step(before, Event.SPEECH_SUSPECTED, BOTH) == (doubting, (Action.PAUSE,))
    assert step(doubting, Event.SPEECH_DROPPED, BOTH) == (before, (Action.RESUME,))


def test_a_suspicion_that_was_right_interrupts():
    cut = (Action.ANNOUNCE_SPEECH, Action.INTERRUPT)
    assert step(State.DOUBTING, Event.SPEECH_BEGAN, BOTH) == (State.HEARING, cut)
    state, actions = step(State.DOUBTING_REPLY, Event.SPEECH_BEGAN, BOTH)
    assert actions == cut and step(state, Event.REPLY_ENDED, BOTH) == (State.HEARING, ())


def test_a_reply_may_begin_and_end_while_the_user_is_in_doubt():
    assert run([Event.SPEECH_SUSPECTED, Event.REPLY_BEGAN], BOTH) == (State.DOUBTING_REPLY, [Action.PAUSE])
    assert step(State.DOUBTING_REPLY, Event.REPLY_ENDED, BOTH) == (State.DOUBTING, ())


def test_interruption_switched_off_in_doubt_leaves_no_sound_held():
    for state in (State.DOUBTING, State.DOUBTING_REPLY):
        _, actions = step(state, Event.SPEECH_BEGAN, NO_INTERRUPTION)
        assert actions == (Action.ANNOUNCE_SPEECH, Action.RESUME)


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (State.HEARING, Event.SPEECH_SUSPECTED),
        (State.OWING, Event.SPEECH_SUSPECTED),
        (State.DOUBTING, Event.SPEECH_SUSPECTED),
        (State.DOUBTING, Event.SPEECH_ENDED),
        (State.LISTENING, Event.SPEECH_ENDED),
        (State.LISTENING, Event.REPLY_ENDED),
        (State.HEARING, Event.SPEECH_BEGAN),
        (State.HEARING, Event.REPLY_ENDED),
        (State.REPLYING, Event.REPLY_BEGAN),
        (State.REPLYING, Event.SPEECH_ENDED),
        (State.OVERLAPPING, Event.SPEECH_BEGAN),
        (State.OVERLAPPING, Event.REPLY_BEGAN),
        (State.OWING, Event.REPLY_BEGAN),
    ],
    ids=lambda value: value.name,
)
def test_an_illegal_transition_names_state_and_event(state, event):
    with pytest.raises(IllegalTransition, match=f"{event.name}.*{state.name}"):
        step(state, event, BOTH)


def test_from_every_state_the_floor_can_become_free_again():
    for policy in (BOTH, NO_INTERRUPTION, BY_HAND):
        for start in State:
            reached = {start}
            for _ in State:
                for state, event in itertools.product(list(reached), Event):
                    try:
                        reached.add(step(state, event, policy)[0])
                    except IllegalTransition:
                        pass
            assert State.LISTENING in reached
