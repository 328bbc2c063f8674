"""Fun: jokes, riddles, facts, stories, rhymes, coins and numbers. What comes next depends on what was told already."""

from __future__ import annotations

from training.syllabus.intent import Answer, Answering, Intent, Row, State, intent, sentence
from training.syllabus.world import COLOURS, NOUNS, NUMBERS

# text, a word that tells it from the others
_REPERTOIRE = {
    "joke": (
        ("Why did the chicken cross the road? To get to the other side.", "chicken"),
        ("What is brown and sticky? A stick.", "sticky"),
        ("What do you call a bear without teeth? A gummy bear.", "gummy"),
        ("Why is six afraid of seven? Because seven ate nine.", "ate"),
        ("What has four legs and says moo? Two half cows.", "half"),
    ),
    "fact": (
        ("A snail can sleep for three years.", "snail"),
        ("An octopus has three hearts.", "octopus"),
        ("Honey never goes bad.", "honey"),
        ("A whale is longer than a bus.", "whale"),
        ("Bees dance to talk to each other.", "dance"),
    ),
    "story": (
        ("Once a little mouse helped a big lion. The lion said thank you, and they were friends.", "lion"),
        ("Once a slow snail and a fast rabbit ran a race. The rabbit slept, and the snail won.", "race"),
        ("Once a small star fell into the sea. A kind whale carried it home to the sky.", "star"),
    ),
    "rhyme": (
        ("Twinkle, twinkle, little star, how I wonder what you are.", "twinkle"),
        ("Row, row, row your boat, gently down the stream.", "row"),
        ("The cat in the hat sat on the mat.", "mat"),
    ),
    "coin": (("I say heads.", "heads"), ("I say tails.", "tails")),
    "pick_number": (
        ("My number is seven.", "number"),
        ("My number is three.", "number"),
        ("My number is twelve.", "number"),
    ),
}
# question, a word of it, answer
_RIDDLES = (
    ("What has hands but cannot clap?", "clap", "clock"),
    ("What has keys but opens no door?", "keys", "piano"),
    ("What has teeth but cannot bite?", "bite", "comb"),
    ("What gets wet while it is drying?", "drying", "towel"),
    ("What has one eye but cannot see?", "eye", "needle"),
)
_OFFERED_BY = ("feeling", "can_you_sing")
_TOLD = (*_REPERTOIRE, "riddle")
_SAID = (*NOUNS, *COLOURS, *NUMBERS, "hello", "yes", "no", "please", "thank you", "goodbye", "good night")


def _next(kind: str) -> Answering:
    """The next item of the repertoire; after the last comes the first again."""

    def answer(state: State, row: Row) -> Answer:
        told = state.told.get(kind, 0)
        text, word = _REPERTOIRE[kind][told % len(_REPERTOIRE[kind])]
        return Answer(text, (word,), {"told": {**state.told, kind: told + 1}})

    return answer


def _states(kind: str) -> tuple[State, ...]:
    count = len(_RIDDLES) if kind == "riddle" else len(_REPERTOIRE[kind])
    return tuple(State(told={kind: told}, topic=kind) for told in range(count))


def _riddle(state: State, row: Row) -> Answer:
    told = state.told.get("riddle", 0)
    question, word, solution = _RIDDLES[told % len(_RIDDLES)]
    return Answer(question, (word,), {"told": {**state.told, "riddle": told + 1}, "riddle": solution})


def _another(state: State, row: Row) -> Answer:
    if state.topic in _REPERTOIRE:
        return _next(state.topic)(state, row)
    if state.topic == "riddle":
        return _riddle(state, row)
    return Answer("Shall I tell you a joke?", ("shall",), {"offer": "joke"})


def _solution(state: State, row: Row) -> Answer:
    return Answer(f"It is a {state.riddle}.", (state.riddle,))


def _guess(state: State, row: Row) -> Answer:
    yes = "Yes" if _is_right(state, row) else "No"
    return Answer(f"{yes}, it is a {state.riddle}.", (state.riddle,))


def _is_right(state: State, row: Row) -> bool:
    return bool(row["x"] == state.riddle)


def _offers(state: State) -> bool:
    return bool(state.offer)


def _yes(state: State, row: Row) -> Answer:
    if state.offer:
        return _next(state.offer)(state, row)
    return Answer("All right. What can I do for you?", ("right",))


def _no(state: State, row: Row) -> Answer:
    return Answer(f"All right, no {state.offer}." if state.offer else "All right.", ("right",))


def _say(state: State, row: Row) -> Answer:
    word = str(row["x"])
    return Answer(sentence(f"{word}."), (word.split()[-1],))


_RIDDLE_STATES = tuple(State(riddle=solution) for _, _, solution in _RIDDLES)
_OFFERS = tuple(State(offer=kind, told={kind: told})
                for kind in ("joke", "rhyme") for told in range(len(_REPERTOIRE[kind])))

PLAY: tuple[Intent, ...] = (
    intent("joke", "tells a joke, each time the next one", """
        (tell|give) me a (good|funny|) joke
        (can|could|will) you tell (me|us) a (funny|) joke
        do you know (a|any) (good|funny|) joke
        do you know (any|some) jokes
        (i want|i would like) (to hear|) a (funny|) joke
        a joke please
        tell a joke
        make me laugh
        (say|tell me) something funny
        (let me hear|do you have) a (funny|) joke
        let's hear a joke
        (tell me|) one more joke (please|)
        (tell me|) another joke (please|)
        !have you got a (good|funny|) joke
        !i need a (good|funny|) joke
    """, _next("joke"), states=_states("joke"), weight=2.5, polite=True),
    intent("another_one", "tells one more of what it told last", """
        (tell me|) another one (please|)
        (tell me|) one more (please|)
        do you know (another one|one more|more)
        (and|okay|now) another one
        (again|more) please
        (i want|i would like) (another one|one more)
        (can|could) you tell me (another one|one more)
        (tell me|give me) another
        (the|) next one (please|)
        !have you got (another one|one more)
        !let me hear (another one|one more)
    """, _another, after=_TOLD, directly=True, alone=0.06, weight=3, bare=True,
           states=(State(), *(state for kind in _TOLD for state in _states(kind)))),
    intent("riddle", "asks a riddle", """
        (tell|ask|give) me a riddle
        do you (know|have) (a|any) (good|) riddle
        (can|could|will) you (tell|ask|give) me a riddle
        (i want|i would like) (to hear|) a riddle
        (let's|let us|can we) play (a game|a riddle game)
        a riddle please
        do you know any riddles
        (now|and now) a riddle
        shall we play a game
        do you want to play a game
        (tell me|ask me|) another riddle (please|)
        !let me hear a (good|) riddle
        !have you got a riddle (for me|)
    """, _riddle, states=_states("riddle"), weight=2.5, polite=True),
    intent("riddle_answer", "gives the answer to its riddle", """
        (i don't|i do not) know (the answer|it|that|)
        what is (it|the answer)
        (tell|give) me the answer
        i give up
        (i have|) no idea
        what is it then
        (say|tell me) what it is
        (can|could) you tell me the answer
        !(can|could) you tell me what it is
        !what can it be
    """, _solution, states=_RIDDLE_STATES, after=("riddle",), directly=True, weight=2.5, bare=True),
    intent("riddle_guess", "says whether a guess is right", """
        (is it|it is) a {x}
        a {x}
        (i think|i say) (it is|) a {x}
        (could it|can it|it must) be a {x}
        the answer is a {x}
        that is a {x}
        maybe (it is|it's|) a {x}
        !my answer is a {x}
        !i think (that is|the answer is) a {x}
    """, _guess, rows=[{"x": x} for x in ("clock", "piano", "comb", "towel", "needle", "cat", "table", "key", "book")],
           states=_RIDDLE_STATES, likely=_is_right, after=("riddle",), directly=True, weight=3, bare=True),
    intent("fact", "tells a fun fact", """
        (tell|give) me a (fun|funny|) fact
        (tell|teach) me something (new|interesting)
        (do you know|say) something interesting
        (can|could) you tell me (a fun fact|something interesting|a fact)
        (i want|i would like) to (learn|know) something (new|interesting)
        a fun fact please
        do you know any fun facts
        (can|could) you teach me something
        tell me something i do not know
        (tell me|) another (fun|) fact (please|)
        !have you got a fun fact
        !let me hear (a fun fact|something interesting)
    """, _next("fact"), states=_states("fact"), weight=2.5, polite=True),
    intent("story", "tells a short story", """
        (tell|read) me a (short|little|good|) story
        (can|could|will) you (tell|read) me a (short|little|) story
        do you (know|have) (a|any) (short|good|) story
        (i want|i would like) (to hear|) a (short|) story
        a (short|) story please
        tell a (short|) story
        do you know any stories
        tell me a story about animals
        (tell me|) one more story (please|)
        (tell me|) another story (please|)
        !let me hear a (short|little|) story
        !have you got a (short|good|) story
    """, _next("story"), states=_states("story"), weight=2.5,
           polite=True),
    intent("rhyme", "says a nursery rhyme", """
        (say|tell me) a (short|little|) (rhyme|poem)
        (can|could|will) you (say|tell me) a (short|) (rhyme|poem)
        do you (know|have) a (rhyme|poem)
        (i want|i would like) (to hear|) a (rhyme|poem)
        a (short|) (rhyme|poem) please
        (read|give) me a (rhyme|poem)
        do you know any rhymes
        (tell me|say|) another rhyme (please|)
        !let me hear a (short|) (rhyme|poem)
        !have you got a (rhyme|poem)
    """, _next("rhyme"), states=_states("rhyme"), weight=2, polite=True),
    intent("coin", "says heads or tails in turn", """
        (flip|throw) a coin (for me|)
        heads or tails
        (can|could|will) you (flip|throw) a coin (for me|)
        (say|tell me) heads or tails
        (let us|let's) (flip|throw) a coin
        i need you to (flip|throw) a coin
        is it heads or tails
        !i want you to (flip|throw) a coin
        !now (flip|throw) a coin
    """, _next("coin"), states=_states("coin"), weight=1.5, polite=True),
    intent("pick_number", "picks a number", """
        (pick|say|give me) (a|any) number
        (think of|tell me) (a|any) number (from one to twenty|)
        pick a number from one to (ten|twenty)
        (can|could|will) you pick a number
        i need a number
        what number do you (pick|say)
        (can|could) you think of a number
        !i want you to pick a number
        !now pick a number
    """, _next("pick_number"), states=_states("pick_number"), weight=1.5, polite=True),
    intent("tongue_twister", "says a tongue twister", """
        (say|tell me) a tongue twister
        do you know (a|any) tongue twister
        (can|could|will) you (say|tell me) a tongue twister
        say something (difficult|hard)
        (i want|i would like) to hear a tongue twister
        a tongue twister please
        give me a tongue twister
        !let me hear a tongue twister
        !have you got a tongue twister
    """, "She sells sea shells by the sea shore.", "shells", polite=True),
    intent("say_word", "says a word after the user", """
        (say|repeat) (the word|) {x}
        (can|could|will) you (say|repeat) (the word|) {x}
        repeat after me {x}
        say after me {x}
        i want you to (say|repeat) {x}
        say {x} (for me|to me)
        now (say|repeat) {x}
        (can|could) you repeat after me {x}
        !let me hear you say {x}
        !i want to hear the word {x}
    """, _say, rows=[{"x": word} for word in _SAID], weight=4, follow=("and {x}", "now {x}", "and now {x}")),
    intent("yes", "takes a yes, also to its own offer", """
        yes (please|)
        (yes|okay|oh yes) (please do|do it|tell me)
        (sure|of course|okay|good)
        yes (i do|you can|you may|i would)
        (go on|do it|please do)
        yes i would like that
        yes yes
        !yes (of course|sure|okay)
        !(okay|yes) go on
    """, _yes, suits=_offers, states=(State(), *_OFFERS), after=_OFFERED_BY, directly=True, alone=0.3, weight=2.5,
           bare=True),
    intent("no", "takes a no, also to its own offer", """
        no (thanks|thank you|)
        (oh no|no) (not now|please don't|i don't)
        (not now|never|not today)
        no i (do not|don't) want (that|to)
        no no
        maybe later
        please (do not|don't)
        !no (thanks|thank you) not (now|today)
        !no maybe (later|tomorrow)
    """, _no, suits=_offers, states=(State(), State(offer="joke"), State(offer="rhyme")), after=_OFFERED_BY,
           directly=True, alone=0.3,
           weight=2.5, bare=True),
)
