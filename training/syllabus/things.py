"""The world of things: animals, colours, what things are, are for and where they are, and a little about words."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

from training.syllabus.intent import Answer, Intent, Row, State, intent, sentence
from training.syllabus.world import (
    ANIMALS,
    BODY,
    CAN_FLY,
    CAN_SWIM,
    CAPITALS,
    COLOURS,
    HOT_OR_COLD,
    JOBS,
    MIXES,
    NEEDED,
    NOUN,
    NOUNS,
    OPPOSITES,
    ORIGINS,
    RHYMES,
    SENSES,
    SIZES,
    TASTES,
    WHEELS,
    Noun,
    with_article,
)

_AND_ONE = ("and {x:a}", "what about {x:a}", "how about {x:a}")
_AND_MANY = (*_AND_ONE, "and {x:s}", "what about {x:s}")


def _kind(kind: str) -> str:
    return kind if kind == "food" else with_article(kind)


def _is_it_a_rows() -> list[Row]:
    """Every thing with its own kind and with every other common kind."""
    nouns = [noun for noun in NOUNS if noun.kind and noun.number != "many"]
    common = {kind for kind, count in Counter(noun.kind for noun in nouns).items() if count > 2}
    return [{"x": noun, "asked": _kind(asked), "kind": _kind(noun.kind), "last": noun.kind.split()[-1],
             "right": asked == noun.kind, "yes": "Yes" if asked == noun.kind else "No"}
            for noun in nouns for asked in sorted(common | {noun.kind})]


def _is_it_coloured_rows() -> list[Row]:
    return [{"x": noun, "asked": asked, "right": asked == noun.colour, "yes": "Yes" if asked == noun.colour else "No"}
            for noun in NOUNS if noun.colour for asked in COLOURS]


def _is_right(state: State, row: Row) -> bool:
    return bool(row["right"])


def _size_rows() -> list[Row]:
    rows: list[Row] = []
    for first, second in permutations(SIZES, 2):
        small, big = sorted((first, second), key=SIZES.index)
        rows.append({"x": NOUN[first], "y": NOUN[second], "big": NOUN[big], "small": NOUN[small],
                     "yes": "Yes" if first == big else "No"})
    return rows


def _first_by(fact: str) -> list[Row]:
    """Each value of a fact about animals with the first animal that it is true of."""
    first: dict[str, Noun] = {}
    for noun in ANIMALS:
        first.setdefault(getattr(noun, fact), noun)
    return [{fact: value, "x": noun} for value, noun in first.items()]


def _ability(state: State, row: Row) -> Answer:
    noun, verb = row["x"], row["verb"]
    if row["able"]:
        return Answer(f"Yes, {noun:a} can {verb}.", (verb,))
    return Answer(f"No, {noun:a} cannot {verb}.", ("cannot",))


def _example(state: State, row: Row) -> Answer:
    noun = row["x"]
    return Answer(sentence(f"{noun:a} {noun:is} {noun.colour}."), (noun.name,))


_ABILITIES = [{"x": NOUN[name], "verb": verb, "able": able}
              for verb, table in (("fly", CAN_FLY), ("swim", CAN_SWIM)) for name, able in table.items()]
_COLOUR_EXAMPLES = "cherry sky cucumber banana carrot plum pig bear coal snow elephant".split()
_PLURAL_SENSES = {*SENSES} - {"nose", "mouth"}
_KIND_EXAMPLES = {"animal": "a cat", "fruit": "an apple", "vegetable": "a carrot", "colour": "red", "day": "Monday",
                  "month": "May", "drink": "milk", "tool": "a hammer", "toy": "a ball", "bird": "an owl",
                  "vehicle": "a car", "instrument": "a piano", "flower": "a rose", "season": "summer",
                  "country": "France", "city": "Paris"}

ANIMAL_LIFE: tuple[Intent, ...] = (
    intent("sound", "knows what animals say", """
        (what|which) (sound|noise) does {x:a} make
        (what|which) (sound|noise) do {x:s} make
        what does {x:a} say
        what do {x:s} say
        how does {x:a} (go|sound)
        what does the {x} say
        (make|do) the (sound|noise) of {x:a}
        (can|could) you (make|do) the (sound|noise) of {x:a}
        tell me what {x:a} says
        do you know what {x:a} says
        what is the (sound|noise) of {x:a}
        !(can|could) you tell me what sound {x:a} makes
        !what (sound|noise) does the {x} make
    """, "{x:a} says {x.sound}.", "{x.sound}", [{"x": noun} for noun in ANIMALS if noun.sound], weight=3,
           follow=(*_AND_MANY, "and the {x}", "what about the {x}")),
    intent("who_says", "knows which animal makes a sound", """
        (what|which) animal (says|goes|makes) {x.sound}
        (who|what) (says|goes) {x.sound}
        tell me (who|which animal) says {x.sound}
        do you know (who|which animal) says {x.sound}
        (what|which) animal makes the (sound|noise) {x.sound}
        {x.sound} (which|what) animal (says that|is it)
        !(can|could) you tell me (who|which animal) says {x.sound}
        !who makes the (sound|noise) {x.sound}
    """, "{x:a} says {x.sound}.", "{x}", [{"x": noun} for noun in ANIMALS if noun.sound], weight=2,
           follow=("and who says {x.sound}", "and {x.sound}", "what about {x.sound}")),
    intent("home", "knows where animals live", """
        where does {x:a} live
        where do {x:s} live
        where is the home of {x:a}
        tell me where {x:a} lives
        do you know where {x:s} live
        where (can|do) (i|you|we) (find|see) {x:a}
        what is the home of {x:a}
        where does the {x} live
        where is {x:a} at home
        !(can|could) you tell me where {x:s} live
        !where do you think {x:s} live
    """, "{x:a} lives {x.home}.", "{last}", [{"x": noun, "last": noun.home.split()[-1]} for noun in ANIMALS], weight=3,
           follow=(*_AND_MANY, "and where does {x:a} live")),
    intent("diet", "knows what animals eat", """
        what does {x:a} (like to|) eat
        what do {x:s} (like to|) eat
        what is the food of {x:a}
        tell me what {x:a} eats
        do you know what {x:s} eat
        what (can|should) i give {x:a} to eat
        what food (do {x:s}|does {x:a}) (like|eat)
        what does the {x} eat
        what is the favourite food of {x:a}
        !(can|could) you tell me what {x:s} eat
        !what do you think {x:s} eat
    """, "{x:a} eats {x.food}.", "{x.food}", [{"x": noun} for noun in ANIMALS], weight=3,
           follow=(*_AND_MANY, "and what does {x:a} eat")),
    intent("who_lives", "knows which animal lives somewhere", """
        (which|what) animal lives {home}
        (who|what) lives {home}
        tell me (who|which animal) lives {home}
        do you know (who|which animal) lives {home}
        (which|what) animals live {home}
        name an animal that lives {home}
        !(can|could) you tell me (who|which animal) lives {home}
        !what kind of animal lives {home}
    """, "{x:a} lives {home}.", "{x}", _first_by("home"), weight=2, follow=("and {home}", "and who lives {home}")),
    intent("who_eats", "knows which animal eats something", """
        (which|what) animal eats {food}
        (who|what) eats {food}
        tell me (who|which animal) eats {food}
        do you know (who|which animal) eats {food}
        (which|what) animals eat {food}
        who likes to eat {food}
        !(can|could) you tell me (who|which animal) eats {food}
        !what kind of animal eats {food}
    """, "{x:a} eats {food}.", "{x}", _first_by("food"), weight=2, follow=("and who eats {food}", "and {food}")),
    intent("legs", "knows how many legs animals have", """
        how many legs does {x:a} have
        how many legs do {x:s} have
        how many legs has {x:a} (got|)
        how many legs are on {x:a}
        tell me how many legs {x:a} has
        do you know how many legs {x:a} has
        how many legs does the {x} have
        does {x:a} have legs
        !(can|could) you tell me how many legs {x:s} have
        !what is the number of legs of {x:a}
    """, "{x:a} has {x.legs} legs.", "legs", [{"x": noun} for noun in ANIMALS if noun.legs], weight=3,
           follow=(*_AND_MANY, "and how many legs does {x:a} have")),
    intent("young", "knows what young animals are called", """
        what is a (young|baby|small) {x} called
        what do you call a (young|baby|small) {x}
        what is the (name of|word for) a (young|baby) {x}
        how do you call a (young|baby) {x}
        what is the baby of {x:a} (called|)
        tell me the (name of|word for) a (young|baby) {x}
        do you know the (name of|word for) a (young|baby) {x}
        what is a (young|baby|small) {x}
        !(can|could) you tell me what a baby {x} is called
        !what are (young|baby) {x:s} called
    """, "A young {x} is a {x.young}.", "{x.young}", [{"x": noun} for noun in ANIMALS if noun.young], weight=2,
           follow=("and a young {x}", "and {x:a}", "and a baby {x}", "what about {x:a}")),
    intent("ability", "knows which animals and things fly or swim", """
        can {x:a} {verb}
        can {x:s} {verb}
        do {x:s} {verb}
        does {x:a} {verb}
        is {x:a} able to {verb}
        tell me if {x:a} can {verb}
        do you know if {x:s} can {verb}
        can the {x} {verb}
        !is it true that {x:s} can {verb}
        !do you think {x:a} can {verb}
    """, _ability, rows=_ABILITIES, weight=2, follow=("and {x:a}", "what about {x:a}", "and can {x:a} {verb}"),
           keeps=("verb",)),
    intent("bigger", "says which of two animals is bigger", """
        (what|which|who) is (bigger|larger) {x:a} or {y:a}
        is {x:a} (bigger|larger) or {y:a}
        which animal is (bigger|larger) {x:a} or {y:a}
        {x:a} or {y:a} (which|who) is (bigger|larger)
        tell me (which|who) is (bigger|larger) {x:a} or {y:a}
        is {x:a} or {y:a} (bigger|larger)
        !do you know which is (bigger|larger) {x:a} or {y:a}
        !(can|could) you tell me which is bigger {x:a} or {y:a}
    """, "{big:a} is bigger than {small:a}.", "bigger", _size_rows(), weight=2,
           follow=("and {x:a} or {y:a}", "what about {x:a} or {y:a}")),
    intent("smaller", "says which of two animals is smaller", """
        (what|which|who) is smaller {x:a} or {y:a}
        is {x:a} smaller or {y:a}
        which animal is smaller {x:a} or {y:a}
        {x:a} or {y:a} (which|who) is smaller
        tell me (which|who) is smaller {x:a} or {y:a}
        is {x:a} or {y:a} smaller
        !do you know which is smaller {x:a} or {y:a}
        !(can|could) you tell me which is smaller {x:a} or {y:a}
    """, "{small:a} is smaller than {big:a}.", "smaller", _size_rows(), weight=2,
           follow=("and {x:a} or {y:a}", "what about {x:a} or {y:a}")),
    intent("is_bigger", "says yes or no about which animal is bigger", """
        is {x:a} (bigger|larger) than {y:a}
        are {x:s} (bigger|larger) than {y:s}
        tell me if {x:a} is (bigger|larger) than {y:a}
        do you know if {x:a} is bigger than {y:a}
        is the {x} bigger than the {y}
        !is it true that {x:a} is bigger than {y:a}
        !do you think {x:a} is bigger than {y:a}
    """, "{yes}, {big:a} is bigger than {small:a}.", "bigger", _size_rows(), weight=2,
           follow=("and bigger than {y:a}", "and is {x:a} bigger than {y:a}"), keeps=("x",)),
)

COLOURING: tuple[Intent, ...] = (
    intent("what_colour", "knows the colour of things", """
        what colour {x:is} {x:a}
        what colour {x:are} {x:s}
        (which|what) colour {x:does} {x:a} have
        what is the colour of {x:a}
        tell me the colour of {x:a}
        do you know the colour of {x:a}
        tell me what colour {x:a} {x:is}
        say the colour of {x:a}
        which colour {x:is} {x:a}
        {x:a} what colour is it
        what colour {x:is} the {x}
        !(can|could) you tell me the colour of {x:a}
        !do you know what colour {x:a} {x:is}
    """, "{x:a} {x:is} {x.colour}.", "{x.colour}", [{"x": noun} for noun in NOUNS if noun.colour], weight=5,
           follow=(*_AND_ONE, "and what colour {x:is} {x:a}")),
    intent("is_it_coloured", "says yes or no about a colour", """
        {x:is} {x:a} {asked}
        {x:are} {x:s} {asked}
        is the colour of {x:a} {asked}
        tell me if {x:a} {x:is} {asked}
        do you know if {x:a} {x:is} {asked}
        {x:are} {x:s} (really|always|often) {asked}
        does {x:a} have the colour {asked}
        {x:is} the {x} {asked}
        !is it true that {x:a} {x:is} {asked}
        !do you think {x:a} {x:is} {asked}
    """, "{yes}, {x:a} {x:is} {x.colour}.", "{x.colour}", _is_it_coloured_rows(), weight=4,
           likely=_is_right, follow=("and {x:is} {x:a} {asked}",)),
    intent("something_coloured", "names something of a colour", """
        (tell me|name|say) something (that is|) {colour}
        (tell me|name) (a thing|one thing) that is {colour}
        what (thing|) is {colour}
        which things are {colour}
        what do you know that is {colour}
        give me something {colour}
        do you know something (that is|) {colour}
        what has the colour {colour}
        !(can|could) you name something (that is|) {colour}
        !i want to hear something {colour}
    """, _example,
           rows=[{"colour": NOUN[name].colour, "x": NOUN[name]} for name in _COLOUR_EXAMPLES], weight=2,
           follow=("and something {colour}", "and what is {colour}")),
    intent("colours", "names the colours", """
        (what|which) colours do you know
        (what|which) colours are there
        (tell me|name|say) (all|some|) (the|) colours
        what are the colours
        do you know (the|any) colours
        (can|could) you name (the|some) colours
        what are the names of the colours
        !i want to hear the colours
        !(can|could) you tell me (all the|some) colours
    """, sentence(", ".join(COLOURS)) + ".", "purple", polite=True),
    intent("mix", "knows what colours mixed give", """
        what do you get when you mix {a} and {b}
        what do i get when i mix {a} and {b}
        what colour do {a} and {b} (make|give)
        what do {a} and {b} (make|give) (together|)
        mix {a} (and|with) {b}
        if i mix {a} and {b} what do i get
        what happens when i mix {a} (and|with) {b}
        what colour is {a} and {b} together
        what is {a} (mixed with|and) {b}
        !(can|could) you tell me what {a} and {b} make
        !can you mix {a} (and|with) {b}
    """, "{a} and {b} make {c}.", "make",
           [{"a": a, "b": b, "c": c} for (x, y), c in MIXES.items() for a, b in ((x, y), (y, x))],
           weight=1.5, follow=("and {a} and {b}", "what about {a} and {b}")),
)

THINGS_AROUND: tuple[Intent, ...] = (
    intent("what_for", "knows what things are for", """
        what {x:is} {x:a} (used|good|) for
        what {x:are} {x:s} (used|good|) for
        what (do|can) (i|you|we|people) do with {x:a}
        what (do|can) (i|you|we|people) use {x:a} for
        why do (people|we|i) need {x:a}
        tell me what {x:a} {x:is} for
        do you know what {x:a} {x:is} for
        what is the use of {x:a}
        why do (people|we) have {x:a}
        what {x:is} the {x} used for
        !(can|could) you tell me what {x:a} {x:is} for
        !what would you do with {x:a}
    """, "{x:a} {x:is} for {x.use}.", "{last}",
           [{"x": noun, "last": noun.use.split()[-1]} for noun in NOUNS if noun.use], weight=5,
           follow=(*_AND_ONE, "and what {x:is} {x:a} for")),
    intent("what_needed", "knows which thing one needs for a job", """
        what do i need to {job}
        what (can|should|do) i use to {job}
        how (can|do) i {job}
        what do i {job} with
        i want to {job} what do i need
        tell me what i need to {job}
        do you know what i need to {job}
        (which|what) thing do i need to {job}
        what helps me to {job}
        !(can|could) you tell me what i need to {job}
        !what would you use to {job}
    """, "You need {x:a} to {your}.", "need",
           [{"job": job, "your": job.replace(" my ", " your "), "x": NOUN[name]} for job, name in NEEDED.items()],
           weight=2.5,
           follow=("and to {job}", "and what do i need to {job}")),
    intent("where_kept", "knows where things are found", """
        where (can|do) (i|you|we|people) find {x:a}
        where do (i|you|we|people) (keep|have|put) {x:a}
        where should i (put|look for) {x:a}
        tell me where (i find|to find) {x:a}
        do you know where (i can find|to find) {x:a}
        where {x:are} {x:s}
        what is the place for {x:a}
        in what place do i find {x:a}
        where {x:is} the {x}
        !(can|could) you tell me where i (can|) find {x:a}
        !where would you look for {x:a}
    """, "You find {x:a} {x.place}.", "{last}",
           [{"x": noun, "last": noun.place.split()[-1]} for noun in NOUNS if noun.place], weight=3,
           follow=(*_AND_ONE, "and where do i find {x:a}")),
    intent("what_is", "says what kind of thing something is", """
        what is {x:a}
        (what|which) kind of thing is {x:a}
        tell me what {x:a} is
        do you know what {x:a} is
        what {x:are} {x:s}
        what does the word {x} mean
        what do you know about {x:s}
        tell me (something|) about {x:s}
        {x:a} what is that
        !(can|could) you tell me what {x:a} is
        !what would you say {x:a} is
    """, "{x:a} is {kind}.", "{last}",
           [{"x": noun, "kind": _kind(noun.kind), "last": noun.kind.split()[-1]}
            for noun in NOUNS if noun.kind and noun.number != "many"],
           weight=5, follow=(*_AND_ONE, "and what is {x:a}")),
    intent("is_it_a", "says yes or no about the kind of a thing", """
        is {x:a} {asked}
        is {x:a} (really|also) {asked}
        is {x:a} {asked} or not
        tell me if {x:a} is {asked}
        do you know if {x:a} is {asked}
        would you say {x:a} is {asked}
        {x:a} is {asked} right
        !is it true that {x:a} is {asked}
        !do you think {x:a} is {asked}
    """, "{yes}, {x:a} is {kind}.", "{last}", _is_it_a_rows(), weight=5, likely=_is_right,
           follow=("and {x:a}", "and is {x:a} {asked}", "what about {x:a}"), keeps=("asked",)),
    intent("name_one", "names an example of a kind", """
        (name|tell me|say|give me) {a} {x}
        (name|tell me|give me) one {x}
        (can|could) you (name|say) {a} {x}
        which {x} do you know
        do you know {a} {x}
        give me the name of {a} {x}
        think of {a} {x}
        !(can|could) you tell me {a} {x}
        !tell me the name of {a} {x}
    """, "{y} is {a} {x}.", "{last}",
           [{"x": x, "a": with_article(x).split()[0], "y": y, "last": y.split()[-1]}
            for x, y in _KIND_EXAMPLES.items()],
           weight=2.5, polite=True, follow=("and {a} {x}", "and now {a} {x}", "what about {a} {x}")),
    intent("taste", "knows how things taste", """
        how does {x:a} taste
        what does {x:a} taste like
        what is the taste of {x:a}
        is {x:a} (sweet|sour|salty)
        is {x:a} sweet or (sour|salty)
        tell me how {x:a} tastes
        do you know how {x:a} tastes
        does {x:a} taste (sweet|good|sour)
        !(can|could) you tell me how {x:a} tastes
        !what taste does {x:a} have
    """, "{x:a} tastes {taste}.", "{taste}",
           [{"x": NOUN[name], "taste": taste} for name, taste in TASTES.items()], weight=1.5, follow=_AND_ONE),
    intent("hot_or_cold", "knows what is hot and what is cold", """
        is {x} (hot or cold|cold or hot)
        is {x} (very|really|) (hot|cold)
        how (hot|cold|warm) is {x}
        tell me if {x} is (hot|cold|hot or cold)
        do you know if {x} is (hot|cold|hot or cold)
        what is {x} hot or cold
        !(can|could) you tell me if {x} is hot or cold
        !is it true that {x} is (hot|cold)
    """, "{x} is {t}.", "{t}", [{"x": x, "t": t} for x, t in HOT_OR_COLD.items()], weight=1.5,
           follow=("and {x}", "what about {x}")),
    intent("origin", "knows where milk and other things come from", """
        where does {x} come from
        where do (we|you|people|i) get {x} from
        what (makes|gives us) {x}
        tell me where {x} comes from
        do you know where {x} comes from
        from where do we get {x}
        how do we get {x}
        !(can|could) you tell me where {x} comes from
        !where do you think {x} comes from
    """, "{x} comes from {y}.", "from", [{"x": x, "y": y} for x, y in ORIGINS.items()], weight=1.5,
           follow=("and {x}", "what about {x}")),
    intent("wheels", "knows how many wheels vehicles have", """
        how many wheels does {x} have
        how many wheels do {s} have
        how many wheels are on {x}
        tell me how many wheels {x} has
        do you know how many wheels {x} has
        how many wheels has {x} (got|)
        !(can|could) you tell me how many wheels {x} has
        !what is the number of wheels of {x}
    """, "{x} has {n} wheels.", "wheels", [{"x": f"a {x}", "s": NOUN[x].plural, "n": n} for x, n in WHEELS.items()],
           follow=("and {x}", "what about {x}", "and how many does {x} have")),
)

PEOPLE_AND_WORDS: tuple[Intent, ...] = (
    intent("senses", "knows what the parts of the body are for", """
        what (do|can) i do with (my|the) {x}
        what (do|can) you do with your {x}
        what (do|can) we do with our {x}
        what do i use my {x} for
        what do (people|we) use the {x} for
        what {are} (my|our|the) {x} for
        why do (i|we|people) (have|need) {a}
        tell me what (my|our|the) {x} {are} for
        do you know what (my|our|the) {x} {are} for
        !(can|could) you tell me what (my|our|the) {x} {are} for
        !what can a person do with {a}
    """, "You {y} with your {x}.", "with",
           [{"x": x, "y": y, "are": "are" if x in _PLURAL_SENSES else "is", "a": x if x in _PLURAL_SENSES else f"a {x}"}
            for x, y in SENSES.items()], weight=1.5, follow=("and with my {x}", "and my {x}", "what about my {x}")),
    intent("body_count", "knows how many eyes, hands and fingers people have", """
        how many {x} do (i|you|we|people) have
        how many {x} does a (person|man|woman|human) have
        how many {x} have (i|we) got
        tell me how many {x} (i|people|we) have
        do you know how many {x} (i|people|we) have
        how many {x} are there on a person
        !(can|could) you tell me how many {x} (i|people) have
        !how many {x} do you think i have
    """, "You have {n} {x}.", "{x}", [{"x": x, "n": n} for x, n in BODY.items()], weight=1.5,
           follow=("and how many {x}", "and {x}", "what about {x}")),
    intent("job", "knows what people do at work", """
        what does a {x} do
        what is a {x}
        what is the (job|work) of a {x}
        what do {x}s do
        tell me what a {x} does
        do you know what a {x} does
        what does a {x} do (all|every) day
        who is a {x}
        !(can|could) you tell me what a {x} does
        !what would a {x} do
    """, "A {x} {does}.", "{x}", [{"x": x, "does": does} for x, does in JOBS.items()], weight=2,
           follow=("and a {x}", "what about a {x}", "and what does a {x} do")),
    intent("who_does", "knows who does which work", """
        who {does}
        tell me who {does}
        do you know who {does}
        what do you call a person who {does}
        which person {does}
        what is the name for a person who {does}
        !(can|could) you tell me who {does}
        !who is the person who {does}
    """, "A {x} {does}.", "{x}",
           [{"x": x, "does": does} for x, does in JOBS.items()], weight=2,
           follow=("and who {does}", "and what about who {does}")),
    intent("opposite", "knows opposites", """
        what is the opposite of {x}
        (tell me|say|give me) the opposite of {x}
        (can|could) you (say|give me) the opposite of {x}
        the opposite of {x}
        do you know the opposite of {x}
        (which|what) word is the opposite of {x}
        what word means the opposite of {x}
        (name|find) the opposite of {x}
        !(can|could) you tell me the opposite of {x}
        !what would be the opposite of {x}
    """, "The opposite of {x} is {y}.", "{y}",
           [{"x": x, "y": y} for x, y in OPPOSITES.items()], weight=4,
           follow=("and of {x}", "and the opposite of {x}", "what about {x}", "and {x}")),
    intent("rhyme_word", "finds a rhyme", """
        what rhymes with {x}
        (what|which) word rhymes with {x}
        (tell me|give me|say) a word that rhymes with {x}
        (find|give me) a rhyme for {x}
        do you know a rhyme for {x}
        is there a rhyme for {x}
        can you find a rhyme for {x}
        what is a rhyme for {x}
        !do you know what rhymes with {x}
        !i need a (rhyme for|word that rhymes with) {x}
    """, "{y} rhymes with {x}.", "rhymes", [{"x": x, "y": y} for x, y in RHYMES.items()], weight=2,
           follow=("and with {x}", "and what rhymes with {x}", "what about {x}")),
    intent("capital", "knows a few capitals", """
        what is the capital (city|) of {x}
        (tell me|say|name) the capital of {x}
        (which|what) city is the capital of {x}
        do you know the capital (city|) of {x}
        what capital does {x} have
        which is the capital of {x}
        the capital of {x}
        !(can|could) you tell me the capital (city|) of {x}
        !what is the name of the capital of {x}
    """, "The capital of {x} is {y}.", "{y}", [{"x": x, "y": y} for x, y in CAPITALS.items()], weight=2,
           follow=("and of {x}", "and the capital of {x}", "what about {x}")),
    intent("which_country", "knows whose capital a city is", """
        (where|in which country) is {y}
        (which|what) country is {y} in
        {y} is the capital of (which|what) country
        (which|what) country has the capital {y}
        tell me where {y} is
        do you know where {y} is
        !(can|could) you tell me where {y} is
        !in what country do i find {y}
    """, "{y} is the capital of {x}.", "{x}", [{"x": x, "y": y} for x, y in CAPITALS.items()], weight=1.5,
           follow=("and where is {y}", "and {y}", "what about {y}")),
)

THINGS: tuple[Intent, ...] = ANIMAL_LIFE + COLOURING + THINGS_AROUND + PEOPLE_AND_WORDS
