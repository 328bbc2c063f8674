"""The mouth: semantic tokens become sound while the reply is still being decoded.

SoundStorm adds the acoustic levels chunk by chunk, the SpeechTokenizer decoder turns all levels into samples. Where
chunks end depends on the number of tokens alone, so that a reply sounds the same however busy the machine is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from assistant.models.soundstorm import SoundStorm
from assistant.models.speech_tokenizer import DecoderStream, SpeechTokenizer

CONTEXT_FRAMES = 25
"""Frames already spoken that SoundStorm sees, behind the voice prompt, so that a chunk continues what came before."""
FORESIGHT_FRAMES = 5
"""Frames behind a chunk that SoundStorm sees too: it reads in both directions, so its last frames are its worst.

They are generated again with the next chunk."""
GROWTH = 2
"""How many times longer than the one before it a chunk is, up to the maximum."""
NOISE_SEED = 0


@dataclass(slots=True)
class SpeechStream:
    """One reply on its way to sound. Feed it codes as they are decoded, then end it."""

    prompt: Tensor  # [P, n_q]: the voice
    decoder: DecoderStream
    chunk_frames: int  # length of the next chunk
    spoken: Tensor  # [frames, n_q]: all that SoundStorm has settled
    pending: list[int] = field(default_factory=list)  # semantic codes not yet spoken
    ended: bool = False

    def feed(self, codes: Iterable[int]) -> None:
        """More semantic codes (layer 0 of the SpeechTokenizer)."""
        assert not self.ended, "a stream that has ended takes no more codes"
        self.pending.extend(codes)

    def end(self) -> None:
        """There are no more codes."""
        self.ended = True

    @property
    def due(self) -> bool:
        """Whether a chunk can be made now."""
        return len(self.pending) >= (1 if self.ended else self.chunk_frames + FORESIGHT_FRAMES)

    @property
    def finished(self) -> bool:
        """Whether all of the sound has been made."""
        return self.ended and not self.pending


class SpeechDecoder:
    """Owns SoundStorm, the SpeechTokenizer decoder and the voices. Call `open`, then `speak` when a stream is due."""

    def __init__(
        self,
        soundstorm: SoundStorm,
        tokenizer: SpeechTokenizer,
        voices: Mapping[str, Tensor],
        *,
        steps: int,
        first_chunk_frames: int,
        max_chunk_frames: int,
    ):
        """voices: [frames, n_q] codes by name; steps: SoundStorm's passes over the first acoustic level, less one."""
        self.soundstorm, self.tokenizer, self.voices = soundstorm, tokenizer, dict(voices)
        self.steps, self.first_chunk_frames, self.max_chunk_frames = steps, first_chunk_frames, max_chunk_frames
        self.device = next(soundstorm.parameters()).device

    def open(self, voice: str) -> SpeechStream:
        """A stream in one of `voices`; KeyError for any other."""
        prompt = self.voices[voice].to(self.device)
        decoder = DecoderStream(self.tokenizer.decoder)
        return SpeechStream(prompt, decoder, self.first_chunk_frames, prompt[:0])

    def speak(self, stream: SpeechStream) -> np.ndarray:
        """The next chunk of a stream that is due, [samples] float32.

        Samples come `decoder.lookahead` frames late until the last chunk brings the rest: joined, `hop_length` a frame.
        """
        return self.speak_together([stream])[0]

    def alike(self, one: SpeechStream, other: SpeechStream) -> bool:
        """Whether the next chunks of two streams cost less together."""
        return self._shape(one) == self._shape(other)

    @torch.inference_mode()
    def speak_together(self, streams: Sequence[SpeechStream]) -> list[np.ndarray]:
        """The next chunk of each of several streams that are due, the same as each alone."""
        settled = self.settle_together(streams)
        return [self._sound(stream, codes) for stream, codes in zip(streams, settled, strict=True)]

    @torch.inference_mode()
    def settle_together(self, streams: Sequence[SpeechStream]) -> list[Tensor]:
        """What `speak_together` makes sound of, without the sound: the next chunk's codes of each, [frames, n_q].

        SoundStorm computes streams together whose chunk, and what it sees before it, are of one length, as at the start
        of replies in voices of one length: on a CPU four take two thirds of the time.
        """
        assert all(stream.due for stream in streams), "no chunk is due"
        alike: dict[tuple[int, int], list[SpeechStream]] = defaultdict(list)
        for stream in streams:
            alike[self._shape(stream)].append(stream)
        settled = {}
        for group in alike.values():
            for stream, codes in zip(group, self._acoustic(group), strict=True):
                settled[id(stream)] = self._settle(stream, codes)
        return [settled[id(stream)] for stream in streams]

    def _settle(self, stream: SpeechStream, codes: Tensor) -> Tensor:
        """What is not foresight of codes [frames, n_q] of a chunk."""
        settled = codes if stream.ended and len(codes) == len(stream.pending) else codes[: stream.chunk_frames]
        del stream.pending[: len(settled)]
        stream.spoken = torch.cat((stream.spoken, settled))
        stream.chunk_frames = min(GROWTH * stream.chunk_frames, self.max_chunk_frames)
        return settled

    def _sound(self, stream: SpeechStream, settled: Tensor) -> np.ndarray:
        """The samples of the chunk that was just settled."""
        latent = self.tokenizer.quantizer.decode(settled.T.unsqueeze(1))
        wav, stream.decoder = stream.decoder.step(latent, stream.finished)
        return wav.flatten().float().cpu().numpy()

    def _shape(self, stream: SpeechStream) -> tuple[int, int]:
        return len(self._heard_before(stream)), len(self._chunk(stream))

    def _chunk(self, stream: SpeechStream) -> list[int]:
        """The semantic codes of the next chunk and of what is known behind it."""
        return stream.pending[: stream.chunk_frames + FORESIGHT_FRAMES]

    def _heard_before(self, stream: SpeechStream) -> Tensor:
        """What SoundStorm goes on from, [frames, n_q]: the voice and the end of what was spoken."""
        return torch.cat((stream.prompt, stream.spoken[-CONTEXT_FRAMES:]))

    def _acoustic(self, streams: Sequence[SpeechStream]) -> Tensor:
        """All code levels of chunks of one length, [B, frames, n_q]. Every stream meets the same noise."""
        semantic = torch.tensor([self._chunk(stream) for stream in streams], device=self.device)
        prompts = torch.stack([self._heard_before(stream) for stream in streams])
        generator = torch.Generator(self.device).manual_seed(NOISE_SEED)

        def noise(shape: torch.Size) -> Tensor:
            drawn = torch.empty(shape[1:], device=self.device).exponential_(generator=generator)
            return -drawn.log().expand(shape)

        return self.soundstorm.generate(semantic, prompts, self.steps, noise=noise)
