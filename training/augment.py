"""What happens to speech between a mouth and a server: speed and pitch, room, microphone, noise, band limits.

Everything takes a batch, on any device, and draws what it draws from a generator there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from assistant.tokenizers.speech import LEVEL_FRAME, MAX_GAIN, SPEAKING_RANGE, SPEECH_LEVEL
from training.kokoro import FRAME, RATE

SPEEDS = (0.82, 1.22)
"""How much faster a recording may be played; its pitch and its formants rise with it."""
ROOM_SECONDS = (0.05, 0.4)
NOISE_DB = (8.0, 40.0)
"""How far below the speech a noise lies that can be heard."""
FLOOR_DB = (40.0, 65.0)
"""How far below it lies what a microphone in a quiet room gives."""


def between(low: float, high: float, rows: int, generator: torch.Generator) -> Tensor:
    """Uniform draws [rows, 1]."""
    return low + (high - low) * torch.rand(rows, 1, generator=generator, device=generator.device)


def played(store: Tensor, start: Tensor, length: Tensor, factor: Tensor, before: Tensor, samples: int) -> Tensor:
    """Recordings out of a store, with silence around them, float [B, samples].

    store: int16 [all samples]; start, length: where each is in it, in samples; factor: how much faster it is played;
    before: how many samples of silence precede it, or, if negative, how many of its own are cut off; each [B].
    """
    at = (torch.arange(samples, device=store.device) - before[:, None]) * factor[:, None]
    last = length[:, None] - 1
    inside = (at >= 0) & (at <= last)
    low = at.long().clamp(min=0).minimum(last)
    high = (low + 1).minimum(last)
    first, second = (store[start[:, None] + index].float() for index in (low, high))
    return torch.where(inside, torch.lerp(first, second, at - low), 0) / 2**15


def labels_played(
    labels: Tensor, start: Tensor, length: Tensor, factor: Tensor, before: Tensor, samples: int
) -> Tensor:
    """What is said in the middle of each frame of `played`, [B, frames]; -1 where nothing is played.

    labels: a class a frame of the store. The rest is what `played` was given.
    """
    middle = torch.arange(samples // FRAME, device=labels.device) * FRAME + FRAME // 2
    at = ((middle - before[:, None]) * factor[:, None]).floor().long()
    inside = (at >= 0) & (at < length[:, None])
    return torch.where(inside, labels[(start[:, None] + at.clamp(min=0).minimum(length[:, None] - 1)) // FRAME], -1)


def speech_level(wav: Tensor) -> Tensor:
    """Root mean square [B, 1] of the speaking parts of wav [B, whole frames]."""
    powers = wav.unflatten(1, (-1, LEVEL_FRAME)).square().mean(2)
    speaking = (powers >= SPEAKING_RANGE * powers.amax(1, keepdim=True)).float()
    return ((powers * speaking).sum(1, keepdim=True) / speaking.sum(1, keepdim=True)).sqrt()


def at_speech_level(wav: Tensor) -> Tensor:
    """`assistant.tokenizers.speech.at_speech_level` for a batch [B, whole frames]."""
    return wav * (SPEECH_LEVEL / speech_level(wav).clamp(min=1e-9)).clamp(max=MAX_GAIN)


def _rooms(rows: int, size: int, generator: torch.Generator) -> Tensor:
    """Spectra of impulse responses of small rooms: direct sound and exponentially decaying noise. Some have no echo."""
    length = between(*ROOM_SECONDS, rows, generator) * RATE
    time = torch.arange(int(ROOM_SECONDS[1] * RATE), device=generator.device)
    tail = torch.randn(rows, len(time), generator=generator, device=generator.device) * torch.exp(-6.9 * time / length)
    tail = tail / tail.square().sum(1, keepdim=True).sqrt() * between(0.05, 0.5, rows, generator)
    tail = tail * (between(0, 1, rows, generator) < 0.4)
    tail[:, 0] = 1.0
    return torch.fft.rfft(tail, size)


def _colours(rows: int, bins: int, generator: torch.Generator) -> Tensor:
    """Frequency responses of microphones: a shelf, soft hills and valleys, at times a telephone's limits."""
    frequency = torch.linspace(0, RATE / 2, bins, device=generator.device)
    z = torch.exp(-2j * math.pi * frequency / RATE)
    pole = between(-0.6, 0.6, rows, generator)
    response = torch.where(between(0, 1, rows, generator) < 0.5, 1 / (1 - pole * z), 1 + pole * z)
    pitch = torch.log1p(frequency / 700) / math.log1p(RATE / 2 / 700)
    hills = sum(
        2.5 * torch.randn(rows, 1, generator=generator, device=generator.device) * torch.cos(math.pi * k * pitch)
        for k in (1, 2, 3, 4)
    )
    response = response * 10 ** (hills / 20)
    low = torch.exp(-2 * math.pi * between(60, 350, rows, generator) / RATE)
    response = response * torch.where(between(0, 1, rows, generator) < 0.3, (1 - z) / (1 - low * z), 1)
    high = torch.where(between(0, 1, rows, generator) < 0.25, between(3000, 7000, rows, generator), RATE)
    response = response * (frequency < high)
    return torch.where(between(0, 1, rows, generator) < 0.7, response, 1)


def _noises(rows: int, samples: int, generator: torch.Generator) -> Tensor:
    """White to brown noise of unit power, at times with mains hum."""
    bins, device = samples // 2 + 1, generator.device
    spectrum = torch.complex(*torch.randn(2, rows, bins, generator=generator, device=device))
    spectrum = spectrum * torch.arange(1, bins + 1, device=device) ** -between(0, 1, rows, generator)
    noise = torch.fft.irfft(spectrum, samples)
    noise = noise / noise.std(1, keepdim=True)
    country, harmonic = torch.randint(2, (2, rows, 1), generator=generator, device=device)
    hertz = (50 + 10 * country) * (1 + harmonic)
    hum = torch.sin(2 * math.pi * hertz / RATE * torch.arange(samples, device=device))
    strength = between(0.2, 1.0, rows, generator) * (between(0, 1, rows, generator) < 0.2)
    noise = noise + strength * hum
    return noise / noise.std(1, keepdim=True)


def recorded(wav: Tensor, generator: torch.Generator) -> Tensor:
    """wav [B, S] as some microphones in some rooms would give it. S is a whole number of frames."""
    rows, samples = wav.shape
    size = 1 << (samples + int(ROOM_SECONDS[1] * RATE)).bit_length()
    response = _rooms(rows, size, generator) * _colours(rows, size // 2 + 1, generator)
    wav = torch.fft.irfft(torch.fft.rfft(wav, size) * response, size)[:, :samples]
    noise, level = _noises(rows, samples, generator), speech_level(wav.detach())
    # In some rooms somebody else speaks.
    other = wav.detach().roll(1, 0)
    noise = torch.where(between(0, 1, rows, generator) < 0.1, 0.5 * other / level.roll(1, 0).clamp(min=1e-9), noise)
    kind = between(0, 1, rows, generator)
    below = torch.where(kind < 0.7, between(*NOISE_DB, rows, generator), between(*FLOOR_DB, rows, generator))
    # The rest: microphones that are gated to nothing.
    return wav + noise * level * 10 ** (-below / 20) * (kind < 0.95)
