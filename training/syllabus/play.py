"""Fun: jokes, riddles, facts, stories, rhymes, coins and numbers. What comes next depends on what was told already."""

from __future__ import annotations

from collections.abc import Callable

from training.syllabus.intent import Answer, Intent, Row, State, intent
from training.syllabus.world import NOUNS

# text | a word that no other item has
JOKES = (
    ("Why did the chicken cross the road? To get to the other side.", "chicken"),
    ("What is brown and sticky? A stick.", "sticky"),
    ("What do you call a bear without teeth? A gummy bear.", "gummy"),
    ("Why is six afraid of seven? Because seven ate nine.", "afraid"),
    ("What has four legs and says moo? Two half cows.", "half"),
)
RIDDLES = (
    ("What has hands but cannot clap?", "clap", "clock"),
    ("What has keys but opens no door?", "keys", "piano"),
    ("What has teeth but cannot bite?", "bite", "comb"),
    ("What gets wet while it is drying?", "drying", "towel"),
    ("What has one eye but cannot see?", "eye", "needle"),
)
FACTS = (
    ("A snail can sleep for three years.", "snail"),
    ("An octopus has three hearts.", "octopus"),
    ("Honey never goes bad.", "honey"),
    ("A whale is bigger than a bus.", "bus"),
    ("Bees dance to talk to each other.", "dance"),
)
STORIES = (
    ("Once a little mouse helped a big lion. The lion said thank you, and they were friends.", "lion"),
    ("Once a slow snail and a fast rabbit ran a race. The rabbit slept, and the snail won.", "race"),
    ("Once a small star fell into the sea. A kind whale carried it home to the sky.", "star"),
)
RHYMES_TOLD = (
    ("Twinkle, twinkle, little star, how I wonder what you are.", "twinkle"),
    ("Row, row, row your boat, gently down the stream.", "row"),
    ("The cat in the hat sat on the mat.", "mat"),
)
COIN = (("I say heads.", "heads"), ("I say tails.", "tails"))
PICKS = (("I pick seven.", "pick"), ("I pick three.", "pick"), ("I pick twelve.", "pick"))


def _next(kind: str, items: tuple[tuple[str, str], ...]) -> Callable[[State, Row], Answer]:
    def answer(state: State, row: Row) -> Answer:
        text, *words = items[state.told.get(kind, 0) % len(items)]
        return Answer(text, tuple(words[:1]), {"told": {**state.told, kind: state.told.get(kind, 0) + 1}})

    return answer


def _states(kind: str, count: int) -> tuple[State, ...]:
    return tuple(State(told={kind: number}) for number in range(count))


def _riddle(state: State, row: Row) -> Answer:
    number = state.told.get("riddle", 0)
    text, word, answer = RIDDLES[number % len(RIDDLES)]
    return Answer(text, (word,), {"told": {**state.told, "riddle": number + 1}, "riddle": answer})


_RIDDLE_STATES = tuple(State(riddle=answer) for _, _, answer in RIDDLES)


def _solution(state: State, row: Row) -> Answer:
    if not state.riddle:
        return Answer("I have not asked you a riddle.", ("riddle",))
    return Answer(f"It is a {state.riddle}.", (state.riddle,), {"riddle": ""})


def _guess(state: State, row: Row) -> Answer:
    yes = "Yes" if row["x"] == state.riddle else "No"
    return Answer(f"{yes}, it is a {state.riddle}.", (yes.lower(),), {"riddle": ""})


def _yes(state: State, row: Row) -> Answer:
    if state.offer == "joke":
        return _next("joke", JOKES)(state, row)
    if state.offer == "rhyme":
        return _next("rhyme", RHYMES_TOLD)(state, row)
    return Answer("All right. What can I do for you?", ("right",))


def _no(state: State, row: Row) -> Answer:
    if state.offer:
        return Answer(f"All right, no {state.offer}.", (state.offer,))
    return Answer("All right, no problem.", ("problem",))


def _echo_word(state: State, row: Row) -> Answer:
    return Answer(f"{row['x']}.".capitalize(), (str(row["x"]),))


_OFFERING = ("feeling", "can_you_sing")
_TELLING = ("joke", "riddle", "fact", "story", "rhyme")
_ITEMS = {"joke": JOKES, "fact": FACTS, "story": STORIES, "rhyme": RHYMES_TOLD}


def _another(state: State, row: Row) -> Answer:
    if state.last == "riddle" or state.last not in _ITEMS:
        return _riddle(state, row)
    return _next(state.last, _ITEMS[state.last])(state, row)


PLAY: tuple[Intent, ...] = (
    intent("joke", "tells a joke, each time the next one", """
        (tell|give) me a (good|funny|) joke
        (can|could|will) you tell (me|us) a joke
        (do you know|know) (a|any) (good|) (joke|jokes)
        (i want|i would like) (to hear|) a joke
        a joke please
        (please|) tell a joke
        make me laugh
        say something funny
        let me hear a joke
        !(have you got|do you have) a joke (for me|)
        !i need a (good|) joke
    """, _next("joke", JOKES), states=_states("joke", len(JOKES)), weight=2, polite=True),
    intent("another_one", "tells one more of what it told last", """
        (tell me|) another one (please|)
        (tell me|) one more (please|)
        (do you know|have you got) (another one|one more)
        (and|okay) another (one|)
        (again|more) please
        i want (another|to hear another) one
        !(can you|please) tell me another one
        !next one please
    """, _another, after=("joke", "fact", "story", "rhyme"), directly=True, weight=2.5, bare=True,
           states=tuple(State(last=kind, told={kind: n}) for kind, items in _ITEMS.items() for n in range(len(items)))),
    intent("riddle", "asks a riddle", """
        (tell|ask|give) me a riddle
        (do you know|have you got) a riddle
        (can|could) you (tell|ask|give) me a riddle
        (i want|i would like) (to hear|) a riddle
        (let's|let us) play a (game|riddle)
        a riddle please
        (and|now) a riddle
        !(please|) let me hear a riddle
        !(will|would) you ask me a riddle
    """, _riddle, states=_states("riddle", len(RIDDLES)), weight=2, polite=True),
    intent("riddle_answer", "gives the answer to its riddle", """
        (i don't|i do not) know (the answer|it|)
        what is (it|the answer|the solution)
        (tell|give) me the answer
        i give up
        (i have|no) (no|) idea
        (what|so what) is it then
        (say|tell me) the (answer|solution)
        !(can you|please) tell me the answer
        !what can (it|that) be
    """.replace("(i have|no) (no|) idea", "(i have|) no idea"), _solution, states=_RIDDLE_STATES, after=("riddle",), directly=True,
           weight=2, bare=True),
    intent("riddle_guess", "says whether a guess is right", """
        (is it|it is|it's|maybe|i think it is|i say|could it be|i guess) a {x}
        a {x}
        the answer is a {x}
        !(perhaps|i believe) (it is|) a {x}
        !my answer is a {x}
    """, _guess, rows=[{"x": x} for x in ("clock", "piano", "comb", "towel", "needle", "cat", "table")], states=_RIDDLE_STATES,
           after=("riddle",), directly=True, weight=2.5, bare=True),
    intent("fact", "tells a fun fact", """
        (tell|give) me a (fun|funny|) fact
        (tell|teach) me something (new|interesting|i do not know)
        (do you know|say) something interesting
        (can|could) you tell me (a fun fact|something interesting)
        (i want|i would like) to (learn|know) something (new|interesting)
        a fun fact please
        what do you know about the world
        !(do you know|have you got) a fun fact
        !surprise me
    """, _next("fact", FACTS), states=_states("fact", len(FACTS)), weight=2, polite=True),
    intent("story", "tells a short story", """
        (tell|read) me a (short|little|good|) story
        (can|could|will) you (tell|read) me a story
        (do you know|have you got) a (short|good|) story
        (i want|i would like) (to hear|) a story
        a (short|) story please
        (please|) tell a story
        once upon a time
        !let me hear a (short|) story
        !i need a story (for bed|)
    """, _next("story", STORIES), states=_states("story", len(STORIES)), weight=2, polite=True),
    intent("rhyme", "says a nursery rhyme", """
        (say|tell me) a (short|little|) (rhyme|poem)
        (can|could) you (say|tell me) a (rhyme|poem)
        (do you know|have you got) a (rhyme|poem)
        (i want|i would like) (to hear|) a (rhyme|poem)
        a (rhyme|poem) please
        (read|give) me a (rhyme|poem)
        !let me hear a (rhyme|poem)
        !(please|now) say a (rhyme|poem)
    """, _next("rhyme", RHYMES_TOLD), states=_states("rhyme", len(RHYMES_TOLD)), weight=1.5, polite=True),
    intent("coin", "says heads or tails in turn", """
        (flip|throw|toss) a coin (for me|)
        heads or tails
        (can|could) you (flip|throw|toss) a coin
        (say|choose) heads or tails
        (let us|let's) (flip|throw|toss) a coin
        !(please|now) (flip|throw|toss) a coin
        !i need you to flip a coin
    """, _next("coin", COIN), states=_states("coin", 2), polite=True),
    intent("pick_number", "picks a number", """
        (pick|choose|say|give me) (a|any) number
        (think of|tell me) (a|any) number (from one to twenty|)
        (pick|choose) a number from one to (ten|twenty)
        (can|could) you (pick|choose) a number
        i need (a|any) number
        !(please|now) (pick|choose) a number
        !what number do you (pick|choose)
    """, _next("pick", PICKS), states=_states("pick", 3), polite=True),
    intent("tongue_twister", "says a tongue twister", """
        (say|tell me) a tongue twister
        (do you know|have you got) a tongue twister
        (can|could) you say a tongue twister
        say something (difficult|hard)
        (i want|i would like) to hear a tongue twister
        a tongue twister please
        !let me hear a tongue twister
        !(please|now) say a tongue twister
    """, "She sells sea shells by the sea shore.", "shells", polite=True),
    intent("say_word", "repeats a word after the user", """
        (say|repeat) (the word|) {x}
        (can|could) you (say|repeat) (the word|) {x}
        (please|now) (say|repeat) (the word|) {x}
        repeat after me {x}
        i want you to say {x}
        say {x} (for me|)
        !(can|could) you repeat after me {x}
        !let me hear you say {x}
    """, _echo_word, rows=[{"x": n} for n in NOUNS], weight=3, follow="and {x}\nnow {x}\nand now say {x}"),
    intent("yes", "takes a yes, also to its own offer", """
        yes (please|)
        (yes|okay|oh yes) (please|do it|tell me|)
        (sure|of course|okay|good|great)
        yes (i do|i want|you can|go on)
        (go on|go ahead)
        !yes of course
        !(yes|okay) go (on|ahead)
    """, _yes, states=(State(), *(State(offer=o, told={o: n}) for o in ("joke", "rhyme") for n in range(5))),
           after=_OFFERING, directly=True, alone=0.3, weight=2, bare=True),
    intent("no", "takes a no, also to its own offer", """
        no (thanks|thank you|)
        (no|oh no) (please don't|not now|i don't|)
        (not now|never|not today)
        no i (do not|don't) want (that|to)
        !no (thanks|thank you) not (now|today)
        !(maybe|perhaps) later
    """, _no, states=(State(), State(offer="joke"), State(offer="rhyme")),
           after=_OFFERING, directly=True, alone=0.3, weight=2, bare=True),
)
