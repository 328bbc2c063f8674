"""The corpus of pictures: colours are what their labels say, scenes hold what they should. No icon set is needed."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from training import pictures
from training.pictures import ICON, NOTHING, Icon, Label, colour_of, places, to_lab, to_rgb
from training.syllabus.world import COLOURS


def ball() -> Icon:
    """Orange with a light and a dark side, a black outline and a green leaf."""
    image = Image.new("RGBA", (ICON, ICON))
    draw = ImageDraw.Draw(image)
    draw.ellipse((4, 4, 155, 155), fill=(240, 130, 30), outline=(20, 20, 20), width=4)
    draw.chord((4, 4, 155, 155), 20, 160, fill=(215, 105, 20))
    draw.ellipse((40, 30, 70, 60), fill=(250, 170, 90))
    draw.ellipse((80, 2, 110, 20), fill=(40, 140, 50))
    return Icon(0, "nobody", "ball", np.array(image))


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
        assert colour_of(to_lab(rgba[90, 20:140, :3]).mean(0)) == COLOURS.index(colour)
        leaf = rgba[8, 95, :3].astype(int)
        assert np.abs(leaf - icon.rgba[8, 95, :3]).max() < 60  # what is not the main colour stays


def test_light_and_shade_stay() -> None:
    lab = to_lab(ball().recoloured(COLOURS.index("blue"))[..., :3])
    light, plain, shade = lab[45, 55, 0], lab[90, 60, 0], lab[140, 80, 0]
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


def options(folder: Path, count: int, seed: int = 0) -> argparse.Namespace:
    return argparse.Namespace(data=folder, count=count, seed=seed, icons=folder)


def test_shards_are_seeded_and_go_on_where_they_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shoot(rng: np.random.Generator) -> tuple[Image.Image, Label]:
        shot = rng.integers(0, 256, 3)
        return Image.new("RGB", (8, 8), tuple(int(v) for v in shot)), Label(int(shot[0]), NOTHING, 1)

    monkeypatch.setattr(pictures, "SHARD", 3)
    monkeypatch.setattr(pictures, "shots", lambda *_: shoot)
    first, again = tmp_path / "first", tmp_path / "again"
    pictures.make(options(first, 6), "camera")
    pictures.make(options(again, 3), "camera")
    begun = (again / "camera-000.npz").stat().st_mtime_ns
    pictures.make(options(again, 6), "camera")
    assert (again / "camera-000.npz").stat().st_mtime_ns == begun
    for one, other in zip(pictures.read_part(first, "camera"), pictures.read_part(again, "camera"), strict=True):
        assert one.jpegs == other.jpegs
        assert np.array_equal(one.labels, other.labels)
        assert np.array_equal(one.labels[:, 1:], [[NOTHING, 1]] * 3)
    shards = list(pictures.read_part(first, "camera"))
    assert len(shards) == 2
    assert shards[0].jpegs != shards[1].jpegs
    assert pictures.picture(shards[0].jpegs[0], 5).shape == (5, 5, 3)
