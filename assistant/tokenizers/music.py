"""The ears for music: sound as codes of Encodec (arXiv 2210.13438), interleaved as the published vocabulary has them.

The model is `transformers`' EncodecModel. Importing it takes seconds, so `load_encodec` does, when music is first asked
for, and no file does at its head.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from assistant.checkpoints import CheckpointError
from assistant.vocabulary import MUSIC_CODEBOOKS, interleave_music

if TYPE_CHECKING:
    from transformers import EncodecModel

CHAT_SECONDS, BASE_SECONDS = 5.0, 20.0
"""How much of a longer piece the published chat and base models hear. Theirs is a random cut; here it is the beginning,
so that the same file gives the same answer."""


def load_encodec(directory: Path) -> EncodecModel:
    """The codec of a folder in transformers' format: config.json and safetensors. For inference, in float32.

    Raises CheckpointError for a folder that is not one of a mono, whole-piece codec with MUSIC_CODEBOOKS codebooks.
    """
    from transformers import EncodecModel
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # what does not fit is raised below, not logged
    logging.disable_progress_bar()
    try:
        codec, report = EncodecModel.from_pretrained(
            directory, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except Exception as fault:
        raise CheckpointError(f"{directory} holds no music codec ({fault}): fetch it again") from fault
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    if faults := sorted(key for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in report[kind]):
        raise CheckpointError(f"{directory}: weights do not fit config.json ({faults[0]}, ...): fetch both again")
    config = codec.config
    whole = config.audio_channels == 1 and config.chunk_length_s is None and not config.normalize
    if not whole or config.norm_type != "weight_norm" or config.num_quantizers != MUSIC_CODEBOOKS:
        raise CheckpointError(f"{directory}: not the kind of Encodec that facebook/encodec_32khz is: use one like it")
    fold_weight_norm(codec)
    return codec.eval().requires_grad_(False)


def fold_weight_norm(codec: nn.Module) -> None:
    """Replace every weight-normed weight by its value, once and for all."""
    for module in codec.modules():
        if nn.utils.parametrize.is_parametrized(module, "weight"):
            nn.utils.parametrize.remove_parametrizations(module, "weight")


class MusicEars:
    """Owns the encoder; call `listen` with a piece of music, whole or cut to what the model was trained on."""

    def __init__(self, codec: EncodecModel, max_seconds: float = CHAT_SECONDS):
        self.codec, self.max_seconds = codec, max_seconds
        self.sample_rate: int = codec.config.sampling_rate
        self.frame_samples: int = codec.config.hop_length
        self.codebook_size: int = codec.config.codebook_size

    def frames(self, samples: int) -> int:
        """How many frames of MUSIC_CODEBOOKS tokens that many samples give, known before they are encoded."""
        return -(-min(samples, self._max_samples) // self.frame_samples)

    @property
    def _max_samples(self) -> int:
        return round(self.max_seconds * self.sample_rate)

    @torch.inference_mode()
    def encode(self, pcm: np.ndarray) -> np.ndarray:
        """[samples] float32 at `sample_rate` -> codes [MUSIC_CODEBOOKS, frames] of its first `max_seconds`."""
        pcm = np.asarray(pcm, dtype=np.float32)[: self._max_samples]
        if pcm.size == 0:
            return np.zeros((MUSIC_CODEBOOKS, 0), np.int64)
        wav = torch.from_numpy(pcm).view(1, 1, -1).to(self.codec.device)
        return self.codec.quantizer.encode(self.codec.encoder(wav))[:, 0].cpu().numpy()

    def listen(self, pcm: np.ndarray) -> tuple[int, ...]:
        """[samples] float32 at `sample_rate` -> music codes as the vocabulary counts them: frame by frame, level l of a
        frame offset by l * codebook_size; `frames(samples)` times MUSIC_CODEBOOKS of them."""
        return tuple(interleave_music(self.encode(pcm).tolist(), self.codebook_size))
