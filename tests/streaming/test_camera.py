from __future__ import annotations

import numpy as np
import pytest

from streaming.camera import STALE_MS, Camera, Frame
from streaming.media import Picture
from tests.streaming.fakes import scene


def frame(pixels: np.ndarray) -> Frame:
    return Frame.of(Picture(pixels.astype(np.uint8), ""))


def blurred(pixels: np.ndarray) -> np.ndarray:
    result = pixels.astype(np.float32)
    for _ in range(6):
        for axis in (0, 1):
            result = (np.roll(result, 1, axis) + result + np.roll(result, -1, axis)) / 3
    return result.astype(np.uint8)


def noisy(pixels: np.ndarray, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 8, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def with_object(pixels: np.ndarray, side: int = 32) -> np.ndarray:
    """The same view with a square thing in it."""
    result = pixels.copy()
    result[20 : 20 + side, 20 : 20 + side] = 255 - result[20 : 20 + side, 20 : 20 + side]
    return result


def camera(*pixels: np.ndarray, every_ms: float = 500) -> Camera:
    result = Camera(0.06, 60_000)
    for count, one in enumerate(pixels):
        result.receive(frame(one), count * every_ms)
    return result


def test_no_frame_no_camera() -> None:
    assert camera().look(0) == ("off", None)


def test_the_first_frame_is_new_and_the_same_again_is_not() -> None:
    one = camera(scene())
    sight, seen = one.look(10)
    assert sight == "new" and seen is not None
    one.shown(seen, 10)
    for count in range(20):
        one.receive(frame(noisy(scene(), count)), 500 * count)
        assert one.look(500 * count)[0] == "unchanged"


def test_a_thing_held_up_is_a_change_and_the_sun_is_none() -> None:
    view = scene() // 2 + 40
    assert frame(with_object(view)).changed_share(frame(view)) > 0.1
    assert frame(view + 25).changed_share(frame(view)) == 0
    assert frame(scene(1)).changed_share(frame(scene(2))) > 0.5


def test_a_small_change_is_none() -> None:
    assert not camera().differ(frame(with_object(scene(), 12)), frame(scene()))


def test_a_wall_of_another_colour_is_a_change() -> None:
    red, blue = (np.full((64, 64, 3), colour) for colour in ((200, 0, 0), (0, 0, 200)))
    assert frame(red).changed_share(frame(blue)) == 1


def test_of_the_last_ones_the_newest_that_is_sharp() -> None:
    one = camera(scene(1), scene(2), blurred(scene(3)))
    sight, seen = one.look(1000)
    assert seen is not None and (seen.picture.pixels == scene(2)).all()
    one.receive(frame(scene(4)), 1500)
    seen = one.look(1500)[1]
    assert seen is not None and (seen.picture.pixels == scene(4)).all()


def test_a_blurred_one_is_better_than_an_old_one() -> None:
    one = camera(scene(1), blurred(scene(3)), every_ms=2000)
    seen = one.look(2000)[1]
    assert seen is not None and (seen.picture.pixels == blurred(scene(3))).all()


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((64, 64, 3)),
        noisy(np.full((64, 64, 3), 12)) // 2,
        np.full((64, 64, 3), 180),
        np.linspace(0, 30, 64 * 64 * 3).reshape(64, 64, 3),
    ],
    ids=["black", "night", "featureless", "finger"],
)
def test_a_covered_camera_is_dark_whatever_it_showed_before(pixels: np.ndarray) -> None:
    one = camera(scene(), pixels)
    assert one.look(500) == ("dark", None)


@pytest.mark.parametrize("pixels", [scene(), scene() // 3, blurred(scene())], ids=["day", "dusk", "blurred"])
def test_what_shows_something_is_not_dark(pixels: np.ndarray) -> None:
    assert not frame(pixels).dark


def test_a_camera_that_is_silent_or_cleared_is_off() -> None:
    one = camera(scene())
    assert one.look(STALE_MS)[0] == "new" and one.look(STALE_MS + 1)[0] == "off"
    one.receive(frame(scene()), STALE_MS + 2)
    one.clear()
    assert one.look(STALE_MS + 2)[0] == "off"


def test_after_a_while_or_when_forgotten_an_unchanged_picture_is_new() -> None:
    one = Camera(0.06, 1000)
    for now_ms, sight in ((0, "new"), (999, "unchanged"), (1001, "new")):
        one.receive(frame(scene()), now_ms)
        assert one.look(now_ms)[0] == sight
        if now_ms == 0:
            one.shown(one.look(0)[1], 0)
    one.shown(frame(scene()), 1001)
    assert one.look(1001)[0] == "unchanged"
    one.shown(None, 1001)
    assert one.look(1001)[0] == "new"


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 500, 3), (17, 31, 3)])
def test_any_shape(shape: tuple[int, int, int]) -> None:
    one = frame(np.full(shape, 90))
    assert one.cells.shape == (16, 16, 3) and (one.cells == 90).all() and one.sharpness == 0
