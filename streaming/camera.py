"""What the camera shows: the newest sharp frame of the last seconds, whether it is new, whether it shows anything.

A still camera costs nothing: a frame is worth looking at only if enough of it differs from what the model saw last.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np

from streaming.media import Picture

MOST_FRAMES = 4
CHOSEN_FROM_MS = 1500
"""A blurred frame gives way to a sharp one that is at most so much older."""

STALE_MS = 10_000
"""A camera that has sent nothing for so long is off."""

_CELLS = 16  # a side
_CELL_CHANGE = 20.0  # of 255: more than noise and compression do to the mean of a cell
_LIGHT_CHANGE = 20.0  # of all cells alike: the sun comes out, the camera adapts
_SHARP_SHARE = 0.5
_DARK = 40.0
_FLAT = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A camera's picture with what it takes to judge it."""

    picture: Picture
    cells: np.ndarray  # [16, 16, 3] float32: mean colours, 0..255
    sharpness: float  # variance of the Laplacian of its lightness (Pech-Pacheco et al., ICPR 2000)

    @classmethod
    def of(cls, picture: Picture) -> Frame:
        """Some milliseconds of work."""
        return cls(picture, _mean_colours(picture.pixels), _sharpness(picture.pixels))

    @property
    def dark(self) -> bool:
        """There is nothing to be seen: no light, or neither shapes nor edges."""
        light = self.cells.mean(axis=2)
        return bool(np.percentile(light, 95) < _DARK or (light.std() < _FLAT and self.sharpness < _FLAT))

    def changed_share(self, other: Frame) -> float:
        """How much of the picture is different, 0..1. Light that changes everywhere alike does not count."""
        change = self.cells - other.cells
        change -= np.clip(np.median(change, axis=(0, 1)), -_LIGHT_CHANGE, _LIGHT_CHANGE)
        return float((np.abs(change).max(axis=2) > _CELL_CHANGE).mean())


Sight = Literal["off", "dark", "unchanged", "new"]


class Camera:
    """Owns the newest frames. `receive` what is due, `look` when a turn begins, say by `shown` what the model got."""

    def __init__(self, change_share: float, look_again_ms: float) -> None:
        self._change_share = change_share
        self._look_again_ms = look_again_ms
        self._frames: deque[tuple[float, Frame]] = deque(maxlen=MOST_FRAMES)
        self._shown: tuple[float, Frame] | None = None
        self._due_ms: float | None = None  # when a picture was last wanted

    def is_due(self, now_ms: float, max_fps: float) -> bool:
        """Whether the picture of this moment is wanted. If so, that was the one for a while."""
        if self._due_ms is not None and now_ms - self._due_ms < 900 / max_fps:  # 10 % for their jitter
            return False
        self._due_ms = now_ms
        return True

    def receive(self, frame: Frame, now_ms: float) -> None:
        self._frames.append((now_ms, frame))

    def clear(self) -> None:
        """It is switched off."""
        self._frames.clear()

    def look(self, now_ms: float) -> tuple[Sight, Frame | None]:
        """What there is to be seen; with a frame if that is new."""
        frame = self._newest_sharp(now_ms)
        if frame is None:
            return "off", None
        if frame.dark:
            return "dark", None
        if self._shown is not None and now_ms - self._shown[0] < self._look_again_ms:
            if not self.differ(frame, self._shown[1]):
                return "unchanged", None
        return "new", frame

    def differ(self, one: Frame, other: Frame) -> bool:
        """Whether the one is worth looking at after the other."""
        return one.changed_share(other) > self._change_share

    def shown(self, frame: Frame | None, now_ms: float) -> None:
        """The model will see this frame; None: it has forgotten the last one."""
        self._shown = None if frame is None else (now_ms, frame)

    def _newest_sharp(self, now_ms: float) -> Frame | None:
        if not self._frames or now_ms - self._frames[-1][0] > STALE_MS:
            return None
        newest_ms, newest = self._frames[-1]
        if newest.dark:
            return newest
        recent = [frame for at_ms, frame in self._frames if newest_ms - at_ms <= CHOSEN_FROM_MS and not frame.dark]
        enough = _SHARP_SHARE * max(frame.sharpness for frame in recent)
        return next(frame for frame in reversed(recent) if frame.sharpness >= enough)


def _mean_colours(pixels: np.ndarray) -> np.ndarray:
    grown = [max(1, -(-_CELLS // side)) for side in pixels.shape[:2]]
    pixels = pixels.repeat(grown[0], axis=0).repeat(grown[1], axis=1)
    height, width = (side - side % _CELLS for side in pixels.shape[:2])
    blocks = pixels[:height, :width].reshape(_CELLS, height // _CELLS, _CELLS, width // _CELLS, 3)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


def _sharpness(pixels: np.ndarray) -> float:
    light = pixels.mean(axis=2, dtype=np.float32)
    if min(light.shape) < 3:
        return 0.0
    across = light[1:-1, :-2] + light[1:-1, 2:]
    along = light[:-2, 1:-1] + light[2:, 1:-1]
    return float((across + along - 4 * light[1:-1, 1:-1]).var())
