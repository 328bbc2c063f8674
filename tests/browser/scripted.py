"""The real server with a scripted model: `python -m tests.browser.scripted --port 0`. For tests of the page alone."""

from __future__ import annotations

import os
import re
import signal
import sys

import numpy as np

import server
from configuration import Configuration
from streaming.types import (
    SPEECH_RATE,
    Finished,
    FirstSpeechToken,
    Output,
    Request,
    SpeechDelta,
    TextDelta,
    TranscriptDelta,
    TranscriptDone,
    Usage,
)

HEARD = "hello who are you"
REPLY = "I am a script, and I hum for a while."
REPLY_S = 2.0


class Script:
    """Hears the same words in all speech, and answers them with a hum. Typed words may be orders."""

    voices = ("ada", "ben", "cleo", "dan")

    def __init__(self) -> None:
        self._running: dict[str, list[Output]] = {}

    def submit(self, request: Request) -> None:
        one, asked = request.response_id, request.turns[-1]
        if "crash" in asked.text:
            os.kill(os.getpid(), signal.SIGKILL)
        outputs: list[Output] = self.looks(request)
        if asked.speech is not None:
            outputs += [TranscriptDelta(one, word) for word in _words(HEARD)]
            outputs.append(TranscriptDone(one, HEARD, (1,)))
        text = self.answer(request)
        if not (request.transcript_only or request.prepare_only):
            outputs += [TextDelta(one, word) for word in _words(text)]
            outputs += self.begins(request)
            outputs.append(FirstSpeechToken(one))
            seconds = 30.0 if "long" in asked.text else REPLY_S
            outputs += [SpeechDelta(one, piece) for piece in np.array_split(_hum(seconds), int(4 * seconds))]
        self._running[one] = [*outputs, Finished(one, "completed", text, (1,), (2,), Usage())]

    def answer(self, request: Request) -> str:
        return REPLY

    def looks(self, request: Request) -> list[Output]:
        """What is made of pictures and music, which this one does not take."""
        return []

    def begins(self, request: Request) -> list[Output]:
        """The attachments that are begun, of which this one makes none."""
        return []

    def cancel(self, response_id: str) -> None:
        if response_id in self._running:
            self._running[response_id] = [Finished(response_id, "cancelled", "", (), ())]

    def close_session(self, session_id: str) -> None: ...

    @property
    def idle(self) -> bool:
        return not self._running

    def step(self) -> list[Output]:
        ready = [outputs.pop(0) for outputs in self._running.values()]
        self._running = {one: outputs for one, outputs in self._running.items() if outputs}
        return ready


def _words(text: str) -> list[str]:
    """The words, with the spaces between them: joined, they are the text."""
    return re.findall(r"\s*\S+", text)


def _hum(seconds: float) -> np.ndarray:
    time = np.arange(int(seconds * SPEECH_RATE)) / SPEECH_RATE
    return (0.2 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)


def make_responder(configuration: Configuration) -> Script:
    return Script()


if __name__ == "__main__":
    server.make_responder = make_responder
    sys.exit(server.main())
