from __future__ import annotations

from dataclasses import replace

import pytest

from assistant.engine.grammar import (
    IMAGE_TOKENS,
    GrammarState,
    Kind,
    Segment,
    image,
    music,
    reply,
    speech,
    text,
    transcript,
)
from assistant.vocabulary import Vocabulary


def allowed(state: GrammarState) -> set[int]:
    ids = [token for ids in state.allowed for token in ids]
    assert len(ids) == len(set(ids))
    return set(ids)


def after(state: GrammarState, *tokens: int) -> GrammarState:
    for token in tokens:
        following = state.advance(token)
        assert following is not None
        state = following
    return state


def pieces(vocabulary: Vocabulary) -> set[int]:
    return set(range(3, 20))


def test_a_spoken_turn_is_transcript_text_speech(vocabulary: Vocabulary) -> None:
    v = vocabulary
    state = reply(v, heard=True, speak=True)
    assert state.forced == v.transcript_mark
    state = after(state, v.transcript_mark)
    assert allowed(state) == pieces(v) | {v.reply_mark} and state.kind == "transcript"
    state = after(state, 5, 6, v.reply_mark)
    assert allowed(state) == pieces(v) and state.kind == "text"  # a reply says something
    state = after(state, 7)
    assert allowed(state) == pieces(v) | {v.speech.start}
    state = after(state, v.speech.start)
    assert allowed(state) == set(v.speech.tokens) and state.kind == "speech"
    state = after(state, v.speech.tokens[3])
    assert allowed(state) == {*v.speech.tokens, v.speech.end}
    state = after(state, v.speech.end)
    assert state.forced == v["<eos>"]
    assert state.advance(v["<eos>"]) is None


def test_a_text_reply_is_over_at_any_end_and_where_speech_would_begin(vocabulary: Vocabulary) -> None:
    state = after(reply(vocabulary, heard=False, speak=False), 5)
    ends = {vocabulary.eos, vocabulary["<eos>"], vocabulary.speech.start}
    assert allowed(state) == pieces(vocabulary) | ends
    assert all(state.advance(end) is None for end in vocabulary.reply_ends)


@pytest.mark.parametrize("speak", [True, False])
def test_a_picture_and_then_music_may_follow_the_words(vocabulary: Vocabulary, speak: bool) -> None:
    v = vocabulary
    assert v.image is not None and v.music is not None
    state = after(reply(v, heard=False, speak=speak, makes=("image", "music"), max_music_frames=1), 5)
    if speak:
        assert allowed(state) == pieces(v) | {v.speech.start}
        state = after(state, v.speech.start, v.speech.tokens[0], v.speech.end)
        assert allowed(state) == {v["<eos>"], v.image.start, v.music.start}
    else:
        ends = {v.eos, v["<eos>"], v.speech.start}
        assert allowed(state) == pieces(v) | ends | {v.image.start, v.music.start}
    state = after(state, v.image.start, *[v.image.tokens[1]] * IMAGE_TOKENS)
    assert state.forced == v.image.end
    state = after(state, v.image.end)
    assert allowed(state) == {v["<eos>"], v.music.start}
    state = after(state, v.music.start, *v.music_tokens([[0], [0], [0], [0]]), v.music.end)
    assert state.forced == v["<eos>"] and state.advance(v["<eos>"]) is None


def test_where_nothing_is_spoken_what_is_made_is_favoured(vocabulary: Vocabulary) -> None:
    v = vocabulary
    assert v.image is not None
    first, silent = (reply(v, heard=False, speak=speak, makes=("image",)) for speak in (True, False))
    assert after(first, 5).favoured == ()
    assert silent.favoured == ()  # there are no words yet
    ((place, more),) = after(silent, 5).favoured
    tokens = [token for ids in after(silent, 5).allowed for token in ids]
    assert tokens[place] == v.image.start and more > 0


@pytest.mark.parametrize("kind", ["image", "music"])
def test_only_what_can_be_made_may_follow(vocabulary: Vocabulary, kind: Kind) -> None:
    v = vocabulary
    state = reply(v, heard=False, speak=True, makes=(kind,))
    state = after(state, 5, v.speech.start, v.speech.tokens[0], v.speech.end)
    start = v["<soim>" if kind == "image" else "<somu>"]
    assert allowed(state) == {v["<eos>"], start}


def test_a_transcript_alone_ends_at_the_reply_mark(vocabulary: Vocabulary) -> None:
    assert after(transcript(vocabulary), vocabulary.transcript_mark, 5).advance(vocabulary.reply_mark) is None


def test_an_opening_and_another_end_are_forced(vocabulary: Vocabulary) -> None:
    v = vocabulary
    state = reply(v, heard=True, speak=True, opening=[4, 5], end=v.eos)
    assert state.forced == 4 and after(state, 4).forced == 5
    state = after(state, 4, 5, v.transcript_mark, v.reply_mark, 7, v.speech.start, v.speech.tokens[0], v.speech.end)
    assert state.forced == v.eos and state.advance(v.eos) is None
    assert transcript(v, opening=[4]).forced == 4


def test_a_part_closes_at_its_limit(vocabulary: Vocabulary) -> None:
    v = vocabulary
    state = after(reply(v, heard=True, speak=True, max_transcript=1, max_text=2, max_speech=3), v.transcript_mark, 5)
    assert state.forced == v.reply_mark
    state = after(state, v.reply_mark, 5, 6)
    assert state.forced == v.speech.start
    state = after(state, v.speech.start, *[v.speech.tokens[0]] * 3)
    assert state.forced == v.speech.end


def test_a_picture_is_exactly_its_tokens(vocabulary: Vocabulary) -> None:
    state = GrammarState(image(vocabulary, None))
    for _ in range(IMAGE_TOKENS):
        assert allowed(state) == set(vocabulary.image.tokens) and state.kind == "image"
        state = after(state, vocabulary.image.tokens[5])
    assert state.forced == vocabulary.image.end
    assert state.advance(vocabulary.image.end) is None


def test_music_cycles_its_codebooks_and_ends_between_frames(vocabulary: Vocabulary) -> None:
    codes = vocabulary.music.tokens
    state = GrammarState(music(vocabulary, None))
    for place in range(12):
        level = place % 4
        ends = {vocabulary.music.end} if level == 0 and place else set()
        assert allowed(state) == set(codes[4 * level : 4 * level + 4]) | ends
        state = after(state, codes[4 * level + 1])
    assert state.advance(vocabulary.music.end) is None


def test_a_forbidden_token_is_refused(vocabulary: Vocabulary) -> None:
    state = GrammarState(speech(vocabulary, None))
    for token in (5, vocabulary.speech.start, vocabulary.speech.end, vocabulary.eos):
        with pytest.raises(ValueError, match=f"token {token} is not allowed"):
            state.advance(token)


def test_segments_can_branch(vocabulary: Vocabulary) -> None:
    """What drawing and music will need: text that leads to more than one kind of segment."""
    starts = ((vocabulary.speech.start, speech(vocabulary, None)), (vocabulary.image.start, image(vocabulary, None)))
    state = GrammarState(text(vocabulary, starts))
    assert state.advance(vocabulary.speech.start).kind == "speech"
    assert state.advance(vocabulary.image.start).kind == "image"


def test_states_are_values(vocabulary: Vocabulary) -> None:
    state = GrammarState(Segment("text", (range(3),), ((9, None),)))
    assert state.advance(1) == replace(state, count=1) and state.count == 0


def test_a_vocabulary_without_pictures_has_no_picture_grammar() -> None:
    words = ["[Human]", "<eoh>", "<eos>", "<🗣️0>", "<sosp>", "<eosp>", "<-Res->", "<-Ins->"]
    plain = Vocabulary(20, {word: 20 + place for place, word in enumerate(words)})
    with pytest.raises(ValueError, match="no pictures"):
        image(plain, None)
    with pytest.raises(ValueError, match="no music"):
        music(plain, None)
