"""What happens to speech between a mouth and a server: speed and pitch, room, microphone, noise, band limits, Opus."""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve, lfilter

from training.kokoro import FRAME, RATE


def warped(speech: np.ndarray, labels: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Play faster (factor > 1: higher and shorter); labels [frames] follow."""
    length = int(len(speech) / factor)
    speech = np.interp(np.arange(length) * factor, np.arange(len(speech)), speech).astype(np.float32)
    frames = -(-length // FRAME)
    index = ((np.arange(frames) + 0.5) * factor).astype(int).clip(max=len(labels) - 1)
    return speech, labels[index]


def _room(rng: np.random.Generator) -> np.ndarray:
    """Impulse response of a small room: direct sound and exponentially decaying noise."""
    seconds = rng.uniform(0.05, 0.35)
    length = int(seconds * RATE)
    tail = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
    tail *= rng.uniform(0.05, 0.5) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    return tail.astype(np.float32)


def _tilt(rng: np.random.Generator, speech: np.ndarray) -> np.ndarray:
    """A microphone's colour: a gentle low or high shelf, sometimes a telephone's or laptop's band limit."""
    pole = rng.uniform(-0.6, 0.6)
    speech = lfilter([1.0], [1.0, -pole], speech) if rng.random() < 0.5 else lfilter([1.0, pole], [1.0], speech)
    if rng.random() < 0.3:  # high-pass at 60 to 350 Hz
        speech = lfilter([1.0, -1.0], [1.0, -np.exp(-2 * np.pi * rng.uniform(60, 350) / RATE)], speech)
    if rng.random() < 0.25:  # low-pass at 3 to 7 kHz
        keep = int(rng.uniform(3000, 7000) / (RATE / 2) * (len(speech) // 2 + 1))
        spectrum = np.fft.rfft(speech)
        spectrum[keep:] = 0
        speech = np.fft.irfft(spectrum, len(speech))
    return speech


def _noise(rng: np.random.Generator, samples: int) -> np.ndarray:
    """White to brown noise, at times with mains hum."""
    colour = rng.uniform(0, 1.0)
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    spectrum *= np.arange(1, len(spectrum) + 1) ** -colour
    noise = np.fft.irfft(spectrum, samples)
    if rng.random() < 0.2:
        mains = rng.choice([50.0, 60.0, 100.0, 120.0]) / RATE
        noise += rng.uniform(0.2, 1.0) * noise.std() * np.sin(2 * np.pi * mains * np.arange(samples))
    return noise


def recorded(speech: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same speech as some microphone in some room would give it; same length."""
    samples = len(speech)
    if rng.random() < 0.4:
        speech = fftconvolve(speech, _room(rng))[:samples]
    if rng.random() < 0.7:
        speech = _tilt(rng, speech)
    if rng.random() < 0.7:
        noise = _noise(rng, samples)
        level = np.sqrt((speech**2).mean()) * 10 ** (-rng.uniform(8, 40) / 20)
        speech = speech + noise * level / (noise.std() + 1e-9)
    return np.asarray(speech, np.float32)
