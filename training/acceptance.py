"""What `tools.evaluate` asks nano in acceptance: words, pictures, drawings and music that it has never met.

    python -m training.acceptance speech --voices reserved|development --count DIALOGUES
    python -m training.acceptance pictures|drawings|music [--spoken SHARE]

write a manifest.jsonl and its files. `speech`: whole dialogues in held-out phrasings and voices kept apart; the
reserved voices decide whether nano is good enough, recipes are compared on the development ones. `pictures`: things
of the reserved artists and photographs (training.reserved), before the camera. `drawings` and `music` are asked for,
and what comes is shown to nano again; pieces kept out of training are played to it. Of these questions every other is
phrased as in training, and a share is spoken in the reserved voices. What is in a row besides its turns says what it
is, for the figures.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import asdict, astuple, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.kokoro import DEVELOPMENT, RATE, RESERVED, Kokoro
from training.music import corpus
from training.music.score import Tags, all_tags
from training.pictures import NOTHING, SIZE, background, exposed, grid, hide, load_icons, places, put, tilted
from training.reserved import Thing, load_things
from training.syllabus import Dialogue, generate
from training.syllabus.dialogue import GRAMMAR
from training.syllabus.grammar import Split, fill
from training.syllabus.intent import Row
from training.syllabus.music import WORDS
from training.syllabus.pictures import named
from training.syllabus.speech_alone import speech_alone
from training.syllabus.world import COLOURS, NOUN, NUMBERS, PICTURED
from training.wav import write_wav

COUNTS = {"speech": 100, "pictures": 1, "drawings": 97, "music": 48}
SEEDS = {"reserved": 20_001, "development": 10_001}
QUALITY = 80
"""Of the pictures' JPEG files."""
COUNTED, OWN, EMPTY, REMEMBERED, CHANGED = 0.3, 0.4, 12, 20, 12
"""Shares of pictures that show two to four things, and of emoji in their own colours; further rows of their kinds."""

Question = dict[str, Any]
Rows = list[dict[str, Any]]


class Asker:
    """Writes questions, and speaks some of them. Owns the folder that they go to."""

    def __init__(self, folder: Path, kokoro: Path, voices: list[str], spoken: float, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.rng = folder, random.Random(seed)
        self._kokoro = Kokoro(kokoro, exact=True) if spoken else None  # the same questions on every processor
        self._voices, self._spoken = voices, spoken
        self._noise = np.random.default_rng(0)
        self._asked = 0

    def ask(self, intent: str, row: Row | None = None, **more: Any) -> Question:
        """A turn in words of an intent, filled with a row; more: what else the manifest says of it."""
        self._asked += 1
        split: Split = self.rng.choice(("train", "held_out"))
        sentence = fill(GRAMMAR[intent].phrasings.draw(self.rng, split), row or {})
        phrasing = "trained" if split == "train" else "held out"
        question = {"intent": intent, "phrasing": phrasing, **more}
        if self.rng.random() >= self._spoken:
            return {"text": sentence, **question}
        voice = self._voices[self._asked % len(self._voices)]
        name = f"question-{self._asked:04d}.wav"
        self.speak(sentence, voice, name)
        return {"speech": name, "expect_heard": sentence, "voice": voice, **question}

    def speak(self, sentence: str, voice: str, name: str) -> None:
        """Into a file of that name, with a quiet room's noise; "" is two seconds of the room."""
        assert self._kokoro is not None
        speech = self._kokoro.speak(sentence, {voice: 1.0}).speech if sentence else np.zeros(2 * RATE, np.float32)
        noise = 0.0005 * self._noise.standard_normal(len(speech)).astype(np.float32)
        write_wav(self.folder / name, speech + noise, RATE)


def spoken_dialogues(seed: int, alone: bool) -> Iterator[Dialogue]:
    """Held-out ones in which nothing is shown: there is nothing but speech in the manifest. alone: nano has learned
    nothing else."""
    for dialogue in generate(seed, "held_out"):
        if not any(turn.shown or turn.dark or turn.given for turn in dialogue.turns):
            answered = speech_alone(dialogue) if alone else dialogue
            if answered is not None:
                yield answered


def dialogues(asker: Asker, voices: list[str], seed: int, count: int, alone: bool) -> Rows:
    rows = []
    for number, dialogue in enumerate(islice(spoken_dialogues(seed, alone), count)):
        voice = voices[number % len(voices)]
        turns = []
        for index, turn in enumerate(dialogue.turns):
            name = f"{number:04d}-{index}.wav"
            asker.speak(turn.user, voice, name)
            made = {"expect_output": "image"} if turn.draws else {"expect_output": "music"} if turn.plays else {}
            asked = {"speech": name, "expect_heard": turn.heard, "intent": turn.intent}
            turns.append({**asked, "expect_any": list(turn.expect_any), **made})
        rows.append({"id": f"{number:04d}", "voice": voice, "turns": turns})
        print(f"{number + 1} of {count} dialogues", end="\r", flush=True)
    return rows


# ---- Pictures


def names_of(thing: str) -> list[str]:
    return list(dict.fromkeys((NOUN[thing].name, NOUN[thing].plural)))


def pictures(asker: Asker, things: list[Thing], icons: Path, count: int) -> Rows:
    """Each thing `count` times: what it is, its colour where that has a name, how many there are where it is counted.
    Then pictures of nothing, and conversations in which the picture before the last is asked about."""
    rng = np.random.default_rng(asker.rng.getrandbits(32))
    clutter = [icon for icon in load_icons(icons) if icon.thing == NOTHING]
    rows, seen, shown = [], [], []

    def save(name: str, image: Image.Image) -> str:
        image.save(asker.folder / name, quality=QUALITY)
        seen.append(image)
        return name

    for number, thing in enumerate(things * count):
        photograph = thing.icon.artist == "photographs"
        own = photograph or rng.random() < OWN
        colour = thing.colour if own else COLOURS[rng.integers(len(COLOURS))]
        rgba = thing.icon.rgba if own else thing.icon.recoloured(COLOURS.index(colour), rng)
        many = 1 if photograph or rng.random() >= COUNTED else int(rng.integers(2, 5))
        image = save(f"{number:04d}.jpg", scene(rgba, many, clutter, rng))
        shown.append((image, thing))
        turns = [asker.ask("what_is_this", image=image, expect_any=names_of(thing.name), object=thing.name)]
        if colour:
            turns.append(asker.ask("colour_of_this", image=image, expect_any=[colour], colour=colour))
        if many > 1 or number % 4 == 0 and not photograph:
            turns.append(asker.ask("how_many_shown", image=image, expect_any=[NUMBERS[many]]))
        for turn in turns:
            row_id, artist = f"{number:04d}-{turn['intent']}", f"{thing.icon.artist}, {turn['intent']}"
            rows.append({"id": row_id, "artist": artist, "turns": [turn]})
    for number in range(EMPTY):
        image = save(f"empty-{number:02d}.jpg", exposed(background(rng, clutter), rng))
        turn = asker.ask("what_is_this", image=image, expect_any=["nothing"], object="nothing")
        rows.append({"id": f"empty-{number:02d}", "turns": [turn]})
    for number in range(REMEMBERED):
        (first, earlier), (second, _) = asker.rng.sample(shown, 2)
        turns = [
            asker.ask("what_is_this", image=first, expect_any=names_of(earlier.name)),
            asker.ask("colour_of_this", image=second),
            asker.ask("what_was_shown", expect_any=names_of(earlier.name)),
        ]
        rows.append({"id": f"remembered-{number:02d}", "turns": turns})
    grid(seen, 20, 96).save(asker.folder / "sheet.png")
    return rows


def scene(rgba: np.ndarray, count: int, clutter: list[Any], rng: np.random.Generator) -> Image.Image:
    """So many of a thing [ICON, ICON, 4] before the camera."""
    image = background(rng, clutter)
    for place in places(count, rng):
        put(image, tilted(rgba, round(place[2] * SIZE), rng), place, rng)
    if rng.random() < 0.25:
        hide(image, rng)
    return exposed(image, rng)


# ---- Drawings


def drawings(asker: Asker, count: int) -> Rows:
    """All things in turn, in a colour or in their own, and drawings that are changed."""
    rows = []
    things = asker.rng.sample(list(PICTURED), len(PICTURED))
    for number in range(count):
        thing = things[number % len(things)]
        colour = "" if number % 5 == 0 else COLOURS[number % len(COLOURS)]
        row = {"a": named(thing, colour)}
        turn = asker.ask("draw", row, **drawing(thing, colour or PICTURED[thing]))
        rows.append({"id": f"{number:04d}", "turns": [turn]})
    for number in range(CHANGED):
        thing, (before, colour) = asker.rng.choice(things), asker.rng.sample(COLOURS, 2)
        turns = [
            asker.ask("draw", {"a": named(thing, before)}),
            asker.ask("change_colour", {"colour": colour}, **drawing(thing, colour)),
        ]
        rows.append({"id": f"changed-{number:02d}", "turns": turns})
    return rows


def drawing(thing: str, colour: str) -> dict[str, Any]:
    """What should come of a turn."""
    again = [
        {"text": "what is this", "expect_any": names_of(thing), "intent": "object"},
        {"text": "what colour is it", "expect_any": [colour], "intent": "colour"},
    ]
    return {"expect_any": names_of(thing), "expect_output": "image", "object": thing, "colour": colour, "again": again}


# ---- Music

STEP = 5
"""From one combination to the next: all instruments, moods and tempos have their turn soon."""


def music(asker: Asker, pieces: Path, count: int) -> Rows:
    """Combinations far apart from each other, some changed; and pieces kept out of training, to be described."""
    everything = all_tags()
    rows = []
    for number in range(count):
        tags = everything[STEP * number % len(everything)]
        rows.append({"id": f"{number:04d}", "turns": [asker.ask("play_music", music_row(asker, tags), **tune(tags))]})
    for number in range(CHANGED):
        first = everything[(number * 31 + 7) % len(everything)]
        intent = ("change_instrument", "change_mood")[number % 2]
        change = asker.rng.choice(GRAMMAR[intent].rows)
        changed = replace(first, **change["changes"])
        turns = [asker.ask("play_music", music_row(asker, first)), asker.ask(intent, change, **tune(changed))]
        rows.append({"id": f"changed-{number:02d}", "turns": turns})
    for number, (record, pcm) in enumerate(islice(corpus.read(pieces, "development"), 0, STEP * count, STEP)):
        name = f"piece-{number:02d}.wav"
        write_wav(asker.folder / name, pcm.astype(np.float32) / 32767, corpus.RATE)
        for kind, value in asdict(corpus.tags_of(record)).items():
            turn = asker.ask(f"which_{kind}", music=name, expect_any=words_of(value))
            rows.append({"id": f"piece-{number:02d}-{kind}", kind: value, "turns": [turn]})
    return rows


def words_of(tag: str) -> list[str]:
    """What an instrument, a mood or a tempo may be called."""
    return list(WORDS.get(tag, (tag,)))


def music_row(asker: Asker, tags: Tags) -> Row:
    """A way to ask for it; the medium tempo may be left out."""
    wanted = {astuple(tags)} | ({(tags.instrument, tags.mood, None)} if tags.tempo == "medium" else set())
    return asker.rng.choice([row for row in GRAMMAR["play_music"].rows if row["asked"] in wanted])


def tune(tags: Tags) -> dict[str, Any]:
    """What should come of a turn."""
    questions = {"instrument": "which instrument is this", "mood": "what mood is this", "tempo": "how fast is this"}
    wanted = asdict(tags)
    again = [{"text": questions[kind], "expect_any": words_of(value), "intent": kind} for kind, value in wanted.items()]
    return {"expect_any": [tags.instrument], "expect_output": "music", **wanted, "again": again}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(COUNTS))
    parser.add_argument("--count", type=int, help=f"dialogues, pictures of a thing, drawings, tunes: {COUNTS}")
    parser.add_argument("--voices", choices=list(SEEDS), default="reserved")
    parser.add_argument("--spoken", type=float, default=0.1, help="share of the other kinds' questions")
    parser.add_argument(
        "--speech-alone", action="store_true", help="expect what nano says that has learned nothing else"
    )
    parser.add_argument("--kokoro", type=Path, default=Path("data/kokoro"))
    parser.add_argument("--reserved", type=Path, default=Path("data/reserved"))
    parser.add_argument("--icons", type=Path, default=Path("data/icons"))
    parser.add_argument("--pieces", type=Path, default=Path("data/music"))
    parser.add_argument("--out", type=Path, default=Path("data/acceptance"))
    options = parser.parse_args()
    speech, seed = options.kind == "speech", SEEDS[options.voices]
    folder: Path = options.out / (options.voices if speech else options.kind)
    voices = sorted(RESERVED if options.voices == "reserved" else DEVELOPMENT)
    asker = Asker(folder, options.kokoro, voices, 1 if speech else options.spoken, seed)
    count = options.count or COUNTS[options.kind]
    if speech:
        rows = dialogues(asker, voices, seed, count, options.speech_alone)
    elif options.kind == "pictures":
        names = next(options.icons.glob("iconify-json-noto-[0-9]*.tgz"))
        rows = pictures(asker, load_things(options.reserved, names), options.icons, count)
    elif options.kind == "drawings":
        rows = drawings(asker, count)
    else:
        rows = music(asker, options.pieces, count)
    (folder / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    print(f"\n{sum(len(row['turns']) for row in rows)} turns in {folder / 'manifest.jsonl'}")


if __name__ == "__main__":
    main()
