"""Music out in chunks: joined, they are the piece decoded whole by transformers. Tiny codecs with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from assistant.decoders.music import MusicDecoder, MusicStream
from assistant.vocabulary import interleave_music

SIZE = 16
KINDS = {
    "published": {"use_causal_conv": False, "use_conv_shortcut": False, "upsampling_ratios": [8, 5, 4, 4]},
    "nano": {"use_causal_conv": False, "use_conv_shortcut": False, "upsampling_ratios": [8, 5, 4, 2]},
    "odd strides": {"use_causal_conv": False, "upsampling_ratios": [5, 3], "num_residual_layers": 2},
    "causal": {"use_causal_conv": True, "upsampling_ratios": [4, 4, 2], "num_lstm_layers": 1},
    "zero padded": {"use_causal_conv": False, "upsampling_ratios": [4, 2], "pad_mode": "constant"},
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=list(KINDS))
def decoder(request: pytest.FixtureRequest) -> MusicDecoder:
    torch.manual_seed(2)
    strides = request.param["upsampling_ratios"]
    config = {"num_filters": 4, "hidden_size": 8, "num_lstm_layers": 2, "codebook_size": SIZE, **request.param}
    rate = 50 * int(np.prod(strides))
    codec = EncodecModel(EncodecConfig(sampling_rate=rate, target_bandwidths=[0.8], **config)).eval()
    for layer in codec.quantizer.layers:
        torch.nn.init.normal_(layer.codebook.embed)
    return MusicDecoder(codec, first_chunk_frames=6, max_chunk_frames=20)


def codes_of(frames: int) -> torch.Tensor:
    return torch.randint(SIZE, (4, frames), generator=torch.Generator().manual_seed(frames))


def line_of(frames: int) -> list[int]:
    return interleave_music(codes_of(frames).tolist(), SIZE)


def whole(decoder: MusicDecoder, frames: int) -> np.ndarray:
    """What transformers makes of the piece."""
    with torch.inference_mode():
        return decoder.codec.decode(codes_of(frames)[None, None], [None]).audio_values.flatten().numpy()


def played(decoder: MusicDecoder, line: list[int], piece: int) -> tuple[MusicStream, np.ndarray]:
    """All of the sound of codes that arrive `piece` at a time."""
    stream, chunks = decoder.open(len(line) // 4), []
    for start in range(0, len(line), piece):
        stream.feed(line[start : start + piece])
        while stream.due:
            chunks.append(decoder.play(stream))
    stream.end()
    while stream.due:
        chunks.append(decoder.play(stream))
    return stream, np.concatenate(chunks)


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 6, 7, 12, 13, 19, 37, 38, 39, 100])
def test_the_joined_chunks_are_the_whole(decoder: MusicDecoder, frames: int) -> None:
    stream, wav = played(decoder, line_of(frames), 1)
    wanted = whole(decoder, frames)
    assert wav.shape == wanted.shape == (frames * decoder.frame_samples,)
    assert np.abs(wav - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert stream.finished and stream.frames == frames


@pytest.mark.parametrize("piece", [3, 4, 29, 400])
def test_the_sound_does_not_depend_on_when_the_codes_come(decoder: MusicDecoder, piece: int) -> None:
    wanted = whole(decoder, 77)
    assert np.abs(played(decoder, line_of(77), piece)[1] - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_the_margin_is_needed(decoder: MusicDecoder) -> None:
    """The equivalence above would show a look-ahead that is a frame too short."""
    near, far = decoder.margins
    decoder.__dict__["margins"] = near, far - 1
    try:
        wanted = whole(decoder, 77)
        assert np.abs(played(decoder, line_of(77), 1)[1] - wanted).max() > 1e-4 * np.abs(wanted).max()
    finally:
        decoder.__dict__["margins"] = near, far


def test_sound_comes_a_lookahead_late_and_no_later(decoder: MusicDecoder) -> None:
    stream = decoder.open(100)
    stream.feed(line_of(40))
    lengths = []
    while stream.due:
        lengths.append(len(decoder.play(stream)))
    assert stream.decoded_frames == 38  # 6, then 12, then 20
    assert sum(lengths) == (38 - decoder.lookahead) * decoder.frame_samples


def test_an_incomplete_last_frame_is_dropped(decoder: MusicDecoder) -> None:
    assert np.array_equal(played(decoder, [*line_of(7), 3, 17, 40], 4)[1], played(decoder, line_of(7), 4)[1])


def test_progress_and_duration(decoder: MusicDecoder) -> None:
    stream = decoder.open(50)
    assert stream.progress == 0.0
    stream.feed(line_of(40)[:-2])
    assert (stream.frames, stream.progress) == (39, 39 / 50) and stream.seconds == pytest.approx(0.78)
    while stream.due:
        decoder.play(stream)
    assert stream.progress == 39 / 50 and stream.seconds == pytest.approx(0.78)
    stream.feed(line_of(40))
    assert stream.progress == 0.99, "the sound is not all there before the end"
    stream.end()
    while stream.due:
        decoder.play(stream)
    assert stream.progress == 1.0 and stream.finished


def test_a_whole_piece_at_once(decoder: MusicDecoder) -> None:
    wanted = whole(decoder, 31)
    assert np.abs(decoder.decode(line_of(31)) - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert decoder.decode([]).shape == (0,)
