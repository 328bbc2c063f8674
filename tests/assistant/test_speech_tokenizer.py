"""SpeechTokenizer at sizes of its own: shapes, quantization, and decoding in pieces."""

from __future__ import annotations

import pytest
import torch

from assistant.models.speech_tokenizer import DecoderStream, SpeechTokenizer

CONFIG = {
    "n_filters": 4,
    "strides": [3, 2],
    "dimension": 10,
    "semantic_dimension": 10,
    "bidirectional": True,
    "dilation_base": 2,
    "residual_kernel_size": 3,
    "n_residual_layers": 1,
    "lstm_layers": 1,
    "activation": "ELU",
    "codebook_size": 16,
    "n_q": 3,
    "sample_rate": 16000,
}
VARIANTS = {
    "plain": {},
    "snake": {"activation": "Snake", "lstm_layers": 2},
    "forward_only": {"bidirectional": False, "semantic_dimension": 6},
    "dilated": {"n_residual_layers": 3, "dilation_base": 3, "residual_kernel_size": 5, "strides": [5, 1, 4]},
    "published_strides": {"strides": [8, 5, 4, 2], "n_filters": 2},
    "no_lstm": {"lstm_layers": 0},
}


def tokenizer(**changes) -> SpeechTokenizer:
    torch.manual_seed(0)
    return SpeechTokenizer.from_config(CONFIG | changes).eval().requires_grad_(False)


@pytest.fixture(params=VARIANTS)
def model(request) -> SpeechTokenizer:
    return tokenizer(**VARIANTS[request.param])


@pytest.mark.parametrize("samples", [1, 2, 119, 120, 121, 961])
def test_every_length_gives_one_frame_for_each_hop_begun(model, samples):
    codes = model.encode(torch.randn(2, 1, samples))
    frames = -(-samples // model.hop_length)
    assert codes.shape == (model.n_q, 2, frames)
    assert model.decode(codes).shape == (2, 1, frames * model.hop_length)


def test_a_batch_encodes_as_its_rows_do(model):
    wav = torch.randn(3, 1, 700)
    rows = torch.cat([model.encoder(row[None]) for row in wav])
    assert torch.allclose(model.encoder(wav), rows, atol=1e-5)


def test_each_codebook_quantizes_what_the_ones_before_it_left():
    quantizer = tokenizer().quantizer
    latent = torch.randn(2, 10, 7)
    codes, contributions = quantizer(latent)
    residual = latent
    for codebook, layer, rows in zip(quantizer.codebooks, codes, contributions, strict=True):
        distances = torch.cdist(residual.transpose(1, 2), codebook.embed)
        assert torch.equal(layer, distances.argmin(-1))
        residual = residual - rows
    assert torch.allclose(quantizer.decode(codes), latent - residual, atol=1e-5)
    distances = torch.cdist(latent.transpose(1, 2), quantizer.codebooks[1].embed)
    assert torch.equal(quantizer.encode(latent, n_q=3, st=1)[0], distances.argmin(-1))


def test_semantic_features_have_the_teachers_width():
    features = tokenizer(semantic_dimension=6).semantic_features(torch.randn(1, 1, 60))
    assert features.shape == (1, 10, 6)


def test_lookahead_of_the_published_strides_is_four_frames():
    decoder = tokenizer(**VARIANTS["published_strides"]).decoder
    assert decoder.margins == (3, 1) and decoder.lookahead == 4


PIECES = [[1] * 23, [4, 1, 18], [5, 4, 3, 2, 1, 8], [23], [0, 22, 0, 1, 0], [3, 3, 3, 3, 3, 3, 3, 2]]


@pytest.mark.parametrize("pieces", PIECES, ids=str)
def test_decoding_in_pieces_equals_decoding_the_whole(model, pieces):
    latent = torch.randn(1, 10, sum(pieces))
    stream, sound = DecoderStream(model.decoder), []
    for number, piece in enumerate(latent.split(pieces, dim=-1), 1):
        samples, stream = stream.step(piece, last=number == len(pieces))
        sound.append(samples)
    whole = model.decoder(latent)
    assert torch.cat(sound, dim=-1).shape == whole.shape
    assert (torch.cat(sound, dim=-1) - whole).abs().max() <= 1e-5


@pytest.mark.parametrize("frames", range(1, 9))
def test_a_short_utterance_in_pieces_equals_the_whole(model, frames):
    latent = torch.randn(1, 10, frames)
    stream, sound = DecoderStream(model.decoder), []
    for frame in latent.split(1, dim=-1):
        samples, stream = stream.step(frame)
        sound.append(samples)
    samples, _ = stream.step(latent[..., :0], last=True)
    assert (torch.cat([*sound, samples], dim=-1) - model.decoder(latent)).abs().max() <= 1e-5


def test_samples_come_a_lookahead_late_and_no_later():
    decoder = tokenizer(**VARIANTS["published_strides"]).decoder
    samples, stream = DecoderStream(decoder).step(torch.randn(1, 10, 4))
    assert samples.shape[-1] == 0
    samples, stream = stream.step(torch.randn(1, 10, 1))
    assert samples.shape[-1] == decoder.hop_length


def test_what_is_held_does_not_grow():
    decoder = tokenizer().decoder
    stream = DecoderStream(decoder)
    for _ in range(10):
        _, stream = stream.step(torch.randn(1, 10, 5))
    near, far = decoder.margins
    assert stream.head.kept.shape[-1] <= 2 * near and stream.tail.kept.shape[-1] <= 2 * far


def test_an_older_stream_can_be_gone_back_to():
    decoder = tokenizer().decoder
    _, before = DecoderStream(decoder).step(torch.randn(1, 10, 9))
    rest = torch.randn(1, 10, 6)
    first, _ = before.step(rest, last=True)
    before.step(torch.randn(1, 10, 6))
    again, _ = before.step(rest, last=True)
    assert torch.equal(first, again)


def test_an_empty_utterance_is_silent():
    samples, _ = DecoderStream(tokenizer().decoder).step(torch.zeros(1, 10, 0), last=True)
    assert samples.shape == (1, 1, 0)


def test_wrong_configurations_are_named():
    with pytest.raises(ValueError, match="Mish"):
        tokenizer(activation="Mish")
    with pytest.raises(ValueError, match="telepathy"):
        tokenizer(front_end="telepathy")
    with pytest.raises(KeyError, match="strides"):
        SpeechTokenizer.from_config({key: value for key, value in CONFIG.items() if key != "strides"})
