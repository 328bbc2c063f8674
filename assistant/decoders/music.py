"""Music codes become sound while they are still being generated.

Encodec's decoder is a convolution, an LSTM and a chain of upsampling convolutions. The LSTM carries its state from
chunk to chunk, the convolutions see the frames around a chunk again, so the joined chunks are the piece decoded whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from assistant.models.speech_tokenizer import Overlap
from assistant.vocabulary import MUSIC_CODEBOOKS, deinterleave_music

if TYPE_CHECKING:
    from transformers import EncodecModel

GROWTH = 2
"""How many times longer than the one before it a chunk is, up to the maximum."""


@dataclass(slots=True)
class MusicStream:
    """One piece on its way to sound. Feed it codes as they are generated, then end it."""

    chunk_frames: int  # length of the next chunk
    frame_seconds: float
    expected_frames: int
    pending: list[int] = field(default_factory=list)  # interleaved codes not yet decoded
    decoded_frames: int = 0
    ended: bool = False
    flushed: bool = False  # whether the last chunk has been made
    head: Overlap = Overlap()
    state: tuple[Tensor, Tensor] | None = None  # of the LSTM
    tail: Overlap = Overlap()

    def feed(self, codes: Iterable[int]) -> None:
        """More codes, interleaved frame by frame as the vocabulary has them; frames need not be whole."""
        assert not self.ended, "a stream that has ended takes no more codes"
        self.pending.extend(codes)

    def end(self) -> None:
        """There are no more codes. A frame that lacks some is dropped."""
        self.ended = True

    @property
    def frames(self) -> int:
        """Whole frames fed so far."""
        return self.decoded_frames + len(self.pending) // MUSIC_CODEBOOKS

    @property
    def seconds(self) -> float:
        """How long the piece is as far as it is known: in the end, its duration."""
        return self.frames * self.frame_seconds

    @property
    def progress(self) -> float:
        """0 to 1: the share of the expected frames that is there, 1 only when all of the sound has been made."""
        return 1.0 if self.finished else min(0.99, self.frames / self.expected_frames)

    @property
    def due(self) -> bool:
        """Whether a chunk can be made now. The last may hold no new codes: it brings the samples that came late."""
        if self.ended:
            return self.frames > 0 and not self.flushed
        return len(self.pending) // MUSIC_CODEBOOKS >= self.chunk_frames

    @property
    def finished(self) -> bool:
        """Whether all of the sound has been made."""
        return self.ended and not self.due


class MusicDecoder:
    """Owns Encodec's codebooks and decoder. Call `open`, then `play` when a stream is due."""

    def __init__(self, codec: EncodecModel, *, first_chunk_frames: int = 25, max_chunk_frames: int = 100):
        self.codec = codec
        self.sample_rate: int = codec.config.sampling_rate
        self.frame_samples: int = codec.config.hop_length
        self.first_chunk_frames, self.max_chunk_frames = first_chunk_frames, max_chunk_frames
        self.first, self.recurrent, *upsampling = codec.decoder.layers
        self.upsampling = nn.Sequential(*upsampling)

    def open(self, expected_frames: int) -> MusicStream:
        """A stream for a piece that is expected to have so many frames; it may have fewer or more."""
        return MusicStream(self.first_chunk_frames, self.frame_samples / self.sample_rate, max(1, expected_frames))

    @cached_property
    def margins(self) -> tuple[int, int]:
        """How many frames on each side of a frame the first convolution, and the upsampling stages, look at."""
        return frames_beside([self.first], 1), frames_beside(self.upsampling, self.frame_samples)

    @property
    def lookahead(self) -> int:
        """A frame's samples are final when this many more frames are known."""
        return sum(self.margins)

    @torch.inference_mode()
    def play(self, stream: MusicStream) -> np.ndarray:
        """The next chunk of a stream that is due, [samples] float32.

        Samples come `lookahead` frames late until the last chunk brings the rest: joined, `frame_samples` a frame.
        """
        assert stream.due, "no chunk is due"
        whole = len(stream.pending) - len(stream.pending) % MUSIC_CODEBOOKS
        taken = whole if stream.ended else min(whole, stream.chunk_frames * MUSIC_CODEBOOKS)
        codes = torch.tensor(
            deinterleave_music(stream.pending[:taken], self.codec.config.codebook_size), dtype=torch.int64
        )
        del stream.pending[:taken]
        stream.decoded_frames += taken // MUSIC_CODEBOOKS
        stream.chunk_frames = min(GROWTH * stream.chunk_frames, self.max_chunk_frames)
        stream.flushed = stream.ended
        latent = self.codec.quantizer.decode(codes.to(self.codec.device).unsqueeze(1))
        return self._advance(stream, latent, last=stream.ended).flatten().float().cpu().numpy()

    def decode(self, codes: Iterable[int]) -> np.ndarray:
        """A whole piece at once: interleaved codes -> [samples] float32."""
        stream = self.open(1)
        stream.feed(codes)
        stream.end()
        return self.play(stream) if stream.due else np.zeros(0, np.float32)

    def _advance(self, stream: MusicStream, latent: Tensor, last: bool) -> Tensor:
        """Samples [1, 1, n] that have become final with latent [1, dimension, frames]."""
        near, far = self.margins
        hidden, stream.head = stream.head.step(self.first, latent, near, 1, last)
        if hidden is None:
            return latent.new_empty(1, 1, 0)  # not the last chunk: the first convolution holds a frame back for it
        steps = hidden.permute(2, 0, 1)
        recurred, stream.state = self.recurrent.lstm(steps, stream.state)
        hidden = (recurred + steps).permute(1, 2, 0)
        wav, stream.tail = stream.tail.step(self.upsampling, hidden, far, self.frame_samples, last)
        return latent.new_empty(1, 1, 0) if wav is None else wav


def frames_beside(layers: Iterable[nn.Module], hop: int) -> int:
    """How many input frames before or after its own the `hop` outputs of a frame may depend on."""
    first, last = reach(layers, 0, hop - 1)
    return max(-first, last)


def reach(layers: Iterable[nn.Module], first: int, last: int) -> tuple[int, int]:
    """First and last input position of a chain of Encodec's layers that its outputs first..last may depend on.

    Mirrored edges count: what is padded on one side is read from as far inside on the other.
    """
    for layer in reversed(list(layers)):
        if hasattr(layer, "block"):
            first, last = reach(layer.block, first, last)
        elif isinstance(conv := getattr(layer, "conv", None), nn.ConvTranspose1d):
            kernel, stride = conv.kernel_size[0], conv.stride[0]
            surplus = kernel - stride
            left = 0 if layer.causal else surplus - surplus // 2  # trim_right_ratio 1, as in every published model
            first, last = (first + left - kernel) // stride + 1, (last + left) // stride
        elif isinstance(conv, nn.Conv1d):
            total = (conv.kernel_size[0] - 1) * conv.dilation[0]
            beside = total if layer.causal else total - total // 2
            first, last = first - beside, last + beside
    return first, last
