from __future__ import annotations

import json

import pytest
import torch

from assistant.engine.sampling import GREEDY, PUBLISHED, Sampling, choose, penalize
from tests.assistant.parity import parity_dir

transformers = pytest.importorskip("transformers")


def distribution(logits: torch.Tensor, settings: Sampling, draws: int = 4096) -> torch.Tensor:
    """How often each index is chosen by evenly spread uniform numbers."""
    uniforms = [(draw + 0.5) / draws for draw in range(draws)]
    chosen = choose(logits.expand(draws, -1), [settings] * draws, uniforms)
    return torch.bincount(torch.tensor(chosen), minlength=logits.shape[-1]) / draws


@pytest.mark.parametrize(
    "settings",
    [
        Sampling(top_k=0),
        Sampling(top_k=5),
        Sampling(top_k=100),
        Sampling(temperature=0.5, top_k=7),
        Sampling(top_k=0, top_p=0.6),
        Sampling(temperature=1.7, top_k=9, top_p=0.8),
        Sampling(top_k=0, top_p=0.01),
    ],
    ids=str,
)
def test_the_distribution_is_that_of_transformers(settings: Sampling) -> None:
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(1)) * 2
    warped = transformers.TemperatureLogitsWarper(settings.temperature)(None, logits)
    if settings.top_k:
        warped = transformers.TopKLogitsWarper(settings.top_k)(None, warped)
    if settings.top_p < 1:
        warped = transformers.TopPLogitsWarper(settings.top_p)(None, warped)
    expected = warped.softmax(dim=-1)[0]
    torch.testing.assert_close(distribution(logits, settings), expected, atol=1 / 4096, rtol=0)


def test_repetition_penalty_is_that_of_transformers() -> None:
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(2))
    seen = torch.zeros(40, dtype=torch.bool)
    seen[[3, 7, 39]] = True
    expected = transformers.RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([[3, 7, 39, 3]]), logits.clone())
    torch.testing.assert_close(penalize(logits[0], seen, 1.3), expected[0])


def test_rows_of_one_batch_keep_their_own_settings() -> None:
    logits = torch.randn(4, 30, generator=torch.Generator().manual_seed(3))
    settings = [GREEDY, Sampling(top_k=3), Sampling(temperature=3.0, top_k=0), Sampling(top_p=0.5)]
    for uniform in (0.0, 0.3, 0.77, 0.9999999):
        alone = [choose(logits[row : row + 1], [settings[row]], [uniform])[0] for row in range(4)]
        assert choose(logits, settings, [uniform] * 4) == alone
        assert alone[0] == int(logits[0].argmax())


def test_greedy_takes_the_best_and_nan_is_told() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [0.0, torch.nan, 1.0], [3.0, 2.0, 1.0]])
    assert choose(logits, [GREEDY] * 3, [0.5] * 3) == [1, -1, 0]
    assert choose(logits, [Sampling()] * 3, [0.0] * 3) == [1, -1, 0]


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"repetition_penalty": 0.0}])
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="impossible"):
        Sampling(**wrong)


def test_the_published_settings_are_the_golden_ones() -> None:
    path = parity_dir() / "decoding_configs.json"
    if not path.exists():
        pytest.skip(f"no golden data at {path} (set PARITY_DIR)")
    effective = json.loads(path.read_text())["effective"]
    names = {"text": "chat_text", "speech": "speech", "image": "image", "music": "music"}
    for kind, name in names.items():
        for field in ("temperature", "top_k", "top_p", "repetition_penalty"):
            assert getattr(PUBLISHED[kind], field) == effective[name][field], (kind, field)
