"""Music of strangers, and ours."""

from __future__ import annotations

import io
import wave

import av
import numpy as np
import pytest

from streaming.events import Limits
from streaming.fields import ProtocolError
from streaming.music import opus_file, read_music, wav_file, waveform
from streaming.types import MUSIC_RATE


def tune(seconds: float, rate: int = MUSIC_RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def wav(pcm: np.ndarray, rate: int = MUSIC_RATE, width: int = 2) -> bytes:
    """pcm: [channels, samples] float32."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(len(pcm))
        writer.setsampwidth(width)
        writer.setframerate(rate)
        interleaved = pcm.T.reshape(-1)
        data = (interleaved * 127 + 128).astype(np.uint8) if width == 1 else (interleaved * 32767).astype("<i2")
        writer.writeframes(data.tobytes())
    return file.getvalue()


def refusal(data: bytes, limits: Limits | None = None) -> ProtocolError:
    with pytest.raises(ProtocolError) as refused:
        read_music(data, limits or Limits(), "x")
    assert refused.value.param == "x" and refused.value.message.endswith(".")
    return refused.value


@pytest.mark.parametrize("rate", [8000, 32_000, 44_100, 96_000])
@pytest.mark.parametrize("width", [1, 2])
def test_any_rate_becomes_ours(rate: int, width: int) -> None:
    pcm = read_music(wav(tune(1, rate)[None], rate, width), Limits()).pcm
    assert pcm.dtype == np.float32 and abs(len(pcm) - MUSIC_RATE) < 100
    assert np.abs(pcm[1000:-1000] - tune(1)[1000 : len(pcm) - 1000]).max() < 0.05


def test_eight_channels_become_one() -> None:
    channels = np.zeros((8, 4000), np.float32)
    channels[3] = 0.8
    pcm = read_music(wav(channels), Limits()).pcm
    assert pcm.ndim == 1 and abs(pcm[2000] - 0.1) < 0.01


def test_nine_channels_are_refused() -> None:
    failure = refusal(wav(np.zeros((9, 4000), np.float32)))
    assert failure.code == "unsupported_audio" and "9 channels" in failure.message


def test_an_hour_is_refused_by_its_header_or_by_its_length() -> None:
    hour = opus_file(np.zeros(40 * 8000, np.float32), 8000)
    failure = refusal(hour, Limits(music_s=30))
    assert failure.code == "audio_too_long" and "at most 30 s" in failure.message
    lying = bytearray(wav(np.zeros((1, 40 * 4000), np.float32), 4000))
    lying[40:44] = (8000).to_bytes(4, "little")  # "one second"; what follows is read as another chunk, or as sound
    try:
        assert len(read_music(bytes(lying), Limits(music_s=30)).pcm) <= 30 * MUSIC_RATE
    except ProtocolError as refused:
        assert refused.code in ("audio_too_long", "invalid_audio")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "invalid_audio"),
        (b"hello", "unsupported_audio"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "unsupported_audio"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "unsupported_audio"),
        (b"RIFF\0\0\0\0WAVEjunkjunkjunk", "invalid_audio"),
        (b"OggS" + bytes(200), "invalid_audio"),
        (b"fLaC" + bytes(200), "invalid_audio"),
        (b"ID3" + bytes(200), "invalid_audio"),
        (b"\0\0\0\x18ftypM4A " + bytes(200), "invalid_audio"),
        (b"\x1aE\xdf\xa3" + bytes(200), "invalid_audio"),
        (wav(np.zeros((1, 0), np.float32)), "invalid_audio"),
        (opus_file(tune(0.5), MUSIC_RATE)[:150], "invalid_audio"),
    ],
)
def test_what_is_no_music(data: bytes, code: str) -> None:
    assert refusal(data).code == code


def test_too_many_bytes() -> None:
    assert "at most 1,000" in refusal(bytes(1001), Limits(music_bytes=1000)).message


def test_our_files_sound_as_what_they_were_made_of() -> None:
    for make in (wav_file, opus_file):
        pcm = read_music(make(tune(1), MUSIC_RATE), Limits()).pcm
        assert MUSIC_RATE <= len(pcm) <= MUSIC_RATE + 1000
        spectrum = np.abs(np.fft.rfft(pcm[:MUSIC_RATE]))
        assert abs(int(spectrum.argmax()) - 440) <= 1 and 0.3 < np.abs(pcm).max() < 0.7


def test_the_ogg_is_opus() -> None:
    with av.open(io.BytesIO(opus_file(tune(0.3, 16_000), 16_000)), "r") as container:
        assert container.format.name == "ogg" and container.streams.audio[0].codec_context.name == "opus"


def test_a_wave_form_is_high_where_it_is_loud() -> None:
    pcm = np.concatenate([np.zeros(8000, np.float32), tune(0.25)])
    dark = (waveform(pcm) < 200).any(axis=2).sum(axis=0)
    assert (dark[:70] <= 2).all() and (dark[90:] > 40).all()
    assert waveform(np.zeros(3, np.float32)).shape == (48, 160, 3)
