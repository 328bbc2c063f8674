"""Speech in chunks: joined without a seam, complete, and the same every time. Tiny models with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assistant.decoders.speech import FORESIGHT_FRAMES, SpeechDecoder, SpeechStream
from assistant.models.soundstorm import SoundStorm
from assistant.models.speech_tokenizer import SpeechTokenizer

CODES = 16


@pytest.fixture(scope="module")
def decoder() -> SpeechDecoder:
    torch.manual_seed(1)
    tokenizer = SpeechTokenizer.from_config(
        {
            "n_filters": 4,
            "strides": [8, 5, 4, 2],
            "dimension": 8,
            "semantic_dimension": 8,
            "bidirectional": True,
            "dilation_base": 2,
            "residual_kernel_size": 3,
            "n_residual_layers": 1,
            "lstm_layers": 2,
            "activation": "ELU",
            "codebook_size": CODES,
            "n_q": 4,
            "sample_rate": 16_000,
        }
    ).eval()
    soundstorm = SoundStorm(CODES, 3, 16, 1, 2, 8, CODES, 2, 2, 5).eval()
    voices = {"low": torch.randint(CODES, (12, 4)), "high": torch.randint(CODES, (9, 4))}
    return SpeechDecoder(soundstorm, tokenizer, voices, steps=2, first_chunk_frames=6, max_chunk_frames=20)


def semantic(frames: int) -> list[int]:
    return torch.randint(CODES, (frames,), generator=torch.Generator().manual_seed(frames)).tolist()


def spoken(decoder: SpeechDecoder, codes: list[int], piece: int, voice: str = "low") -> tuple[SpeechStream, np.ndarray]:
    """All of the sound of codes that arrive `piece` at a time."""
    stream = decoder.open(voice)
    chunks = []
    for start in range(0, len(codes), piece):
        stream.feed(codes[start : start + piece])
        while stream.due:
            chunks.append(decoder.speak(stream))
    stream.end()
    while stream.due:
        chunks.append(decoder.speak(stream))
    assert stream.finished
    return stream, np.concatenate(chunks)


@pytest.mark.parametrize("frames", [1, 2, 4, 10, 11, 12, 27, 28, 29, 100])
def test_the_joined_chunks_are_the_whole(decoder: SpeechDecoder, frames: int) -> None:
    codes = semantic(frames)
    stream, wav = spoken(decoder, codes, 1)
    assert stream.spoken[:, 0].tolist() == codes
    assert wav.shape == (frames * decoder.tokenizer.hop_length,)
    with torch.inference_mode():
        whole = decoder.tokenizer.decode(stream.spoken.T.unsqueeze(1)).flatten().numpy()
    assert np.abs(wav - whole).max() < 1e-4 and np.abs(whole).max() > 0.01


@pytest.mark.parametrize("piece", [3, 26, 100])
def test_the_sound_does_not_depend_on_when_the_codes_come(decoder: SpeechDecoder, piece: int) -> None:
    assert np.array_equal(spoken(decoder, semantic(77), 1)[1], spoken(decoder, semantic(77), piece)[1])


def test_the_first_chunk_is_small_and_chunks_grow_to_the_maximum(decoder: SpeechDecoder) -> None:
    stream = decoder.open("low")
    ends = []
    for code in semantic(120):
        stream.feed([code])
        if stream.due:
            decoder.speak(stream)
            ends.append(len(stream.spoken))
    assert ends == [6, 18, 38, 58, 78, 98]
    assert len(stream.pending) == 120 - 98
    assert len(semantic(120)) - ends[-1] < 20 + FORESIGHT_FRAMES


def test_sound_comes_a_lookahead_late_and_no_later(decoder: SpeechDecoder) -> None:
    stream = decoder.open("low")
    stream.feed(semantic(6 + FORESIGHT_FRAMES))
    late = decoder.tokenizer.decoder.lookahead
    assert late < 6 and len(decoder.speak(stream)) == (6 - late) * decoder.tokenizer.hop_length


def test_every_voice_sounds_its_own_way(decoder: SpeechDecoder) -> None:
    low, high = (spoken(decoder, semantic(30), 30, voice)[1] for voice in ("low", "high"))
    assert np.abs(low - high).max() > 1e-3
    with pytest.raises(KeyError):
        decoder.open("nobody")


def test_a_chunk_hears_what_was_spoken_before_it(decoder: SpeechDecoder) -> None:
    first, other, second = [1] * 6, [2] * 6, semantic(40)
    after_first = spoken(decoder, first + second, 1)[0].spoken[6:18]
    after_other = spoken(decoder, other + second, 1)[0].spoken[6:18]
    assert torch.equal(after_first[:, 0], after_other[:, 0]) and not torch.equal(after_first, after_other)


def test_no_codes_make_no_sound(decoder: SpeechDecoder) -> None:
    stream = decoder.open("low")
    assert not stream.due and not stream.finished
    stream.end()
    assert not stream.due and stream.finished


def test_streams_spoken_together_sound_as_each_alone(decoder: SpeechDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two voices and different lengths, so that some share their shapes and some do not."""
    lengths, voices = (60, 60, 60, 9, 75), ("low", "low", "high", "low", "low")
    codes = [[(code + 3 * place) % CODES for code in semantic(length)] for place, length in enumerate(lengths)]
    expected = [spoken(decoder, row, 1, voice)[1] for row, voice in zip(codes, voices, strict=True)]
    batches = []
    generate = decoder.soundstorm.generate

    def counted(semantic: torch.Tensor, *rest: object, **named: object) -> torch.Tensor:
        batches.append(len(semantic))
        return generate(semantic, *rest, **named)

    monkeypatch.setattr(decoder.soundstorm, "generate", counted)
    streams = [decoder.open(voice) for voice in voices]
    sounds: list[list[np.ndarray]] = [[] for _ in streams]
    for stream, row in zip(streams, codes, strict=True):
        stream.feed(row)
        stream.end()
    while due := [place for place, stream in enumerate(streams) if stream.due]:
        for place, sound in zip(due, decoder.speak_together([streams[place] for place in due]), strict=True):
            sounds[place].append(sound)
    for pieces, whole in zip(sounds, expected, strict=True):
        np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-5)
    assert max(batches) == 3 and min(batches) == 1
