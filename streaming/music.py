"""Music in files: those of strangers read safely, ours written. Synchronous: call from a thread."""

from __future__ import annotations

import io
import logging
import wave
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import soxr
from av.audio.stream import AudioStream

from streaming.events import Limits
from streaming.fields import ProtocolError
from streaming.media import Music
from streaming.pcm import to_pcm16
from streaming.pictures import preview
from streaming.types import MUSIC_RATE

logger = logging.getLogger(__name__)

MOST_CHANNELS = 8
RATES = (4_000, 192_000)
OPUS_RATE = 48_000
_OPUS_FRAME = 960
_OPUS_BITS_PER_SECOND = 96_000
_WAVEFORM = (160, 48)  # width, height
_INK = (66, 99, 160)


def read_music(data: bytes, limits: Limits, path: str = "") -> Music:
    """A WAV, MP3, FLAC, Ogg, M4A or WebM as one channel at MUSIC_RATE.

    Raises ProtocolError, in words for who sent it.
    """
    pcm = read_sound(data, MUSIC_RATE, limits, "music", path)
    return Music(pcm, preview(waveform(pcm)))


def read_sound(data: bytes, rate: int, limits: Limits, what: str, path: str = "") -> np.ndarray:
    """A file of the same formats, within the limits of music, as [samples] float32 of one channel at that rate.

    what: the file is called a "music file" or so. Raises ProtocolError.
    """
    if not data:
        raise ProtocolError("invalid_audio", f"The {what} file is empty: it has 0 bytes.", path)
    if len(data) > limits.music_bytes:
        words = f"The {what} file has {len(data):,} bytes; at most {limits.music_bytes:,} are accepted."
        raise ProtocolError("file_too_large", words, path)
    kind = music_format(data)
    if kind is None:
        words = "This is no sound that is known; send WAV, MP3, FLAC, Ogg, M4A or WebM."
        raise ProtocolError("unsupported_audio", words, path)
    try:
        return _decode(data, kind, rate, limits.music_s, what, path)
    except ProtocolError:
        raise
    except Exception as error:  # FFmpeg's many reasons, and those of the resampler
        logger.info("a %s file cannot be read: %s", what, error)
        words = f"The {what} file is damaged or incomplete: no sound can be read from it."
        raise ProtocolError("invalid_audio", words, path) from None


def music_format(data: bytes) -> str | None:
    """FFmpeg's name for the container, by the first bytes of a file.

    FFmpeg is told, not asked: left to itself it would take a playlist for music and open what the playlist names.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    if data[4:8] == b"ftyp":
        return "mov"
    for start, kind in {b"OggS": "ogg", b"fLaC": "flac", b"ID3": "mp3", b"\x1aE\xdf\xa3": "matroska"}.items():
        if data.startswith(start):
            return kind
    return "mp3" if data[:1] == b"\xff" and data[1:2] >= b"\xe0" else None


def wav_file(pcm: np.ndarray, sample_rate: int) -> bytes:
    """16 bits, one channel. pcm: [samples] float32."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(sample_rate)
        writer.writeframes(to_pcm16(pcm))
    return file.getvalue()


def opus_file(pcm: np.ndarray, sample_rate: int) -> bytes:
    """Opus in Ogg (RFC 7845). pcm: [samples] float32."""
    whole = soxr.resample(pcm, sample_rate, OPUS_RATE)
    whole = np.pad(whole, (0, -len(whole) % _OPUS_FRAME)).astype(np.float32)
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=OPUS_RATE, layout="mono", bit_rate=_OPUS_BITS_PER_SECOND)
        assert isinstance(stream, AudioStream)
        for at in range(0, len(whole), _OPUS_FRAME):
            frame = av.AudioFrame.from_ndarray(whole[None, at : at + _OPUS_FRAME], format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = OPUS_RATE, at, Fraction(1, OPUS_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def waveform(pcm: np.ndarray) -> np.ndarray:
    """A picture of its loudness over time. [48, 160, 3] uint8."""
    width, height = _WAVEFORM
    loudest = np.array([np.abs(piece).max(initial=0) for piece in np.array_split(pcm, width)])
    bars = np.maximum(loudest / max(1e-6, loudest.max()) * height / 2, 0.5)  # [width]
    inked = np.abs(np.arange(height) - height / 2 + 0.5)[:, None] <= bars
    return np.where(inked[:, :, None], np.array(_INK, np.uint8), np.uint8(255))


def _decode(data: bytes, kind: str, to_rate: int, most_s: float, what: str, path: str) -> np.ndarray:
    """[samples] float32 at to_rate."""
    with av.open(io.BytesIO(data), "r", format=kind) as container:
        if not container.streams.audio:
            raise ProtocolError("invalid_audio", f"There is no sound in the {what} file.", path)
        stream = container.streams.audio[0]
        if container.duration is not None and container.duration > most_s * av.time_base:
            raise _too_long(container.duration / av.time_base, most_s, what, path)
        rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
        if not 1 <= channels <= MOST_CHANNELS or not RATES[0] <= rate <= RATES[1]:
            words = f"The {what} file has {channels} channels at {rate:,} Hz; at most {MOST_CHANNELS} channels are"
            raise ProtocolError("unsupported_audio", f"{words} accepted, at {RATES[0]:,} to {RATES[1]:,} Hz.", path)
        pieces, samples = [np.zeros(0, np.float32)], 0
        for piece in _mono(container.decode(stream), rate):
            pieces.append(piece)
            samples += len(piece)
            if samples > most_s * rate:  # whatever the header said
                raise _too_long(samples / rate, most_s, what, path)
    if not samples:
        raise ProtocolError("invalid_audio", f"There is no sound in the {what} file.", path)
    return soxr.resample(np.concatenate(pieces), rate, to_rate)


def _mono(frames: Iterator[av.AudioFrame], rate: int) -> Iterator[np.ndarray]:
    """The mean of the channels of each frame: [samples] float32."""
    for frame in frames:
        if frame.sample_rate != rate:
            raise ValueError(f"the rate changes from {rate} to {frame.sample_rate}")
        samples = frame.to_ndarray()
        if not frame.format.is_planar:
            samples = samples.reshape(-1, len(frame.layout.channels)).T
        if samples.dtype == np.uint8:
            samples = samples.astype(np.float32) / 128 - 1
        elif samples.dtype.kind == "i":
            samples = samples.astype(np.float32) / 2.0 ** (8 * samples.dtype.itemsize - 1)
        mono = samples.mean(axis=0, dtype=np.float32)
        yield np.clip(np.nan_to_num(mono, posinf=0, neginf=0), -1, 1)


def _too_long(seconds: float, most_s: float, what: str, path: str) -> ProtocolError:
    words = f"The {what} lasts {seconds:,.0f} s or more; at most {most_s:g} s are accepted."
    return ProtocolError("audio_too_long", words, path)
