"""The spoken corpus: who may speak, shards that workers share, and replies that are spoken once."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from training import speech_data
from training.kokoro import DEVELOPMENT, KOKORO_RATE, RATE, RESERVED, Utterance, _alike, _resampled
from training.speech_data import lines, make, read

VOICES = ["af_heart", "bf_emma", "am_adam", "jf_alpha", *sorted(RESERVED | DEVELOPMENT)]


class Tone:
    """Says every sentence in half a second."""

    ahead, voices = 2, VOICES

    def speak_all(self, sentences: list[tuple[str, dict[str, float], float]]) -> list[Utterance]:
        speech = np.sin(np.arange(RATE // 2, dtype=np.float32))
        return [Utterance(speech, "_a_", np.array([0.1, 0.4, 0.5])) for _ in sentences]


@pytest.mark.parametrize("part", ["words", "train"])
def test_nobody_reserved_speaks_in_training(part: str) -> None:
    said = list(itertools.islice(lines(part, VOICES, 1), 200))
    assert all(not set(line.voices) & (RESERVED | DEVELOPMENT) for line in said)
    assert all(next(iter(line.voices))[0] in "ab" for line in said)
    assert {len(line.voices) for line in said} == {1, 2, 3}
    assert all(abs(sum(line.voices.values()) - 1) < 1e-9 for line in said)


def test_workers_share_the_shards_and_the_replies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech_data, "SHARD", 4)
    monkeypatch.setattr(speech_data, "replies", lambda: [f"reply {n}" for n in range(30)])
    for part, minutes in (("reply", float("inf")), ("train", 0.2)):
        for worker in (0, 1):
            make(tmp_path, Tone(), part, minutes, worker, 2, 100, frozenset({"reply 3"}))
    said = [meta["text"] for meta, _ in read(tmp_path, "reply")]
    assert sorted(said) == sorted(f"reply {n}" for n in range(30) if n != 3)
    numbers = sorted(int(path.stem[-5:]) for path in tmp_path.glob("train-*.npz"))
    assert numbers[0] == 100 and sum(len(speech) for _, speech in read(tmp_path, "train")) / RATE / 60 >= 0.2
    before = sorted(tmp_path.iterdir())
    assert all(path.name.startswith(("reply-00", "train-00")) for path in before)
    make(tmp_path, Tone(), "reply", float("inf"), 0, 1, 100, frozenset({"reply 3"}))
    assert sorted(tmp_path.iterdir()) == before


def test_alike_sentences_go_together() -> None:
    keys = [random.Random(0).randrange(3) for _ in range(20)]
    groups = list(_alike(keys, 4))
    assert sorted(itertools.chain(*groups)) == list(range(20))
    assert all(len(group) <= 4 and len({keys[i] for i in group}) == 1 for group in groups)


def test_resampling_keeps_a_tone() -> None:
    seconds = torch.arange(KOKORO_RATE // 10) / KOKORO_RATE
    tones = torch.stack([torch.sin(2 * torch.pi * hertz * seconds) for hertz in (440, 6000, 10_000)])
    wanted = torch.sin(2 * torch.pi * torch.tensor([[440.0], [6000.0]]) * torch.arange(RATE // 10) / RATE)
    found = _resampled(tones)[:, 100:-100]
    assert (found[:2] - wanted[:, 100:-100]).abs().max() < 1e-3 and found[2].abs().max() < 1e-3
