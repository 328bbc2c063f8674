"""Numbers and the calendar: counting, sums to twenty, what comes after and before, days, months, seasons."""

from __future__ import annotations

from itertools import pairwise, permutations

from training.syllabus.intent import Intent, intent, sentence
from training.syllabus.world import DAYS, LARGE_NUMBERS, MONTH_LENGTHS, MONTHS, NUMBERS, SEASONS, UNITS

_ADDED = [{"a": NUMBERS[a], "b": NUMBERS[b], "c": NUMBERS[a + b]} for a in range(1, 20) for b in range(1, 21 - a)]
_TAKEN = [{"a": NUMBERS[a], "b": NUMBERS[b], "c": NUMBERS[a - b]} for a in range(1, 21) for b in range(1, a + 1)]
_MULTIPLIED = [{"a": NUMBERS[a], "b": NUMBERS[b], "c": NUMBERS[a * b]}
               for a in range(1, 11) for b in range(1, 11) if a * b <= 20]
_COUNTED = [{"n": NUMBERS[n], "all": sentence(", ".join(NUMBERS[1 : n + 1]))} for n in range(2, 21)]
_COUNTED_DOWN = [{"n": NUMBERS[n], "all": sentence(", ".join(NUMBERS[n:0:-1]))} for n in range(2, 11)]
_LARGER = [{"a": NUMBERS[a], "b": NUMBERS[b], "big": NUMBERS[max(a, b)], "small": NUMBERS[min(a, b)]}
           for a, b in permutations(range(1, 21), 2)]
_TOO_BIG = [{"a": a, "b": b, "n": n} for a in LARGE_NUMBERS for b in (*NUMBERS[11:16], "thirty", "forty")
            for n in (*LARGE_NUMBERS, "a hundred", "one hundred", "a thousand")]
_NUMBER_STEPS = [{"a": a, "b": b} for a, b in pairwise(NUMBERS)]
_DAY_STEPS = [{"a": a, "b": b} for a, b in pairwise([*DAYS, DAYS[0]])]
_MONTH_STEPS = [{"a": a, "b": b} for a, b in pairwise([*MONTHS, MONTHS[0]])]
_SEASON_STEPS = [{"a": a, "b": b} for a, b in pairwise([*SEASONS, "spring"])]
_PARITY = [{"a": a, "kind": "odd" if number % 2 else "even"} for number, a in enumerate(NUMBERS) if number]
_ENDS = [{"which": which, "x": x, "y": y, "z": z} for x, y, names in (("day", "week", DAYS), ("month", "year", MONTHS))
         for which, z in (("first", names[0]), ("last", names[-1]))]

COUNTING: tuple[Intent, ...] = (
    intent("count_to", "counts to any number up to twenty", """
        count (up|) to {n} (for me|)
        (can|could|will) you count (up|) to {n} (for me|)
        count from one to {n}
        (can|could) you count from one to {n}
        i want you to count to {n}
        (let us|let's) count to {n}
        (say|tell me) the numbers (from one|up|) to {n}
        show me how you count to {n}
        now count to {n}
        counting to {n}
        !are you able to count to {n}
        !(say|tell me) all (the|) numbers to {n}
    """, "{all}.", "{n}", _COUNTED, weight=3, polite=True,
           follow=("and to {n}", "now to {n}", "and now to {n}", "what about {n}")),
    intent("count_down", "counts down from a number up to ten", """
        count (down|back|backwards) from {n} (for me|)
        (can|could|will) you count (down|back|backwards) from {n}
        count (down|back|) from {n} to one
        i want you to count (down|back|backwards) from {n}
        (let us|let's) count (down|backwards) from {n}
        now count (down|backwards) from {n}
        start at {n} and count (down|back|backwards)
        !(can|could) you count from {n} (down|back) to one
        !(say|tell me) the numbers from {n} to one
    """, "{all}.", "{n}", _COUNTED_DOWN, weight=2, polite=True, follow=("and from {n}", "now from {n}")),
    intent("can_you_count", "says how far it can count", """
        can you count (well|)
        (can|could) you count numbers
        do you know (how to count|the numbers|numbers)
        how far can you count
        are you good at (counting|numbers)
        (can you|do you know how to) (add|calculate)
        are you able to count
        !what is the last number you know
        !tell me how far you can count
    """, "Yes, I can count and add up to twenty.", "count"),
    intent("too_big", "says where its numbers end", """
        count to {n}
        (can|could) you count to {n} (for me|)
        (what is|how much is) {a} plus {b}
        (what is|how much is) {b} plus {a}
        (what is|how much is) {a} minus {b}
        what is {a} times {b}
        what number comes (after|before) {a}
        !please count (up|) to {n}
        !tell me how much {a} plus {b} is
    """, "I only know numbers up to twenty.", "only", _TOO_BIG, weight=1.5, follow=("and to {n}", "and {a} plus {b}")),
    intent("add", "adds numbers with a sum of at most twenty", """
        (what is|how much is) {a} plus {b}
        (what is|how much is) {a} and {b}
        {a} plus {b} (is what|)
        (what does|what do) {a} (plus|and) {b} make
        how (much|many) (are|is) {a} (plus|and) {b}
        (can|could) you add {a} (and|to) {b}
        add {a} (and|to) {b}
        (can|could) you tell me (what|how much) {a} plus {b} is
        tell me {a} plus {b}
        do you know how much {a} plus {b} is
        calculate {a} plus {b}
        i have {a} apples and get {b} more how many (do i have|)
        !what do you get when you add {a} and {b}
        !(can|could) you calculate {a} plus {b}
    """, "{a} plus {b} is {c}.", "{c}", _ADDED, weight=7,
           follow=("and {a} plus {b}", "what about {a} plus {b}", "now {a} plus {b}", "and {a} and {b}")),
    intent("subtract", "takes a number from one of at most twenty", """
        (what is|how much is) {a} minus {b}
        {a} minus {b} (is what|)
        what is {a} (less|take away) {b}
        take {b} (away|) from {a}
        (can|could) you take {b} (away|) from {a}
        (can|could) you tell me (what|how much) {a} minus {b} is
        tell me {a} minus {b}
        calculate {a} minus {b}
        do you know how much {a} minus {b} is
        i have {a} apples and eat {b} how many (are left|)
        !what is left when you take {b} from {a}
        !(can|could) you calculate {a} minus {b}
    """, "{a} minus {b} is {c}.", "{c}", _TAKEN, weight=5,
           follow=("and {a} minus {b}", "what about {a} minus {b}", "now {a} minus {b}")),
    intent("multiply", "multiplies small numbers up to twenty", """
        (what is|how much is) {a} times {b}
        {a} times {b} (is what|)
        (can|could) you tell me (what|how much) {a} times {b} is
        tell me {a} times {b}
        calculate {a} times {b}
        do you know how much {a} times {b} is
        how (much|many) (are|is) {a} times {b}
        !what do you get when you take {a} times {b}
        !(can|could) you calculate {a} times {b}
    """, "{a} times {b} is {c}.", "{c}", _MULTIPLIED, weight=2.5,
           follow=("and {a} times {b}", "what about {a} times {b}", "now {a} times {b}")),
    intent("number_after", "names the number after another", """
        what (number|) comes (right|) after {a}
        (which|what) number (comes|is) after {a}
        what is (the number|) after {a}
        (tell me|say) the number after {a}
        what is the next number after {a}
        what is one more than {a}
        what comes next after {a}
        i count to {a} what comes next
        !(can|could) you tell me what comes after {a}
        !do you know what number comes after {a}
    """, "After {a} comes {b}.", "{b}", _NUMBER_STEPS, weight=2.5,
           follow=("and after {a}", "what about {a}", "and what comes after {a}")),
    intent("number_before", "names the number before another", """
        what (number|) comes (right|) before {b}
        (which|what) number (comes|is) before {b}
        what is (the number|) before {b}
        (tell me|say) the number before {b}
        what is one less than {b}
        what number is right before {b}
        !(can|could) you tell me what comes before {b}
        !do you know what number comes before {b}
    """, "Before {b} comes {a}.", "{a}", _NUMBER_STEPS, weight=2.5,
           follow=("and before {b}", "what about before {b}", "and what comes before {b}")),
    intent("bigger_number", "says which of two numbers is bigger", """
        (what|which) (number|) is (bigger|more) {a} or {b}
        is {a} (bigger|more) than {b}
        which is the bigger number {a} or {b}
        (what|which) is more {a} or {b}
        {a} or {b} (what|which) is (bigger|more)
        tell me which is (bigger|more) {a} or {b}
        is {a} or {b} (the bigger number|bigger|more)
        !do you know which is (bigger|more) {a} or {b}
        !(can|could) you tell me which is bigger {a} or {b}
    """, "{big} is more than {small}.", "more", _LARGER, weight=2, follow=("and {a} or {b}", "what about {a} or {b}")),
    intent("even_or_odd", "says whether a number is even or odd", """
        is {a} (even|odd)
        is {a} an (even|odd) number
        is {a} (even or odd|odd or even)
        is the number {a} (even|odd|even or odd)
        tell me if {a} is (even|odd|even or odd)
        do you know if {a} is (even|odd|even or odd)
        what is {a} even or odd
        {a} is it even or odd
        !(can|could) you tell me if {a} is even or odd
        !is {a} even or is it odd
    """, "{a} is {kind}.", "{kind}", _PARITY, weight=2, follow=("and {a}", "what about {a}", "and is {a} even")),
)

CALENDAR: tuple[Intent, ...] = (
    intent("days", "says the days of the week", """
        (tell me|name|say|give me) (all|) the days (of the week|)
        what are the days (of the week|)
        (can|could) you (say|name|tell me) (all|) the days of the week
        which days (are there|does a week have)
        do you know the days of the week
        what days are there (in a week|)
        what are the names of the days
        what days does a week have
        !i want to hear the days of the week
        !(can|could) you name all the days (of the week|)
    """, ", ".join(DAYS) + ".", "wednesday", polite=True, weight=1.5),
    intent("months", "says the months of the year", """
        (tell me|name|say|give me) (all|) the months (of the year|)
        what are the months (of the year|)
        (can|could) you (say|name|tell me) (all|) the months of the year
        which months (are there|does a year have)
        do you know the months of the year
        what months are there (in a year|)
        what are the names of the months
        what months does a year have
        !i want to hear the months of the year
        !(can|could) you name all the months (of the year|)
    """, ", ".join(MONTHS) + ".", "october", polite=True, weight=1.5),
    intent("seasons", "says the four seasons", """
        (tell me|name|say|give me) (all the|the|the four) seasons (of the year|)
        what are the (four|) seasons (of the year|)
        (can|could) you (say|name|tell me) the (four|) seasons
        which seasons (are there|does a year have)
        do you know the (four|) seasons (of the year|)
        what seasons are there (in a year|)
        what are the names of the seasons
        !i want to hear the (four|) seasons
        !(can|could) you name all the seasons (of the year|)
    """, "Spring, summer, autumn, winter.", "winter", polite=True),
    intent("day_after", "names the day after another", """
        what (day|) comes (right|) after {a}
        (which|what) day (comes|is) after {a}
        what is the (next|) day after {a}
        what is after {a}
        (tell me|say) the day after {a}
        (if|) today is {a} what (day|) is tomorrow
        what comes next after {a}
        !(can|could) you tell me what (day|) comes after {a}
        !do you know what day comes after {a}
    """, "After {a} comes {b}.", "{b}", _DAY_STEPS, weight=2,
           follow=("and after {a}", "what about {a}", "and what comes after {a}")),
    intent("day_before", "names the day before another", """
        what (day|) comes (right|) before {b}
        (which|what) day (comes|is) before {b}
        what is the day before {b}
        what is before {b}
        (tell me|say) the day before {b}
        (if|) today is {b} what (day|) was yesterday
        !(can|could) you tell me what (day|) comes before {b}
        !do you know what day comes before {b}
    """, "Before {b} comes {a}.", "{a}", _DAY_STEPS, weight=2,
           follow=("and before {b}", "what about before {b}", "and what comes before {b}")),
    intent("month_after", "names the month after another", """
        what (month|) comes (right|) after {a}
        (which|what) month (comes|is) after {a}
        what is the (next|) month after {a}
        what is after {a}
        (tell me|say) the month after {a}
        what comes next after {a}
        !(can|could) you tell me what (month|) comes after {a}
        !do you know what month comes after {a}
    """, "After {a} comes {b}.", "{b}", _MONTH_STEPS, weight=2,
           follow=("and after {a}", "what about {a}", "and what comes after {a}")),
    intent("month_before", "names the month before another", """
        what (month|) comes (right|) before {b}
        (which|what) month (comes|is) before {b}
        what is the month before {b}
        what is before {b}
        (tell me|say) the month before {b}
        !(can|could) you tell me what (month|) comes before {b}
        !do you know what month comes before {b}
    """, "Before {b} comes {a}.", "{a}", _MONTH_STEPS, weight=2,
           follow=("and before {b}", "what about before {b}", "and what comes before {b}")),
    intent("how_many_units", "knows how many days a week has, and the like", """
        how many {x} are (there|) in {y}
        how many {x} does {y} have
        how many {x} has {y}
        how many {x} are there in one {bare}
        how many {x} make {y}
        tell me how many {x} {y} has
        do you know how many {x} {y} has
        how many {x} in {y}
        !(can|could) you tell me how many {x} are in {y}
        !how many {x} do we have in {y}
    """, "There are {n} {x} in {y}.", "{key}",
           [{"x": x, "bare": y, "y": "an hour" if y == "hour" else f"a {y}", "n": n, "key": key}
            for x, y, n, key in UNITS],
           weight=2.5, follow=("and how many {x} in {y}", "and {x} in {y}", "what about {x} in {y}")),
    intent("season_of", "knows the season of a month", """
        (what|which) season is {m} (in|)
        in (what|which) season is {m}
        is {m} in (summer|winter|spring) (or in autumn|)
        what season (is it|do we have) in {m}
        tell me the season of {m}
        do you know the season of {m}
        !(can|could) you tell me what season {m} is in
        !what is the season of {m}
    """, "{m} is in {s}.", "{s}", [{"m": m, "s": s} for s, months in SEASONS.items() for m in months], weight=1.5,
           follow=("and {m}", "what about {m}", "and in {m}")),
    intent("season_after", "names the season after another", """
        what (season|) comes (right|) after {a}
        (which|what) season (comes|is) after {a}
        what is the (next|) season after {a}
        what is after {a}
        (tell me|say) the season after {a}
        what comes next after {a}
        !(can|could) you tell me what (season|) comes after {a}
        !do you know what season comes after {a}
    """, "After {a} comes {b}.", "{b}", _SEASON_STEPS, follow=("and after {a}", "what about {a}")),
    intent("month_length", "knows how many days a month has", """
        how many days does {m} have
        how many days are (there|) in {m}
        how many days has {m} (got|)
        how long is {m}
        tell me how many days {m} has
        do you know how many days {m} has
        how many days in {m}
        !(can|could) you tell me how many days {m} has
        !how many days do we have in {m}
    """, "{m} has {n} days.", "days", [{"m": m, "n": n} for m, n in MONTH_LENGTHS.items()], weight=2,
           follow=("and {m}", "what about {m}", "and in {m}")),
    intent("first_or_last", "knows the first and last day and month", """
        what is the {which} {x} (of the {y}|)
        which {x} is the {which} (of the {y}|)
        which is the {which} {x} (of the {y}|)
        (tell me|say|name) the {which} {x} of the {y}
        (which|what) {x} comes {which}
        do you know the {which} {x} of the {y}
        !(can|could) you tell me the {which} {x} of the {y}
        !what {x} is the {which} in the {y}
    """, "The {which} {x} is {z}.", "{z}", _ENDS, weight=1.5,
           follow=("and the {which} {x}", "what about the {which} {x}")),
)
