"""What nano knows of its small world: numbers, the calendar, colours, animals, things and words."""

from __future__ import annotations

from itertools import combinations, pairwise, permutations

from training.syllabus.intent import Answer, Intent, Row, State, intent, sentence
from training.syllabus.world import (
    ABILITIES,
    ANIMALS,
    CAPITALS,
    COLOURS,
    DAYS,
    DURATIONS,
    HOT_OR_COLD,
    KINDS,
    MIXES,
    MONTHS,
    NEEDED,
    NOUN,
    NOUNS,
    NUMBERS,
    OPPOSITES,
    RHYMES,
    SEASONS,
    SENSES,
    SIZES,
    TASTES,
    article,
)

_ADDED = [{"a": NUMBERS[a], "b": NUMBERS[b], "c": NUMBERS[a + b]} for a in range(1, 20) for b in range(1, 21 - a)]
_TAKEN = [{"a": NUMBERS[a], "b": NUMBERS[b], "c": NUMBERS[a - b]} for a in range(1, 21) for b in range(1, a)]
_MULTIPLIED = [{"a": NUMBERS[a], "b": NUMBERS[b], "c": NUMBERS[a * b]} for a in range(2, 11) for b in range(2, 11) if a * b <= 20]
_COUNTED = [{"n": NUMBERS[n], "all": ", ".join(NUMBERS[1 : n + 1])} for n in range(2, 21)]
_COUNTED_DOWN = [{"n": NUMBERS[n], "all": ", ".join(NUMBERS[n:0:-1])} for n in range(3, 11)]
_STEPS = [{"a": a, "b": b} for a, b in pairwise(NUMBERS)]
_DAY_STEPS = [{"a": a, "b": b} for a, b in pairwise([*DAYS, DAYS[0]])]
_MONTH_STEPS = [{"a": a, "b": b} for a, b in pairwise([*MONTHS, MONTHS[0]])]
_LARGER = [{"a": NUMBERS[a], "b": NUMBERS[b], "big": NUMBERS[max(a, b)], "small": NUMBERS[min(a, b)]}
           for a, b in permutations(range(1, 21), 2) if (a * 7 + b * 3) % 4 == 0]


def _kind_rows() -> list[Row]:
    kinds = [kind for kind in KINDS if sum(noun.kind == kind for noun in NOUNS) >= 3]
    rows = []
    for index, noun in enumerate(NOUNS):
        if noun.kind in kinds and noun.number in ("one", "mass"):
            wrong = [kind for kind in kinds if kind != noun.kind]
            for asked in (noun.kind, wrong[index % len(wrong)], wrong[(index * 5 + 3) % len(wrong)]):
                rows.append({"x": noun, "kind": _one(asked), "yes": "Yes" if asked == noun.kind else "No", "true": _one(noun.kind)})
    return rows


def _one(kind: str) -> str:
    return kind if kind in ("food",) else f"{article(kind)} {kind}"


def _colour_yes_no_rows() -> list[Row]:
    rows = []
    for index, noun in enumerate(n for n in NOUNS if n.colour):
        others = [colour for colour in COLOURS if colour != noun.colour]
        for asked in (noun.colour, noun.colour, others[index % len(others)], others[(index * 3 + 4) % len(others)]):
            rows.append({"x": noun, "asked": asked, "yes": "Yes" if asked == noun.colour else "No"})
    return rows


def _size_rows() -> list[Row]:
    rows = []
    for small, big in combinations(SIZES, 2):
        for first, second in ((small, big), (big, small)):
            rows.append({"x": NOUN[first], "y": NOUN[second], "big": NOUN[big], "small": NOUN[small],
                         "yes": "Yes" if first == big else "No", "no": "No" if first == big else "Yes"})
    return rows


def _colour_example(state: State, row: Row) -> Answer:
    return Answer(sentence(f"{row['x']:a} {row['x']:is} {row['colour']}."), (row["x"].name,))


_EXAMPLES = {"red": "tomato", "blue": "sky", "green": "frog", "yellow": "banana", "orange": "carrot", "purple": "plum",
             "pink": "pig", "brown": "bear", "black": "coal", "white": "snow", "grey": "elephant"}
_KIND_EXAMPLES = {"animal": "a cat", "fruit": "an apple", "vegetable": "a carrot", "colour": "red", "number": "seven",
                  "day": "Monday", "month": "May", "drink": "milk", "tool": "a hammer", "toy": "a ball", "bird": "an owl",
                  "vehicle": "a car", "instrument": "a piano", "flower": "a rose", "season": "summer"}
_SEASON_OF = {month: season for season, months in SEASONS.items() for month in months}

KNOWLEDGE: tuple[Intent, ...] = (
    intent("count_to", "counts to any number up to twenty", """
        count (up|) to {n} (for me|)
        (can|could) you count to {n}
        (count|counting) from one to {n}
        (can you|please|) count from one to {n}
        i want you to count to {n}
        let us count to {n}
        say the numbers (up to|to|from one to) {n}
        (show me|tell me) how you count to {n}
        (now|and now) count to {n}
        !are you able to count to {n}
        !say all numbers to {n}
    """, "{all}.", "{n}", _COUNTED, weight=3, polite=True, follow="and to {n}\nnow to {n}\nand now to {n}"),
    intent("count_down", "counts down from a number up to ten", """
        count (down|back|backwards) from {n} (for me|)
        (can|could) you count (down|back|backwards) from {n}
        (please|now) count (down|back|backwards) from {n}
        count down from {n} to one
        count from {n} to one
        count from {n} down to one
        !let us count (down|backwards) from {n}
        !i want you to count backwards from {n}
    """, "{all}.", "{n}", _COUNTED_DOWN, weight=1.5, polite=True),
    intent("add", "adds numbers with a sum of at most twenty", """
        (what is|what's|how much is|) {a} (plus|and) {b}
        (what do|what does) {a} (plus|and) {b} make
        how (much|many) (are|is) {a} (plus|and) {b}
        (can you|please|) add {a} (and|to) {b}
        (can you|please) tell me (what|how much) {a} plus {b} is
        (tell me|calculate) {a} plus {b}
        what is the sum of {a} and {b}
        (do you know|and) what is {a} plus {b}
        i have {a} apples and get {b} more how many
        !what do you get when you add {a} and {b}
        !(can|could) you calculate {a} plus {b}
    """, "{a} plus {b} is {c}.", "{c}", _ADDED, weight=6, follow="and {a} plus {b}\nwhat about {a} plus {b}"),
    intent("subtract", "takes a number from one of at most twenty", """
        (what is|what's|how much is|) {a} (minus|less|take away) {b}
        (can you|please|) take {b} (away|) from {a}
        (can you|please) tell me (what|how much) {a} minus {b} is
        (tell me|calculate) {a} minus {b}
        (do you know|and) what is {a} minus {b}
        what is left if i take {b} from {a}
        i have {a} apples and eat {b} how many are left
        !what do you get when you take {b} from {a}
        !(can|could) you calculate {a} minus {b}
    """, "{a} minus {b} is {c}.", "{c}", _TAKEN, weight=4, follow="and {a} minus {b}\nwhat about {a} minus {b}"),
    intent("multiply", "multiplies small numbers up to twenty", """
        (what is|what's|how much is|) {a} times {b}
        (can you|please|) multiply {a} (by|and|with) {b}
        (can you|please) tell me (what|how much) {a} times {b} is
        (tell me|calculate) {a} times {b}
        (do you know|and) what is {a} times {b}
        !what do you get when you multiply {a} (by|and) {b}
        !(can|could) you calculate {a} times {b}
    """, "{a} times {b} is {c}.", "{c}", _MULTIPLIED, weight=2, follow="and {a} times {b}\nwhat about {a} times {b}"),
    intent("number_after", "names the number after another", """
        what (number|) comes (right|) after {a}
        which number (comes|is) after {a}
        what is (the number|) after {a}
        (tell me|say) the number after {a}
        what is the next number after {a}
        what follows (after|) {a}
        what is one more than {a}
        !(can you tell me|do you know) what comes after {a}
        !{a} and then what
    """, "After {a} comes {b}.", "{b}", _STEPS, weight=2, follow="and after {a}\nwhat about {a}"),
    intent("number_before", "names the number before another", """
        what (number|) comes (right|) before {b}
        which number (comes|is) before {b}
        what is (the number|) before {b}
        (tell me|say) the number before {b}
        what is one less than {b}
        !(can you tell me|do you know) what comes before {b}
    """, "Before {b} comes {a}.", "{a}", _STEPS, weight=2, follow="and before {b}\nwhat about before {b}"),
    intent("bigger_number", "says which of two numbers is bigger", """
        (what|which) (number|) is (bigger|more|larger) {a} or {b}
        is {a} (bigger|more|larger) or {b}
        (what|which one) is the bigger number {a} or {b}
        which is more {a} or {b}
        (tell me|and) which is bigger {a} or {b}
        !(do you know|can you tell me) which is bigger {a} or {b}
        !{a} or {b} which is bigger
    """, "{big} is more than {small}.", "{big}", _LARGER, weight=1.5, follow="and {a} or {b}"),
    intent("even_or_odd", "says whether a number is even or odd", """
        is {a} (an|) (even|odd) (number|)
        is {a} even or odd
        is {a} odd or even
        is the number {a} even (or odd|)
        (tell me|do you know) if {a} is even or odd
        what is {a} even or odd
        !(can you|please) tell me if {a} is (even|odd)
        !{a} is that even or odd
    """, "{a} is {kind}.", "{kind}", [{"a": a, "kind": "odd" if i % 2 else "even"} for i, a in enumerate(NUMBERS) if i],
           weight=1.5, follow="and {a}\nwhat about {a}"),
    intent("days", "says the days of the week", """
        (tell me|name|say|list|give me) (all|) the days (of the week|)
        what are the days (of the week|)
        (can you|please|) (say|name|tell me) the days of the week
        which days (are there|are in a week|does a week have)
        do you know the (days of the week|week days)
        what days are there (in a week|)
        !(could you|please) list the days of the week
        !i want to (hear|know) the days of the week
    """, ", ".join(DAYS) + ".", "wednesday", polite=True, weight=1.5),
    intent("months", "says the months of the year", """
        (tell me|name|say|list|give me) (all|) the months (of the year|)
        what are the months (of the year|)
        (can you|please|) (say|name|tell me) the months of the year
        which months (are there|are in a year|does a year have)
        do you know the (months of the year|months)
        what months are there (in a year|)
        !(could you|please) list the months of the year
        !i want to (hear|know) the months of the year
    """, ", ".join(MONTHS) + ".", "october", polite=True, weight=1.5),
    intent("seasons", "says the four seasons", """
        (tell me|name|say|list) (all|) the (four|) seasons (of the year|)
        what are the (four|) seasons (of the year|)
        which seasons (are there|does a year have)
        do you know the (four|) seasons
        what seasons are there (in a year|)
        !(could you|please) list the (four|) seasons
        !i want to (hear|know) the seasons
    """, "Spring, summer, autumn, winter.", "winter", polite=True),
    intent("day_after", "names the day after another", """
        what (day|) comes (right|) after {a}
        which day (comes|is) after {a}
        what is the (next|) day after {a}
        (tell me|say) the day after {a}
        today is {a} what (day|) is tomorrow
        if today is {a} what is tomorrow
        what follows (after|) {a}
        !(can you tell me|do you know) (what|which day) comes after {a}
    """, "After {a} comes {b}.", "{b}", _DAY_STEPS, weight=1.5, follow="and after {a}\nwhat about {a}"),
    intent("day_before", "names the day before another", """
        what (day|) comes (right|) before {b}
        which day (comes|is) before {b}
        what is the day before {b}
        (tell me|say) the day before {b}
        today is {b} what was yesterday
        if today is {b} what was yesterday
        !(can you tell me|do you know) (what|which day) comes before {b}
    """, "Before {b} comes {a}.", "{a}", _DAY_STEPS, weight=1.5, follow="and before {b}\nwhat about before {b}"),
    intent("month_after", "names the month after another", """
        what (month|) comes (right|) after {a}
        which month (comes|is) after {a}
        what is the (next|) month after {a}
        (tell me|say) the month after {a}
        what follows (after|) {a}
        !(can you tell me|do you know) (what|which month) comes after {a}
    """, "After {a} comes {b}.", "{b}", _MONTH_STEPS, weight=1.5, follow="and after {a}\nwhat about {a}"),
    intent("month_before", "names the month before another", """
        what (month|) comes (right|) before {b}
        which month (comes|is) before {b}
        what is the month before {b}
        (tell me|say) the month before {b}
        !(can you tell me|do you know) (what|which month) comes before {b}
    """, "Before {b} comes {a}.", "{a}", _MONTH_STEPS, weight=1.5, follow="and before {b}\nwhat about before {b}"),
    intent("how_many_units", "knows how many days a week has, and the like", """
        how many {x} are (there|) in a {y:}
        how many {x} does (a|one) {y} have
        how many {x} (has|make) (a|one) {y}
        how many {x} are there in one {y}
        (tell me|do you know) how many {x} a {y} has
        !(can you|please) tell me how many {x} are in a {y}
        !a {y} has how many {x}
    """.replace("{y:}", "{y}"), "There are {n} {x} in a {y}.", "{n}", [{"x": x, "y": y, "n": n} for (x, y), n in DURATIONS.items()],
           weight=2, follow="and how many {x} in a {y}\nand {x} in a {y}"),
    intent("season_of", "knows the season of a month", """
        (what|which) season is {m} (in|)
        in (what|which) season is {m}
        is {m} in summer or (in|) winter
        what season is it in {m}
        (tell me|do you know) the season of {m}
        !(can you|please) tell me what season {m} is in
        !to which season belongs {m}
    """, "{m} is in {s}.", "{s}", [{"m": m, "s": s} for m, s in _SEASON_OF.items()], follow="and {m}\nwhat about {m}"),
    intent("first_or_last", "knows the first and last day and month", """
        (what|which) (day|) is the {which} (day|) of the {y}
        what is the {which} {x} of the {y}
        which {x} is the {which} (of the {y}|one|)
        (tell me|name) the {which} {x} of the {y}
        (which|what) {x} (comes|is) {which}
        !(do you know|can you tell me) the {which} {x} of the {y}
    """.replace("(what|which) (day|) is the {which} (day|) of the {y}\n", "\n"), "The {which} {x} is {z}.", "{z}",
           [{"which": "first", "x": "day", "y": "week", "z": "Monday"}, {"which": "last", "x": "day", "y": "week", "z": "Sunday"},
            {"which": "first", "x": "month", "y": "year", "z": "January"}, {"which": "last", "x": "month", "y": "year", "z": "December"}],
           follow="and the {which} {x}"),
    intent("opposite", "knows opposites", """
        (what is|what's) the opposite of {x}
        (tell me|say|give me) the opposite of {x}
        (can you|please) tell me the opposite of {x}
        what is the opposite word (of|for|to) {x}
        the opposite of {x}
        (do you know|and) the opposite of {x}
        which word is the opposite of {x}
        {x} and the opposite
        !what would be the opposite of {x}
        !name the opposite of {x}
    """, "The opposite of {x} is {y}.", "{y}", [{"x": x, "y": y} for x, y in OPPOSITES.items()], weight=3,
           follow="and of {x}\nand {x}\nwhat about {x}"),
    intent("rhyme_word", "finds a rhyme", """
        what rhymes with {x}
        (what|which) word rhymes with {x}
        (tell me|give me|say|find) a (word|rhyme) (that rhymes with|for|with) {x}
        (do you know|can you find) a rhyme for {x}
        is there a rhyme for {x}
        !(do you know|can you tell me) what rhymes with {x}
        !i need a rhyme for {x}
    """, "{y} rhymes with {x}.", "{y}", [{"x": x, "y": y} for x, y in RHYMES.items()], weight=1.5,
           follow="and with {x}\nand {x}\nwhat about {x}"),
    intent("sound", "knows what animals say", """
        (what|which) (sound|noise) does {x:a} make
        what does {x:a} say
        how does {x:a} (go|sound)
        what (sound|noise) do {x:s} make
        what do {x:s} say
        (can you|please|) make the (sound|noise) of {x:a}
        (tell me|do you know) what {x:a} says
        what is the sound of {x:a}
        !(can you|please) tell me what sound {x:a} makes
        !how do {x:s} sound
    """, "A {x} says {x.sound}.", "{x.sound}", [{"x": n} for n in ANIMALS if n.sound], weight=2.5,
           follow="and {x:a}\nwhat about {x:a}\nand the {x}\nhow about {x:a}"),
    intent("who_says", "knows which animal makes a sound", """
        (what|which) animal (says|goes|makes) {x.sound}
        who (says|goes|makes) {x.sound}
        what (says|goes) {x.sound}
        (tell me|do you know) (who|which animal) says {x.sound}
        which animal makes the sound {x.sound}
        !(can you|please) tell me which animal says {x.sound}
        !{x.sound} which animal is that
    """, "A {x} says {x.sound}.", "{x}", [{"x": n} for n in ANIMALS if n.sound], weight=1.5,
           follow="and who says {x.sound}\nand {x.sound}"),
    intent("home", "knows where animals live", """
        where (does {x:a}|do {x:s}) live
        where is the home of {x:a}
        (tell me|do you know) where {x:s} live
        where can i (find|see) {x:a}
        what is the home of {x:a}
        where do you find {x:s}
        (and|so) where does {x:a} live
        !(can you|please) tell me where {x:a} lives
        !in what place do {x:s} live
    """, "A {x} lives {x.home}.", "{home}", [{"x": n, "home": n.home.split()[-1]} for n in ANIMALS], weight=2.5,
           follow="and {x:a}\nwhat about {x:a}\nand {x:s}\nhow about {x:s}"),
    intent("diet", "knows what animals eat", """
        what (does {x:a}|do {x:s}) (like to|) eat
        what is the food of {x:a}
        (tell me|do you know) what {x:s} eat
        what (can|should) i give {x:a} to eat
        what food do {x:s} (like|eat)
        (and|so) what does {x:a} eat
        !(can you|please) tell me what {x:a} eats
        !what do {x:s} have for dinner
    """, "A {x} eats {x.food}.", "{x.food}", [{"x": n} for n in ANIMALS], weight=2.5,
           follow="and {x:a}\nwhat about {x:a}\nand {x:s}\nhow about {x:s}"),
    intent("legs", "knows how many legs animals have", """
        how many legs (does {x:a}|do {x:s}) have
        how many legs has {x:a}
        how many legs are on {x:a}
        (tell me|do you know) how many legs {x:a} has
        (and|so) how many legs does {x:a} have
        what number of legs does {x:a} have
        !(can you|please) tell me how many legs {x:s} have
        !{x:a} has how many legs
    """, "A {x} has {x.legs} legs.", "{x.legs}", [{"x": n} for n in ANIMALS if n.legs], weight=2.5,
           follow="and {x:a}\nwhat about {x:a}\nand {x:s}\nhow about {x:s}"),
    intent("young", "knows what young animals are called", """
        what is a (young|baby|small) {x} called
        what do you call a (young|baby) {x}
        what is (the name of|the word for) a (young|baby) {x}
        how do you call a (young|baby) {x}
        what is the baby of {x:a} (called|)
        (tell me|do you know) the (name of|word for) a (young|baby) {x}
        !(can you|please) tell me what a baby {x} is called
        !what are baby {x:s} called
    """, "A young {x} is a {x.young}.", "{x.young}", [{"x": n} for n in ANIMALS if n.young], weight=1.5,
           follow="and a young {x}\nand {x:a}\nand a baby {x}"),
    intent("ability", "knows which animals and things fly or swim", """
        can {x:a} {verb}
        (is|are) {x:a} able to {verb}
        do {x:s} {verb}
        can {x:s} {verb}
        (tell me|do you know) if {x:a} can {verb}
        (and|so) can {x:a} {verb}
        !is it true that {x:s} can {verb}
        !does {x:a} know how to {verb}
    """.replace("(is|are) {x:a}", "is {x:a}"), "{yes}, {x:a} {can} {verb}.", "{yes}",
           [{"x": NOUN[x], "verb": verb, "yes": yes, "can": can} for verb, (able, unable) in ABILITIES.items()
            for names, yes, can in ((able, "Yes", "can"), (unable, "No", "cannot")) for x in names], weight=1.5,
           follow="and {x:a}\nwhat about {x:a}"),
    intent("what_colour", "knows the colour of things", """
        what colour {x:is} {x:a}
        what colour {x:are} {x:s}
        which colour {x:does} {x:a} have
        what is the colour of {x:a}
        (tell me|do you know|say) the colour of {x:a}
        (tell me|do you know) what colour {x:a} {x:is}
        what's the colour of {x:a}
        (and|so) what colour {x:is} {x:a}
        !(can you|please) tell me the colour of {x:a}
        !{x:a} {x:is} what colour
    """, "{x:a} {x:is} {x.colour}.", "{x.colour}", [{"x": n} for n in NOUNS if n.colour], weight=4,
           follow="and {x:a}\nwhat about {x:a}\nhow about {x:a}"),
    intent("is_it_coloured", "says yes or no about a colour", """
        {x:is} {x:a} {asked}
        {x:are} {x:s} {asked}
        {x:is} {x:a} {asked} in colour
        {x:is} the colour of {x:a} {asked}
        (tell me|do you know) if {x:a} {x:is} {asked}
        {x:are} {x:s} (really|always|) {asked}
        !is it true that {x:a} {x:is} {asked}
        !do you think {x:a} {x:is} {asked}
    """.replace("{x:is} the colour of", "is the colour of"), "{yes}, {x:a} {x:is} {x.colour}.", "{yes}", _colour_yes_no_rows(), weight=3,
           follow="and {x:is} {x:a} {asked}"),
    intent("something_coloured", "names something of a colour", """
        (tell me|name|say) (something|a thing|one thing) (that is|) {colour}
        what (thing|) is {colour}
        which (thing|things) (is|are) {colour}
        what (do you know that is|can be) {colour}
        give me (an example of|) something {colour}
        (do you know|and) something {colour}
        !(can you|please) name something (that is|) {colour}
        !i want to hear something {colour}
    """, _colour_example, rows=[{"colour": c, "x": NOUN[n]} for c, n in _EXAMPLES.items()], weight=1.5,
           follow="and something {colour}\nand {colour}"),
    intent("mix", "knows what colours mixed give", """
        what (do you get|comes out) when you mix {a} and {b}
        what colour (do|does) {a} and {b} (make|give)
        mix {a} (and|with) {b}
        what (is|colour is) {a} (mixed with|and) {b} (together|)
        if i mix {a} and {b} what do i get
        what happens when i mix {a} and {b}
        !(can you|please) tell me what {a} and {b} make
        !which colour comes from {a} and {b}
    """, "{a} and {b} make {c}.", "{c}",
           [{"a": a, "b": b, "c": c} for (x, y), c in MIXES.items() for a, b in ((x, y), (y, x))], follow="and {a} and {b}"),
    intent("what_for", "knows what things are for", """
        what {x:is} {x:a} (used|good|) for
        what {x:are} {x:s} (used|good|) for
        what (do you|can i|can you|do people) do with {x:a}
        what (do you|can i|do we) use {x:a} for
        why do (people|we) need {x:a}
        (tell me|do you know) what {x:a} {x:is} for
        what {x:is} the use of {x:a}
        (and|so) what {x:is} {x:a} for
        !(can you|please) tell me what {x:a} {x:is} for
        !what would you do with {x:a}
    """.replace("what {x:is} the use", "what is the use"), "{x:a} {x:is} for {x.use}.", "{use}",
           [{"x": n, "use": n.use} for n in NOUNS if n.use and n.kind not in ("food", "drink", "fruit")], weight=4,
           follow="and {x:a}\nwhat about {x:a}\nand what {x:is} {x:a} for"),
    intent("what_needed", "knows which tool one needs", """
        what do i need to {job}
        what (can|should) i use to {job}
        (with what|how) (can|do) i {job}
        what do i {job} with
        i want to {job} what do i need
        (tell me|do you know) what i need to {job}
        which thing do i need to {job}
        !(can you|please) tell me what i need to {job}
        !what would you use to {job}
    """, "You need {x:a} to {your}.", "{x}",
           [{"job": job, "your": job.replace(" my ", " your "), "x": NOUN[x]} for job, x in NEEDED.items()], weight=2,
           follow="and to {job}"),
    intent("where_kept", "knows where things are found", """
        where (is|can i find) {x:a} (usually|)
        where do (i|you|people) (find|keep|have) {x:a}
        where {x:are} {x:s} (usually|)
        where should i (put|look for) {x:a}
        (tell me|do you know) where to find {x:a}
        (and|so) where do i find {x:a}
        !(can you|please) tell me where i can find {x:a}
        !in what place do people keep {x:a}
    """.replace("(is|can i find) {x:a} (usually|)", "can i find {x:a}"), "You find {x:a} {x.place}.", "{place}",
           [{"x": n, "place": n.place.split()[-1]} for n in NOUNS if n.place], weight=2.5, follow="and {x:a}\nwhat about {x:a}"),
    intent("what_is", "says what kind of thing something is", """
        what {x:is} {x:a}
        what kind of thing {x:is} {x:a}
        (tell me|do you know|explain) what {x:a} {x:is}
        what's {x:a}
        what {x:are} {x:s}
        what does the word {x} mean
        !(can you|please) tell me what {x:a} {x:is}
        !{x:a} what is that
    """.replace("what's {x:a}", "(and|so|but) what {x:is} {x:a}"), "{x:a} is {kind}.", "{kind}",
           [{"x": n, "kind": _one(n.kind)} for n in NOUNS if n.kind and n.number in ("one", "mass")], weight=3,
           follow="and {x:a}\nwhat about {x:a}"),
    intent("is_it_a", "says yes or no about the kind of a thing", """
        is {x:a} {kind}
        (tell me|do you know) if {x:a} is {kind}
        is {x:a} (really|) {kind} or not
        (and|so) is {x:a} {kind}
        would you say {x:a} is {kind}
        what do you think is {x:a} {kind}
        !is it true that {x:a} is {kind}
        !do you think {x:a} is {kind}
    """, "{yes}, {x:a} is {true}.", "{yes}", _kind_rows(), weight=4, follow="and is {x:a} {kind}"),
    intent("name_one", "names an example of a kind", """
        (name|tell me|say|give me) (a|an|one|any) {x}
        (can you|please|) name (a|an|one) {x}
        which {x} do you know
        (do you know|give me the name of) (a|an|one) {x}
        think of (a|an) {x}
        !(can you|could you) tell me (a|an) {x}
        !i need the name of (a|an) {x}
    """.replace("(a|an|one|any)", "({a}|one|any)").replace("(a|an|one)", "({a}|one)").replace("(a|an)", "{a}"),
           "{y} is {a} {x}.", "{last}",
           [{"x": x, "y": y, "a": article(x), "last": y.split()[-1]} for x, y in _KIND_EXAMPLES.items()], weight=2,
           polite=True, follow="and {a} {x}"),
    intent("bigger", "says which of two animals is bigger", """
        (what|which|who) is (bigger|larger) {x:a} or {y:a}
        is {x:a} (bigger|larger) or {y:a}
        which animal is bigger {x:a} or {y:a}
        {x:a} or {y:a} which is bigger
        (tell me|and) which is bigger {x:a} or {y:a}
        !(do you know|can you tell me) which is bigger {x:a} or {y:a}
    """, "{big:a} is bigger than {small:a}.", "{big}", _size_rows(), weight=2, follow="and {x:a} or {y:a}"),
    intent("smaller", "says which of two animals is smaller", """
        (what|which|who) is smaller {x:a} or {y:a}
        is {x:a} smaller or {y:a}
        which animal is smaller {x:a} or {y:a}
        {x:a} or {y:a} which is smaller
        (tell me|and) which is smaller {x:a} or {y:a}
        !(do you know|can you tell me) which is smaller {x:a} or {y:a}
    """, "{small:a} is smaller than {big:a}.", "smaller", _size_rows(), weight=2, follow="and {x:a} or {y:a}"),
    intent("is_bigger", "says yes or no about which is bigger", """
        is {x:a} (bigger|larger) than {y:a}
        are {x:s} bigger than {y:s}
        (tell me|do you know) if {x:a} is bigger than {y:a}
        (and|so) is {x:a} bigger than {y:a}
        !is it true that {x:a} is bigger than {y:a}
        !do you think {x:a} is bigger than {y:a}
    """, "{yes}, {big:a} is bigger than {small:a}.", "{yes}", _size_rows(), weight=2, follow="and than {y:a}" if False else ""),
    intent("taste", "knows how things taste", """
        (how|what) does {x:a} taste (like|)
        what is the taste of {x:a}
        is {x:a} sweet or sour
        is {x:a} (sweet|sour|salty)
        (tell me|do you know) how {x:a} tastes
        (and|so) how does {x:a} taste
        !(can you|please) tell me how {x:a} tastes
        !what do {x:s} taste like
    """.replace("(how|what) does {x:a} taste (like|)", "how does {x:a} taste\nwhat does {x:a} taste like").replace(
        "what do {x:s} taste like", "is the taste of {x:a} sweet or sour"),
           "{x:a} tastes {taste}.", "{taste}", [{"x": NOUN[x], "taste": taste} for x, taste in TASTES.items()],
           follow="and {x:a}\nwhat about {x:a}"),
    intent("hot_or_cold", "knows what is hot and what is cold", """
        is {x} hot or cold
        is {x} cold or hot
        is {x} (very|) (hot|cold)
        how (hot|cold) is {x}
        (tell me|do you know) if {x} is (hot or cold|hot|cold)
        (and|so) is {x} hot or cold
        !(can you|please) tell me if {x} is hot or cold
        !what is {x} hot or cold
    """, "{x} is {t}.", "{t}", [{"x": x, "t": t} for x, t in HOT_OR_COLD.items()], follow="and {x}\nwhat about {x}"),
    intent("senses", "knows what the parts of the body are for", """
        what are (my|your|our|) {x} for
        what do (i|you|we|people) do with (my|your|our|the) {x}
        what can (i|you|we) do with (my|our|the) {x}
        why do (i|we|people) (have|need) {x}
        (tell me|do you know) what {x} are for
        !(can you|please) tell me what {x} are for
    """.replace("what are (my|your|our|) {x} for", "what {be} (my|our|the) {x} for").replace("what {x} are for", "what the {x} {be} for")
           .replace("(have|need) {x}", "(have|need) {a} {x}"), "You {y} with your {x}.", "{last}",
           [{"x": x, "y": y, "last": y.split()[-1], "be": "is" if x in ("nose", "mouth") else "are",
             "a": "a" if x in ("nose", "mouth") else ""} for x, y in SENSES.items()], follow="and with your {x}\nand the {x}"),
    intent("capital", "knows a few capitals", """
        (what is|what's) the capital of {x}
        (tell me|say|name) the capital of {x}
        which city is the capital of {x}
        (do you know|and) the capital of {x}
        (what|which) is the capital city of {x}
        what capital does {x} have
        !(can you|please) tell me the capital of {x}
        !the capital of {x} is what
    """, "The capital of {x} is {y}.", "{y}", [{"x": x, "y": y} for x, y in CAPITALS.items()], weight=1.5,
           follow="and of {x}\nand {x}\nwhat about {x}"),
)
