"""Sound on the wire and sound for the model: sample formats, streaming resampling.

The model side is mono float32 in -1..1 at SPEECH_RATE. The wire side is one of the three formats of the Realtime
protocol: 16-bit little-endian PCM at 24 kHz, or G.711 (ITU-T G.711) mu-law or A-law at 8 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from streaming.types import SPEECH_RATE


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """A sample format of the wire."""

    type: str
    sample_rate: int
    bytes_per_sample: int

    def to_json(self) -> dict[str, str | int]:
        """The format as the protocol writes it; only PCM names its rate."""
        return {"type": self.type, "rate": self.sample_rate} if self.type == "audio/pcm" else {"type": self.type}


PCM16 = AudioFormat("audio/pcm", 24_000, 2)
MU_LAW = AudioFormat("audio/pcmu", 8_000, 1)
A_LAW = AudioFormat("audio/pcma", 8_000, 1)
FORMATS = {audio_format.type: audio_format for audio_format in (PCM16, MU_LAW, A_LAW)}


def samples_to_ms(samples: int) -> int:
    """Whole milliseconds of a count of samples at SPEECH_RATE."""
    return samples * 1000 // SPEECH_RATE


def ms_to_samples(ms: float) -> int:
    """Samples at SPEECH_RATE in so many milliseconds."""
    return int(ms * SPEECH_RATE / 1000)


class Decoder:
    """Turns the bytes of one wire stream into sound at SPEECH_RATE. Feed `decode`; `finish` at the end of a recording.

    The bytes may be cut anywhere: half a sample waits for its other half.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self.format = audio_format
        self._resampler = _Resampler(audio_format.sample_rate, SPEECH_RATE)
        self._rest = b""

    def decode(self, data: bytes) -> np.ndarray:
        """[samples] float32: all that is certain by now. The resampler holds some 15 ms back until `finish`."""
        data = self._rest + data
        whole = len(data) - len(data) % self.format.bytes_per_sample
        self._rest = data[whole:]
        return self._resampler.process(_from_wire(data[:whole], self.format))

    def finish(self) -> np.ndarray:
        """What was held back. The next `decode` begins a new recording; half a sample is dropped."""
        self._rest = b""
        return self._resampler.finish()


class Encoder:
    """Turns sound at SPEECH_RATE into the bytes of one wire stream, whole samples each time. Feed `encode`, end with
    `finish`."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self.format = audio_format
        self._resampler = _Resampler(SPEECH_RATE, audio_format.sample_rate)

    def encode(self, pcm: np.ndarray) -> bytes:
        """pcm: [samples] float32; what lies outside -1..1 is clipped."""
        return _to_wire(self._resampler.process(pcm), self.format)

    def finish(self) -> bytes:
        """What was held back. The next `encode` begins a new stream."""
        return _to_wire(self._resampler.finish(), self.format)


class _Resampler:
    def __init__(self, from_rate: int, to_rate: int) -> None:
        # MQ keeps 15 ms; HQ would keep 21 ms and differ only close to the Nyquist frequency.
        self._stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="MQ")

    def process(self, pcm: np.ndarray) -> np.ndarray:
        return self._stream.resample_chunk(np.ascontiguousarray(pcm, np.float32))

    def finish(self) -> np.ndarray:
        tail = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        self._stream.clear()
        return tail


def _from_wire(data: bytes, audio_format: AudioFormat) -> np.ndarray:
    if audio_format.bytes_per_sample == 2:
        return np.frombuffer(data, "<i2").astype(np.float32) / 32768
    table = _MU_LAW_VALUES if audio_format is MU_LAW else _A_LAW_VALUES
    return table[np.frombuffer(data, np.uint8)]


def to_pcm16(pcm: np.ndarray) -> bytes:
    """16-bit little-endian samples. pcm: [samples] float32; what lies outside -1..1 is clipped."""
    return _linear(pcm).tobytes()


def _linear(pcm: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(pcm * 32768), -32768, 32767).astype("<i2")


def _to_wire(pcm: np.ndarray, audio_format: AudioFormat) -> bytes:
    if audio_format.bytes_per_sample == 2:
        return to_pcm16(pcm)
    encode = _to_mu_law if audio_format is MU_LAW else _to_a_law
    return encode(_linear(pcm).astype(np.int32)).tobytes()


# G.711 ----------------------------------------------------------------------------------------------------------------
# A byte is sign, three bits of exponent, four of mantissa; mu-law sends all bits inverted, A-law every second one.
# The linear values are scaled to 16 bits.

_MU_LAW_BIAS = 132
_MU_LAW_MOST = 32635


def _mu_law_values() -> np.ndarray:
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = ((mantissa << 3) + _MU_LAW_BIAS << exponent) - _MU_LAW_BIAS
    return (np.where(code & 128, -magnitude, magnitude) / 32768).astype(np.float32)


def _a_law_values() -> np.ndarray:
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = np.where(exponent == 0, (mantissa << 4) + 8, (mantissa << 4) + 264 << np.maximum(exponent - 1, 0))
    return (np.where(code & 128, magnitude, -magnitude) / 32768).astype(np.float32)


_MU_LAW_VALUES = _mu_law_values()
_A_LAW_VALUES = _a_law_values()


def _to_mu_law(linear: np.ndarray) -> np.ndarray:
    magnitude = np.minimum(np.abs(linear), _MU_LAW_MOST) + _MU_LAW_BIAS
    exponent = np.frexp(magnitude)[1] - 8  # the biased magnitude has 8 to 15 bits
    code = exponent << 4 | (magnitude >> exponent + 3 & 15)
    return (~np.where(linear < 0, code | 128, code)).astype(np.uint8)


def _to_a_law(linear: np.ndarray) -> np.ndarray:
    magnitude = np.where(linear < 0, -linear - 1, linear)
    exponent = np.maximum(np.frexp(magnitude)[1] - 8, 0)
    code = exponent << 4 | (magnitude >> np.maximum(exponent, 1) + 3 & 15)
    return (np.where(linear < 0, code, code | 128) ^ 0x55).astype(np.uint8)
