"""The log-mel front end of a small SpeechTokenizer: what a waveform encoder must learn from much speech is given here.

The latent is two parts side by side. The first `content_dimension` channels say what is spoken: convolutions, a
bidirectional LSTM and a last convolution, as in SEANet, at unit norm. The rest say how it sounds. Codebook 0 is zero
in the second part and the other codebooks in the first, so plain residual quantization keeps them apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from assistant.models.speech_tokenizer import ResidualLSTM

MEL_HOP = 160
"""Samples between mel frames; two of them make one token."""


def mel_filters(bands: int, n_fft: int, sample_rate: int) -> Tensor:
    """Triangular filters [bands, n_fft // 2 + 1] even on the mel scale (2595 log10(1 + f / 700)), unit peak."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2, dtype=torch.float64) / 2595) - 1)
    bins = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    width = edges.diff()
    rising = (bins - edges[:-2, None]) / width[:-1, None]
    falling = (edges[2:, None] - bins) / width[1:, None]
    return torch.minimum(rising, falling).clamp(min=0).float()


class LogMel(nn.Module):
    """wav [B, 1, S] -> [B, bands, 2 * ceil(S / 320)]: log power in mel bands, about zero mean and unit deviation."""

    def __init__(self, bands: int, n_fft: int, window: int, sample_rate: int):
        super().__init__()
        self.n_fft, self.window_length = n_fft, window
        self.register_buffer("filters", mel_filters(bands, n_fft, sample_rate), persistent=False)
        self.register_buffer("window", torch.hann_window(window), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        wav = wav.squeeze(1).float()
        frames = 2 * -(-wav.shape[-1] // (2 * MEL_HOP))
        margin = (self.n_fft - MEL_HOP) // 2
        wav = nn.functional.pad(wav, (margin, margin + frames * MEL_HOP - wav.shape[-1]))
        spectrum = torch.stft(
            wav, self.n_fft, MEL_HOP, self.window_length, self.window, center=False, return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return ((self.filters @ power[..., :frames]).clamp(min=1e-5).log() + 2.0) / 4.0


class ResidualConvolution(nn.Module):
    """x + what a convolution over five frames and one over channels add to it: [B, C, T] -> [B, C, T].

    It adds nothing at first, so that an encoder can go on learning with more of them than it began with.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.wide, self.mix = nn.Conv1d(channels, channels, 5, padding=2), nn.Conv1d(channels, channels, 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(nn.functional.gelu(self.wide(x)))


class LogMelEncoder(nn.Module):
    """Waveform [B, 1, S] to latents [B, dimension, ceil(S / 320)]."""

    def __init__(
        self,
        mel: LogMel,
        bands: int,
        channels: int,
        dimension: int,
        content_dimension: int,
        lstm_layers: int,
        blocks: int,
    ):
        super().__init__()
        self.mel = mel
        self.content = nn.Sequential(
            nn.Conv1d(bands, channels, 5, padding=2),
            nn.GELU(),
            nn.Conv1d(channels, channels, 4, stride=2, padding=1),
            nn.Sequential(nn.GELU(), *(ResidualConvolution(channels) for _ in range(blocks))),
            ResidualLSTM(channels, lstm_layers, bidirectional=True),
            nn.GELU(),
            nn.Conv1d(2 * channels, content_dimension, 7, padding=3),
        )
        acoustic = dimension - content_dimension
        self.acoustic = nn.Sequential(
            nn.Conv1d(bands, 2 * acoustic, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv1d(2 * acoustic, acoustic, 3, padding=1),
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LogMelEncoder:
        """Sizes from a SpeechTokenizer config: its mel fields, and the `encoder_*` and `content_dimension` keys."""
        mel = LogMel(config["num_mels"], config["n_fft"], config["win_size"], config["sample_rate"])
        return cls(
            mel,
            config["num_mels"],
            config["encoder_channels"],
            config["dimension"],
            config["content_dimension"],
            config["encoder_lstm_layers"],
            config.get("encoder_blocks", 0),
        )

    def forward(self, wav: Tensor) -> Tensor:
        mel = self.mel(wav)
        content = nn.functional.normalize(self.content(mel), dim=1)
        return torch.cat([content, self.acoustic(mel)], dim=1)
