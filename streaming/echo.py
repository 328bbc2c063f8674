"""The reply's own echo in the microphone, by its loudness: what a peer without echo cancellation sends back.

An echo rises and falls with what the loudspeaker plays, always as much later and weaker. The path, a delay and a gain,
is learned where the microphone has followed the loudspeaker for a second, and tells from then on how loud an echo can
be: a window that is no louder is nobody's speech. Who speaks into an echo is louder than that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streaming.loudspeaker import STEP, STEP_MS, Loudspeaker
from streaming.vad import WINDOW, SpeechProbability

_WINDOWS = 30
"""Of the second in which the path is learned."""

_STEPS = WINDOW // STEP
_LAGS = 600 // STEP_MS
_FLOOR = 1e-6  # mean square, -60 dBFS: below that all is silence
_ACTIVE_SHARE = 0.6  # of the second, in which the loudspeaker must have played, or
_BURSTS, _BURSTS_SHARE = 2, 0.25  # so often, after pauses: no speaker falls in with both by chance
_ALIKE = 0.9  # correlation of the logarithms
_MARGIN = 4.0  # 6 dB: a room's echo is no exact copy
_SMALL = 1e-12
_FLAT = 0.3  # a microphone that hears always the same follows nobody
_REVERBERATION = 128 // STEP_MS
_FORGETTING = 0.97  # of the gain, with each window that is far weaker than an echo would be
_WINDOW_OF_LAG = np.arange(_LAGS, 0, -1)[:, None] + _STEPS * np.arange(_WINDOWS)[None]


@dataclass(frozen=True, slots=True)
class Path:
    """From the loudspeaker to the microphone."""

    lag: int  # in steps
    gain: float  # of the mean square


class EchoGuard:
    """A SpeechProbability that hears no speech in an echo. `time_ms` tells when the window it is asked about ended."""

    def __init__(self, probability: SpeechProbability, loudspeaker: Loudspeaker, time_ms: Callable[[], float]) -> None:
        self.path: Path | None = None
        self._probability = probability
        self._loudspeaker = loudspeaker
        self._time_ms = time_ms
        self._powers: deque[float] = deque([0.0] * _WINDOWS, maxlen=_WINDOWS)

    def __call__(self, window: np.ndarray) -> float:
        probability, power = self._probability(window), float(np.square(window).mean())
        self._powers.append(power)
        played = self._loudspeaker.heard(self._time_ms(), _STEPS * _WINDOWS + _LAGS)
        if not played.any():
            return probability
        if power > _FLOOR and (self.path is None or power > _MARGIN * self._loudest_echo(played)):
            self.path = learned(np.array(self._powers), played) or self.path
        if self.path is None:
            return probability
        echo = self._loudest_echo(played)
        if echo > _FLOOR and power < echo / 8:
            self.path = Path(self.path.lag, self.path.gain * _FORGETTING)
        return 0.0 if power <= _MARGIN * echo else probability

    def reset(self) -> None:
        self._probability.reset()

    def _loudest_echo(self, played: np.ndarray) -> float:
        """The mean square that an echo has now at most."""
        assert self.path is not None
        end = len(played) - self.path.lag
        recent = played[max(0, end - _STEPS - _REVERBERATION) : min(len(played), end + _STEPS)]
        return self.path.gain * float(_levels(recent).max())


def learned(powers: np.ndarray, played: np.ndarray) -> Path | None:
    """The path that makes [_WINDOWS] mean squares of the microphone of [_STEPS * _WINDOWS + _LAGS] of the loudspeaker;
    None if they have nothing to do with each other. The newest are last."""
    heard = np.log(powers + _FLOOR)
    if heard.std() < _FLAT:
        return None
    sent = _levels(played)[_WINDOW_OF_LAG]  # [_LAGS, _WINDOWS]
    active = sent > _FLOOR
    bursts = np.count_nonzero(active[:, 1:] & ~active[:, :-1], axis=1) + active[:, 0]
    enough = active.mean(axis=1) >= np.where(bursts >= _BURSTS, _BURSTS_SHARE, _ACTIVE_SHARE)
    alike = np.where(enough, _correlations(heard, np.log(sent + _FLOOR)), 0.0)
    lag = int(alike.argmax())
    if alike[lag] < _ALIKE:
        return None
    loud = sent[lag] > np.median(sent[lag][active[lag]])
    ratios = np.log(powers[loud] + _SMALL) - np.log(sent[lag][loud])
    return Path(lag, float(np.exp(np.median(ratios))))


def _levels(played: np.ndarray) -> np.ndarray:
    """The mean squares of all pieces of a window's length."""
    return np.convolve(played, np.full(_STEPS, 1 / _STEPS), "valid")


def _correlations(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[n] of one, [w], with each row of others, [n, w]."""
    one, others = one - one.mean(), others - others.mean(axis=1, keepdims=True)
    return others @ one / (np.sqrt(np.square(others).sum(axis=1) * np.square(one).sum()) + _SMALL)
