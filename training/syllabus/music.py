"""Music in conversation: asking for a tune, changing the last one, asking what music it was that was just heard.

A reply names the tune's instrument, mood and tempo (the medium one is left unsaid), and the music follows it:
`Answer.plays` says what. What is not asked for is happy, medium, on the piano. Questions about music are answered from
`State.given`, the last that the user gave to listen to. `tags_said` reads tags from a text, to compare what is said
with what was played.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from training.music.score import INSTRUMENTS, MOODS, TEMPOS, Tags, all_tags
from training.syllabus.intent import Answer, Answering, Intent, Row, State, intent
from training.syllabus.world import with_article

USUAL = Tags("piano", "happy", "medium")
WORDS = {
    "happy": ("happy", "cheerful"),
    "sad": ("sad", "gloomy"),
    "calm": ("calm", "relaxing", "peaceful"),
    "exciting": ("exciting", "thrilling"),
    "scary": ("scary", "spooky"),
    "funny": ("funny", "silly"),
    "slow": ("slow",),
    "medium": ("medium",),
    "fast": ("fast", "quick"),
}
"""How moods and tempos are also called; the first is what nano says."""
_MORE = {"happy": "happier", "sad": "sadder", "calm": "calmer", "exciting": "more exciting", "scary": "scarier",
         "funny": "funnier"}
_UNKNOWN = ("drums", "saxophone", "banjo", "cello", "clarinet", "accordion", "bagpipes", "keyboard", "bass", "tuba")
_ORDER = tuple(TEMPOS)  # slow, medium, fast
_ALL = ", the ".join(list(INSTRUMENTS)[:-1]) + " and the " + list(INSTRUMENTS)[-1]
NOTHING_PLAYED = "I have not played anything yet."
NOTHING_GIVEN = "You have not played me anything yet."


def described(tags: Tags) -> str:
    """'a slow sad tune on the violin'."""
    words = f"{tags.tempo} {tags.mood}" if tags.tempo != "medium" else tags.mood
    return f"{with_article(words)} tune on the {tags.instrument}"


def tags_said(text: str) -> Tags | None:
    """The tags that a text names, medium where it names no tempo; None without an instrument or a mood."""
    words = "".join(c if c.isalpha() else " " for c in text.lower()).split()

    def named(kinds: dict[str, tuple[str, ...]]) -> str | None:
        return next((kind for kind, names in kinds.items() if any(word in names for word in words)), None)

    instrument = named({name: (name,) for name in INSTRUMENTS})
    mood = named({mood: WORDS[mood] for mood in MOODS})
    tempo = named({tempo: WORDS[tempo] for tempo in ("slow", "fast")})
    return Tags(instrument, mood, tempo or "medium") if instrument and mood else None


def captions(tags: Tags) -> list[str]:
    """True sentences about a piece, for the tasks that turn a caption into music and music into a caption."""
    pace = "at a medium speed" if tags.tempo == "medium" else tags.tempo
    found = []
    for mood in WORDS[tags.mood]:
        words = mood if tags.tempo == "medium" else f"{tags.tempo} {mood}"
        found.append(f"{with_article(words)} tune on the {tags.instrument}")
        found.append(f"{words} {tags.instrument} music")
        found.append(f"{with_article(mood)} piece for {tags.instrument}, {pace}")
    return found


def _asked() -> Iterator[Row]:
    """Noun phrases for music of some or all tags; what is left open is None in `asked`."""
    for instrument in (None, *INSTRUMENTS):
        for mood in (None, *MOODS):
            for tempo in (None, *TEMPOS):
                for music in _noun_phrases(instrument, mood, tempo):
                    yield {"music": music, "asked": (instrument, mood, tempo)}


def _noun_phrases(instrument: str | None, mood: str | None, tempo: str | None) -> Iterator[str]:
    tail = " at a medium speed" if tempo == "medium" else ""
    for word in WORDS[mood] if mood else ("",):
        adjectives = f"{tempo if tempo and not tail else ''} {word}".strip()
        if instrument is None and not adjectives:
            yield from (f"{noun}{tail}" for noun in ("some music", "a tune", "a song", "something"))
            continue
        on = f" on the {instrument}" if instrument else ""
        yield f"some {adjectives} {f'{instrument} music' if instrument else 'music'}{tail}"
        yield f"{with_article(f'{adjectives} tune'.strip())}{on}{tail}"
        yield f"something {adjectives}{on}{tail}"


def _performed(tune: Tags) -> Answer:
    words = (tune.instrument, *((tune.tempo,) if tune.tempo != "medium" else ()))
    return Answer(f"Here is {described(tune)}.", words, plays=tune)


def _play(state: State, row: Row) -> Answer:
    instrument, mood, tempo = row["asked"]
    return _performed(Tags(instrument or USUAL.instrument, mood or USUAL.mood, tempo or USUAL.tempo))


def _changed(state: State, row: Row) -> Answer:
    """The last tune with the row's tags in place of its own."""
    if state.tune is None:
        return Answer(NOTHING_PLAYED, ("anything",))
    return _performed(replace(state.tune, **row["changes"]))


def _hurried(steps: int) -> Answering:
    def answer(state: State, row: Row) -> Answer:
        tune = state.tune
        if tune is None:
            return Answer(NOTHING_PLAYED, ("anything",))
        tempo = _ORDER.index(tune.tempo) + steps
        if tempo not in range(len(_ORDER)):
            return Answer(f"I cannot play any {'faster' if steps > 0 else 'slower'}.", ("any",))
        return _performed(replace(tune, tempo=_ORDER[tempo]))

    return answer


def _played(state: State, row: Row) -> Answer:
    if state.tune is None:
        return Answer(NOTHING_PLAYED, ("anything",))
    return Answer(f"I played {described(state.tune)}.", (state.tune.instrument,))


def _about_given(about: Callable[[Tags, Row], Answer]) -> Answering:
    """An answer about the music that was given, or that none was."""

    def answer(state: State, row: Row) -> Answer:
        return Answer(NOTHING_GIVEN, ("played",)) if state.given is None else about(state.given, row)

    return answer


def _description(given: Tags, row: Row) -> Answer:
    return Answer(f"That is {described(given)}.", (given.instrument,))


def _instrument(given: Tags, row: Row) -> Answer:
    return Answer(f"That is the {given.instrument}.", (given.instrument,))


def _mood(given: Tags, row: Row) -> Answer:
    return Answer(f"That sounds {given.mood}.", (given.mood,))


def _tempo(given: Tags, row: Row) -> Answer:
    pace = "at a medium speed" if given.tempo == "medium" else given.tempo
    return Answer(f"It is {pace}.", (given.tempo,))


def _is_it(given: Tags, row: Row) -> Answer:
    word = "Yes" if row["instrument"] == given.instrument else "No"
    return Answer(f"{word}, that is the {given.instrument}.", (given.instrument,))


_STATES = (State(), *(State(tune=tags) for tags in all_tags()))
_GIVEN = (State(), *(State(given=tags) for tags in all_tags()))
_PLAIN = (State(), *(State(given=Tags(name, "happy", "medium")) for name in INSTRUMENTS))
_MOOD_CHANGES = [
    {"mood": word, "more": _MORE[mood], "changes": {"mood": mood}} for mood in MOODS for word in WORDS[mood]
]
_INSTRUMENT_CHANGES = [
    {"instrument": name, "an_instrument": with_article(name), "changes": {"instrument": name}} for name in INSTRUMENTS
]
_AFTER_TUNE: dict[str, Any] = {
    "after": ("play_music",),
    "suits": lambda state: state.tune is not None,
    "states": _STATES,
}

MUSIC: tuple[Intent, ...] = (
    intent("play_music", "plays music: eight instruments, six moods, three tempos", """
        play {music} (for me|)
        play me {music}
        (can|could|will) you play {music} (for me|)
        (can|could) you play me {music}
        i want (to hear|) {music}
        i would like (to hear|) {music}
        let me hear {music}
        (make|give) me {music}
        (can|could) i hear {music}
        now play {music}
        {music}
        (start|put on) {music}
        i need {music}
        (can|could) we hear {music}
        it is time for {music}
        !i would love to hear {music}
        !would you play {music} (for us|)
        !i want you to play {music}
    """, _play, rows=_asked(), weight=9, polite=True,
           follow=("and {music}", "and now {music}", "now {music}", "now play {music}", "then play {music}"),
           likely=lambda state, row: row["asked"][0] is not None and row["asked"][1] is not None),
    intent("faster", "plays its last tune faster", """
        (a bit|a little|) faster
        (now|and now|and) faster
        (a bit|a little|) quicker
        i want it faster
        (make|play) it (a bit|a little|) faster
        (can|could) you (play|make) (it|that) (a bit|) faster
        (that|this|the tune) is too slow
        play (that|the same|it again) (but|) faster
        more quickly
        !(now|and now) the same but quicker
        !speed it up
    """, _hurried(1), **_AFTER_TUNE, directly=True, alone=0.05, weight=3, polite=True),
    intent("slower", "plays its last tune slower", """
        (a bit|a little|) slower
        (now|and now|and) slower
        i want it slower
        (make|play) it (a bit|a little|) slower
        (can|could) you (play|make) (it|that) (a bit|) slower
        (that|this|the tune) is too fast
        play (that|the same|it again) (but|) slower
        more slowly
        !(now|and now) the same but not so fast
        !slow it down
    """, _hurried(-1), **_AFTER_TUNE, directly=True, alone=0.05, weight=3, polite=True),
    intent("change_mood", "plays its last tune in another mood", """
        make it {more}
        make it {mood}
        (a bit|a little|) {more}
        (can|could) you (make|play) it {more}
        play it {more}
        (now|and now) the same but {mood}
        i want it {more}
        (now|and now|and) {mood}
        more {mood}
        {mood} instead
        !it should be {more}
        !it should sound {mood}
    """, _changed, rows=_MOOD_CHANGES, **_AFTER_TUNE, directly=True, alone=0.05, weight=4, polite=True),
    intent("change_instrument", "plays its last tune on another instrument", """
        on the {instrument} instead
        (now|and now|and|) on the {instrument}
        (play|can you play|could you play) (it|that|the same) on the {instrument} (instead|)
        the same (tune|thing|) on the {instrument}
        (use|take) the {instrument} instead
        with (the {instrument}|{an_instrument}) (instead|)
        (now|and now|and) with (the {instrument}|{an_instrument})
        (can|could) you (play|do) it with {an_instrument}
        i want it (on the {instrument}|with {an_instrument})
        make it the {instrument}
        !i would like to hear it on the {instrument}
        !how does it sound on the {instrument}
    """, _changed, rows=_INSTRUMENT_CHANGES, **_AFTER_TUNE, directly=True, alone=0.05, weight=4, polite=True),
    intent("play_again", "plays its last tune again", """
        (play|can you play|could you play) (it|that) (once more|again)
        (play|let me hear) the same (tune|music|) again
        play that tune again
        i want to hear (it|that) again
        !(one more time|once more) the same tune
        !let me hear that (once more|one more time)
    """, _changed, rows=({"changes": {}},), **_AFTER_TUNE, directly=True, alone=0.05, weight=3, polite=True),
    intent("what_did_you_play", "remembers what it played", """
        what did you (just|) play
        what was that (tune|music)
        which (tune|music) did you play
        what kind of music did you play
        do you (know|remember) what you (just|) played
        what have you played
        (tell me|say) what you played
        !(can|could) you tell me what you played
        !tell me what that tune was
    """, _played, **_AFTER_TUNE, alone=0.15, weight=2),
    intent("what_music", "says which instruments and moods it can play", """
        what (music|instruments) can you play
        which instruments (can you play|do you know|do you have)
        what kind of music (can you play|do you know|do you make)
        what can you play
        tell me which instruments you can play
        !do you know how to play any instruments
        !(can|could) you tell me what you can play
    """, f"I can play the {_ALL}.", "xylophone", weight=2),
    intent("what_moods", "says what moods its music has", """
        what moods (can you play|do you know|are there)
        (how|what) can your music (sound|be like)
        which moods can your music have
        can you play in different moods
        which moods are there (in your music|)
        tell me (what|which) moods you know
        how many moods (can you play|do you know)
        !what moods does your music have
    """, "My music can be happy, sad, calm, exciting, scary or funny.", "scary", weight=1.5),
    intent("other_instrument", "says honestly which instruments it cannot play", """
        play (something|a tune|some music|) on the {unknown}
        (can|could) you play the {unknown}
        (can|could) you play something on the {unknown}
        i want to hear the {unknown}
        play (me|) the {unknown}
        !do you play the {unknown}
        !some music on the {unknown}
    """, "I do not have the {unknown}. I can play the piano.", "have", [{"unknown": name} for name in _UNKNOWN],
           weight=2.5, polite=True),
    intent("describe_music", "says what music it is given to hear", """
        what (music|tune|song) is (this|that)
        (describe|tell me about) (this|that) (music|tune|song)
        what do you hear
        what kind of music is (this|that)
        what am i playing (to you|)
        how does (this|that) (music|tune|song) sound
        listen to (this|that)
        !(can|could) you describe (this|that) music
        !what is playing
    """, _about_given(_description), takes="music", weight=5, states=_GIVEN),
    intent("which_instrument", "names the instrument it hears", """
        (what|which) instrument is (this|that)
        (what|which) instrument (do you hear|is playing)
        what is (this|that) played on
        (do you know|tell me) (what|which) instrument (this|that) is
        what is it played on
        !(can|could) you name (this|that) instrument
        !who is playing there
    """, _about_given(_instrument), takes="music", weight=4, states=_PLAIN),
    intent("which_mood", "says what mood the music that it hears has", """
        (what|which) mood is (this|that)
        (what|which) mood does it have
        is (this|that) (music|tune|) (happy or sad|sad or happy)
        how does (this|that) music feel
        is it (happy|sad|calm|exciting|scary|funny) music
        what feeling does (this|that) (music|tune) have
        !(can|could) you tell me the mood of (this|that) music
    """, _about_given(_mood), takes="music", weight=4,
           states=(State(), *(State(given=Tags("piano", mood, "medium")) for mood in MOODS))),
    intent("which_tempo", "says how fast the music is that it hears", """
        is (this|that) (music|tune|) (fast or slow|slow or fast)
        how fast is (this|that|it) (music|tune|)
        (what|which) (tempo|speed) (does it have|is it)
        is it (slow|fast) music
        !(can|could) you tell me how fast (this|that) is
    """, _about_given(_tempo), takes="music", weight=4,
           states=(State(), *(State(given=Tags("piano", "happy", tempo)) for tempo in TEMPOS))),
    intent("is_it_instrument", "says whether it hears an instrument", """
        is (this|that|it) the {instrument}
        is (this|that|it) (played|) on the {instrument}
        do you hear the {instrument}
        is there an instrument like the {instrument}
        !(can|could) you hear the {instrument}
    """, _about_given(_is_it), rows=[{"instrument": name} for name in INSTRUMENTS], takes="music", weight=3,
           states=_PLAIN,
           likely=lambda state, row: state.given is not None and row["instrument"] == state.given.instrument),
)  # fmt: skip
