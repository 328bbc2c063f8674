"""The level that the ears are given, and whole-utterance tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assistant.models.speech_tokenizer import SpeechTokenizer
from assistant.tokenizers.speech import LOOKAHEAD, MAX_GAIN, SPEECH_LEVEL, HeardSoFar, SpeechEars, at_speech_level
from tests.assistant.tiny import CODEC


def voice(samples: int, level: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(samples) * level).astype(np.float32)


def rms(pcm: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(pcm, dtype=np.float64))))


@pytest.mark.parametrize("level", [0.004, 0.03, 0.9])
def test_quiet_and_loud_speech_reach_the_same_level(level: float) -> None:
    assert rms(at_speech_level(voice(16_000, level))) == pytest.approx(SPEECH_LEVEL, rel=0.02)


def test_pauses_do_not_change_the_level() -> None:
    speech = voice(16_000, 0.02)
    with_pauses = np.concatenate([np.zeros(8_000, np.float32), speech, np.zeros(24_000, np.float32)])
    assert np.allclose(at_speech_level(with_pauses)[8_000:24_000], at_speech_level(speech), rtol=1e-3)


def test_the_noise_of_an_empty_room_stays_quiet() -> None:
    noise = voice(16_000, 1e-5)
    assert np.allclose(at_speech_level(noise), noise * MAX_GAIN)


@pytest.mark.parametrize("samples", [0, 1, 250, 319, 320, 321])
def test_any_length_has_a_level(samples: int) -> None:
    levelled = at_speech_level(voice(samples, 0.05))
    assert levelled.shape == (samples,) and levelled.dtype == np.float32 and np.isfinite(levelled).all()


def test_silence_stays_silence() -> None:
    assert not at_speech_level(np.zeros(1_000, np.float32)).any()


@pytest.fixture(scope="module")
def tokenizer() -> SpeechTokenizer:
    """Untrained, with codes that tell levels apart: what the encoder makes of noise at sixteen levels."""
    torch.manual_seed(2)
    tokenizer = SpeechTokenizer.from_config(CODEC).eval()
    with torch.inference_mode():
        levels = [torch.from_numpy(voice(1_600, 0.01 * 1.5**n, seed=n)).view(1, 1, -1) for n in range(16)]
        rows = torch.stack([tokenizer.encoder(wav)[0, :, 2] for wav in levels])
        tokenizer.quantizer.codebooks[0].embed.copy_(rows)
    return tokenizer


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 5_000])
def test_an_utterance_becomes_one_code_a_frame(tokenizer: SpeechTokenizer, samples: int) -> None:
    ears = SpeechEars(tokenizer)
    assert len(ears.listen(voice(samples, 0.1))) == ears.frames(samples) == -(-samples // 320)


@pytest.mark.parametrize("level", [0.02, 0.6])
def test_the_codes_are_those_of_the_utterance_at_one_level(tokenizer: SpeechTokenizer, level: float) -> None:
    pcm = voice(5_000, level)
    with torch.inference_mode():
        as_it_is = tokenizer.encode(torch.from_numpy(pcm).view(1, 1, -1))[0, 0].tolist()
        levelled = tokenizer.encode(torch.from_numpy(at_speech_level(pcm)).view(1, 1, -1))[0, 0].tolist()
    assert as_it_is != levelled, "the level must matter here, or this proves nothing"
    assert list(SpeechEars(tokenizer).listen(pcm)) == levelled


def test_no_sound_gives_no_codes(tokenizer: SpeechTokenizer) -> None:
    assert SpeechEars(tokenizer).listen(np.zeros(0, np.float32)) == ()


@pytest.mark.parametrize("samples", [319, 320, 321, 1_000, 5_000])
def test_whatever_the_pieces_what_is_heard_is_what_an_utterance_of_that_length_gives(
    tokenizer: SpeechTokenizer, samples: int
) -> None:
    ears, pcm, heard = SpeechEars(tokenizer), voice(10_000, 0.1), HeardSoFar()
    for at in range(0, len(pcm), samples):
        before, kept = heard, heard.codes
        heard = ears.listen_on(heard, pcm[at : at + samples])
        assert before.codes == kept, "an older value stays as it is"
        assert len(heard.codes) == max(0, len(heard.pcm) // 320 - LOOKAHEAD)
    assert np.array_equal(heard.pcm, pcm)
    assert heard.codes == ears.listen(pcm[: 10_000 // 320 * 320])[:-LOOKAHEAD]
