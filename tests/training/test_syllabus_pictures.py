"""Pictures in the syllabus: what is said is what was shown, what is drawn is what was asked for."""

from __future__ import annotations

import re
from itertools import islice

import pytest

from training import pictures, syllabus
from training.syllabus.dialogue import plain_words
from training.syllabus.grammar import fill
from training.syllabus.intent import Answer, Picture, State
from training.syllabus.music import MUSIC
from training.syllabus.pictures import NO_PICTURE, NOTHING_DRAWN, PICTURES, named
from training.syllabus.speech_alone import REPLIES, speech_alone
from training.syllabus.world import COLOURS, PICTURED

BY_NAME = {intent.name: intent for intent in PICTURES}
CAT, CUPS = Picture("cat", "black"), Picture("cup", "blue", 3)


def asked(name: str, state: State, **slots: object) -> Answer:
    rows = [row for row in BY_NAME[name].rows if all(row[slot] == value for slot, value in slots.items())]
    return BY_NAME[name].answer(state, rows[0])


def test_dialogues_and_pictures_share_one_list_of_things() -> None:
    assert tuple(PICTURED) == pictures.NAMES and set(PICTURED.values()) <= set(COLOURS)


@pytest.mark.parametrize(
    ("name", "seen", "reply"),
    [
        ("what_is_this", CAT, "That is a cat."),
        ("what_is_this", CUPS, "Those are cups."),
        ("what_is_this", Picture("scissors", "red"), "Those are scissors."),
        ("what_do_you_see", CAT, "I see a black cat."),
        ("what_do_you_see", CUPS, "I see three cups."),
        ("what_do_you_see", Picture("", "", 0), "I see nothing there."),
        ("colour_of_this", CAT, "It is black."),
        ("colour_of_this", CUPS, "They are blue."),
        ("how_many_shown", CUPS, "I see three."),
        ("what_is_it_for", CUPS, "A cup is for drinking."),
        ("what_kind_shown", CAT, "A cat is an animal."),
        ("what_is_this", None, NO_PICTURE),
    ],
)
def test_it_says_what_it_sees(name: str, seen: Picture | None, reply: str) -> None:
    assert asked(name, State(seen=seen)).text == reply


def test_it_says_yes_and_no() -> None:
    rows = {row["x"].name: row["x"] for row in BY_NAME["is_this_a"].rows}
    assert asked("is_this_a", State(seen=CAT), x=rows["cat"]).text == "Yes, that is a cat."
    assert asked("is_this_a", State(seen=CUPS), x=rows["cat"]).text == "No, those are cups."
    assert asked("is_it_this_colour", State(seen=CAT), colour="red").text == "No, it is black."


def test_it_remembers_what_was_shown_before() -> None:
    assert asked("what_was_shown", State(seen=CAT, seen_before=CUPS)).text == "You showed me three cups."
    assert asked("what_was_shown", State(seen=CAT)).text == "You showed me a cat."
    told = 0
    for dialogue in islice(syllabus.generate(3, "train"), 6000):
        shown: list[Picture] = []
        for turn in dialogue.turns:
            shown += [turn.shown] if turn.shown and (turn.shown.count or not shown) else []
            if turn.intent == "what_was_shown" and len(shown) > 1 and all(picture.count for picture in shown):
                assert turn.reply == f"You showed me {named(shown[-2].thing, count=shown[-2].count)}."
                told += 1
    assert told > 10


def test_it_draws_what_is_asked_for_and_changes_it() -> None:
    assert asked("draw", State(), thing="apple", colour="").draws == Picture("apple", "red")
    green = asked("draw", State(), thing="apple", colour="green")
    assert (green.text, green.draws) == ("Here is a green apple.", Picture("apple", "green"))
    blue = asked("change_colour", State(drawn=green.draws), colour="blue")
    assert (blue.text, blue.draws) == ("Here is a blue apple.", Picture("apple", "blue"))
    assert asked("draw_again", State(drawn=blue.draws)).draws == blue.draws
    assert asked("draw_this", State(seen=CUPS)).draws == Picture("cup", "blue")
    nothing = asked("change_colour", State(), colour="blue")
    assert (nothing.text, nothing.draws) == (NOTHING_DRAWN, None)


def test_what_is_drawn_is_said() -> None:
    for dialogue in islice(syllabus.generate(4, "train"), 3000):
        for turn in dialogue.turns:
            if turn.draws:
                said = plain_words(turn.reply)
                assert turn.draws.thing in said or pictures.NOUN[turn.draws.thing].plural in said
                assert turn.draws.colour in said or turn.draws.colour == PICTURED[turn.draws.thing]


def test_most_dialogues_are_speech_alone() -> None:
    dialogues = list(islice(syllabus.generate(5, "train"), 3000))
    rich = [d for d in dialogues if any(t.shown or t.dark or t.given or t.draws or t.plays for t in d.turns)]
    assert 0.25 < len(rich) / len(dialogues) < 0.45


def test_requests_are_spoken_english_and_split() -> None:
    for intent in (*PICTURES, *MUSIC):
        assert intent.phrasings.train and intent.phrasings.held_out, intent.name
        for phrasing in (*intent.phrasings.train, *intent.phrasings.held_out, *intent.follow):
            for row in intent.rows[:40]:
                sentence = fill(phrasing, row)
                assert sentence.replace(" ", "").replace("'", "").isalpha(), sentence
                assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|[()|{}]", sentence), sentence


def test_speech_alone_asks_the_same_and_promises_nothing() -> None:
    refused = 0
    for dialogue in islice(syllabus.generate(3, "train"), 1500):
        alone = speech_alone(dialogue)
        if alone is None:
            continue
        for turn, before in zip(alone.turns, dialogue.turns, strict=True):
            assert (turn.user, turn.intent) == (before.user, before.intent)
            assert not (turn.shown or turn.dark or turn.given or turn.draws or turn.plays)
            assert turn.reply == before.reply or turn.reply in REPLIES
            assert turn.reply not in REPLIES or any(word in turn.reply.lower() for word in turn.expect_any)
            refused += bool(before.draws or before.plays)
    assert refused > 50
