"""Music in: codes of a tiny Encodec with random weights, interleaved as the published vocabulary has them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from assistant.checkpoints import CheckpointError
from assistant.tokenizers.music import MusicEars, load_encodec
from assistant.vocabulary import MUSIC_CODEBOOKS, deinterleave_music

SIZE, RATE, HOP = 16, 1600, 32
TINY = {
    "sampling_rate": RATE,
    "num_filters": 4,
    "hidden_size": 8,
    "upsampling_ratios": [4, 4, 2],
    "num_lstm_layers": 2,
    "codebook_size": SIZE,
    "target_bandwidths": [0.8],
    "use_causal_conv": False,
    "use_conv_shortcut": False,
}


def tiny_codec(**changes: object) -> EncodecModel:
    torch.manual_seed(0)
    codec = EncodecModel(EncodecConfig(**(TINY | changes))).eval()
    with torch.no_grad():  # rows from the encoder's own output, so that other sounds have other codes
        residual = codec.encoder(torch.randn(1, codec.config.audio_channels, 60 * HOP))[0].T
        for layer in codec.quantizer.layers:
            layer.codebook.embed.copy_(residual[:SIZE])
            residual = residual[SIZE:] - layer.codebook.decode(layer.codebook.encode(residual[SIZE:]))
            residual = torch.cat((residual, 0.5 * residual))
    return codec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec as transformers saves one."""
    path = tmp_path_factory.mktemp("encodec")
    tiny_codec().save_pretrained(path)
    return path


def sound(samples: int) -> np.ndarray:
    return np.random.default_rng(samples).normal(0, 0.3, samples).astype(np.float32)


@pytest.mark.parametrize("samples", [1, HOP - 1, HOP, HOP + 1, 10 * HOP + 7])
def test_the_codes_are_those_of_transformers(folder: Path, samples: int) -> None:
    ears, pcm = MusicEars(load_encodec(folder)), sound(samples)
    with torch.inference_mode():
        wanted = tiny_codec().encode(torch.from_numpy(pcm).view(1, 1, -1)).audio_codes[0, 0].numpy()
    assert np.array_equal(ears.encode(pcm), wanted)
    assert wanted.shape == (MUSIC_CODEBOOKS, ears.frames(samples))


def test_levels_are_interleaved_frame_by_frame_with_offsets(folder: Path) -> None:
    ears = MusicEars(load_encodec(folder))
    assert len(np.unique(ears.encode(sound(99 * HOP)))) > 5, "a codec that hears nothing would pass"
    codes, line = ears.encode(sound(9 * HOP)), ears.listen(sound(9 * HOP))
    assert line == tuple(int(level * SIZE + code) for frame in codes.T for level, code in enumerate(frame))
    assert deinterleave_music(line, SIZE) == codes.tolist()


def test_a_long_piece_is_cut_to_its_beginning(folder: Path) -> None:
    ears = MusicEars(load_encodec(folder), max_seconds=0.2)
    pcm = sound(5000)
    assert ears.frames(5000) == 10 == len(ears.listen(pcm)) // MUSIC_CODEBOOKS
    assert ears.listen(pcm) == ears.listen(pcm[:320]) != ears.listen(pcm[320:640])


def test_no_sound_gives_no_codes(folder: Path) -> None:
    assert MusicEars(load_encodec(folder)).listen(np.zeros(0, np.float32)) == ()


def test_a_folder_without_a_codec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no music codec"):
        load_encodec(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{"num_filters": 8}, {"num_residual_layers": 2}, {"num_residual_layers": 0}],
    ids=["shape", "missing", "unexpected"],
)
def test_weights_of_another_model_are_refused(tmp_path: Path, changes: dict[str, int]) -> None:
    tiny_codec().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        load_encodec(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{"audio_channels": 2}, {"chunk_length_s": 1.0, "overlap": 0.01}, {"target_bandwidths": [0.4]},
     {"normalize": True}, {"norm_type": "time_group_norm"}],
)  # fmt: skip
def test_a_codec_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    tiny_codec(**changes).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="not the kind"):
        load_encodec(tmp_path)
