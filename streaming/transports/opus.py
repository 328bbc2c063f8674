"""Opus, as the transport needs it: how long a packet's sound is, and a decoder that can fill what was lost.

PyAV's decoder knows neither of libopus's two ways to fill a hole: an empty packet ends its stream, and the flag for
forward error correction is not passed on. So libopus is called by ctypes, the one that came with PyAV, or else the
system's. It takes some 20 µs for 20 ms of sound, which is no work for another thread, and gives 16 kHz mono itself, so
that nothing is resampled. Where there is no libopus to be found PyAV decodes, and holes become silence.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import logging
from pathlib import Path
from typing import Protocol

import av
import numpy as np
import soxr
from av import AudioCodecContext, CodecContext, Packet

from streaming.jitter import Conceal, Decode, Recover, Step
from streaming.playout import RTP_RATE
from streaming.types import SPEECH_RATE

logger = logging.getLogger(__name__)

MOST_TICKS = 120 * RTP_RATE // 1000
"""No packet holds more than 120 ms (RFC 6716, section 3.2.5)."""

_GRAIN = SPEECH_RATE // 400  # samples; libopus conceals multiples of 2.5 ms


def ticks(payload: bytes) -> int:
    """How long a packet's sound is, by its first byte and, where that says so, its second (RFC 6716, section 3.1).

    0: it is not an Opus packet.
    """
    if not payload or (payload[0] & 3 == 3 and len(payload) < 2):
        return 0
    frames = (1, 2, 2, payload[1] & 63 if payload[0] & 3 == 3 else 0)[payload[0] & 3]
    configuration = payload[0] >> 3
    if configuration < 12:  # SILK
        tenths = (100, 200, 400, 600)[configuration % 4]
    elif configuration < 16:  # hybrid
        tenths = (100, 200)[configuration % 2]
    else:  # CELT
        tenths = (25, 50, 100, 200)[configuration % 4]
    total = frames * tenths * RTP_RATE // 10_000
    return total if total <= MOST_TICKS else 0


class OpusDecoder(Protocol):
    """Decodes one stream. Each method gives [ticks * SPEECH_RATE / RTP_RATE] float32 at SPEECH_RATE, in order."""

    def decode(self, payload: bytes, ticks: int) -> np.ndarray: ...

    def recover(self, payload: bytes, ticks: int) -> np.ndarray:
        """The sound before that packet's own."""
        ...

    def conceal(self, ticks: int) -> np.ndarray: ...


def make_decoder() -> OpusDecoder:
    return LibopusDecoder() if libopus() is not None else PlainDecoder()


def perform(step: Step, decoder: OpusDecoder) -> np.ndarray:
    """[samples] float32 at SPEECH_RATE: what the jitter buffer says comes next."""
    match step:
        case Decode(payload, length):
            return decoder.decode(payload, length)
        case Recover(payload, length):
            return decoder.recover(payload, length)
        case Conceal(length):
            return decoder.conceal(length)


class LibopusDecoder:
    """An OpusDecoder with forward error correction and concealment. A packet that is damaged is concealed."""

    def __init__(self) -> None:
        library = libopus()
        assert library is not None, "ask libopus() first"
        self._library = library
        error = ctypes.c_int()
        state = library.opus_decoder_create(SPEECH_RATE, 1, ctypes.byref(error))
        assert state and error.value == 0, "libopus has no memory"
        self._state = ctypes.c_void_p(state)

    def __del__(self) -> None:
        if hasattr(self, "_state"):
            self._library.opus_decoder_destroy(self._state)

    def decode(self, payload: bytes, ticks: int) -> np.ndarray:
        return self._run(payload, _samples(ticks), recover=False)

    def recover(self, payload: bytes, ticks: int) -> np.ndarray:
        # libopus conceals by itself where the packet has no word on the sound before it.
        return self._run(payload, _samples(ticks), recover=True)

    def conceal(self, ticks: int) -> np.ndarray:
        return self._run(None, _samples(ticks), recover=False)

    def _run(self, payload: bytes | None, samples: int, recover: bool) -> np.ndarray:
        pcm = np.zeros(samples, np.float32)
        whole = samples - samples % _GRAIN if payload is None or recover else samples
        size = 0 if payload is None else len(payload)
        got = self._library.opus_decode_float(self._state, payload, size, pcm.ctypes.data, whole, recover)
        if got < 0 and payload is not None:
            logger.debug("an Opus packet cannot be decoded: libopus's error %d", got)
            return self._run(None, samples, recover=False)
        return pcm


class PlainDecoder:
    """An OpusDecoder that only decodes: what was lost becomes silence. The resampler keeps the first 15 ms back."""

    def __init__(self) -> None:
        codec = CodecContext.create("libopus", "r")
        assert isinstance(codec, AudioCodecContext)
        codec.sample_rate, codec.layout, codec.format = RTP_RATE, "mono", "s16"
        self._codec = codec
        self._resampler = soxr.ResampleStream(RTP_RATE, SPEECH_RATE, 1, dtype="float32", quality="MQ")

    def decode(self, payload: bytes, ticks: int) -> np.ndarray:
        try:
            frames = self._codec.decode(Packet(payload))
        except av.FFmpegError as error:
            logger.debug("an Opus packet cannot be decoded: %s", error)
            frames = []
        pcm = np.zeros(ticks, np.float32)
        parts = [frame.to_ndarray().reshape(-1, len(frame.layout.channels)).mean(axis=1) for frame in frames]
        decoded = np.concatenate(parts)[:ticks] / 32768 if parts else pcm[:0]
        pcm[: len(decoded)] = decoded
        return self._resampler.resample_chunk(pcm)

    def recover(self, payload: bytes, ticks: int) -> np.ndarray:
        return self.conceal(ticks)

    def conceal(self, ticks: int) -> np.ndarray:
        return self._resampler.resample_chunk(np.zeros(ticks, np.float32))


@functools.cache
def libopus() -> ctypes.CDLL | None:
    """The library, PyAV's own before the system's. None, and a warning in the log: there is none."""
    installed = Path(av.__file__).parent
    bundled = [*installed.parent.glob("av.libs/libopus*"), *installed.glob(".dylibs/libopus*")]
    for name in (*map(str, bundled), ctypes.util.find_library("opus")):
        if name is not None:
            try:
                return _declared(ctypes.CDLL(name))
            except (OSError, AttributeError) as error:
                logger.warning("%s cannot be used: %s", name, error)
    logger.warning("no libopus: what the network loses of a microphone's sound becomes silence")
    return None


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    library.opus_decoder_create.argtypes = [ctypes.c_int32, integer, ctypes.POINTER(integer)]
    library.opus_decoder_create.restype = pointer
    library.opus_decoder_destroy.argtypes = [pointer]
    library.opus_decoder_destroy.restype = None
    library.opus_decode_float.argtypes = [pointer, ctypes.c_char_p, ctypes.c_int32, pointer, integer, integer]
    library.opus_decode_float.restype = integer
    return library


def _samples(ticks: int) -> int:
    return ticks * SPEECH_RATE // RTP_RATE
