"""Dialogues that share a row do not see each other, and what is learned is counted by kind."""

from __future__ import annotations

from itertools import cycle, repeat

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from assistant.models.llama import Llama
from training import language_model
from training.dialogues import IGNORE, ROW, Example
from training.language_model import CONFIG, Task, batches, packed_hidden

SMALL = {**CONFIG, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
FEW = {**SMALL, "num_key_value_heads": 2, "vocab_size": 40}


def example(seed: int, length: int) -> Example:
    tokens = np.random.default_rng(seed).integers(40, size=length).tolist()
    return Example(tokens, [IGNORE, *tokens[2:], IGNORE])


@pytest.mark.parametrize("attention", [language_model._plain_attention, F.scaled_dot_product_attention])
def test_a_dialogue_in_a_row_reads_as_if_it_were_alone(attention, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "_plain_attention", attention)
    torch.manual_seed(0)
    model, first, second = Llama.from_config(FEW), example(0, 7), example(1, 300)
    batch = next(batches(cycle([first, second]), 1))
    task = Task.of(batch, torch.device("cpu"))
    found = packed_hidden(model, task.inputs, task.documents)[0]
    for number, (start, stop) in enumerate([(0, 7), (7, 307)]):
        alone = model.hidden(torch.tensor([[first, second][number].tokens]))[0]
        torch.testing.assert_close(found[start:stop], alone, rtol=0, atol=2e-5)


def test_what_is_learned_stays_beside_what_is_read() -> None:
    batch = next(batches(repeat(example(3, 50)), 2))
    task = Task.of(batch, torch.device("cpu"))
    assert batch.tokens == 2 * (ROW // 50) * 50
    assert (task.wanted != IGNORE).all() and len(task.wanted) == batch.tokens // 50 * 48
    following = task.inputs.flatten()[task.where + 1]
    assert torch.equal(task.wanted, following)
