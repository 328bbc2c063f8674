"""The ears: what the user said, as semantic tokens (layer 0 of the SpeechTokenizer), and what he is saying.

The encoder is not causal and the level is that of the whole utterance, so what is heard of an utterance that goes on is
provisional. It is encoded from its start each time that more of it is known: of nano's tokens 98 in 100 then agree with
the final ones, and 70 % of an utterance stands when it is over. With two seconds of the past it would be 18 %.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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


LOOKAHEAD = 10
"""Frames behind a token that must be known before it is worth reading ahead. Of nano's newest ten half still change."""


@dataclass(frozen=True, eq=False)
class HeardSoFar:
    """What is known of an utterance that goes on. A value: SpeechEars.listen_on makes the next one."""

    pcm: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))  # [samples]
    codes: tuple[int, ...] = ()  # of all but its last LOOKAHEAD frames; provisional


class SpeechEars:
    """Owns the encoder; call `listen` with an utterance that has ended, `listen_on` while it goes on."""

    def __init__(self, tokenizer: SpeechTokenizer):
        self.tokenizer = tokenizer
        self.sample_rate: int = tokenizer.sample_rate
        self.frame_samples: int = tokenizer.hop_length
        self._device = next(tokenizer.parameters()).device

    def frames(self, samples: int) -> int:
        """How many tokens an utterance of that many samples gives, known before it is encoded."""
        return -(-samples // self.frame_samples)

    @torch.inference_mode()
    def listen(self, pcm: np.ndarray) -> tuple[int, ...]:
        """[samples] float32 at `sample_rate` -> codes of layer 0, `frames(samples)` of them; none for no sound."""
        if len(pcm) == 0:
            return ()
        wav = torch.from_numpy(at_speech_level(pcm)).view(1, 1, -1).to(self._device)
        return tuple(self.tokenizer.encode(wav, n_q=1)[0, 0].tolist())

    def listen_on(self, heard: HeardSoFar, pcm: np.ndarray) -> HeardSoFar:
        """More of an utterance: [samples] float32 behind what was heard of it."""
        so_far = np.concatenate([heard.pcm, pcm])
        whole = so_far[: len(so_far) // self.frame_samples * self.frame_samples]
        return HeardSoFar(so_far, self.listen(whole)[:-LOOKAHEAD])
