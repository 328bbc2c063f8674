"""Pictures in conversation: what the camera shows, now or a while ago, and drawings to order.

What is asked about a picture is answered from `State.seen`, the last one shown. `Answer.draws` says what is drawn
behind the reply; a thing is drawn in a colour of its own where none was asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from training.syllabus.intent import Answer, Answering, Intent, Picture, Row, State, intent, sentence
from training.syllabus.world import COLOURS, NOUN, NOUNS, NUMBERS, PICTURED, with_article

NO_PICTURE = "I see no picture. Please show me something."
DARK = "It is dark. I see nothing."
EMPTY = "I see nothing there."
NOTHING_SHOWN = "You have not shown me anything yet."
NOTHING_DRAWN = "I have not drawn anything yet."
_EMPTY_SHARE, _OWN_SHARE = 0.04, 0.35
_COUNTS = {1: 55, 2: 15, 3: 15, 4: 15}
_UNKNOWN = tuple("house flower dragon castle face man woman king queen road river mountain island rocket robot "
                 "ship crown ghost dinosaur zebra".split())
"""Nothing of PICTURED: nano cannot draw it."""


def any_picture(rng: random.Random) -> Picture:
    """What the camera might show."""
    if rng.random() < _EMPTY_SHARE:
        return Picture("", "", 0)
    thing = rng.choice(list(PICTURED))
    colour = PICTURED[thing] if rng.random() < _OWN_SHARE else rng.choice(COLOURS)
    return Picture(thing, colour, rng.choices(list(_COUNTS), list(_COUNTS.values()))[0])


def named(thing: str, colour: str = "", count: int = 1) -> str:
    """'a red apple', 'blue scissors', 'the sun', 'three apples'."""
    noun = NOUN[thing]
    if count > 1:
        return f"{NUMBERS[count]} {noun.plural}"
    words = f"{colour} {noun.name}".strip()
    return {"one": with_article(words), "the": f"the {words}"}.get(noun.number, words)


def _plural(picture: Picture) -> bool:
    return picture.count > 1 or NOUN[picture.thing].number == "many"


def _about_seen(about: Callable[[Picture, Row], Answer]) -> Answering:
    """An answer about the thing that is seen, or that nothing is."""

    def answer(state: State, row: Row) -> Answer:
        if state.dark:
            return Answer(DARK, ("dark",))
        if state.seen is None:
            return Answer(NO_PICTURE, ("picture",))
        if not state.seen.count:
            return Answer(EMPTY, ("nothing",))
        return about(state.seen, row)

    return answer


def _what_is_it(seen: Picture, row: Row) -> Answer:
    noun = NOUN[seen.thing]
    if _plural(seen):
        return Answer(f"Those are {noun.plural}.", (noun.plural,))
    return Answer(f"That is {noun:a}.", (noun.name,))


def _what_is_there(seen: Picture, row: Row) -> Answer:
    return Answer(f"I see {named(seen.thing, seen.colour, seen.count)}.", _names(seen.thing))


def _colour(seen: Picture, row: Row) -> Answer:
    return Answer(f"{_they_are(seen)} {seen.colour}.", (seen.colour,))


def _is_it_coloured(seen: Picture, row: Row) -> Answer:
    right = row["colour"] == seen.colour
    return Answer(f"{'Yes' if right else 'No'}, {_they_are(seen).lower()} {seen.colour}.", (seen.colour,))


def _they_are(seen: Picture) -> str:
    return "They are" if _plural(seen) else "It is"


def _is_it(seen: Picture, row: Row) -> Answer:
    noun = NOUN[seen.thing]
    what = f"those are {noun.plural}" if _plural(seen) else f"that is {noun:a}"
    return Answer(f"{'Yes' if row['x'] is noun else 'No'}, {what}.", _names(seen.thing))


def _how_many(seen: Picture, row: Row) -> Answer:
    number = NUMBERS[seen.count]
    return Answer(f"I see {number}.", (number,))


def _what_for(seen: Picture, row: Row) -> Answer:
    noun = NOUN[seen.thing]
    if not noun.use:
        return _what_kind(seen, row)
    return Answer(sentence(f"{noun:a} {noun:is} for {noun.use}."), (noun.use.split()[-1],))


def _what_kind(seen: Picture, row: Row) -> Answer:
    noun = NOUN[seen.thing]
    if not noun.kind or noun.number == "many":
        return _what_is_it(replace(seen, count=1), row)
    kind = noun.kind if noun.kind == "food" else with_article(noun.kind)
    return Answer(sentence(f"{noun:a} is {kind}."), (noun.kind.split()[-1],))


def _names(thing: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((NOUN[thing].name, NOUN[thing].plural)))


def _before(state: State, row: Row) -> Answer:
    """The thing shown before the one that is seen now; where there was only one, that one."""
    seen = state.seen_before or state.seen
    if seen is None or not seen.count:
        return Answer(NOTHING_SHOWN, ("shown",))
    return Answer(f"You showed me {named(seen.thing, count=seen.count)}.", _names(seen.thing))


def _drawn(thing: str, colour: str) -> Answer:
    """A drawing, in the thing's own colour where none is named."""
    return Answer(
        f"Here is {named(thing, colour)}." if NOUN[thing].number != "many" else f"Here are {named(thing, colour)}.",
        _names(thing),
        draws=Picture(thing, colour or PICTURED[thing]),
    )


def _draw(state: State, row: Row) -> Answer:
    return _drawn(row["thing"], row["colour"])


def _changed(state: State, row: Row) -> Answer:
    """The last drawing in the row's colour, or once more."""
    if state.drawn is None:
        return Answer(NOTHING_DRAWN, ("drawn",))
    return _drawn(state.drawn.thing, row.get("colour", state.drawn.colour))


def _draw_seen(seen: Picture, row: Row) -> Answer:
    return _drawn(seen.thing, seen.colour)


def _what_was_drawn(state: State, row: Row) -> Answer:
    if state.drawn is None:
        return Answer(NOTHING_DRAWN, ("drawn",))
    return Answer(f"I drew {named(state.drawn.thing)}.", _names(state.drawn.thing))


_ALL = tuple(Picture(thing, colour) for thing in PICTURED for colour in COLOURS)
_THINGS = tuple(Picture(thing, "red", count) for thing in PICTURED for count in _COUNTS)
_COLOURED = tuple(Picture("cat", colour, count) for colour in COLOURS for count in (1, 2))
_UNSEEN = (State(), State(dark=True), State(seen=Picture("", "", 0)))


def _seeing(*pictures: Picture) -> tuple[State, ...]:
    return (*_UNSEEN, *(State(seen=picture) for picture in pictures))


_SHOWN_BY = ("what_is_this", "what_do_you_see", "colour_of_this", "is_this_a", "how_many_shown")
_AFTER_DRAWING: dict[str, Any] = {
    "after": ("draw", "draw_this", "draw_something"),
    "suits": lambda state: state.drawn is not None,
    "states": (State(), *(State(drawn=picture) for picture in _ALL)),
}
_DRAW_ROWS: list[Row] = [
    {"thing": thing, "colour": colour, "a": named(thing, colour)} for thing in PICTURED for colour in ("", *COLOURS)
]
_CANNOT_DRAW = [*map(with_article, _UNKNOWN),
                *(f"{noun:a}" for noun in NOUNS if noun.number == "one" and noun.name not in PICTURED)]

SEEING: tuple[Intent, ...] = (
    intent("what_is_this", "says what it is shown", """
        what is (this|that|it)
        what is (this|that) (here|thing|one)
        what is this (that i am showing you|that i show you|in my hand)
        what (do i have|have i got) here
        (can you|could you) tell me what (this|that) is
        tell me what (this|that|it) is
        do you know what (this|that|it) is
        do you recognize (this|that|it)
        what am i (holding|showing you) (now|)
        what am i holding (up|in my hand)
        what (do|would) you call (this|that)
        what (could|might) (this|that|it) be
        and what is (this|that)
        and (this|that)
        look at this what is it
        look what is (this|that)
        guess what (this|that) is
        what is this called
        name (this|that) (thing|)
        what kind of (thing|object) is (this|that)
        what is in (this|the) picture
        what does the picture show
        !what is this thing called
        !do you know what i am holding
        !can you recognize (this|that)
    """, _about_seen(_what_is_it), takes="picture", weight=10, states=_seeing(*_THINGS)),
    intent("what_do_you_see", "describes what it sees: how many, in which colour", """
        what (can|do) you see (now|here|there|)
        what are you seeing (now|)
        tell me what you see now
        look at (this|that|it)
        (take a|have a) look (at this|)
        (please|) describe (this|that|it|what you see|this picture|the picture)
        (can|could) you describe (this|that|what you see|this picture)
        what is there (to see|)
        what is in front of (you|the camera)
        what does the camera (see|show)
        what is on the camera
        do you see (this|that|it)
        can you see (this|that|it|what i have)
        tell me about (this|that|this picture)
        !tell me what you see
        !what can you see in (this|the) picture
    """, _about_seen(_what_is_there), takes="picture", weight=6, states=_seeing(*_ALL, *_THINGS)),
    intent("colour_of_this", "says what colour the thing that it sees has", """
        (what|which) colour is (this|that|it)
        (what|which) colour does (this|that|it) have
        (what|which) colour are (these|those|they)
        what is the colour of (this|that|it)
        what is its colour
        tell me (the|its) colour
        tell me (what|which) colour (this|that|it) is
        do you (know|see) (what|which) colour (this|that|it) is
        (can|could) you (see|tell me) (what|which) colour it is
        and (what|which) colour (is it|)
        and the colour
        (what|which) colour is this (thing|one)
        !(can|could) you tell me the colour (of this|of that|)
        !(what|which) colour do you see
    """, _about_seen(_colour), takes="picture", weight=6, states=_seeing(*_COLOURED)),
    intent("is_it_this_colour", "says yes or no about the colour that it sees", """
        is (this|that|it) {colour}
        are (these|they) {colour}
        is the (thing|colour) that you see {colour}
        is the colour {colour}
        do you see {colour}
        is its colour {colour}
        (this|that) is {colour} (right|is it)
        would you say it is {colour}
        !do you think (this|that|it) is {colour}
        !does it look {colour}
    """, _about_seen(_is_it_coloured), rows=[{"colour": colour} for colour in COLOURS], takes="picture", weight=3,
           states=_seeing(*_COLOURED), follow=("and {colour}", "or {colour}", "is it {colour}"),
           likely=lambda state, row: state.seen is not None and row["colour"] == state.seen.colour),
    intent("is_this_a", "says yes or no about what it is shown", """
        (is|isn't) (this|that|it) {x:a}
        are (these|those|they) {x:s}
        do you see {x:a}
        can you see {x:a} (there|here|)
        do you think (this|that) is {x:a}
        is there {x:a} (in the picture|here|)
        (this|that) is {x:a} (right|isn't it)
        is what i am holding {x:a}
        am i (holding|showing you) {x:a}
        tell me if (this|that) is {x:a}
        would you say (this|that) is {x:a}
        !(can|could) you tell me if (this|that|it) is {x:a}
        !does (this|that) look like {x:a}
    """, _about_seen(_is_it), rows=[{"x": NOUN[thing]} for thing in PICTURED], takes="picture", weight=5,
           states=_seeing(*_THINGS), follow=("or {x:a}", "and {x:a}", "is it {x:a}"),
           likely=lambda state, row: state.seen is not None and row["x"].name == state.seen.thing),
    intent("how_many_shown", "counts the things that it sees, up to four", """
        how many (are there|are these|are they|do you see|can you see|do i have|am i showing you)
        how many (things|of them) (are there|do you see|can you see)
        (can|could) you count (them|these|the things)
        count (them|these|the things) (for me|)
        tell me how many (there are|you see)
        do you see how many (there are|i have)
        what number of things do you see
        how many (are|is) (that|this)
        and how many (are there|)
        how many (things|) are in the picture
        !(can|could) you tell me how many (there are|you see)
        !do you know how many (there are|these are)
    """, _about_seen(_how_many), takes="picture", weight=5,
           states=_seeing(*(Picture("cat", "red", count) for count in _COUNTS))),
    intent("what_is_it_for", "knows what the thing that it sees is for", """
        what is (this|that|it) (used|good|) for
        what (do|can) (i|you|people) do with (this|that|it)
        what (do|can) (i|you|people) use (this|that|it) for
        what do (i|people) need (this|that|it) for
        tell me what (this|that|it) is for
        do you know what (this|that|it) is for
        why do people (need|have) (this|that|it)
        what is the use of (this|that|it)
        and what is it for
        how (do|can) i use (this|that|it)
        !(can|could) you tell me what (this|that|it) is for
        !what would you do with (this|that|it)
    """, _about_seen(_what_for), takes="picture", weight=4,
           states=_seeing(*(Picture(thing, "red") for thing in PICTURED))),
    intent("what_kind_shown", "knows what kind of thing it sees", """
        is (this|that|it) an animal or a thing
        is (this|that|it) (an animal|a fruit|a tool|a toy|a vehicle) or something else
        what sort of thing is (this|that|it)
        which kind of thing do you see
        what kind of animal or thing is (this|that)
        is (this|that|it) something to eat
        can i eat (this|that|it)
        what kind is (it|this)
        !tell me what kind of thing (this|that|it) is
        !do you know what kind of thing it is
    """, _about_seen(_what_kind), takes="picture", weight=2.5,
           states=_seeing(*(Picture(thing, "red") for thing in PICTURED))),
    intent("what_was_shown", "remembers what it was shown before", """
        what did i show you (before|before this|before that|earlier|a moment ago|)
        what was (it|that) (before|before this)
        what was the (last|other) thing (i showed you|)
        what was there before
        what did you see (before|before this|earlier)
        what have i shown you (before|)
        do you (know|remember) what i showed you (before|)
        do you remember what you saw (before|)
        (tell me|say) what i showed you (before|)
        what was i holding before
        what was in my hand before
        which thing did i show you before
        what was in the picture before
        can you remember what i showed you
        !(can|could) you tell me what i showed you (before|)
        !what was it that i showed you
    """, _before, takes="picture", after=_SHOWN_BY, alone=0.06, weight=6,
           suits=lambda state: state.seen is not None,
           states=(State(), *(State(seen=picture) for picture in _THINGS))),
)  # fmt: skip

DRAWING: tuple[Intent, ...] = (
    intent("draw", "draws animals, fruit, tools and more in any colour", """
        draw {a} (for me|)
        draw me {a}
        (can|could|will) you draw {a} (for me|)
        (can|could|will|would) you draw me {a}
        paint (me|) {a}
        (can|could) you paint (me|) {a}
        (make|do) (me|) a (drawing|picture) of {a}
        (can|could) you make (me|) a (drawing|picture) of {a}
        show me (a picture of|a drawing of|) {a}
        (can|could) you show me (a picture of|a drawing of) {a}
        i want (you to draw|a picture of|a drawing of|to see) {a}
        i would like (you to draw|a picture of|a drawing of|to see) {a}
        let me see {a}
        (i need|give me) a (picture|drawing) of {a}
        (now|please) draw {a}
        (a picture|a drawing) of {a}
        create (a picture of|) {a}
        sketch {a} (for me|)
        !i would love (a picture of|to see) {a}
        !would you make a drawing of {a}
        !draw a picture of {a}
    """, _draw, rows=_DRAW_ROWS, weight=13, polite=True,
           likely=lambda state, row: not row["colour"],
           follow=("and {a}", "now {a}", "and now {a}", "now draw {a}", "and draw {a}", "what about {a}",
                   "{a} this time", "next draw {a}", "another one but {a}", "then {a}")),
    intent("change_colour", "draws its last drawing again in another colour", """
        make it {colour}
        (now|and now|and|) in {colour}
        (can|could|will) you make it {colour}
        (can|could) you draw it in {colour}
        (draw|paint|do) (it|that|the same|the same thing) in {colour}
        paint it {colour}
        colour it {colour}
        (now|and now) make it {colour}
        i want it (in|) {colour}
        i would like it in {colour}
        the same (one|thing|) (in|but in|but) {colour}
        {colour} (instead|this time)
        change (the colour to|it to) {colour}
        can it be {colour}
        it should be {colour}
        better in {colour}
        !how about {colour}
        !turn it {colour}
        !let it be {colour}
    """, _changed, rows=[{"colour": colour} for colour in COLOURS], **_AFTER_DRAWING, directly=True, alone=0.04,
           weight=6, polite=True, follow=("and {colour}", "and in {colour}", "now {colour}", "now in {colour}")),
    intent("draw_again", "draws its last drawing once more", """
        draw (it|that|the same|the same thing) (again|once more)
        (can|could) you draw (it|that) (again|once more)
        draw (another one|one more|another)
        (can|could) you draw (another one|one more)
        draw another of these
        paint (it|that) again
        i want (another|one more) (picture|drawing) of it
        (another|one more) drawing of it
        make another one
        !draw me one more
        !paint another one
    """, _changed, **_AFTER_DRAWING, directly=True, alone=0.06, weight=3, polite=True),
    intent("draw_this", "draws what it sees", """
        draw (this|what you see|what i show you|what you see here)
        (can|could|will) you draw (this|what you see|what i show you)
        draw (me|) what (this|that) is
        paint (this|what you see)
        make a (drawing|picture) of (this|what you see)
        (can|could) you make a (drawing|picture) of this
        i want you to draw this
        draw what i am holding
        draw the thing that you see
        !please draw what is there
        !paint what i show you
    """, _about_seen(_draw_seen), takes="picture", weight=3, polite=True, states=_seeing(*_ALL)),
    intent("draw_something", "draws the sun when it may choose", """
        draw (something|anything|a picture) (for me|)
        draw me (something|a picture)
        (can|could|will) you draw (something|a picture|me something|me a picture) (for me|)
        (make|paint|show) me a picture
        (can|could) you (paint|make) a picture (for me|)
        i want (a picture|to see a picture|a drawing)
        draw (whatever|what) you (like|want)
        paint something
        a (picture|drawing) please
        surprise me with a (picture|drawing)
        !i want you to draw (something|a picture)
        !let me see a (picture|drawing)
    """, lambda state, row: _drawn("sun", ""), weight=2, polite=True),
    intent("cannot_draw", "says honestly what it cannot draw", """
        draw {a} (for me|)
        draw me {a}
        (can|could) you draw (me|) {a}
        paint (me|) {a}
        (can|could) you paint {a}
        make a (drawing|picture) of {a}
        i want a (picture|drawing) of {a}
        show me (a picture of|a drawing of) {a}
        !would you draw {a} (for me|)
        !draw a picture of {a}
    """, "I am sorry, I cannot draw that.", "cannot", [{"a": name} for name in _CANNOT_DRAW], weight=3, polite=True),
    intent("what_did_you_draw", "remembers what it drew", """
        what did you (just|) draw
        which picture did you draw
        what is on your (drawing|picture)
        what (is|was) (the|your) (drawing|picture) of
        what does your drawing show
        do you (know|remember) what you drew
        (tell me|say) what you drew
        which thing did you draw
        what was your (last|) (drawing|picture)
        !(can|could) you tell me what you drew
        !what was it that you drew
    """, _what_was_drawn, **_AFTER_DRAWING, alone=0.1, weight=3),
)  # fmt: skip

PICTURES: tuple[Intent, ...] = SEEING + DRAWING
