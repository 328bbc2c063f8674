"""Acceptance sets: every row is one that the evaluation accepts, and expects what its words ask for."""

from __future__ import annotations

import io
import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streaming.music import wav_file
from tools.evaluate_report import made_blocks
from tools.manifest import Said, read_manifest
from training.acceptance import EMPTY, REMEMBERED, Asker, drawings, music, pictures
from training.listen import listen
from training.music import corpus
from training.music.ears import MusicListener
from training.music.score import Score, Tags, all_tags
from training.pictures import ICON, NAMES, NOTHING, RENDERED, Icon
from training.reserved import Thing, cut, photographs
from training.syllabus.world import COLOURS, NOUN


def asker(folder: Path) -> Asker:
    return Asker(folder, folder, [], spoken=0, seed=1)


def manifest(folder: Path, rows: list[dict[str, object]]) -> list[list[Said]]:
    (folder / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return [list(row.turns) for row in read_manifest(folder / "manifest.jsonl")]


def icon(thing: int, artist: str) -> Icon:
    rgba = np.zeros((ICON, ICON, 4), np.uint8)
    rgba[20:100, 30:90] = (200, 30, 30, 255)
    return Icon(thing, artist, "a square", rgba, np.full((ICON, ICON), 255, np.uint8))


def test_pictures_are_asked_about(tmp_path: Path) -> None:
    icons = [icon(NOTHING, "noto")]
    np.savez(tmp_path / RENDERED, **{f.name: np.array([getattr(one, f.name) for one in icons]) for f in fields(Icon)})
    apple, ball = (NAMES.index(name) for name in ("apple", "ball"))
    things = [Thing(icon(apple, "fluent-3d"), "red"), Thing(icon(ball, "photographs"), "")]
    rows = pictures(asker(tmp_path), things, tmp_path, 2)
    turns = manifest(tmp_path, rows)
    about_balls = [turn for row, (turn, *_) in zip(rows, turns, strict=True) if "photographs" in str(row.get("artist"))]
    assert [turn.labels["object"] for turn in about_balls] == ["ball", "ball"], "it has no colour to be asked for"
    assert about_balls[0].expect_any == ("ball", "balls")
    colours = {turn.expect_any[0] for (turn, *_) in turns if turn.labels["intent"] == "colour_of_this"}
    assert colours <= set(COLOURS) and colours
    assert sum(turn.expect_any == ("nothing",) for (turn, *_) in turns) == EMPTY
    remembered = [row for row in turns if len(row) == 3]
    assert len(remembered) == REMEMBERED
    for first, second, last in remembered:
        assert first.image != second.image and last.image is None and last.expect_any == first.expect_any
    with Image.open(turns[0][0].image) as image:  # type: ignore[arg-type]
        assert image.size == (160, 160)


def test_drawings_are_asked_for_in_words_that_name_them(tmp_path: Path) -> None:
    rows = manifest(tmp_path, drawings(asker(tmp_path), 97))
    assert {turn.labels["object"] for (turn, *more) in rows if not more} == set(NAMES)
    for *before, turn in rows:
        thing, colour = turn.labels["object"], turn.labels["colour"]
        assert turn.expect_output == "image"
        assert [question.expect_any for question in turn.again] == [turn.expect_any, (colour,)]
        if not before:
            assert NOUN[thing].name in turn.text
            assert colour in turn.text or not any(f" {other} " in turn.text for other in COLOURS)
        else:
            assert colour in turn.text and NOUN[thing].name in before[0].text


def test_tunes_are_asked_for_in_words_that_name_them(tmp_path: Path) -> None:
    scores = [Score(tags, 0, 66, 1.0, ()) for tags in all_tags()]
    corpus.write_shard(tmp_path / "development-00000.npz", scores, np.zeros((len(scores), 1_600)))
    rows = manifest(tmp_path, music(asker(tmp_path), tmp_path, 24))
    asked = [turn for (turn, *more) in rows if turn.expect_output and not more]
    assert len(asked) == 24 and all(turn.labels["instrument"] in turn.text for turn in asked)
    assert {turn.labels["mood"] for turn in asked} == {"happy", "sad", "calm", "exciting", "scary", "funny"}
    assert {turn.labels["tempo"] for turn in asked} == {"slow", "medium", "fast"}
    heard = [turn for (turn, *_) in rows if turn.music]
    assert len(heard) == 72 and {turn.labels["intent"] for turn in heard} == {
        "which_instrument",
        "which_mood",
        "which_tempo",
    }


def test_photographs_show_things_of_the_syllabus() -> None:
    for name, colour, path in photographs():
        assert name in NAMES and colour in ("", *COLOURS) and not path.endswith(".png")


def test_a_photograph_is_cut_to_what_is_visible() -> None:
    wide = Image.new("RGBA", (300, 200))
    wide.paste((10, 200, 10, 255), (50, 80, 250, 120))
    file = io.BytesIO()
    wide.save(file, "PNG")
    rgba = cut(file.getvalue())
    visible = np.argwhere(rgba[..., 3] > 128)
    assert rgba.shape == (ICON, ICON, 4)
    assert np.ptp(visible, axis=0).tolist() == pytest.approx([(ICON - 4) / 5 - 1, ICON - 5], abs=1.5)


def test_a_listener_adds_what_it_hears_to_the_report(tmp_path: Path) -> None:
    class Deaf(MusicListener):
        def hear(self, pcm: np.ndarray) -> Tags:
            assert len(pcm) == corpus.RATE
            return Tags("piano", "sad", "slow")

    path = tmp_path / "tune.wav"
    path.write_bytes(wav_file(np.zeros(32_000, np.float32), 32_000))
    outputs = [{"kind": "speech", "file": "none"}, {"kind": "music", "file": str(path)}]
    turns = [{"instrument": "piano", "mood": mood, "tempo": "slow", "outputs": outputs} for mood in ("sad", "happy")]
    made = {"asked": 2, "made": 2, "took_ms": {"p50": 1.0, "p95": 2.0}, "again": {}, "confusions": {}}
    report = {"rows": [{"turns": turns}, {"turns": [{"outputs": outputs}]}], "made_music": made}
    listen(report, Deaf())
    assert made["listener"] == {"instrument": 1.0, "mood": 0.5, "tempo": 1.0, "all": 0.5}
    assert made["confusions"] == {"listener, mood": {"happy → sad": 1}}
    assert "another listener, mood right" in made_blocks("tunes", made)[0]
