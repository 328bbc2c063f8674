"""Speech for nano: what is said stays in its place through packing, rooms and speeds; encoders can grow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from assistant.tokenizers.speech import at_speech_level
from training import augment, codes, speech_tokenizer
from training.kokoro import FRAME, RATE
from training.speech_data import Line, read, write_shard
from training.speech_tokenizer import CONFIG, ContentTraining, Corpus

LABELS = "__aaaassssii__"


def sung(labels: str) -> np.ndarray:
    """A tone of its own for every phoneme."""
    time = np.arange(FRAME * len(labels)) / RATE
    hertz = np.repeat([{"_": 0, "a": 400, "s": 3000, "i": 1000}[c] for c in labels], FRAME)
    return (0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("train", "development"):
        lines = [Line(f"{part} {k}", {"af_heart": 1.0}, 1.0, 0, k) for k in range(3)]
        write_shard(
            tmp_path / f"{part}-00000.npz",
            [(line, sung(LABELS * (k + 1)), LABELS * (k + 1)) for k, line in enumerate(lines)],
        )
    return tmp_path


def heard(wav: np.ndarray) -> str:
    """The phonemes of `sung`, a frame each, from the strongest frequency."""
    frames = wav[: len(wav) // FRAME * FRAME].reshape(-1, FRAME)
    spectra = np.abs(np.fft.rfft(frames * np.hanning(FRAME), axis=1))
    hertz = spectra.argmax(1) * RATE / FRAME
    quiet = spectra.max(1) < 0.1 * spectra.max()
    names = zip(hertz, quiet, strict=True)
    return "".join("_" if q else "a" if h < 700 else "i" if h < 2000 else "s" for h, q in names)


def test_packing_keeps_every_sample_in_its_place(folder: Path, tmp_path: Path) -> None:
    speech_pack = pytest.importorskip("training.speech_pack", exc_type=ImportError)
    packed, again = tmp_path / "packed", tmp_path / "again"
    packed.mkdir()
    again.mkdir()
    speech_pack.pack(folder / "train-00000.npz", packed)
    speech_pack.unpack(packed / "train-00000.npz", again)
    for (before, was), (after, found) in zip(read(folder, "train"), read(again, "train"), strict=True):
        assert before == after
        assert len(was) == len(found)
        assert np.corrcoef(was, found)[0, 1] > 0.9


def test_the_level_is_that_of_the_runtime() -> None:
    wav = np.random.default_rng(0).standard_normal(50 * FRAME).astype(np.float32)
    wav[: 20 * FRAME] *= 0.001
    together = augment.at_speech_level(torch.from_numpy(np.stack([wav, 0.01 * wav])))
    for row, alone in zip(together.numpy(), (wav, 0.01 * wav), strict=True):
        np.testing.assert_allclose(row, at_speech_level(alone), rtol=1e-4)


def test_what_is_played_unchanged_is_unchanged() -> None:
    store = torch.randint(-1000, 1000, (4000,), dtype=torch.int16)
    start, length, before = torch.tensor([640, 0]), torch.tensor([640, 960]), torch.tensor([320.0, -320.0])
    wav = augment.played(store, start, length, torch.ones(2), before, 1280)
    want = torch.zeros(2, 1280)
    want[0, 320:960] = store[640:1280]
    want[1, :640] = store[320:960]
    torch.testing.assert_close(wav * 2**15, want)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_labels_follow_what_is_played(factor: float) -> None:
    sound = torch.from_numpy((sung(LABELS) * 2**15).astype(np.int16))
    names = torch.tensor([ord(c) for c in LABELS])
    place = torch.tensor([0]), torch.tensor([len(sound)]), torch.tensor([factor]), torch.tensor([500.0]), 30 * FRAME
    wav = augment.played(sound, *place)[0].numpy()
    labels = "".join("_" if c < 0 else chr(c) for c in augment.labels_played(names, *place)[0].tolist())
    wrong = sum(a != b for a, b in zip(heard(wav), labels, strict=True))
    assert wrong <= 4  # frames that hold two phonemes
    assert labels.strip("_") in heard(wav) or wrong


def test_rooms_are_drawn_from_the_generator_alone() -> None:
    wav = torch.randn(3, 20 * FRAME)
    first, second = (augment.recorded(wav, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape == wav.shape and first.isfinite().all()
    assert torch.equal(first, second)
    assert not torch.equal(first, augment.recorded(wav, torch.Generator().manual_seed(2)))


def test_a_batch_says_where_silence_is_too_long_to_count(folder: Path) -> None:
    corpus = Corpus(folder, ["train"], torch.device("cpu"))
    wav, target = corpus.batch(torch.Generator().manual_seed(0), 2 * speech_tokenizer.WINDOW)
    assert wav.shape == (2, 1, speech_tokenizer.WINDOW * FRAME)
    assert (target == -1).any() and (target == 0).any() and (target > 0).any()
    for row in target:
        spoken = (row > 0).nonzero()
        silence = (row >= 0).nonzero()
        assert spoken.min() - silence.min() <= speech_tokenizer.MARGIN + 2


def test_new_blocks_change_nothing_at_first(tmp_path: Path) -> None:
    small = ContentTraining(CONFIG | {"encoder_blocks": 0}).eval()
    torch.save(small.state_dict(), tmp_path / "codebooks.pt")
    large = ContentTraining().eval()
    speech_tokenizer.go_on_from(large, tmp_path / "codebooks.pt")
    wav = torch.randn(1, 1, 10 * FRAME)
    torch.testing.assert_close(small.tokenizer.encoder(wav), large.tokenizer.encoder(wav))


def test_codes_of_every_recording(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = ContentTraining().tokenizer.eval()
    for part in ("train", "development"):
        for recordings in (0, 2):
            codes.encode_part(tokenizer, folder, tmp_path / "codes", part, recordings)
    alone = [codes_ for _, codes_ in codes.read_codes(tmp_path / "codes", "train")]
    for (_, speech), row in zip(read(folder, "train"), alone, strict=True):
        wav = torch.from_numpy(at_speech_level(speech)).view(1, 1, -1)
        assert (tokenizer.encode(wav)[:, 0].numpy() == row).mean() > 0.98
    found = list(codes.read_codes(tmp_path / "codes", "train-augmented"))
    assert [(r["index"], r["recording"]) for r, _ in found] == [(k, turn) for k in range(3) for turn in (1, 2)]
    for record, row in found:
        assert row.shape == (1, record["frames"]) == (1, len(record["labels"]))
        assert json.dumps(record)
    assert 0 < codes.told(tmp_path / "codes", "development") <= 1
