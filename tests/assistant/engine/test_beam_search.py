from __future__ import annotations

import itertools
import math

import pytest
import torch

from assistant.engine.beam_search import REACH, Beam, grow
from assistant.engine.engine import Engine, EngineConfig
from assistant.engine.grammar import GrammarState, Segment
from assistant.engine.sampling import GREEDY, Sampling
from assistant.models.llama import Llama

SIZES = {"vocab_size": 24, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
END, AFTER, STOP = 20, range(10, 14), 21
PROMPT = [1, 5, 9, 3, 17]


@pytest.fixture(scope="module")
def model() -> Llama:
    torch.manual_seed(5)
    return Llama.from_config(SIZES | {"initializer_range": 0.4}).eval().requires_grad_(False)


def heard(longest: int) -> GrammarState:
    """At most so many tokens of five, END, and then a token of AFTER and STOP."""
    rest = Segment("text", (AFTER,), ((STOP, None),), 1, 1)
    return GrammarState(Segment("transcript", (range(2, 7),), ((END, rest),), 0, longest))


def engine(model: Llama, pages: int = 40) -> Engine:
    return Engine(model, EngineConfig(pages=pages, page_size=4, max_context=32, chunk_tokens=16))


def reply(llm: Engine, beams: int, longest: int = 3) -> list[int]:
    sequence = llm.open("a")
    llm.set_prompt(sequence, PROMPT)
    llm.generate(sequence, heard(longest), {"transcript": Sampling(beams=beams), "text": GREEDY}, 20, seed=1)
    while not llm.idle:
        llm.step()
    assert sequence.finished == "grammar", sequence.error
    generated = list(sequence.generated)
    llm.close(sequence)
    return generated


def likelihood(model: Llama, tokens: tuple[int, ...], longest: int) -> float:
    """Of a whole transcript with its END, by one pass over all of it."""
    logits = model(torch.tensor([*PROMPT, *tokens]))
    state, total = heard(longest), 0.0
    for place, token in enumerate(tokens):
        allowed = [t for ids in state.allowed for t in ids]
        scores = logits[len(PROMPT) - 1 + place][allowed].log_softmax(-1)
        total += float(scores[allowed.index(token)])
        following = state.advance(token)
        assert following is not None
        state = following
    return total


@torch.inference_mode()
def test_a_wide_search_finds_the_likeliest_of_all(model: Llama) -> None:
    every = [(*words, END) for count in range(3) for words in itertools.product(range(2, 7), repeat=count)]
    best = max(every, key=lambda tokens: likelihood(model, tokens, 2))
    found = reply(engine(model), beams=25, longest=2)
    assert tuple(found[: found.index(END) + 1]) == best
    narrow = reply(engine(model), beams=2, longest=2)
    ends = narrow.index(END) + 1
    assert likelihood(model, tuple(narrow[:ends]), 2) <= likelihood(model, best, 2)


def test_the_best_goes_on_until_nothing_can_overtake_what_has_ended() -> None:
    beams = [Beam((), 0.0, heard(3))]
    grown = grow(beams, torch.tensor([[0.0, 3.0, 1.0, 2.0, 0.5, 2.5]]), 1, None)
    assert [beam.tokens for _, beam in grown.live] == [(3,)]
    assert grown.ended is not None and grown.ended.tokens == (END,) and not grown.decided
    grown = grow([grown.live[0][1]], torch.zeros(1, 6), 1, grown.ended)
    assert grown.ended is not None and grown.ended.tokens == (END,) and grown.decided


def test_what_follows_is_said_as_behind_any_transcript(model: Llama) -> None:
    found = reply(engine(model), beams=4)
    ends = found.index(END) + 1
    with torch.inference_mode():
        logits = model(torch.tensor([*PROMPT, *found[:ends]]))[-1]
    assert found[ends] == AFTER.start + int(logits[AFTER.start : AFTER.stop].argmax())
    assert found[ends + 1 :] == [STOP]


def test_no_page_is_lost_and_others_are_served_meanwhile(model: Llama) -> None:
    llm = engine(model)
    alone = reply(llm, beams=5)
    assert llm.cache.free_pages == llm.cache.pages
    a, b = llm.open("a"), llm.open("b")
    for sequence in (a, b):
        llm.set_prompt(sequence, PROMPT)
    llm.generate(a, heard(3), {"transcript": Sampling(beams=5), "text": GREEDY}, 20)
    llm.generate(b, heard(3), {"transcript": GREEDY, "text": GREEDY}, 20)
    while not llm.idle:
        llm.step()
    assert a.generated == alone and b.finished == "grammar"


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_search_can_be_stopped_at_any_step(model: Llama, steps: int) -> None:
    llm = engine(model)
    sequence = llm.open("a")
    llm.set_prompt(sequence, PROMPT)
    llm.generate(sequence, heard(6), {"transcript": Sampling(beams=4)}, 20)
    for _ in range(steps):
        llm.step()
    llm.stop(sequence)
    assert llm.idle and list(llm._sequences) == ["a"]
    llm.close(sequence)
    assert llm.cache.free_pages == llm.cache.pages


def test_beams_that_find_no_room_are_done_without(model: Llama) -> None:
    found = reply(engine(model, pages=5), beams=6)
    assert END in found and found[-1] == STOP


def test_a_score_that_is_no_number_ends_the_reply_alone(model: Llama) -> None:
    llm = engine(model)
    sequence = llm.open("a")
    llm.set_prompt(sequence, PROMPT)
    llm.generate(sequence, heard(3), {"transcript": Sampling(beams=3)}, 20)
    logits = llm._logits
    llm._logits = lambda sequences, allowed: logits(sequences, allowed) * math.nan
    while not llm.idle:
        llm.step()
    assert sequence.finished == "error" and isinstance(sequence.error, FloatingPointError)
    assert list(llm._sequences) == ["a"]


def test_beams_far_behind_the_best_are_given_up() -> None:
    beams = [Beam((), 0.0, heard(3))]
    logits = torch.tensor([[9.0, 9.0 - REACH + 0.1, 9.0 - REACH - 0.1, 0.0, 0.0, 0.0]])
    grown = grow(beams, logits, 4, None)
    assert [beam.tokens for _, beam in grown.live] == [(2,), (3,)]
    assert not grow(beams, logits, 4, Beam((END,), grown.live[0][1].score + REACH + 0.1, None)).live
