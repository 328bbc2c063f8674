"""Memory over several turns: names, colours, pets, ages, and what was said a moment ago."""

from __future__ import annotations

from collections.abc import Callable

from training.syllabus.intent import Answer, Intent, Row, State, intent
from training.syllabus.world import ANIMALS, COLOURS, NAMES, NOUN, NOUNS, NUMBERS


def _told(field: str, text: str, expect: str = "{v}") -> Callable[[State, Row], Answer]:
    def answer(state: State, row: Row) -> Answer:
        return Answer(text.format(v=row["v"], **_forms(row["v"])), (expect.format(v=row["v"]).lower(),), {field: str(row["v"])})

    return answer


def _forms(value: object) -> dict[str, str]:
    noun = NOUN.get(str(value))
    return {"a": f"{noun:a}", "A": f"{noun:a}".capitalize(), "s": f"{noun:s}"} if noun else {}


def _recalled(field: str, text: str, unknown: str, expect_unknown: str) -> Callable[[State, Row], Answer]:
    def answer(state: State, row: Row) -> Answer:
        value = getattr(state, field)
        if not value:
            return Answer(unknown, (expect_unknown,))
        return Answer(text.format(v=value, **_forms(value)), (value.lower(),))

    return answer


def _repeat(state: State, row: Row) -> Answer:
    if not state.said:
        return Answer("I have not said anything yet.", ("yet",))
    return Answer(state.said, _key_words(state.said))


def _what_did_i_say(state: State, row: Row) -> Answer:
    if not state.heard:
        return Answer("You have not said anything yet.", ("yet",))
    return Answer(f"You said: {state.heard}.", ("said",))


def _key_words(text: str) -> tuple[str, ...]:
    words = ["".join(c for c in word.lower() if c.isalpha() or c == "'") for word in text.split()]
    longest = max(words, key=len)
    return (longest,)


_PETS = [noun for noun in ANIMALS if noun.name in ("dog", "cat", "horse", "rabbit", "mouse", "bird", "fish", "duck", "snake", "frog")]
_LIKED = [noun for noun in NOUNS if noun.kind in ("animal", "fruit", "food", "drink", "vegetable")]

MEMORY: tuple[Intent, ...] = (
    intent("my_name_is", "learns the user's name", """
        my name is {v}
        (i am|i'm) {v}
        (hello|hi|hey) (i am|i'm|my name is) {v}
        (you can|please|just) call me {v}
        (people|my friends) call me {v}
        i am called {v}
        this is {v} (speaking|)
        (hello|hi) nano (i am|i'm|my name is) {v}
        !the name is {v}
        !(good morning|well) my name is {v}
    """, _told("name", "Nice to meet you, {v}."), rows=[{"v": n} for n in NAMES], weight=4, bare=True),
    intent("what_is_my_name", "remembers the user's name", """
        (what is|what's) my name
        do you (know|remember) my name
        who am i
        (and|so) (what is|what's) my name
        (tell me|say) my name
        what am i called
        (do you know|do you remember) who i am
        (what|which) name do i have
        !(can you|please) tell me my name
        !how am i called
    """, _recalled("name", "Your name is {v}.", "You have not told me your name.", "told"),
           states=(State(), *(State(name=n) for n in NAMES)), after=("my_name_is",), alone=0.25, weight=4),
    intent("my_colour_is", "learns the user's favourite colour", """
        my favourite colour is {v}
        (i like|i love) {v} (best|most)
        {v} is my favourite colour
        the colour i like (best|most) is {v}
        (i like|i love) the colour {v} (best|most|)
        my (best|) colour is {v}
        !i think {v} is my favourite colour
        !(you know|well) my favourite colour is {v}
    """, _told("colour", "{v} is a nice colour.".replace("{v}", "I see, {v}. That is a nice colour.", 1).replace(" is a nice colour.", "", 1)
               if False else "I will remember that you like {v}."), rows=[{"v": c} for c in COLOURS], weight=2, bare=True),
    intent("what_is_my_colour", "remembers the user's favourite colour", """
        (what is|what's) my favourite colour
        (which|what) colour do i like (best|most|)
        do you (know|remember) my favourite colour
        (tell me|say) my favourite colour
        (and|so) what is my favourite colour
        !(can you|please) tell me my favourite colour
        !what colour did i say i like
    """, _recalled("colour", "Your favourite colour is {v}.", "You have not told me your favourite colour.", "told"),
           states=(State(), *(State(colour=c) for c in COLOURS)), after=("my_colour_is",), alone=0.25, weight=2.5),
    intent("my_pet_is", "learns which pet the user has", """
        i have {a} (at home|)
        (i have got|i've got) {a}
        my pet is {a}
        i have {a} as a pet
        there is {a} in my house
        !(you know|well) i have {a}
        !at home i have {a}
    """, _told("pet", "{A} is a nice pet."), rows=[{"v": n.name, "a": f"{n:a}"} for n in _PETS], weight=2, bare=True),
    intent("what_is_my_pet", "remembers the user's pet", """
        (what|which) (pet|animal) do i have
        what is my pet
        do you (know|remember) (my pet|what pet i have)
        (tell me|say) what pet i have
        (and|so) what pet do i have
        do i have a pet
        !(can you|please) tell me what pet i have
        !what animal did i say i have
    """, _recalled("pet", "You have {a}.", "You have not told me about your pet.", "told"),
           states=(State(), *(State(pet=n.name) for n in _PETS)), after=("my_pet_is",), alone=0.25, weight=2.5),
    intent("my_age_is", "learns how old the user is", """
        (i am|i'm) {v} years old
        (i am|i'm) {v} years (old|) (now|today)
        my age is {v}
        i have turned {v} (years old|)
        (today|now) i am {v} years old
        !(you know|well) i am {v} years old
        !i turned {v} this year
    """, _told("age", "You are {v} years old."), rows=[{"v": n} for n in NUMBERS[3:]], weight=1.5, bare=True),
    intent("what_is_my_age", "remembers how old the user is", """
        how old am i
        what is my age
        do you (know|remember) (my age|how old i am)
        (tell me|say) how old i am
        (and|so) how old am i
        !(can you|please) tell me how old i am
        !how old did i say i am
    """, _recalled("age", "You are {v} years old.", "You have not told me your age.", "told"),
           states=(State(), *(State(age=n) for n in NUMBERS[3:])), after=("my_age_is",), alone=0.25, weight=2),
    intent("i_like", "learns what the user likes", """
        i (really|) (like|love) {s}
        i like {s} (very much|a lot)
        (you know|i think) i like {s}
        {s} (are|is) (great|my favourite)
        !(well|and) i like {s}
        !i am fond of {s}
    """.replace("{s} (are|is) (great|my favourite)", "what i like is {s}\ni (also|always) like {s}"),
           _told("liked", "I will remember that you like {s}.", "remember"),
           rows=[{"v": n.name, "s": f"{n:s}"} for n in _LIKED], weight=2, bare=True),
    intent("what_do_i_like", "remembers what the user likes", """
        what do i like
        do you (know|remember) what i like
        (tell me|say) what i like
        (and|so) what do i like
        what did i say i like
        !(can you|please) tell me what i like
        !what is it that i like
    """, _recalled("liked", "You like {s}.", "You have not told me what you like.", "told"),
           states=(State(), *(State(liked=n.name) for n in _LIKED)), after=("i_like",), alone=0.25, weight=2.5),
    intent("repeat", "says its last reply again", """
        (please|) repeat (that|it) (please|)
        (can|could) you (repeat|say) (that|it) (again|)
        (please|) say (that|it) again (please|)
        what did you say
        (sorry|) i did not (hear|understand) (you|that)
        (pardon|what)
        once more please
        (sorry|) what was that
        !(can|could) you (please|) repeat what you said
        !say it (once more|one more time)
    """.replace("(repeat|say) (that|it) (again|)", "repeat (that|it)\n(can|could) you say (that|it) again"), _repeat, after=("*",),
           directly=True, alone=0.05, weight=4, bare=True),
    intent("what_did_i_say", "says the user's last sentence again", """
        what did i (just|) (say|ask)
        what did i (say|ask) (before|just now)
        do you (know|remember) what i (just|) said
        (tell me|repeat) what i (just|) said
        what was my (last|) (question|sentence)
        what (have|had) i (just|) (said|asked)
        repeat what i said
        !(can|could) you (tell me|repeat) what i said
        !what was it that i (just|) said
    """, _what_did_i_say, after=("*",), directly=True, alone=0.05, weight=4, bare=True),
)
