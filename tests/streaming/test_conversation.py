from __future__ import annotations

import pytest

from streaming.conversation import Conversation, Item, Part, turn_of


def spoken(item_id: str, role: str, text: str | None, tokens: int) -> Item:
    kind = "input_audio" if role == "user" else "output_audio"
    return Item(item_id, role=role, parts=[Part(kind, text)], tokens=tuple(range(tokens)))


def conversation(*items: Item) -> Conversation:
    made = Conversation()
    for item in items:
        made.add(item)
    return made


def exchange(number: int) -> tuple[Item, Item]:
    question = spoken(f"question {number}", "user", "how are you", 100)
    return question, spoken(f"answer {number}", "assistant", "Fine.", 50)


@pytest.mark.parametrize(("budget", "as_spoken"), [(0, 0), (149, 0), (150, 2), (299, 2), (300, 4), (1000, 6)])
def test_the_latest_turns_stay_as_spoken_and_the_words_of_the_others(budget: int, as_spoken: int) -> None:
    items = [item for number in range(3) for item in exchange(number)]
    conversation(*items).compact(budget)
    assert [bool(item.tokens) for item in items] == [False] * (6 - as_spoken) + [True] * as_spoken
    turns = [turn_of(item) for item in items]
    assert [turn.text for turn in turns if turn is not None] == ["how are you", "Fine."] * 3


def test_what_has_no_words_stays_as_it_is() -> None:
    unknown = spoken("a", "user", None, 30)
    typed = Item("b", role="user", parts=[Part("input_text", "hello")], tokens=(1,))
    picture = Item("c", role="user", parts=[Part("input_image", shown={})], tokens=tuple(range(32)))
    conversation(unknown, typed, picture, *exchange(1)).compact(0)
    assert len(unknown.tokens) == 30 and typed.tokens == (1,) and len(picture.tokens) == 32
