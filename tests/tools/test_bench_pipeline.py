"""The pipeline benchmark runs through on a tiny model set, and its figures fit together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.bench import main


def test_the_report_names_every_part(tmp_path: Path, tiny_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    short = ["--answers", "2", "--seconds", "1.0", "--json", str(out)]
    assert main(["pipeline", "--config", str(tiny_config), *short]) == 0
    report = json.loads(out.read_text("utf-8"))["pipeline"]
    assert report["answers"]["milestones_ms"].keys() >= {"speech_tokens", "first_chunk", "done"}
    speech = report["speech"]
    assert speech["chunks"] == 4  # 50 frames: 6, 12, 16 and 16
    assert sum(part["share"] for part in speech["parts"].values()) == pytest.approx(1, abs=0.01)
    spent = sum(part["wall_ms_per_s"] for part in speech["parts"].values())
    assert 0 < spent <= 1000 * speech["of_real_time"] + 1
    assert "speech decoder" in capsys.readouterr().out
