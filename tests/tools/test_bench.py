"""The benchmarks of the parts run through, and their figures fit together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from assistant.models.llama import Llama
from tools import bench_llama_cpp
from tools.bench import main
from tools.bench_engine import ENGINE, LLAMA_CPP, Timing, measure, ratio

SIZES = {"vocab_size": 600, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}


def small() -> Llama:
    torch.manual_seed(1)
    return Llama.from_config(SIZES | HEADS | {"initializer_range": 0.2}).eval().requires_grad_(False)


def test_parts_and_media_give_a_row_each(tmp_path: Path, tiny_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    short = ["--rounds", "1", "--media-seconds", "2", "--json", str(out), "--config", str(tiny_config)]
    assert main(["parts", "media", *short]) == 0
    report = json.loads(out.read_text("utf-8"))
    assert [row["batch"] for row in report["parts"]["rows"]] == [1, 2, 4] * 5
    assert [row["direction"] for row in report["media"]["rows"]] == ["hearing", "speaking"]
    assert all(row["ours_ms_per_s"] > 0 and row["aiortc_ms_per_s"] > 0 for row in report["media"]["rows"])
    assert "SoundStorm" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["pipelin"])


def test_the_engine_is_measured_with_and_without_llama_cpp(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    rows = {row["decoder"]: row for row in measure(small(), [20], 10, 1)}
    assert rows[ENGINE]["token_ms"] > 0 and rows[ENGINE]["of_transformers"] > 0
    if LLAMA_CPP in rows:
        assert rows[LLAMA_CPP]["of_llama_cpp"] == 1
    else:
        assert rows[ENGINE]["of_llama_cpp"] is None
        assert bench_llama_cpp.HOW_TO_INSTALL in capsys.readouterr().out


def test_the_ratio_is_that_of_rounds_side_by_side() -> None:
    ours, theirs = Timing(0.0, [1.0, 10.0, 2.0]), Timing(0.0, [2.0, 20.0, 8.0])
    assert ratio(theirs, ours) == 2 and ratio(None, ours) is None


def test_gguf_rotates_neighbours() -> None:
    rows = np.arange(16, dtype=np.float32)[:, None]  # two heads of eight
    expected = [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]
    assert bench_llama_cpp._pairs_side_by_side(rows, 8)[:, 0].tolist() == expected


def test_llama_cpp_answers_as_the_model_does(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("llama_cpp")
    model, prompt = small(), list(range(0, 600, 29))
    bench_llama_cpp.write_gguf(model, tmp_path / "model.gguf")
    with bench_llama_cpp.opened(tmp_path / "model.gguf", 600, 64, 1) as llama_cpp:
        token = llama_cpp.feed(prompt)
    assert token in model(torch.tensor(prompt))[-1].topk(3).indices.tolist()
