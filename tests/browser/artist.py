"""The real server with a scripted model that sees, draws and plays: `python -m tests.browser.artist --port 0`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np

import server
from configuration import Configuration
from streaming.types import (
    MUSIC_RATE,
    Abilities,
    AttachmentFailed,
    AttachmentProgress,
    AttachmentStarted,
    Kind,
    MusicDone,
    Output,
    Perceived,
    PictureDone,
    Request,
    Turn,
)
from tests.browser.scripted import REPLY, Script

COLOURS = {"red": (190, 45, 35), "green": (60, 150, 70), "blue": (50, 80, 180), "yellow": (230, 190, 50)}
SIDE = 256
MUSIC_S = 5.0
STEP_S = 0.05
STEPS = 100
_FIRST_COLOUR = 1000  # tokens
_MUSIC = 2000


class Artist(Script):
    """Says which colour is in the middle of the picture before the question, and how long the music is. Draws what it
    is told to draw, and plays when told to; slowly or badly, if told so."""

    abilities = Abilities(takes=frozenset({"image", "music"}), makes=frozenset({"image", "music"}))

    def __init__(self) -> None:
        super().__init__()
        self._works: dict[str, Iterator[Output]] = {}

    def answer(self, request: Request) -> str:
        words = request.turns[-1].text
        if words.startswith(("draw", "play")):
            return f"I {words}."
        shown = request.turns[-2] if len(request.turns) > 1 else None
        if shown is None or shown.role != "user":
            return REPLY
        if shown.music is not None:
            return f"That is {len(shown.music) / MUSIC_RATE:.0f} seconds of music."
        token = _token_of(shown)
        return f"I see something {list(COLOURS)[token - _FIRST_COLOUR]}." if token >= _FIRST_COLOUR else REPLY

    def looks(self, request: Request) -> list[Output]:
        seen = [(n, _token_of(turn)) for n, turn in enumerate(request.turns) if not turn.tokens]
        return [Perceived(request.response_id, n, (token,)) for n, token in seen if token]

    def begins(self, request: Request) -> list[Output]:
        verb, _, prompt = request.turns[-1].text.partition(" ")
        kinds: dict[str, Kind] = {"draw": "image", "play": "music"}
        if verb not in kinds or not request.attachments:
            return []
        return [AttachmentStarted(request.response_id, f"work of {request.response_id}", kinds[verb], prompt)]

    def cancel_attachment(self, attachment_id: str) -> None:
        self._works.pop(attachment_id, None)

    @property
    def idle(self) -> bool:
        return super().idle and not self._works

    def step(self) -> list[Output]:
        outputs = super().step()
        for output in outputs:
            if isinstance(output, AttachmentStarted):
                self._works[output.attachment_id] = _work(output)
        if self._works:
            time.sleep(STEP_S)
        for attachment_id, work in list(self._works.items()):
            output = next(work)
            outputs.append(output)
            if not isinstance(output, AttachmentProgress):
                del self._works[attachment_id]
        return outputs


def _token_of(turn: Turn) -> int:
    """What stands for a picture or music; 0 for words."""
    if turn.music is not None:
        return _MUSIC
    if turn.image is None:
        return turn.tokens[0] if turn.tokens else 0
    height, width = turn.image.shape[:2]
    middle = turn.image[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8].mean(axis=(0, 1))
    distances = [np.abs(middle - colour).sum() for colour in COLOURS.values()]
    return _FIRST_COLOUR + int(np.argmin(distances))


def _work(started: AttachmentStarted) -> Iterator[Output]:
    ids, words = (started.response_id, started.attachment_id), started.prompt.split()
    picture = disc(next((word for word in words if word in COLOURS), "red"), SIDE)
    noise = np.random.default_rng(1).integers(0, 255, (SIDE // 4, SIDE // 4, 3))
    steps = STEPS * 100 if "slowly" in words else STEPS
    for n in range(steps):
        done = n / steps
        thumbnail = (noise * (1 - done) + picture[::4, ::4] * done).astype(np.uint8)
        yield AttachmentProgress(*ids, done, thumbnail if started.kind == "image" else None)
        if "badly" in words and n == steps // 2:
            yield AttachmentFailed(*ids, "generation_failed", "The hand slipped.")
    yield MusicDone(*ids, melody(MUSIC_S), MUSIC_RATE) if started.kind == "music" else PictureDone(*ids, picture)


def disc(colour: str, side: int, width: int | None = None) -> np.ndarray:
    """A round thing with a light on it, on paper with a shadow. Returns [side, width or side, 3] uint8."""
    width = width or side
    y, x = np.mgrid[0:side, 0:width] / side
    x = x - width / side / 2 + 0.5
    paper = np.stack([240 - 25 * y, 232 - 30 * y, 220 - 40 * y], axis=-1)
    shadow = np.exp(-(((x - 0.5) / 0.3) ** 2 + ((y - 0.82) / 0.05) ** 2))[..., None]
    light = 0.75 + 0.45 * np.exp(-(((x - 0.4) / 0.2) ** 2 + ((y - 0.38) / 0.2) ** 2))[..., None]
    inside = np.clip((0.32 - np.hypot(x - 0.5, y - 0.5)) * side, 0, 1)[..., None]
    picture = paper * (1 - 0.4 * shadow) * (1 - inside) + np.array(COLOURS[colour]) * light * inside
    return picture.clip(0, 255).astype(np.uint8)


def melody(seconds: float, rate: int = MUSIC_RATE) -> np.ndarray:
    """Plucked notes of a major chord, up and down. Returns [samples] float32."""
    at = np.arange(int(seconds * rate)) / rate
    notes = np.array([261.6, 329.6, 392.0, 523.3, 392.0, 329.6])
    since = at % 0.3
    tone = sum(np.sin(2 * np.pi * k * notes[(at / 0.3).astype(int) % len(notes)] * since) / k for k in (1, 2, 3))
    swell = 0.4 + 0.6 * np.sin(np.pi * at / seconds)
    return (0.25 * tone * np.exp(-since / 0.15) * np.minimum(1, since / 0.005) * swell).astype(np.float32)


def make_responder(configuration: Configuration) -> Artist:
    return Artist()


if __name__ == "__main__":
    server.make_responder = make_responder
    sys.exit(server.main())
