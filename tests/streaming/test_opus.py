"""Opus packets of real speech: their length, and what the decoder makes of them whole, damaged, lost and recovered."""

from __future__ import annotations

import fractions
import functools
import wave
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from av import AudioCodecContext, AudioFrame, CodecContext

from streaming.jitter import JitterBuffer, Packet, Step
from streaming.playout import RTP_RATE
from streaming.transports.opus import LibopusDecoder, OpusDecoder, PlainDecoder, libopus, make_decoder, perform, ticks
from streaming.types import SPEECH_RATE

SPEECH = Path(__file__).parents[1] / "browser" / "hello_who_are_you.wav"
TICKS = 960
FRAME = SPEECH_RATE // 50

with_libopus = pytest.mark.skipif(libopus() is None, reason="there is no libopus here")


@functools.cache
def speech() -> np.ndarray:
    with wave.open(str(SPEECH)) as file:
        assert file.getframerate() == SPEECH_RATE and file.getnchannels() == 1
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


@functools.cache
def encoded(duration_ms: str = "20", fec: bool = True, application: str = "voip") -> tuple[bytes, ...]:
    encoder = CodecContext.create("libopus", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = SPEECH_RATE, "mono", "s16", 32_000
    encoder.time_base = fractions.Fraction(1, SPEECH_RATE)
    loss = "20" if fec else "0"
    encoder.options = {
        "application": application, "frame_duration": duration_ms, "fec": str(int(fec)), "packet_loss": loss
    }  # fmt: skip
    encoder.open()
    size, payloads = encoder.frame_size, []
    for at in range(0, len(speech()) - size, size):
        frame = AudioFrame.from_ndarray(speech()[None, at : at + size], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SPEECH_RATE, at
        payloads += [bytes(packet) for packet in encoder.encode(frame)]
    return tuple(payloads)


def plainly(payloads: Iterable[bytes], decoder: OpusDecoder) -> np.ndarray:
    return np.concatenate([decoder.decode(payload, ticks(payload)) for payload in payloads])


def through_the_buffer(payloads: Iterable[bytes], lost: Callable[[int], bool], decoder: OpusDecoder) -> np.ndarray:
    buffer, steps = JitterBuffer(RTP_RATE), list[Step]()
    for number, payload in enumerate(payloads):
        if not lost(number):
            buffer.push(Packet(1, number, number * TICKS, payload, ticks(payload)), 0.02 * number)
            steps += buffer.take(0.02 * number)
    return np.concatenate([perform(step, decoder) for step in steps])


@pytest.mark.parametrize("application", ["voip", "audio", "lowdelay"])
@pytest.mark.parametrize("duration_ms", ["2.5", "5", "10", "20", "40", "60"])
def test_the_length_of_a_packet(application: str, duration_ms: str) -> None:
    assert {ticks(payload) for payload in encoded(duration_ms, False, application)} == {int(float(duration_ms) * 48)}


@pytest.mark.parametrize(
    "payload, length",
    [
        (b"", 0),
        (b"\x7b", 0),  # the byte that counts the frames is missing
        (b"\x7b\x00", 0),
        (b"\x7b\x03abc", 3 * 960),
        (b"\x7b\x07abc", 0),  # 140 ms
        (b"\x19ab", 2 * 2880),
        (b"\x78", 960),
    ],
)
def test_the_length_of_odd_packets(payload: bytes, length: int) -> None:
    assert ticks(payload) == length


def test_a_perfect_network_gives_what_plain_decoding_gives() -> None:
    whole = plainly(encoded(), make_decoder())
    assert np.array_equal(through_the_buffer(encoded(), lambda number: False, make_decoder()), whole)
    assert np.abs(whole).max() > 0.1


@with_libopus
def test_libopus_and_pyav_decode_the_same_sound() -> None:
    own, other = plainly(encoded(), LibopusDecoder()), plainly(encoded(), PlainDecoder())
    lag = int(np.argmax(np.correlate(own, other[: len(own) // 2])))
    pair = own[lag : lag + len(other)], other[: len(own) - lag]
    assert lag <= 4 and np.corrcoef(*pair)[0, 1] > 0.98


@with_libopus
def test_lost_packets_are_recovered_from_those_behind_them() -> None:
    assert likeness_of_what_was_lost(fec=True) > 0.95 > 0.9 > likeness_of_what_was_lost(fec=False)


def likeness_of_what_was_lost(fec: bool) -> float:
    """Every tenth packet is lost, each one once: the correlation of what is heard with what would have been."""
    whole = plainly(encoded(fec=fec), LibopusDecoder())
    pairs = []
    for first in range(1, 10):
        heard = through_the_buffer(encoded(fec=fec), lambda number, first=first: number % 10 == first, LibopusDecoder())
        lost = np.arange(len(heard)) // FRAME % 10 == first
        pairs.append((heard[lost], whole[: len(heard)][lost]))
    heard, reference = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return float(np.corrcoef(heard, reference)[0, 1])


@pytest.mark.parametrize("make", [PlainDecoder, pytest.param(LibopusDecoder, marks=with_libopus)])
def test_time_is_kept_whatever_is_lost(make: Callable[[], OpusDecoder]) -> None:
    payloads = encoded()
    whole = plainly(payloads, make())
    chance = np.random.default_rng(0)
    lost = chance.random(len(payloads)) < 0.3
    lost[[0, -1]] = False
    assert len(through_the_buffer(payloads, lambda number: bool(lost[number]), make())) == len(whole)


@pytest.mark.parametrize("make", [PlainDecoder, pytest.param(LibopusDecoder, marks=with_libopus)])
def test_damaged_packets_keep_their_place(make: Callable[[], OpusDecoder]) -> None:
    decoder, other = make(), make()
    good = encoded()[30:60]
    damaged = [b"\x4b\x82\xff" if number == 10 else payload for number, payload in enumerate(good)]
    pcm = np.concatenate([decoder.decode(payload, TICKS) for payload in damaged])
    assert len(pcm) == len(plainly(good, other)) and np.isfinite(pcm).all()


@with_libopus
def test_concealment_goes_on_where_the_sound_broke_off_and_fades() -> None:
    decoder = LibopusDecoder()
    before = plainly(encoded()[:45], decoder)[-FRAME:]
    filled = np.concatenate([decoder.conceal(TICKS) for _ in range(50)])
    assert np.abs(filled[:FRAME]).max() > 0.3 * np.abs(before).max() > 0.03
    assert np.abs(filled[-FRAME:]).max() < 0.02
    assert len(decoder.conceal(100)) == 33 and len(decoder.conceal(1)) == 0
