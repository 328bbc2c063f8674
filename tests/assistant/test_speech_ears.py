"""The level that the ears are given, and whole-utterance tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assistant.models.speech_tokenizer import SpeechTokenizer
from assistant.tokenizers.speech import MAX_GAIN, SPEECH_LEVEL, SpeechEars, at_speech_level
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


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 5_000])
def test_an_utterance_becomes_one_code_a_frame_whatever_its_level(samples: int) -> None:
    torch.manual_seed(2)
    tokenizer = SpeechTokenizer.from_config(CODEC).eval()
    ears, pcm = SpeechEars(tokenizer), voice(samples, 0.1)
    codes = ears.listen(pcm)
    assert len(codes) == ears.frames(samples) == -(-samples // 320)
    with torch.inference_mode():
        levelled = torch.from_numpy(at_speech_level(pcm)).view(1, 1, -1)
        assert list(codes) == tokenizer.encode(levelled)[0, 0].tolist()
    assert ears.listen(pcm / 8) == codes


def test_no_sound_gives_no_codes() -> None:
    assert SpeechEars(SpeechTokenizer.from_config(CODEC).eval()).listen(np.zeros(0, np.float32)) == ()
