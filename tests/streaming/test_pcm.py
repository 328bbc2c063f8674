from __future__ import annotations

import warnings

import numpy as np
import pytest

from streaming.pcm import A_LAW, FORMATS, MU_LAW, PCM16, Decoder, Encoder, ms_to_samples, samples_to_ms

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    audioop = pytest.importorskip("audioop", reason="gone from Python 3.13")

EVERY_16_BIT_VALUE = np.arange(-32768, 32768, dtype="<i2")


def tone(seconds: float, rate: int, hertz: float = 440) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def to_pcm16(pcm: np.ndarray) -> bytes:
    return (pcm * 32767).astype("<i2").tobytes()


@pytest.mark.parametrize(
    ("audio_format", "to_linear", "to_law"),
    [(MU_LAW, audioop.ulaw2lin, audioop.lin2ulaw), (A_LAW, audioop.alaw2lin, audioop.lin2alaw)],
    ids=["mu_law", "a_law"],
)
def test_g711_agrees_with_the_standard_library(audio_format, to_linear, to_law):
    from streaming import pcm

    every_byte = bytes(range(256))
    ours = pcm._from_wire(every_byte, audio_format) * 32768
    assert np.array_equal(ours, np.frombuffer(to_linear(every_byte, 2), "<i2"))

    encoded = pcm._to_wire(EVERY_16_BIT_VALUE / 32768, audio_format)
    theirs = to_law(EVERY_16_BIT_VALUE.tobytes(), 2)
    # The two may differ where rounding is a tie; what they decode to must be as close to the truth.
    truth = EVERY_16_BIT_VALUE.astype(np.int32)
    error_ours = np.abs(np.frombuffer(to_linear(encoded, 2), "<i2").astype(np.int32) - truth)
    error_theirs = np.abs(np.frombuffer(to_linear(theirs, 2), "<i2").astype(np.int32) - truth)
    assert error_ours.max() <= error_theirs.max()
    assert (np.frombuffer(encoded, np.uint8) == np.frombuffer(theirs, np.uint8)).mean() > 0.99


@pytest.mark.parametrize("audio_format", FORMATS.values(), ids=FORMATS)
def test_a_tone_survives_the_way_out_and_back(audio_format):
    encoder, decoder = Encoder(audio_format), Decoder(audio_format)
    sound = tone(1.0, 16_000)
    wire = encoder.encode(sound) + encoder.finish()
    back = np.concatenate([decoder.decode(wire), decoder.finish()])
    assert len(wire) == audio_format.sample_rate * audio_format.bytes_per_sample
    assert len(back) == len(sound)
    middle = slice(1000, -1000)
    assert np.abs(back[middle] - sound[middle]).max() < 0.03


@pytest.mark.parametrize("piece", [1, 3, 959, 960, 961, 10_000])
def test_chunked_decoding_equals_whole_decoding_however_the_bytes_are_cut(piece):
    wire = to_pcm16(tone(0.5, 24_000))
    whole = Decoder(PCM16)
    chunked = Decoder(PCM16)
    expected = np.concatenate([whole.decode(wire), whole.finish()])
    pieces = [chunked.decode(wire[start : start + piece]) for start in range(0, len(wire), piece)]
    assert np.allclose(np.concatenate([*pieces, chunked.finish()]), expected, atol=1e-6)


@pytest.mark.parametrize("piece", [1, 319, 320, 321, 5000])
def test_chunked_encoding_equals_whole_encoding_in_whole_samples(piece):
    sound = tone(0.25, 16_000)
    whole, chunked = Encoder(PCM16), Encoder(PCM16)
    expected = whole.encode(sound) + whole.finish()
    pieces = [chunked.encode(sound[start : start + piece]) for start in range(0, len(sound), piece)]
    assert all(len(data) % 2 == 0 for data in pieces)
    ours = np.frombuffer(b"".join(pieces) + chunked.finish(), "<i2").astype(int)
    assert np.abs(ours - np.frombuffer(expected, "<i2")).max() <= 1


def test_a_decoder_starts_afresh_after_finish():
    wire = to_pcm16(tone(0.2, 24_000))
    decoder = Decoder(PCM16)
    first = np.concatenate([decoder.decode(wire + b"\x01"), decoder.finish()])
    second = np.concatenate([decoder.decode(wire), decoder.finish()])
    assert np.array_equal(first, second)


def test_too_loud_sound_is_clipped_and_does_not_wrap_around():
    encoder = Encoder(PCM16)
    wire = encoder.encode(np.full(16_000, 2.0, np.float32)) + encoder.finish()
    assert np.frombuffer(wire, "<i2")[2000:-2000].min() == 32767


def test_milliseconds_and_samples():
    assert ms_to_samples(300) == 4800
    assert samples_to_ms(4800) == 300
