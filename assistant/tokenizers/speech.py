"""The ears: what the user said, as semantic tokens (layer 0 of the SpeechTokenizer), a whole utterance at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from assistant.models.speech_tokenizer import SpeechTokenizer

SPEECH_LEVEL = 0.1
"""Root mean square of the speaking parts of what the tokenizer hears (-20 dB of full scale)."""
MAX_GAIN = 30.0
"""A whisper is brought up, the noise of an empty room is not made into a voice."""
SPEAKING_RANGE = 0.01
"""Frames whose power is within 20 dB of the loudest count as speaking, so that pauses do not change the level."""
LEVEL_FRAME = 320
"""Samples over which a power is taken: 20 ms at 16 kHz."""


def at_speech_level(pcm: np.ndarray) -> np.ndarray:
    """Mono float samples at 16 kHz, brought to SPEECH_LEVEL. [samples] -> [samples] float32.

    Everything that goes into a SpeechTokenizer encoder passes through here, in training as in conversation.
    """
    pcm = np.asarray(pcm, dtype=np.float32)
    if pcm.size == 0:
        return pcm
    whole = pcm[: max(1, pcm.size // LEVEL_FRAME) * LEVEL_FRAME]
    powers = np.square(whole, dtype=np.float64).reshape(-1, min(LEVEL_FRAME, whole.size)).mean(axis=1)
    speaking = powers[powers >= SPEAKING_RANGE * powers.max()]
    gain = min(MAX_GAIN, SPEECH_LEVEL / max(float(np.sqrt(speaking.mean())), 1e-9))
    return pcm * np.float32(gain)


class SpeechEars:
    """Owns the encoder; call `listen` with an utterance that has ended."""

    def __init__(self, tokenizer: SpeechTokenizer):
        self.tokenizer = tokenizer
        self.sample_rate: int = tokenizer.sample_rate
        self.frame_samples: int = tokenizer.hop_length

    def frames(self, samples: int) -> int:
        """How many tokens an utterance of that many samples gives, known before it is encoded."""
        return -(-samples // self.frame_samples)

    @torch.inference_mode()
    def listen(self, pcm: np.ndarray) -> tuple[int, ...]:
        """[samples] float32 at `sample_rate` -> codes of layer 0, `frames(samples)` of them; none for no sound."""
        if len(pcm) == 0:
            return ()
        wav = torch.from_numpy(at_speech_level(pcm)).view(1, 1, -1)
        return tuple(self.tokenizer.encode(wav, n_q=1)[0, 0].tolist())
