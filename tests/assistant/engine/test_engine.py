"""The engine computes what the plain model computes, however the work is cut, shared, rolled back or batched."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from assistant.engine import engine as engine_module
from assistant.engine.engine import LEAST_SHARED, ContextTooLong, Engine, EngineConfig
from assistant.engine.grammar import GrammarState, Segment, image, mark, music, reply, text, transcript
from assistant.engine.kv_cache import OutOfPages
from assistant.engine.sampling import GREEDY, Sampling
from assistant.models.llama import Llama
from assistant.vocabulary import Vocabulary

ALL_GREEDY = {"text": GREEDY, "speech": GREEDY, "image": GREEDY, "music": GREEDY}


def make(model: Llama, **changes: int) -> Engine:
    return Engine(model, EngineConfig(**{"pages": 64, "page_size": 4, "max_context": 100, "chunk_tokens": 8} | changes))


def prompt(length: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(60), k=length)


def endless(model: Llama) -> GrammarState:
    """Any token, for ever."""
    return GrammarState(Segment("text", (range(model.config.vocab_size),), ()))


def run(engine: Engine) -> dict[str, list[int]]:
    said: dict[str, list[int]] = {}
    for _ in range(1000):
        if engine.idle:
            return said
        for name, token in engine.step():
            said.setdefault(name, []).append(token)
    raise AssertionError("the engine does not come to rest")


def plain_reply(model: Llama, tokens: Sequence[int], count: int) -> list[int]:
    """Greedy decoding by whole forward passes."""
    tokens = list(tokens)
    for _ in range(count):
        with torch.inference_mode():
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    return tokens[-count:]


def check_cache(engine: Engine, model: Llama, name: str, tokens: Sequence[int]) -> None:
    """The sequence holds these tokens, and goes on from them as the plain model does."""
    sequence = engine._sequences[name]
    tokens = list(tokens)
    assert sequence.tokens == tokens
    assert sequence.table.length == len(tokens)
    engine.generate(sequence, endless(model), ALL_GREEDY, 4)
    run(engine)
    assert sequence.generated == plain_reply(model, tokens, 4)


@pytest.mark.parametrize("length", [1, 3, 4, 5, 7, 8, 9, 23])
def test_logits_equal_transformers_through_prefill_and_decode(model: Llama, length: int) -> None:
    transformers = pytest.importorskip("transformers")
    fields = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    fields += ("num_key_value_heads", "rms_norm_eps", "rope_theta")
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**{field: getattr(model.config, field) for field in fields})
    ).eval()
    theirs.load_state_dict(model.state_dict())

    engine = make(model)
    sequence = engine.open("a")
    tokens = prompt(length)
    engine.set_prompt(sequence, tokens)
    engine.generate(sequence, endless(model), ALL_GREEDY, 12)
    while not engine.idle:
        engine.step()
        if not sequence.pending or sequence.generated:
            so_far = (tokens + sequence.generated)[: len(sequence.tokens)]
            assert sequence.tokens == so_far
            with torch.inference_mode():
                expected = theirs(torch.tensor([so_far])).logits[0, -1]
                logits = model.logits(sequence.last_hidden)[0]
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    assert sequence.finished == "length" and len(sequence.generated) == 12


@pytest.mark.parametrize("chunk_tokens", [1, 3, 4, 5, 100])
@pytest.mark.parametrize("page_size", [1, 4, 7])
def test_chunked_prefill_equals_whole(model: Llama, chunk_tokens: int, page_size: int) -> None:
    engine = make(model, chunk_tokens=chunk_tokens, page_size=page_size)
    tokens = prompt(21)
    engine.set_prompt(engine.open("a"), tokens)
    run(engine)
    check_cache(engine, model, "a", tokens)


def test_what_is_in_the_background_waits_for_the_others(model: Llama) -> None:
    engine = make(model)
    for name in ("back", "front"):
        sequence = engine.open(name)
        engine.set_prompt(sequence, prompt(9, seed=len(name)))
        engine.generate(sequence, endless(model), ALL_GREEDY, 5)
    engine._sequences["back"].background = True
    order = []
    while not engine.idle:
        order += [name for name, _ in engine.step()]
    assert order == ["front"] * 5 + ["back"] * 5
    assert engine._sequences["back"].generated == plain_reply(model, prompt(9, seed=4), 5)


def test_ragged_sessions_in_one_batch_equal_each_alone(model: Llama) -> None:
    engine = make(model)
    prompts = {str(length): prompt(length, seed=length) for length in (1, 4, 5, 18, 30)}
    for start, (name, tokens) in enumerate(prompts.items()):
        sequence = engine.open(name)
        engine.set_prompt(sequence, tokens)
        engine.generate(sequence, endless(model), ALL_GREEDY, 6 + start)
        engine.step()  # so that sessions join while others are on their way
    run(engine)
    for start, (name, tokens) in enumerate(prompts.items()):
        assert engine._sequences[name].generated == plain_reply(model, tokens, 6 + start), name


def test_a_sampled_reply_depends_on_its_seed_and_on_no_other_session(model: Llama, vocabulary: Vocabulary) -> None:
    def reply_of(seed: int, others: int) -> list[int]:
        engine = make(model)
        for other in range(others):
            sequence = engine.open(f"other {other}")
            engine.set_prompt(sequence, prompt(5 + other, seed=other))
            engine.generate(sequence, reply(vocabulary, heard=True, speak=True), {}, 30, seed=other)
        sequence = engine.open("a")
        engine.set_prompt(sequence, prompt(9))
        engine.generate(sequence, reply(vocabulary, heard=True, speak=True, max_transcript=6, max_text=6), {}, 30, seed)
        run(engine)
        return sequence.generated

    assert reply_of(1, others=0) == reply_of(1, others=4)
    assert reply_of(1, others=0) != reply_of(2, others=0)


@pytest.mark.parametrize("kept", [0, 1, 3, 4, 5, 11, 12, 13, 19, 20])
def test_truncate_then_append_equals_never_appended(model: Llama, kept: int) -> None:
    engine = make(model)
    sequence = engine.open("a")
    engine.set_prompt(sequence, prompt(20))
    run(engine)
    new = prompt(20)[:kept] + [(token + 1) % 60 for token in prompt(20)[kept:]] + [7]
    assert engine.set_prompt(sequence, new) == kept
    assert engine.tokens_reused == kept
    run(engine)
    assert engine.tokens_computed == 20 + 21 - kept
    check_cache(engine, model, "a", new)


def test_the_history_of_a_turn_is_reused_with_the_reply(model: Llama, vocabulary: Vocabulary) -> None:
    engine = make(model)
    sequence = engine.open("a")
    turn = prompt(9)
    engine.set_prompt(sequence, turn)
    engine.generate(sequence, reply(vocabulary, heard=True, speak=True, max_text=9), ALL_GREEDY, 20)
    run(engine)
    history = turn + sequence.generated
    computed = engine.tokens_computed
    uncomputed = len(history) - len(sequence.tokens)
    assert sequence.tokens == history[: len(sequence.tokens)] and 1 <= uncomputed <= 3
    assert engine.set_prompt(sequence, history + [5, 6]) == len(sequence.tokens)
    run(engine)
    assert engine.tokens_computed == computed + uncomputed + 2
    check_cache(engine, model, "a", history + [5, 6])


def test_a_listeners_prompt_grows_piece_by_piece(model: Llama) -> None:
    engine = make(model)
    sequence = engine.open("a")
    tokens = prompt(30)
    for end in (3, 4, 11, 17, 30):
        engine.set_prompt(sequence, tokens[:end])
        engine.step()
    run(engine)
    assert engine.tokens_computed == 30
    check_cache(engine, model, "a", tokens)


def test_a_prompt_that_is_already_there_costs_nothing_and_can_be_answered_again(model: Llama) -> None:
    engine = make(model)
    sequence = engine.open("a")
    engine.set_prompt(sequence, prompt(10))
    run(engine)
    assert engine.set_prompt(sequence, prompt(10)) == 10 and engine.idle
    check_cache(engine, model, "a", prompt(10))
    assert engine.set_prompt(sequence, prompt(10)) == 10  # rolls the reply back: the last state is gone
    check_cache(engine, model, "a", prompt(10))


@pytest.mark.parametrize("length", [1, 4, 10, 12])
def test_a_fork_shares_pages_and_is_independent(model: Llama, length: int) -> None:
    engine = make(model)
    root = engine.open("root")
    engine.set_prompt(root, prompt(length))
    run(engine)
    used = engine.cache.pages - engine.cache.free_pages
    names = ["b", "c"]
    for name in names:
        engine.fork(root, name)
    assert engine.cache.pages - engine.cache.free_pages == used

    longer = {name: prompt(length) + prompt(7, seed=place + 1) for place, name in enumerate(names)}
    for name in names:
        assert engine.set_prompt(engine._sequences[name], longer[name]) == length
    run(engine)
    for name in names:
        check_cache(engine, model, name, longer[name])
    check_cache(engine, model, "root", prompt(length))
    for sequence in list(engine._sequences.values()):
        engine.close(sequence)
    assert engine.cache.free_pages == engine.cache.pages


def test_a_forks_pending_tokens_come_along(model: Llama) -> None:
    engine = make(model)
    root = engine.open("root")
    engine.set_prompt(root, prompt(20))
    engine.step()
    engine.fork(root, "twin")
    run(engine)
    check_cache(engine, model, "twin", prompt(20))


@pytest.mark.parametrize("copies", [True, False], ids=["as_on_the_cpu", "as_on_a_gpu"])
def test_a_new_session_takes_the_systems_line_from_another(model: Llama, copies: bool) -> None:
    engine = make(model)
    engine.cache._copies = copies
    system = prompt(22)
    first, second = engine.open("first"), engine.open("second")
    engine.set_prompt(first, system + [1, 2, 3])
    run(engine)
    assert engine.set_prompt(second, system + [4, 5]) == 22
    run(engine)
    assert (engine.tokens_computed, engine.tokens_reused) == (25 + 2, 22)
    check_cache(engine, model, "second", system + [4, 5])
    check_cache(engine, model, "first", system + [1, 2, 3])
    longer = system + prompt(20, seed=9)
    engine.set_prompt(first, longer)
    run(engine)
    assert engine.set_prompt(second, longer + [6]) == 42  # more of it lies with the other than with itself
    engine.close(first)
    run(engine)
    check_cache(engine, model, "second", longer + [6])


def test_a_short_common_start_is_computed_again(model: Llama) -> None:
    engine = make(model)
    engine.set_prompt(engine.open("first"), prompt(30))
    run(engine)
    assert engine.set_prompt(engine.open("short"), prompt(LEAST_SHARED - 1) + [61]) == 0
    assert engine.set_prompt(engine.open("long"), prompt(LEAST_SHARED) + [61]) == LEAST_SHARED


def test_a_start_that_cannot_be_copied_is_computed_again(model: Llama) -> None:
    engine = make(model, pages=8)
    engine.set_prompt(engine.open("first"), prompt(20))
    run(engine)
    assert engine.set_prompt(engine.open("second"), prompt(20) + [7]) == 0  # five pages are taken, three are left
    run(engine)
    check_cache(engine, model, "second", prompt(20) + [7])


def test_scattered_pages_give_the_same_reply(model: Llama) -> None:
    engine = make(model, pages=24, page_size=2)
    sequences = [engine.open(name) for name in "abc"]
    prompts = [prompt(14, seed=place) for place in range(3)]
    for end in range(1, 15):  # growing side by side in a small pool, they get in each other's way
        for sequence, tokens in zip(sequences, prompts, strict=True):
            engine.set_prompt(sequence, tokens[:end])
            run(engine)
    pages = sequences[0].table.pages
    assert any(after != before + 1 for before, after in zip(pages, pages[1:], strict=False))
    for sequence, tokens in zip(sequences, prompts, strict=True):
        check_cache(engine, model, sequence.id, tokens)
        engine.close(sequence)


def test_a_full_pool_ends_one_sequence_and_serves_the_others(model: Llama) -> None:
    engine = make(model, pages=8)
    names = ["a", "b", "c"]
    for name in names:
        sequence = engine.open(name)
        engine.set_prompt(sequence, prompt(9, seed=ord(name)))
        engine.generate(sequence, endless(model), ALL_GREEDY, 8)
    run(engine)
    failed = [name for name in names if engine._sequences[name].finished == "error"]
    served = [name for name in names if engine._sequences[name].finished == "length"]
    assert failed and served
    for name in failed:
        error = engine._sequences[name].error
        assert isinstance(error, OutOfPages) and "of 8 are free" in str(error)
    for name in served:
        assert engine._sequences[name].generated == plain_reply(model, prompt(9, seed=ord(name)), 8)

    for name in served:
        engine.close(engine._sequences[name])
    again = engine._sequences[failed[0]]
    engine.set_prompt(again, prompt(9, seed=ord(again.id)))
    run(engine)
    assert again.error is None
    check_cache(engine, model, again.id, prompt(9, seed=ord(again.id)))


def test_the_longest_unused_idle_sequence_makes_room(model: Llama) -> None:
    engine = make(model, pages=6)
    for name in "abc":
        engine.set_prompt(engine.open(name), prompt(8))
        run(engine)
    engine.set_prompt(engine._sequences["a"], prompt(9))
    run(engine)
    assert [len(sequence.tokens) for sequence in engine._sequences.values()] == [9, 0, 8]
    engine.set_prompt(engine._sequences["b"], prompt(8))
    run(engine)
    assert [len(sequence.tokens) for sequence in engine._sequences.values()] == [9, 8, 0]
    check_cache(engine, model, "b", prompt(8))


class Poisoned(Llama):
    """Fails on token 13, and answers token 17 with NaN."""

    def hidden(self, tokens, rotary=None, attend=engine_module):
        if 13 in tokens.tolist():
            raise RuntimeError("token 13")
        hidden = super().hidden(tokens, rotary, attend)
        return torch.where((tokens == 17)[:, None], torch.nan, hidden)


@pytest.mark.parametrize("sampling", [GREEDY, Sampling()], ids=["greedy", "sampled"])
@pytest.mark.parametrize(("token", "error"), [(13, RuntimeError), (17, FloatingPointError)])
def test_a_fault_ends_only_the_sequence_it_belongs_to(
    model: Llama, token: int, error: type[Exception], sampling: Sampling
) -> None:
    poisoned = Poisoned(model.config)
    poisoned.load_state_dict(model.state_dict())
    good = [5, 6, 7, 8, 9, 10]
    replies = []
    for bad in (None, [4, 5, token]):
        engine = make(poisoned, chunk_tokens=100)
        for name, tokens in {"before": good, "bad": bad, "after": good[::-1]}.items():
            if tokens is not None:
                sequence = engine.open(name)
                engine.set_prompt(sequence, tokens)
                safe = GrammarState(Segment("text", (range(13),), ()))
                engine.generate(sequence, safe, {"text": sampling}, 5, seed=1)
        said = run(engine)
        replies.append((said["before"], said["after"]))
        assert "bad" not in said
    assert engine._sequences["bad"].finished == "error"
    assert isinstance(engine._sequences["bad"].error, error)
    assert replies[0] == replies[1]
    assert all(len(said) == 5 for said in replies[0])


def test_wrong_prompts_are_refused_and_change_nothing(model: Llama) -> None:
    engine = make(model)
    sequence = engine.open("a")
    engine.set_prompt(sequence, prompt(10))
    run(engine)
    with pytest.raises(ContextTooLong, match="101 tokens"):
        engine.set_prompt(sequence, prompt(101))
    for wrong in ([1, -1], [1, model.config.vocab_size]):
        with pytest.raises(ValueError, match="must lie in"):
            engine.set_prompt(sequence, wrong)
    with pytest.raises(ValueError, match="'a'"):
        engine.open("a")
    with pytest.raises(ValueError, match="prompt"):
        engine.generate(engine.open("b"), endless(model), ALL_GREEDY, 3)
    check_cache(engine, model, "a", prompt(10))


def test_stop_keeps_what_was_said(model: Llama) -> None:
    engine = make(model)
    sequence = engine.open("a")
    engine.set_prompt(sequence, prompt(6))
    engine.generate(sequence, endless(model), ALL_GREEDY, 50)
    with pytest.raises(ValueError, match="in progress"):
        engine.generate(sequence, endless(model), ALL_GREEDY, 50)
    for _ in range(5):
        engine.step()
    engine.stop(sequence)
    assert sequence.finished == "stopped" and engine.idle and len(sequence.generated) == 5
    assert sequence.tokens == prompt(6) + sequence.generated[:-1]
    check_cache(engine, model, "a", sequence.tokens)


def test_a_reply_ends_at_the_end_of_the_context(model: Llama) -> None:
    engine = make(model)
    sequence = engine.open("a")
    engine.set_prompt(sequence, prompt(95))
    engine.generate(sequence, endless(model), ALL_GREEDY, 50)
    run(engine)
    assert sequence.finished == "length" and len(sequence.generated) == 6 and len(sequence.tokens) == 100


def test_forced_tokens_cost_no_step_of_their_own(model: Llama, vocabulary: Vocabulary) -> None:
    engine = make(model)
    sequence = engine.open("a")
    engine.set_prompt(sequence, prompt(6))
    forced = mark(vocabulary.transcript_mark, mark(vocabulary.reply_mark, mark(vocabulary["<eos>"], None)))
    engine.generate(sequence, GrammarState(forced), ALL_GREEDY, 50)
    marks = [vocabulary.transcript_mark, vocabulary.reply_mark, vocabulary["<eos>"]]
    assert engine.step() == [("a", token) for token in marks]
    assert sequence.finished == "grammar" and engine.idle


def test_a_favoured_closing_is_said_where_another_would_be_and_not_among_the_words(
    model: Llama, vocabulary: Vocabulary
) -> None:
    ends = vocabulary["<eos>"], vocabulary.eos

    def said(words: int, more: float) -> list[int]:
        engine = make(model)
        sequence = engine.open("a")
        engine.set_prompt(sequence, prompt(6))
        segment = text(vocabulary, tuple((end, None) for end in ends), 2, words)
        favours = tuple((end, more) for end in ends[1:])
        engine.generate(sequence, GrammarState(replace(segment, favours=favours)), ALL_GREEDY, 50)
        run(engine)
        return sequence.generated

    plain = said(4, 0.0)
    assert len(plain) == 5  # words are likelier than any end until no more of them may come
    other = ends[1 - ends.index(plain[-1])]
    assert said(4, 1e4 if other == ends[1] else -1e4) == [*plain[:4], other]


def grammars(vocabulary: Vocabulary) -> dict[str, GrammarState]:
    return {
        "spoken": reply(vocabulary, heard=True, speak=True, max_transcript=5, max_text=7, max_speech=12),
        "typed": reply(vocabulary, heard=False, speak=True, max_text=7, max_speech=12),
        "text": reply(vocabulary, heard=True, speak=False, max_transcript=3, max_text=7),
        "transcript": transcript(vocabulary, max_transcript=7),
        "image": GrammarState(image(vocabulary, None)),
        "music": GrammarState(music(vocabulary, None, max_frames=5)),
    }


def test_no_reply_ever_holds_a_token_that_the_grammar_does_not_allow(model: Llama, vocabulary: Vocabulary) -> None:
    """All grammars at once, batched together, many seeds, hot sampling: replayed from the start, token by token."""
    engine = make(model, pages=400)
    hot = Sampling(temperature=5.0, top_k=0, repetition_penalty=1.3)
    settings = dict.fromkeys(("text", "speech", "image", "music"), hot)
    states = grammars(vocabulary)
    for seed in range(12):
        for name, state in states.items():
            sequence = engine.open(f"{name} {seed}")
            engine.set_prompt(sequence, prompt(5, seed=seed))
            engine.generate(sequence, state, settings, 60, seed)
    said = run(engine)
    for key, tokens in said.items():
        state: GrammarState | None = states[key.split()[0]]
        for token in tokens:
            assert state is not None and any(token in ids for ids in state.allowed), key
            state = state.advance(token)
        assert state is None and engine._sequences[key].finished == "grammar", key
    lengths = {name: {len(said[f"{name} {seed}"]) for seed in range(12)} for name in states}
    assert lengths["image"] == {33}
    assert all(length % 4 == 1 for length in lengths["music"])
    assert len(lengths["spoken"]) > 3
