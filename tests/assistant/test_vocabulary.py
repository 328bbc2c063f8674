from __future__ import annotations

import pytest

from assistant.vocabulary import MARKUP, Vocabulary, deinterleave_music, interleave_music


def added_tokens(first: int, **counts: int) -> dict[str, int]:
    """The published order of added tokens with the given numbers of codes."""
    names = ["[Human]", "[MMGPT]", "<eoh>", "<eos>"]
    for modality, count in counts.items():
        markup = MARKUP[modality]
        names += [*(markup.code(code) for code in range(count)), markup.start, markup.end]
    names += ["<eom>", "[AnyGPT]", "<-Res->", "<-Ins->"]
    return {name: first + index for index, name in enumerate(names)}


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary(100, added_tokens(100, image=5, speech=7, music=8))


def test_ranges_come_from_the_file(vocabulary: Vocabulary) -> None:
    assert vocabulary.image is not None and vocabulary.music is not None
    assert vocabulary.image.tokens == range(104, 109)
    assert (vocabulary.image.start, vocabulary.image.end) == (109, 110)
    assert vocabulary.speech.tokens == range(111, 118)
    assert vocabulary.music.tokens == range(120, 128)
    assert vocabulary.size == 100 + len(vocabulary.added) == 134
    assert vocabulary.audio is None


def test_codes_and_tokens_are_inverse(vocabulary: Vocabulary) -> None:
    assert vocabulary.speech.to_tokens([0, 6, 3]) == [111, 117, 114]
    assert vocabulary.speech.to_codes([111, 117, 114]) == [0, 6, 3]
    assert vocabulary.speech.segment([2]) == [118, 113, 119]


@pytest.mark.parametrize("code", [-1, 7])
def test_a_code_out_of_range_is_refused(vocabulary: Vocabulary, code: int) -> None:
    with pytest.raises(IndexError):
        vocabulary.speech.to_tokens([code])


def test_a_token_of_another_kind_is_refused(vocabulary: Vocabulary) -> None:
    with pytest.raises(ValueError):
        vocabulary.speech.to_codes([vocabulary.speech.end])


def test_every_token_has_one_kind(vocabulary: Vocabulary) -> None:
    kinds = [vocabulary.kind(token) for token in range(vocabulary.size)]
    assert [kinds.count(kind) for kind in ("text", "image", "speech", "music")] == [97, 5, 7, 8]
    assert kinds.count("mark") == 3 + 4 + 6 + 4
    with pytest.raises(ValueError, match="134"):
        vocabulary.kind(134)


def test_the_codes_of_some_kinds_are_counted(vocabulary: Vocabulary) -> None:
    assert vocabulary.image is not None
    tokens = [5, *vocabulary.speech.segment([1, 2, 3]), *vocabulary.image.segment([0, 0])]
    assert vocabulary.count(tokens, "speech", "music") == 3 and vocabulary.count(tokens, "image") == 2


def test_a_start_mark_says_what_begins(vocabulary: Vocabulary) -> None:
    begun = {vocabulary.kind_begun(token) for token in range(vocabulary.size)}
    assert begun == {None, "image", "speech", "music"}
    assert vocabulary.kind_begun(vocabulary.speech.start) == "speech"
    assert vocabulary.kind_begun(vocabulary.speech.end) is None


def test_any_published_end_ends_a_reply(vocabulary: Vocabulary) -> None:
    assert vocabulary.reply_ends == (2, 103, 130)


def test_scattered_codes_are_refused() -> None:
    tokens = added_tokens(100, speech=4)
    tokens["<🗣️1>"], tokens["<🗣️2>"] = tokens["<🗣️2>"], tokens["<🗣️1>"]
    with pytest.raises(ValueError, match="<🗣️1>"):
        Vocabulary(100, tokens)


def test_added_tokens_may_not_overlap_text() -> None:
    with pytest.raises(ValueError, match="overlap"):
        Vocabulary(101, added_tokens(100, speech=4))


def test_music_is_written_frame_by_frame(vocabulary: Vocabulary) -> None:
    codes = [[1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1]]  # [codebook][frame], codebooks of 2
    assert vocabulary.music_tokens(codes) == [121, 122, 125, 126, 120, 123, 125, 126, 121, 123, 124, 127]
    assert vocabulary.music_codes(vocabulary.music_tokens(codes)) == codes


@pytest.mark.parametrize("extra", range(4))
def test_an_incomplete_music_frame_is_dropped(extra: int) -> None:
    codes = [[5, 6], [7, 8], [9, 10], [11, 12]]
    line = interleave_music(codes, 16)
    assert deinterleave_music(line + [0] * extra, 16) == codes
