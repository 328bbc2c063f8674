"""SpeechTokenizer (arXiv 2308.16692): a speech codec whose first codebook carries content, the others the voice.

Parameter names are those of the published checkpoints, with weight norm folded into plain weights. Waveforms are
[B, 1, S] at `sample_rate`, latents [B, dimension, T], codes [n_q, B, T]. Nothing but the decoder's LSTM is causal;
`DecoderStream` decodes in pieces all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from assistant.layers.convolution import Conv1d, ConvTranspose1d


class Snake(nn.Module):
    """x + sin(alpha x)^2 / alpha with one learned alpha a channel (arXiv 2006.08195)."""

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.sin(self.alpha * x).square() / (self.alpha + 1e-9)


ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {"elu": lambda channels: nn.ELU(), "snake": Snake}


class ResidualUnit(nn.Module):
    """Dilated convolution to half the channels and back, beside a 1x1 shortcut."""

    def __init__(self, channels: int, kernel: int, dilation: int, activation: Callable[[int], nn.Module]):
        super().__init__()
        hidden = channels // 2
        self.block = nn.Sequential(
            activation(channels),
            Conv1d(channels, hidden, kernel, dilation=dilation),
            activation(hidden),
            Conv1d(hidden, channels, 1),
        )
        self.shortcut = Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.block(x)


class ResidualLSTM(nn.Module):
    """LSTM over time, its input added to its output: [B, C, T] -> [B, C, T], with 2 C channels if bidirectional."""

    def __init__(self, channels: int, layers: int, bidirectional: bool = False):
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, layers, batch_first=True, bidirectional=bidirectional)

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x, None)[0]

    def step(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Go on from `state` (None: the beginning); returns the output and the state after it."""
        frames = x.transpose(1, 2)
        hidden, state = self.lstm(frames, state)
        return (hidden + frames.repeat(1, 1, 1 + self.lstm.bidirectional)).transpose(1, 2), state


class Encoder(nn.Module):
    """SEANet encoder on the waveform: [B, 1, S] -> [B, dimension, ceil(S / hop)]."""

    def __init__(
        self,
        n_filters: int,
        strides: list[int],
        dimension: int,
        residual: Callable[[int], list[nn.Module]],
        activation: Callable[[int], nn.Module],
        lstm_layers: int,
        bidirectional: bool,
    ):
        super().__init__()
        channels = n_filters
        layers: list[nn.Module] = [Conv1d(1, channels, 7)]
        for stride in reversed(strides):
            layers += [*residual(channels), activation(channels), Conv1d(channels, 2 * channels, 2 * stride, stride)]
            channels *= 2
        if lstm_layers:
            layers += [ResidualLSTM(channels, lstm_layers, bidirectional)]
            channels *= 1 + bidirectional
        layers += [activation(channels), Conv1d(channels, dimension, 7)]
        self.model = nn.Sequential(*layers)

    def forward(self, wav: Tensor) -> Tensor:
        return self.model(wav)


class Decoder(nn.Module):
    """SEANet decoder: [B, dimension, T] -> [B, 1, hop * T]."""

    def __init__(
        self,
        n_filters: int,
        strides: list[int],
        dimension: int,
        residual: Callable[[int], list[nn.Module]],
        activation: Callable[[int], nn.Module],
        lstm_layers: int,
    ):
        super().__init__()
        self.hop_length = math.prod(strides)
        self.channels = channels = n_filters * 2 ** len(strides)
        layers: list[nn.Module] = [Conv1d(dimension, channels, 7)]
        if lstm_layers:
            layers += [ResidualLSTM(channels, lstm_layers)]
        for stride in strides:
            layers += [activation(channels), ConvTranspose1d(channels, channels // 2, stride), *residual(channels // 2)]
            channels //= 2
        layers += [activation(channels), Conv1d(channels, 1, 7)]
        self.model = nn.Sequential(*layers)

    def forward(self, latent: Tensor) -> Tensor:
        return self.model(latent)

    @property
    def recurrent(self) -> ResidualLSTM | None:
        """The LSTM, which stands between the first convolution and the upsampling stages; None if there is none."""
        layer = self.model[1]
        return layer if isinstance(layer, ResidualLSTM) else None

    @property
    def upsampling(self) -> nn.Sequential:
        """All after the LSTM: [B, C, T] -> [B, 1, hop * T]."""
        return nn.Sequential(*list(self.model)[1 if self.recurrent is None else 2 :])

    @cached_property
    def margins(self) -> tuple[int, int]:
        """How many frames on each side of a frame the first convolution, and the upsampling stages, look at."""
        return frames_beside([self.model[0]], 1), frames_beside(self.upsampling, self.hop_length)

    @property
    def lookahead(self) -> int:
        """A latent frame's samples are final when this many more frames are known."""
        return sum(self.margins)


def reach(layers: Iterable[nn.Module], first: int, last: int) -> tuple[int, int]:
    """First and last input position of a chain of layers that its outputs first..last may depend on."""
    for layer in reversed(list(layers)):
        if isinstance(layer, ResidualUnit):
            first, last = reach(layer.block, first, last)
        elif isinstance(layer, Conv1d | ConvTranspose1d):
            first, last = layer.reach(first, last)
    return first, last


def frames_beside(layers: Iterable[nn.Module], hop: int) -> int:
    """How many input frames before or after its own the `hop` outputs of a frame may depend on."""
    first, last = reach(layers, 0, hop - 1)
    return max(-first, last)


@dataclass(frozen=True)
class Overlap:
    """Where a function that looks `margin` frames to either side has got to in frames that come in pieces.

    Frames that later outputs depend on are kept and computed again; only what no later frame can change is handed out.
    """

    kept: Tensor | None = None  # [B, C, frames]
    finished: int = 0  # how many of the kept frames have been handed out

    def step(
        self, function: Callable[[Tensor], Tensor], frames: Tensor, margin: int, hop: int, last: bool
    ) -> tuple[Tensor | None, Overlap]:
        """Outputs (`hop` a frame) that have become final, None if there are none, and the state after them."""
        if self.kept is not None:
            frames = torch.cat((self.kept, frames), dim=-1)
        final = frames.shape[-1] - (0 if last else margin)
        if final <= self.finished:
            return None, replace(self, kept=frames)
        outputs = function(frames)[..., self.finished * hop : final * hop]
        dropped = max(final - margin, 0)
        return outputs, Overlap(frames[..., dropped:], final - dropped)


@dataclass(frozen=True)
class DecoderStream:
    """How far a decoder has got in latent frames that come in pieces. A value: keep an older one to go back to it.

    Start with `DecoderStream(decoder)` and go on with what each `step` returns. Whatever the pieces, the joined samples
    are those of decoding the whole; they come `decoder.lookahead` frames late until the step that is told it is last.
    """

    decoder: Decoder
    head: Overlap = Overlap()
    state: tuple[Tensor, Tensor] | None = None
    tail: Overlap = Overlap()

    def step(self, latent: Tensor, last: bool = False) -> tuple[Tensor, DecoderStream]:
        """Finished samples [B, 1, n], n a multiple of the hop and maybe 0, after latent [B, dimension, frames >= 0]."""
        decoder, state = self.decoder, self.state
        near, far = decoder.margins
        hidden, head = self.head.step(decoder.model[0], latent, near, 1, last)
        if hidden is None:
            hidden = latent.new_empty(latent.shape[0], decoder.channels, 0)
        elif decoder.recurrent is not None:
            hidden, state = decoder.recurrent.step(hidden, state)
        wav, tail = self.tail.step(decoder.upsampling, hidden, far, decoder.hop_length, last)
        if wav is None:
            wav = latent.new_empty(latent.shape[0], 1, 0)
        return wav, DecoderStream(decoder, head, state, tail)


class Codebook(nn.Module):
    """`embed` [codebook_size, dimension]; a buffer, as published: it is fitted to data, not by gradients."""

    def __init__(self, size: int, dimension: int):
        super().__init__()
        self.embed: Tensor
        self.register_buffer("embed", torch.randn(size, dimension))

    def nearest(self, frames: Tensor) -> Tensor:
        """Indices [...] of the rows closest to frames [..., dimension] in Euclidean distance."""
        return (2 * frames @ self.embed.T - self.embed.square().sum(1)).argmax(-1)

    def rows(self, codes: Tensor) -> Tensor:
        return nn.functional.embedding(codes, self.embed)


class ResidualVectorQuantizer(nn.Module):
    """`n_q` codebooks, each quantizing what those before it left over."""

    def __init__(self, dimension: int, n_q: int, codebook_size: int):
        super().__init__()
        layers = [nn.ModuleDict({"_codebook": Codebook(codebook_size, dimension)}) for _ in range(n_q)]
        self.vq = nn.ModuleDict({"layers": nn.ModuleList(layers)})

    @property
    def codebooks(self) -> list[Codebook]:
        return [module for module in self.vq.modules() if isinstance(module, Codebook)]

    def forward(self, latent: Tensor, n_q: int | None = None, st: int = 0) -> tuple[Tensor, Tensor]:
        """Quantize latent [B, dimension, T] with the codebooks st..n_q-1, the first of which sees the latent itself.

        Returns codes [n_q - st, B, T] and what each codebook contributes, [n_q - st, B, dimension, T].
        """
        residual = latent.transpose(1, 2)
        codes, rows = [], []
        for codebook in self.codebooks[st:n_q]:
            codes.append(codebook.nearest(residual))
            rows.append(codebook.rows(codes[-1]))
            residual = residual - rows[-1]
        return torch.stack(codes), torch.stack(rows).transpose(2, 3)

    def encode(self, latent: Tensor, n_q: int | None = None, st: int = 0) -> Tensor:
        """Codes [n_q - st, B, T] of the codebooks st..n_q-1."""
        return self(latent, n_q, st)[0]

    def decode(self, codes: Tensor, st: int = 0) -> Tensor:
        """The latent [B, dimension, T] that codes [n, B, T] of the codebooks st..st+n-1 add up to."""
        codebooks = self.codebooks[st : st + len(codes)]
        rows = [codebook.rows(layer) for codebook, layer in zip(codebooks, codes, strict=True)]
        return torch.stack(rows).sum(0).transpose(1, 2)


class SpeechTokenizer(nn.Module):
    """Waveform to codes with `encode`, codes to waveform with `decode`; load weights before either.

    `transform` maps what the first codebook gives to the width of the teacher that its training distils.
    """

    def __init__(
        self,
        encoder: nn.Module,
        quantizer: ResidualVectorQuantizer,
        decoder: Decoder,
        transform: nn.Module,
        sample_rate: int,
    ):
        super().__init__()
        self.encoder, self.quantizer, self.decoder, self.transform = encoder, quantizer, decoder, transform
        self.sample_rate, self.hop_length = sample_rate, decoder.hop_length
        self.n_q = len(quantizer.codebooks)
        self.codebook_size = quantizer.codebooks[0].embed.shape[0]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SpeechTokenizer:
        """Build from a published `config.json`; its training fields are ignored.

        `front_end` is this project's own key: "waveform" (the published encoder, also when absent) or "log_mel".
        Raises KeyError naming a missing field, ValueError naming an unknown activation or front end.
        """
        strides, dimension, lstm_layers = list(config["strides"]), config["dimension"], config["lstm_layers"]
        name = config["activation"]
        if name.lower() not in ACTIVATIONS:
            raise ValueError(f"unknown activation {name!r}; known are {', '.join(ACTIVATIONS)}")
        activation = ACTIVATIONS[name.lower()]

        def residual(channels: int) -> list[nn.Module]:
            kernel, base = config["residual_kernel_size"], config["dilation_base"]
            return [ResidualUnit(channels, kernel, base**j, activation) for j in range(config["n_residual_layers"])]

        shared = (config["n_filters"], strides, dimension, residual, activation, lstm_layers)
        front_end = config.get("front_end", "waveform")
        encoder: nn.Module
        if front_end == "waveform":
            encoder = Encoder(*shared, config["bidirectional"])
        elif front_end == "log_mel":
            from assistant.models.log_mel import LogMelEncoder

            encoder = LogMelEncoder.from_config(config)
        else:
            raise ValueError(f"unknown front_end {front_end!r}; known are waveform, log_mel")
        semantic_dimension = config["semantic_dimension"]
        return cls(
            encoder,
            ResidualVectorQuantizer(dimension, config["n_q"], config["codebook_size"]),
            Decoder(*shared),
            nn.Linear(dimension, semantic_dimension) if semantic_dimension != dimension else nn.Identity(),
            config["sample_rate"],
        )

    def encode(self, wav: Tensor, n_q: int | None = None, st: int = 0) -> Tensor:
        """Codes [n_q - st, B, T] of wav [B, 1, S] from the codebooks st..n_q-1 (all by default); T = ceil(S / hop)."""
        return self.quantizer.encode(self.encoder(wav), n_q, st)

    def decode(self, codes: Tensor, st: int = 0) -> Tensor:
        """The waveform [B, 1, hop * T] of codes [n, B, T] of the codebooks st..st+n-1."""
        return self.decoder(self.quantizer.decode(codes, st))

    def semantic_features(self, wav: Tensor) -> Tensor:
        """What the first codebook knows of wav [B, 1, S], [B, T, semantic_dimension]: the distilled representation."""
        quantized = self.quantizer(self.encoder(wav), n_q=1)[1][0]
        return self.transform(quantized.transpose(1, 2))
