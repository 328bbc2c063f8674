"""Voice activity: probabilities of speech in, beginnings, pauses and ends of speech out, counted in samples.

The rule is silero's: speech begins where the probability reaches the threshold and stays up for a moment, and is over
when it has been below a lower one (0.15 less) for the silence asked for, which may change from window to window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from streaming.pcm import ms_to_samples

WINDOW = 512
"""Samples at SPEECH_RATE to which one probability belongs: 32 ms."""

_HYSTERESIS = 0.15


class SpeechProbability(Protocol):
    """A model that listens to one stream and remembers what came before. `reset` makes it forget."""

    def __call__(self, window: np.ndarray) -> float:
        """window: [WINDOW] float32. Returns how likely it is that someone speaks, 0..1."""
        ...

    def reset(self) -> None: ...


@dataclass(frozen=True, slots=True)
class VadSettings:
    threshold: float = 0.5
    silence_duration_ms: int = 500
    pause_ms: int = 0  # a shorter silence is told of when it has lasted so long; 0: it is not
    min_speech_ms: int = 64  # a cough is shorter
    max_speech_ms: int = 60_000  # speech is cut here even if nobody falls silent


@dataclass(frozen=True, slots=True)
class VadState:
    """Where the stream stands. All positions are samples since the stream began."""

    position: int = 0
    speaking: bool = False
    speech_from: int | None = None  # where speech began, or may be beginning
    silence_from: int | None = None  # while speaking: where the pause began, if there is one
    paused: bool = False  # the pause has been told of


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    sample: int


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """The silence may turn out to be the end: SpeechResumed or SpeechEnded follows."""

    sample: int  # where the silence began


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    sample: int
    paused_at: int  # where the silence had begun


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    sample: int  # where the silence began that ended it
    sure_at: int  # where the stream stood when that was sure


VadEvent = SpeechBegan | SpeechPaused | SpeechResumed | SpeechEnded


def step(state: VadState, probability: float, settings: VadSettings) -> tuple[VadState, VadEvent | None]:
    """Take in the probability of the next window."""
    start = state.position
    state = replace(state, position=start + WINDOW)
    loud = probability >= settings.threshold
    quiet = probability < max(settings.threshold - _HYSTERESIS, 0.01)
    if state.speaking:
        return _step_speaking(state, start, loud, quiet, settings)
    if quiet or (not loud and state.speech_from is None):
        return replace(state, speech_from=None), None
    speech_from = start if state.speech_from is None else state.speech_from
    sure = state.position - speech_from >= ms_to_samples(settings.min_speech_ms)
    return replace(state, speech_from=speech_from, speaking=sure), SpeechBegan(speech_from) if sure else None


def _step_speaking(
    state: VadState, start: int, loud: bool, quiet: bool, settings: VadSettings
) -> tuple[VadState, VadEvent | None]:
    assert state.speech_from is not None
    if state.position - state.speech_from >= ms_to_samples(settings.max_speech_ms):
        return VadState(state.position), SpeechEnded(state.position, state.position)
    if loud:
        resumed = SpeechResumed(start, state.silence_from) if state.paused and state.silence_from is not None else None
        return replace(state, silence_from=None, paused=False), resumed
    silence_from = start if quiet and state.silence_from is None else state.silence_from
    if silence_from is None:
        return state, None
    silence = state.position - silence_from
    if silence >= ms_to_samples(settings.silence_duration_ms):
        return VadState(state.position), SpeechEnded(silence_from, state.position)
    pauses = not state.paused and 0 < ms_to_samples(settings.pause_ms) <= silence
    state = replace(state, silence_from=silence_from, paused=state.paused or pauses)
    return state, SpeechPaused(silence_from) if pauses else None
