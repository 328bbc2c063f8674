"""Tiny stand-ins with real behaviour: loudness as the probability of speech, a worker that plays a script."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Callable, Iterable

import numpy as np
from PIL import Image

from streaming.pcm import PCM16, AudioFormat, Encoder
from streaming.pictures import data_uri
from streaming.types import (
    SPEECH_RATE,
    Abilities,
    AttachmentFailed,
    AttachmentOutput,
    AttachmentProgress,
    AttachmentStarted,
    Failed,
    Finished,
    MusicDelta,
    MusicDone,
    Output,
    PictureDone,
    Request,
    SpeechDelta,
    TextDelta,
    TranscriptDelta,
    TranscriptDone,
    Usage,
)
from streaming.vad import WINDOW


class Loudness:
    """Whoever is loud speaks."""

    def __call__(self, window: np.ndarray) -> float:
        assert window.shape == (WINDOW,)
        return float(min(1.0, 4 * np.abs(window).max()))

    def reset(self) -> None: ...


def tone(seconds: float) -> np.ndarray:
    """[samples] float32 at SPEECH_RATE, loud enough to be speech."""
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * SPEECH_RATE)) / SPEECH_RATE)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * SPEECH_RATE), np.float32)


def utterance(seconds: float = 0.6) -> np.ndarray:
    """Silence, sound, and enough silence to end a turn."""
    return np.concatenate([silence(0.5), tone(seconds), silence(0.7)])


def on_the_wire(pcm: np.ndarray, audio_format: AudioFormat = PCM16) -> bytes:
    encoder = Encoder(audio_format)
    return encoder.encode(pcm) + encoder.finish()


def append(data: bytes) -> dict[str, str]:
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(data).decode()}


def answer(request: Request, heard: str = "hello there", reply: str = "Hi! I am fine.") -> list[Output]:
    """The outputs of a well-behaved responder: transcript, words, then sound in two pieces."""
    one = request.response_id
    outputs: list[Output] = []
    if request.turns[-1].speech is not None:
        words = heard.split(" ")
        outputs += [TranscriptDelta(one, word if n == 0 else " " + word) for n, word in enumerate(words)]
        outputs += [TranscriptDone(one, heard, (1, 2, 3))]
    if request.transcript_only:
        return [*outputs, Finished(one, "completed", "", (1, 2, 3), ())]
    outputs += [TextDelta(one, word if n == 0 else " " + word) for n, word in enumerate(reply.split(" "))]
    if request.speak:
        outputs += [SpeechDelta(one, tone(0.25)), SpeechDelta(one, tone(0.25))]
    return [*outputs, Finished(one, "completed", reply, (1, 2, 3), (7, 8, 9), Usage(1, 2, 3, 4, 5))]


SEES_AND_DRAWS = Abilities(takes=frozenset({"image", "music"}), makes=frozenset({"image", "music"}))


def scene(seed: int = 0, side: int = 96) -> np.ndarray:
    """[side, side, 3] uint8: a picture with colours, edges and shapes, another one for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return coarse.repeat(side // 8, axis=0).repeat(side // 8, axis=1)


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def picture_part(pixels: np.ndarray) -> dict[str, str]:
    return {"type": "input_image", "image_url": data_uri("image/jpeg", jpeg(pixels))}


def drawing(request: Request, steps: int = 4) -> Iterable[Output]:
    """A well-behaved responder draws: the picture begins while it speaks, and is done after it has spoken."""
    one, work = request.response_id, "work_1"
    *before, end = answer(request, reply="Here you are.")
    yield before[0]
    yield AttachmentStarted(one, work, "image", "a red apple")
    for output in before[1:]:
        yield output
        yield AttachmentProgress(one, work, 0.1, scene())
    yield end
    for step in range(steps):
        yield AttachmentProgress(one, work, (step + 1) / steps, scene(step))
    yield PictureDone(one, work, scene(7, 128), (50, 51))


def playing(request: Request) -> Iterable[Output]:
    """A well-behaved responder makes music of half a second."""
    one, work = request.response_id, "work_2"
    *before, end = answer(request, reply="Listen.")
    pcm = np.sin(np.arange(16_000) / 20).astype(np.float32)
    yield from [*before, AttachmentStarted(one, work, "music", "happy piano"), end]
    if request.stream_music:
        yield from (MusicDelta(one, work, pcm[at : at + 4000], 32_000) for at in range(0, len(pcm), 4000))
    yield MusicDone(one, work, pcm, 32_000, (60, 61))


class FakeWorker:
    """A worker face that answers each request by `script`, one output per turn of the event loop.

    `hold` keeps answers back behind their first outputs: None lets them run, n stops them after n until cancelled.
    """

    def __init__(self, script: Callable[[Request], Iterable[Output]] = answer, hold: int | None = None) -> None:
        self.voices: tuple[str, ...] = ("ada", "ben")
        self.abilities = Abilities()
        self.alive = True
        self.restarts = 0
        self.script = script
        self.hold = hold
        self.requests: list[Request] = []
        self.forgotten: list[str] = []
        self.cancelled_attachments: set[str] = set()
        self._cancelled: dict[str, asyncio.Event] = {}

    async def respond(self, request: Request) -> AsyncIterator[Output]:
        self.requests.append(request)
        one, answered, making = request.response_id, False, set[str]()
        cancelled = self._cancelled.setdefault(one, asyncio.Event())
        for count, output in enumerate(self.script(request)):
            if isinstance(output, AttachmentOutput):
                if output.attachment_id in self.cancelled_attachments:
                    if output.attachment_id not in making:
                        continue
                    output = AttachmentFailed(one, output.attachment_id, "cancelled", "as you wish")
                (making.add if isinstance(output, AttachmentStarted) else lambda _: None)(output.attachment_id)
                if isinstance(output, PictureDone | MusicDone | AttachmentFailed):
                    making.discard(output.attachment_id)
                yield output
            elif not answered:
                if self.hold is not None and count >= self.hold:
                    await cancelled.wait()
                if cancelled.is_set():
                    output = Finished(one, "cancelled", "", (), ())
                answered = isinstance(output, Finished | Failed)
                yield output
            if answered and not making:
                return
            await asyncio.sleep(0)

    def cancel(self, response_id: str) -> None:
        self._cancelled.setdefault(response_id, asyncio.Event()).set()

    def cancel_attachment(self, attachment_id: str) -> None:
        self.cancelled_attachments.add(attachment_id)

    def close_session(self, session_id: str) -> None:
        self.forgotten.append(session_id)
