"""What crosses the border between the conversation (asyncio) and the model (its own process).

A request carries the whole dialogue. The responder keeps the KV cache of a session and recomputes only what differs
from the tokens it already holds, so a lost worker costs time and never the conversation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

SPEECH_RATE = 16_000
"""Samples per second of all speech that enters or leaves a responder: mono float32 in -1..1."""


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """One turn of the dialogue. `tokens`, once known, is what the model saw or said of it and wins over the rest."""

    role: Literal["user", "assistant"]
    text: str = ""
    speech: np.ndarray | None = None  # [samples] float32 at SPEECH_RATE: what the user said, not yet tokenized
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """Ask for the answer to the last turn, which is the user's."""

    session_id: str
    response_id: str
    turns: tuple[Turn, ...]
    instructions: str = ""  # "": the model's own system line
    speak: bool = True  # False: text only
    voice: str = ""  # "": the model's first voice
    max_output_tokens: int | None = None
    transcript_only: bool = False  # stop when the user's words are known


@dataclass(frozen=True, slots=True)
class TranscriptDelta:
    """More of what the user said. Joined deltas are the transcript."""

    response_id: str
    text: str


@dataclass(frozen=True, slots=True)
class TranscriptDone:
    """All of what the user said, with the user's turn as the model saw it."""

    response_id: str
    text: str
    user_tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the reply's text. Joined deltas are the reply."""

    response_id: str
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class SpeechDelta:
    """More of the reply's sound, to be played right after what came before."""

    response_id: str
    pcm: np.ndarray  # [samples] float32 at SPEECH_RATE


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one response."""

    text_in: int = 0
    audio_in: int = 0
    cached: int = 0
    text_out: int = 0
    audio_out: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The last output of a response that was not cut short by a fault."""

    response_id: str
    reason: Literal["completed", "cancelled", "max_output_tokens"]
    text: str
    user_tokens: tuple[int, ...]
    assistant_tokens: tuple[int, ...]
    usage: Usage = Usage()
    milestones_ms: dict[str, float] = field(default_factory=dict)  # since submit: speech_tokens, prefill, ...


@dataclass(frozen=True, slots=True)
class Failed:
    """The last output of a response that a fault ended."""

    response_id: str
    code: str
    message: str


Output = TranscriptDelta | TranscriptDone | TextDelta | SpeechDelta | Finished | Failed


class Responder(Protocol):
    """Turns requests into streams of outputs. Synchronous; lives in the worker process.

    Every submitted response ends in exactly one Finished or Failed.
    """

    voices: tuple[str, ...]

    def submit(self, request: Request) -> None: ...

    def cancel(self, response_id: str) -> None: ...

    def close_session(self, session_id: str) -> None: ...

    def step(self) -> list[Output]:
        """Do one bounded piece of work (some milliseconds) for all sessions together."""
        ...

    @property
    def idle(self) -> bool: ...
