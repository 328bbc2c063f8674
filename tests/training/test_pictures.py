"""The corpus of pictures: colours are what their labels say, scenes hold what they should. No icon set is needed."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from training import pictures
from training.pictures import ICON, NOTHING, Icon, Label, colour_of, main_share, places, to_lab, to_rgb
from training.syllabus.world import COLOURS


def ball() -> Icon:
    """Orange with a light and a dark side, a black outline and a green leaf."""
    image = Image.new("RGBA", (ICON, ICON))
    draw = ImageDraw.Draw(image)
    draw.ellipse((3, 3, 124, 124), fill=(240, 130, 30), outline=(20, 20, 20), width=3)
    draw.chord((3, 3, 124, 124), 20, 160, fill=(215, 105, 20))
    draw.ellipse((32, 24, 56, 48), fill=(250, 170, 90))
    draw.ellipse((64, 1, 88, 16), fill=(40, 140, 50))
    rgba = np.array(image)
    return Icon(0, "noto", "ball", rgba, main_share(rgba))


def test_lab_and_back() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (100, 3), dtype=np.uint8)
    assert np.abs(to_rgb(to_lab(rgb)).astype(int) - rgb).max() <= 1
    assert np.allclose(to_lab(np.array([255, 255, 255])), (100, 0, 0), atol=0.1)


@pytest.mark.parametrize("colour", COLOURS)
def test_a_recoloured_thing_has_the_colour_of_its_label(colour: str) -> None:
    icon, rng = ball(), np.random.default_rng(1)
    assert COLOURS[icon.colour] == "orange"
    for _ in range(5):
        rgba = icon.recoloured(COLOURS.index(colour), rng)
        assert np.array_equal(rgba[..., 3], icon.rgba[..., 3])
        assert colour_of(to_lab(rgba[72, 16:112, :3]).mean(0)) == COLOURS.index(colour)
        leaf = rgba[6, 76, :3].astype(int)
        assert np.abs(leaf - icon.rgba[6, 76, :3]).max() < 60  # what is not the main colour stays


def test_light_and_shade_stay() -> None:
    lab = to_lab(ball().recoloured(COLOURS.index("blue"))[..., :3])
    light, plain, shade = lab[36, 44, 0], lab[72, 48, 0], lab[112, 64, 0]
    assert light > plain > shade


def test_a_colour_between_two_has_no_name() -> None:
    assert colour_of(to_lab(np.array([208, 34, 40]))) == COLOURS.index("red")
    assert colour_of(to_lab(np.array([0, 255, 200]))) == NOTHING


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_things_stand_apart_and_inside(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(50):
        chosen = places(count, rng)
        assert len(chosen) == count
        for index, (x, y, side) in enumerate(chosen):
            assert 0.05 < x < 0.95 and 0.05 < y < 0.95
            assert all(np.hypot(x - a, y - b) > 0.7 * side for a, b, _ in chosen[:index])


@pytest.mark.parametrize("make", [lambda icons: pictures.Camera(icons, ["noto"]), pictures.Paper])
def test_a_shot_is_as_large_as_all_and_repeats(make: Callable[[list[Icon]], pictures.Camera | pictures.Paper]) -> None:
    clutter = dataclasses.replace(ball(), thing=NOTHING)
    icons = [clutter] + [dataclasses.replace(ball(), thing=thing) for thing in range(len(pictures.NAMES))]
    maker = make(icons)
    for seed in range(8):
        shown, label = maker.shot(np.random.default_rng(seed))
        again, _ = maker.shot(np.random.default_rng(seed))
        assert shown.shape == (pictures.SIZE, pictures.SIZE, 3) and shown.dtype == np.uint8
        assert np.array_equal(shown, again)
        assert label.count == 0 if label.thing == NOTHING else 1 <= label.count <= 4


def options(folder: Path, count: int, workers: int = 1) -> argparse.Namespace:
    return argparse.Namespace(data=folder, count=count, seed=0, icons=folder, workers=workers)


def test_shards_are_seeded_and_go_on_where_they_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shoot(rng: np.random.Generator) -> tuple[np.ndarray, Label]:
        shot = rng.integers(0, 256, 3)
        return np.full((8, 8, 3), shot, np.uint8), Label(int(shot[0]), NOTHING, 1)

    monkeypatch.setattr(pictures, "SHARD", 3)
    monkeypatch.setattr(pictures, "shots", lambda *_: shoot)
    monkeypatch.setattr(pictures, "load_icons", lambda _: [])
    first, again = tmp_path / "first", tmp_path / "again"
    pictures.make(options(first, 6, workers=2), "camera")
    pictures.make(options(again, 3), "camera")
    begun = (again / "camera-000.npz").stat().st_mtime_ns
    pictures.make(options(again, 6), "camera")
    assert (again / "camera-000.npz").stat().st_mtime_ns == begun
    shards = [pictures.read_shard(first / f"camera-{number:03d}.npz") for number in range(2)]
    for number, (shown, labels) in enumerate(shards):
        other, same = pictures.read_shard(again / f"camera-{number:03d}.npz")
        assert np.array_equal(shown, other) and np.array_equal(labels, same)
        assert np.array_equal(labels[:, 1:], [[NOTHING, 1]] * 3)
    assert not np.array_equal(shards[0][0], shards[1][0])
