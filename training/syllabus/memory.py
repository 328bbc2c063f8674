"""Memory over several turns: names, colours, pets, ages, and what was said a moment ago."""

from __future__ import annotations

from collections.abc import Iterable

from training.syllabus.intent import ANYTHING, OUTSIDE, Answer, Answering, Intent, Row, State, intent, sentence
from training.syllabus.world import ANIMALS, COLOURS, NAMES, NOUNS, NUMBERS

_PETS = [f"{noun:a}" for noun in ANIMALS if noun.name in "dog cat horse rabbit mouse bird fish duck snake frog".split()]
_LIKED = [f"{noun:s}" for noun in NOUNS if noun.kind in ("animal", "fruit", "food", "drink", "vegetable")]
_AGES = NUMBERS[3:]
_MAX_QUOTED_WORDS = 8


def _told(slot: str, reply: str) -> Answering:
    def answer(state: State, row: Row) -> Answer:
        return Answer(sentence(reply.format_map(row)), (_key_word(row["v"]),), {slot: row["v"]})

    return answer


def _recalled(slot: str, reply: str, unknown: str) -> Answering:
    def answer(state: State, row: Row) -> Answer:
        if not (value := getattr(state, slot)):
            return Answer(unknown, ("told",))
        return Answer(reply.format(v=value), (_key_word(value),))

    return answer


def _key_word(value: str) -> str:
    return value.split()[-1].lower()


def _states(slot: str, values: Iterable[str]) -> tuple[State, ...]:
    return (State(), *(State(**{slot: value}) for value in values))  # type: ignore[arg-type]


def _rows(values: Iterable[str]) -> list[Row]:
    return [{"v": value} for value in values]


def _repeat(state: State, row: Row) -> Answer:
    if not state.said:
        return Answer("I have not said anything yet.", ("yet",))
    words = "".join(c if c.isalpha() else " " for c in state.said.lower()).split()
    return Answer(state.said, (max(words, key=len),))


def _is_quotable(state: State) -> bool:
    return 0 < len(state.heard.split()) <= _MAX_QUOTED_WORDS and state.topic != OUTSIDE


def _what_did_i_say(state: State, row: Row) -> Answer:
    if not state.heard:
        return Answer("You have not said anything yet.", ("yet",))
    return Answer(f"You said: {state.heard}.", ("said",))


MEMORY: tuple[Intent, ...] = (
    intent("my_name_is", "learns the user's name", """
        my name is {v}
        i am {v}
        (hello|hi|hey) (i am|my name is) {v}
        (you can|please) call me {v}
        (people|my friends) call me {v}
        i am called {v}
        this is {v} (speaking|)
        (hello|hi) nano (i am|my name is) {v}
        (hello|hi) this is {v}
        !(good morning|well) my name is {v}
        !(hello|hi) you can call me {v}
    """, _told("name", "Nice to meet you, {v}."), rows=_rows(NAMES), weight=7, bare=True),
    intent("what_is_my_name", "remembers the user's name", """
        what is my name
        do you (know|remember) my name
        who am i
        (tell me|say) my name
        what am i called
        do you (know|remember) who i am
        (what|which) name do i have
        what did i say my name is
        can you remember my name
        !(can|could) you tell me my name
        !tell me who i am
    """, _recalled("name", "Your name is {v}.", "You have not told me your name."),
           states=_states("name", NAMES), after=("my_name_is",), alone=0.2, weight=6),
    intent("my_colour_is", "learns the user's favourite colour", """
        my favourite colour is {v}
        (i like|i love) {v} (best|most)
        {v} is my favourite (colour|)
        the colour i like (best|most) is {v}
        (i like|i love) the colour {v} (best|most|)
        my colour is {v}
        i think {v} is the best colour
        !i think my favourite colour is {v}
        !(you know|well) my favourite colour is {v}
    """, _told("colour", "I will remember that you like {v}."), rows=_rows(COLOURS), weight=2.5, bare=True),
    intent("what_is_my_colour", "remembers the user's favourite colour", """
        what is my favourite colour
        (which|what) colour do i like (best|most|)
        do you (know|remember) my favourite colour
        (tell me|say) my favourite colour
        what is my colour
        do you (know|remember) (what|which) colour i like
        can you remember my favourite colour
        !(can|could) you tell me my favourite colour
        !what colour did i say i like
    """, _recalled("colour", "Your favourite colour is {v}.", "You have not told me your favourite colour."),
           states=_states("colour", COLOURS), after=("my_colour_is",), alone=0.2, weight=3),
    intent("my_pet_is", "learns which pet the user has", """
        i have {v} (at home|)
        (i have got|i've got) {v}
        my pet is {v}
        i have {v} as a pet
        there is {v} in my house
        we have {v} (at home|)
        (my family has|i also have) {v}
        !(you know|well) i have {v}
        !at home (i|we) have {v}
    """, _told("pet", "{v} is a nice pet."), rows=_rows(_PETS), weight=2.5, bare=True),
    intent("what_is_my_pet", "remembers the user's pet", """
        (what|which) (pet|animal) do i have
        what is my pet
        do you (know|remember) (my pet|what pet i have)
        (tell me|say) what pet i have
        do i have a pet
        can you remember my pet
        what did i say my pet is
        !(can|could) you tell me what pet i have
        !what animal did i say i have
    """, _recalled("pet", "You have {v}.", "You have not told me about your pet."),
           states=_states("pet", _PETS), after=("my_pet_is",), alone=0.2, weight=3),
    intent("my_age_is", "learns how old the user is", """
        i am {v} years old (now|today|)
        i am already {v} years old
        my age is {v}
        (today|now) (i am) {v} years old
        i will be {v} years old (soon|tomorrow)
        (you know|i think) (i am) {v} years old
        !(well|nano) (i am) {v} years old
        !(hello|hi) (i am) {v} years old
    """, _told("age", "You are {v} years old."), rows=_rows(_AGES), weight=2, bare=True),
    intent("what_is_my_age", "remembers how old the user is", """
        how old am i
        what is my age
        do you (know|remember) (my age|how old i am)
        (tell me|say) how old i am
        how many years old am i
        can you remember my age
        what did i say my age is
        !(can|could) you tell me how old i am
        !how old did i say i am
    """, _recalled("age", "You are {v} years old.", "You have not told me your age."),
           states=_states("age", _AGES), after=("my_age_is",), alone=0.2, weight=2.5),
    intent("i_like", "learns what the user likes", """
        i (really|also|) (like|love) {v}
        i like {v} (very much|a lot|most)
        (you know|i think) i (like|love) {v}
        what i (like|love) is {v}
        my favourite thing is {v}
        !(well|and) i (like|love) {v}
        !i always (like|love) {v}
    """, _told("liked", "I will remember that you like {v}."), rows=_rows(_LIKED), weight=3, bare=True),
    intent("what_do_i_like", "remembers what the user likes", """
        what do i like
        do you (know|remember) what i (like|love)
        (tell me|say) what i (like|love)
        what did i say i (like|love)
        what do i (love|like most)
        can you remember what i like
        what is my favourite thing
        !(can|could) you tell me what i like
        !what is it that i like
    """, _recalled("liked", "You like {v}.", "You have not told me what you like."),
           states=_states("liked", _LIKED), after=("i_like",), alone=0.2, weight=3),
    intent("repeat", "says its last reply again", """
        (please|) repeat (that|it) (please|)
        (can|could) you (please|) repeat (that|it)
        (can|could) you (please|) say (that|it) again
        (please|) say (that|it) again (please|)
        what did you (just|) say
        (sorry|) i (did not|didn't) (hear|understand) (you|that)
        (sorry|) i (do not|don't) understand (you|that|)
        (pardon|what|sorry what)
        (once|one time) more please
        (sorry|) what was that
        what was the answer
        say (that|it|) again
        !(can|could) you repeat what you said
        !say (it|that) (once more|one more time)
    """, _repeat, after=(ANYTHING,), directly=True, alone=0.04, weight=5, bare=True),
    intent("what_did_i_say", "says the user's last sentence again", """
        what did i (just|) (say|ask)
        what did i (say|ask) (before|just now|you)
        do you (know|remember) what i (just|) (said|asked)
        (tell me|repeat) what i (just|) (said|asked)
        what was my (last|) question
        what have i (just|) (said|asked)
        what was it that i (said|asked)
        can you remember what i (said|asked)
        !(can|could) you (tell me|repeat) what i (said|asked)
        !what did i say to you
    """, _what_did_i_say, suits=_is_quotable, after=(ANYTHING,), directly=True, alone=0.04, weight=5, bare=True),
)
