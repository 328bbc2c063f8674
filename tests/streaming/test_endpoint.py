from __future__ import annotations

import pytest

from streaming.endpoint import REMEMBERED_TURNS, Ending, Manner, ending_of, silence_ms
from streaming.settings import TurnDetection


def semantic(eagerness: str = "auto") -> TurnDetection:
    return TurnDetection("semantic_vad", eagerness=eagerness)


@pytest.mark.parametrize(
    ("transcript", "ending"),
    [
        ("what is the capital of france", Ending.FINISHED),
        ("Where are you from?", Ending.FINISHED),
        ("what do you like to do", Ending.UNSURE),
        ("tell me what red and", Ending.UNFINISHED),
        ("what is the", Ending.UNFINISHED),
        ("Draw me a cat,", Ending.UNFINISHED),
        ("I would like...", Ending.UNFINISHED),
        ("it is, um", Ending.UNFINISHED),
        ("tell me about", Ending.UNSURE),
        ("what is", Ending.UNFINISHED),
        ("What is?", Ending.FINISHED),
        ("can you", Ending.UNSURE),
        ("nano", Ending.UNSURE),
        ("nano do you know", Ending.UNSURE),
        ("tell me a riddle please", Ending.FINISHED),
        ("stop", Ending.FINISHED),
        ("", Ending.UNSURE),
        ("...", Ending.UNSURE),
    ],
)
def test_what_words_sound_like(transcript, ending):
    assert ending_of(transcript) is ending


@pytest.mark.parametrize("transcript", [None, "what is the", "stop"])
def test_the_silence_of_server_vad_is_the_clients_own(transcript):
    manner = Manner().spoke_on(900)
    assert silence_ms(TurnDetection("server_vad", silence_duration_ms=730), manner, transcript) == 730


@pytest.mark.parametrize(("eagerness", "longest"), [("low", 8000), ("medium", 4000), ("auto", 4000), ("high", 2000)])
def test_who_goes_on_is_waited_for_as_long_as_eagerness_allows(eagerness, longest):
    assert silence_ms(semantic(eagerness), Manner(), "and what is the") == longest


@pytest.mark.parametrize("transcript", [None, "what is two and three"])
def test_the_more_eager_the_shorter(transcript):
    low, auto, high = (silence_ms(semantic(eagerness), Manner(), transcript) for eagerness in ("low", "auto", "high"))
    assert high < auto < low


def test_what_sounds_finished_is_answered_sooner_than_what_is_not_known_yet():
    assert silence_ms(semantic(), Manner(), "what is two and three") < silence_ms(semantic(), Manner(), None)


def test_who_pauses_in_mid_sentence_is_waited_for_longer_and_not_for_ever():
    def wait(*pauses_ms: int) -> int:
        manner = Manner()
        for pause_ms in pauses_ms:
            manner = manner.spoke_on(pause_ms)
        return silence_ms(semantic(), manner, "what is two and three")

    assert wait() == wait(100)
    assert wait(400) == wait(400, 200) == wait(200, 400) == 500, "the longest, and a quarter more"
    assert wait(5000) == 1000


def test_a_pause_is_forgotten_after_some_turns_without_one():
    usual = silence_ms(semantic(), Manner(), "stop")
    manner = Manner().spoke_on(600)
    for _ in range(REMEMBERED_TURNS - 1):
        manner = manner.next_turn()
        assert silence_ms(semantic(), manner, "stop") > usual
    assert silence_ms(semantic(), manner.next_turn(), "stop") == usual
