"""Tiny stand-ins with real behaviour: loudness as the probability of speech, a worker that plays a script."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterable

import numpy as np

from streaming.pcm import PCM16, AudioFormat, Encoder
from streaming.types import (
    SPEECH_RATE,
    Abilities,
    Failed,
    Finished,
    Output,
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


class FakeWorker:
    """A worker face that answers each request by `script`, one output per turn of the event loop.

    `hold` keeps answers back behind their first outputs: None lets them run, n stops them after n until cancelled.
    """

    def __init__(self, script: Callable[[Request], Iterable[Output]] = answer, hold: int | None = None) -> None:
        self.voices: tuple[str, ...] = ("ada", "ben")
        self.abilities = Abilities()
        self.alive = True
        self.script = script
        self.hold = hold
        self.requests: list[Request] = []
        self.forgotten: list[str] = []
        self._cancelled: dict[str, asyncio.Event] = {}

    async def respond(self, request: Request) -> AsyncIterator[Output]:
        self.requests.append(request)
        cancelled = self._cancelled.setdefault(request.response_id, asyncio.Event())
        for count, output in enumerate(self.script(request)):
            if self.hold is not None and count >= self.hold:
                await cancelled.wait()
            if cancelled.is_set():
                yield Finished(request.response_id, "cancelled", "", (), ())
                return
            yield output
            if isinstance(output, Finished | Failed):
                return
            await asyncio.sleep(0)

    def cancel(self, response_id: str) -> None:
        self._cancelled.setdefault(response_id, asyncio.Event()).set()

    def close_session(self, session_id: str) -> None:
        self.forgotten.append(session_id)
