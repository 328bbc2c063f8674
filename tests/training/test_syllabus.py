"""The syllabus: broad enough, split cleanly, answers that are short, right, and tell one intent from another."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from itertools import islice

import pytest

from training import syllabus
from training.syllabus.dialogue import GRAMMAR, plain_words
from training.syllabus.grammar import Phrasings, expand, fill
from training.syllabus.intent import NOTHING, OUTSIDE, State
from training.syllabus.world import COLOURS, NOUN, NOUNS

LONG = {"count_to", "days", "months", "colours", "story", "what_music"}  # may take longer than 16 words
DIALOGUES = {split: list(islice(syllabus.generate(7, split), 4000)) for split in ("train", "held_out")}
TURNS = {split: [turn for dialogue in found for turn in dialogue.turns] for split, found in DIALOGUES.items()}


def test_it_is_as_broad_as_promised() -> None:
    assert len(GRAMMAR) >= 60 and len(syllabus.INTENTS) == len(GRAMMAR) + 2
    assert len(NOUNS) == len(NOUN) >= 100
    assert len(set(COLOURS)) >= 10
    for intent in GRAMMAR.values():
        assert len(intent.phrasings.train) >= 8 or len(intent.phrasings.train) * len(intent.rows) >= 20, intent.name
        assert len(intent.phrasings.held_out) >= 2, intent.name


def test_a_line_gives_its_alternatives_and_short_forms() -> None:
    assert expand("what is (the|) {x}") == ["what is the {x}", "what's the {x}", "what is {x}", "what's {x}"]
    assert Phrasings.of(["!hello (there|)"]).held_out == ("hello there", "hello")


def test_phrasings_stand_in_one_split_only() -> None:
    for intent in GRAMMAR.values():
        assert not {*intent.phrasings.train} & {*intent.phrasings.held_out}, intent.name
    share = sum(len(i.phrasings.held_out) for i in GRAMMAR.values()) / sum(
        len(i.phrasings.held_out) + len(i.phrasings.train) for i in GRAMMAR.values()
    )
    assert 0.15 <= share <= 0.25


def test_no_held_out_sentence_is_ever_trained_on() -> None:
    trained = {turn.user for turn in TURNS["train"] if turn.intent not in (OUTSIDE, NOTHING)}
    held_out = {turn.user for turn in TURNS["held_out"] if turn.intent not in (OUTSIDE, NOTHING)}
    assert len(trained) > 3000 and len(held_out) > 3000
    assert not trained & held_out


def test_held_out_phrasings_use_trained_words() -> None:
    trained = {word for intent in GRAMMAR.values() for phrasing in intent.phrasings.train for word in phrasing.split()}
    trained |= {word for turn in TURNS["train"] if turn.intent != OUTSIDE for word in turn.user.split()}
    trained |= {noun.plural for noun in NOUNS}
    for intent in GRAMMAR.values():
        for phrasing in intent.phrasings.held_out:
            assert not [w for w in phrasing.split() if w not in trained and "{" not in w], phrasing


def test_users_speak_in_plain_words() -> None:
    for turn in TURNS["train"] + TURNS["held_out"]:
        assert re.fullmatch(r"[a-z' ]*", turn.user) and "  " not in turn.user, turn.user
        assert turn.heard == turn.user
        assert len(turn.user.split()) <= 18, turn.user
    assert sum(len(turn.user.split()) for turn in TURNS["train"]) / len(TURNS["train"]) < 8
    assert {turn.user for turn in TURNS["train"] if turn.intent == NOTHING} == {""}


def test_the_vocabulary_is_small() -> None:
    assert 700 <= len(syllabus.words()) <= 1200
    spoken = Counter(w for turn in TURNS["train"] if turn.intent != OUTSIDE for w in turn.user.split())
    assert set(spoken) <= syllabus.words()


def test_replies_are_listed_and_short() -> None:
    replies = syllabus.all_replies()
    assert len(replies) == len(set(replies)) < 7000
    listed = set(replies)
    for turn in TURNS["train"] + TURNS["held_out"]:
        assert turn.reply in listed or turn.reply.startswith("You said: "), turn
        limit = 25 if turn.intent in LONG | {"another_one", "repeat", "what_did_i_say", "yes"} else 16
        assert len(turn.reply.split()) <= limit, turn
    assert max(len(reply.split()) for reply in replies) <= 25
    assert sum(len(turn.reply.split()) for turn in TURNS["train"]) / len(TURNS["train"]) < 8


def test_the_same_question_has_one_answer() -> None:
    answers: defaultdict[str, set[str]] = defaultdict(set)
    for intent in GRAMMAR.values():
        if intent.after and not intent.alone:
            continue
        for phrasing in (*intent.phrasings.train, *intent.phrasings.held_out):
            for row in intent.rows if "{" in phrasing else intent.rows[:1]:
                answers[fill(phrasing, row)].add(intent.answer(State(), row).text)
    assert not {sentence: found for sentence, found in answers.items() if len(found) > 1}


def test_expected_words_are_in_the_right_reply_and_rarely_in_others() -> None:
    replies: defaultdict[str, set[str]] = defaultdict(set)
    for turn in TURNS["train"]:
        assert turn.expect_any and set(turn.expect_any) & set(plain_words(turn.reply)), turn
        if turn.intent not in ("repeat", "what_did_i_say", "say_word", "another_one", "yes"):
            replies[turn.intent].add(turn.reply)
    rng, trials, mistaken = random.Random(0), 0, 0
    turns = [turn for turn in TURNS["train"] if turn.intent in replies]
    for turn in rng.sample(turns, 1500):
        for other in rng.sample(sorted(replies), 20):
            if other != turn.intent:
                trials += 1
                mistaken += bool(set(turn.expect_any) & set(plain_words(rng.choice(sorted(replies[other])))))
    assert mistaken / trials < 0.02


def test_dialogues_have_one_to_four_turns_and_starve_no_intent() -> None:
    lengths = [len(dialogue.turns) for dialogue in DIALOGUES["train"]]
    assert set(lengths) == {1, 2, 3, 4} and 1.7 < sum(lengths) / len(lengths) < 2.3
    counts = Counter(turn.intent for turn in TURNS["train"])
    assert set(counts) == {listing.name for listing in syllabus.INTENTS}
    assert min(counts.values()) >= 6 and max(counts.values()) < len(TURNS["train"]) * 0.1


def test_the_seed_decides() -> None:
    first, again, other = (list(islice(syllabus.generate(seed, "train"), 50)) for seed in (1, 1, 2))
    assert first == again != other
    sentences = list(islice(syllabus.user_sentences("held_out", 3), 20))
    assert sentences == list(islice(syllabus.user_sentences("held_out", 3), 20)) and all(sentences)


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        ("my_name_is", "what_is_my_name"),
        ("my_age_is", "what_is_my_age"),
        ("my_colour_is", "what_is_my_colour"),
        ("my_pet_is", "what_is_my_pet"),
        ("i_like", "what_do_i_like"),
    ],
)
def test_it_remembers_what_it_was_told(told: str, asked: str) -> None:
    recalled = 0
    for dialogue in DIALOGUES["train"]:
        known = None
        for turn in dialogue.turns:
            if turn.intent == told:
                known = turn.expect_any
            elif turn.intent == asked and known:
                assert set(known) & set(plain_words(turn.reply)), dialogue
                recalled += 1
            elif turn.intent == asked:
                assert "You have not told me" in turn.reply
    assert recalled > 5


def test_it_repeats_and_quotes() -> None:
    seen = Counter[str]()
    for dialogue in DIALOGUES["train"]:
        for before, turn in zip(dialogue.turns, dialogue.turns[1:], strict=False):
            if turn.intent == "repeat":
                assert turn.reply == before.reply
            elif turn.intent == "what_did_i_say" and before.user:
                assert turn.reply == f"You said: {before.user}."
            elif turn.intent == "another_one" and before.intent in ("joke", "riddle", "fact", "story"):
                assert turn.reply != before.reply
            seen[turn.intent] += 1
    assert min(seen["repeat"], seen["what_did_i_say"], seen["another_one"]) > 10


@pytest.mark.parametrize(
    ("sentence", "name", "reply"),
    [
        ("what is seven plus five", "add", "Seven plus five is twelve."),
        ("what's twenty minus eight", "subtract", "Twenty minus eight is twelve."),
        ("what day comes after sunday", "day_after", "After Sunday comes Monday."),
        ("what does a cow say", "sound", "A cow says moo."),
        ("what are scissors for", "what_for", "Scissors are for cutting paper."),
        ("what colour is the moon", "what_colour", "The moon is white."),
        ("is a banana a fruit", "is_it_a", "Yes, a banana is a fruit."),
        ("is a cat a fruit", "is_it_a", "No, a cat is an animal."),
        ("what is the opposite of hot", "opposite", "The opposite of hot is cold."),
        ("is an elephant bigger than a mouse", "is_bigger", "Yes, an elephant is bigger than a mouse."),
        ("how many legs does a spider have", "legs", "A spider has eight legs."),
        ("where does an elephant live", "home", "An elephant lives in Africa."),
        ("count to three", "count_to", "One, two, three."),
    ],
)
def test_facts(sentence: str, name: str, reply: str) -> None:
    intent = GRAMMAR[name]
    answers = {
        fill(phrasing, row): intent.answer(State(), row).text
        for phrasing in (*intent.phrasings.train, *intent.phrasings.held_out)
        for row in intent.rows
    }
    assert answers[sentence] == reply
