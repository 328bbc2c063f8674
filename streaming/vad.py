"""Voice activity: probabilities of speech in, beginnings, pauses and ends of speech out, counted in samples.

The rule is silero's: speech begins where the probability reaches the threshold and stays up for a moment, and is over
when it has been below a lower one (0.15 less) for the silence asked for, which may change from window to window.
Where a reply can be heard, the first window already raises a suspicion, and it takes more speech to be sure.
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
    min_speech_ms: int = 64  # shorter than that is a click
    max_speech_ms: int = 60_000  # speech is cut here even if nobody falls silent
    min_pause_ms: int = 0  # so long a silence ends what was too short to be speech
    suspects: bool = False  # tell of the first window, too, and when nothing came of it
    insistence_ms: int = 0  # speech that follows so soon on what was too short counts together with it


@dataclass(frozen=True, slots=True)
class Interruption:
    """What takes the floor from a reply that can be heard, as the detector hears it.

    To silero a listener's "yeah", "okay" and "uh-huh" last 0.4 to 0.7 s, and a cough less; a sentence lasts longer. So
    does "stop", when nobody listens to it: who insists within a second gets the floor. Where the sound can be paused at
    the first suspicion, waiting until it is sure costs nobody anything.
    """

    speech_ms: int = 608
    unpaused_speech_ms: int = 256  # where the sound goes on while we wait, at a client that cannot pause it
    quiet_ms: int = 256  # then what was less than speech is over
    insistence_ms: int = 1000
    guards_echo: bool = False  # the peer has no echo cancellation: what is no louder than the reply's echo is no speech

    def settings(self, base: VadSettings, pauses: bool) -> VadSettings:
        """The detector's settings while a reply can be heard."""
        speech_ms = self.speech_ms if pauses else self.unpaused_speech_ms
        least = max(speech_ms, base.min_speech_ms)
        return replace(
            base,
            min_speech_ms=least,
            min_pause_ms=self.quiet_ms,
            suspects=True,
            insistence_ms=self.insistence_ms,
        )


@dataclass(frozen=True, slots=True)
class VadState:
    """Where the stream stands. All positions are samples since the stream began."""

    position: int = 0
    speaking: bool = False
    speech_from: int | None = None  # where speech began, or may be beginning
    silence_from: int | None = None  # where the pause in it began, if there is one
    paused: bool = False  # the pause has been told of
    voiced: int = 0  # how much of what may be speech, or lately may have been, was not a pause
    suspected: bool = False  # and whether that has been told


@dataclass(frozen=True, slots=True)
class SpeechSuspected:
    sample: int


@dataclass(frozen=True, slots=True)
class SpeechDismissed:
    """What was suspected came to nothing."""

    sample: int  # where it ended


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


VadEvent = SpeechSuspected | SpeechDismissed | SpeechBegan | SpeechPaused | SpeechResumed | SpeechEnded


def step(state: VadState, probability: float, settings: VadSettings) -> tuple[VadState, VadEvent | None]:
    """Take in the probability of the next window."""
    start = state.position
    state = replace(state, position=start + WINDOW)
    loud = probability >= settings.threshold
    quiet = probability < max(settings.threshold - _HYSTERESIS, 0.01)
    if state.speaking:
        return _step_speaking(state, start, loud, quiet, settings)
    if state.speech_from is None and not _recent(state, start, settings):
        state = VadState(state.position)
    if state.speech_from is None and not loud:
        return state, None
    return _step_unsure(state, start, loud, quiet, settings)


def suspect(state: VadState, probability: float, settings: VadSettings) -> tuple[VadState, VadEvent | None]:
    """Take in the probability of a window that ends half a window before the next: it can raise a suspicion sooner."""
    if state.speaking or state.suspected or probability < settings.threshold:
        return state, None
    if state.speech_from is None and not _recent(state, state.position, settings):
        state = VadState(state.position)
    speech_from = state.position if state.speech_from is None else state.speech_from
    return replace(state, speech_from=speech_from, silence_from=None, suspected=True), SpeechSuspected(speech_from)


def _recent(state: VadState, start: int, settings: VadSettings) -> bool:
    """Whether what was too short to be speech counts still."""
    return state.silence_from is not None and start - state.silence_from < ms_to_samples(settings.insistence_ms)


def _step_unsure(
    state: VadState, start: int, loud: bool, quiet: bool, settings: VadSettings
) -> tuple[VadState, VadEvent | None]:
    speech_from = start if state.speech_from is None else state.speech_from
    if quiet or (state.silence_from is not None and not loud):
        silence_from = start if state.silence_from is None else state.silence_from
        if state.position - silence_from < ms_to_samples(settings.min_pause_ms):
            return replace(state, silence_from=silence_from), None
        dismissed = VadState(state.position, silence_from=silence_from, voiced=state.voiced)
        return dismissed, SpeechDismissed(silence_from) if state.suspected else None
    state = replace(state, speech_from=speech_from, silence_from=None, voiced=state.voiced + WINDOW)
    if state.voiced >= ms_to_samples(settings.min_speech_ms):
        return replace(state, speaking=True, suspected=False), SpeechBegan(speech_from)
    if settings.suspects and not state.suspected:
        return replace(state, suspected=True), SpeechSuspected(speech_from)
    return state, None


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
