"""What the peer's loudspeaker plays, by our clock: whether a reply can still be heard there, and how loud it is now.

A peer plays a reply from its first sound on without a break, at the latest a network's delay after us.
"""

from __future__ import annotations

import numpy as np

from streaming.types import SPEECH_RATE

STEP = SPEECH_RATE // 125
"""Samples to which one level belongs: 8 ms."""

STEP_MS = 8

_KEPT = 2000 // STEP_MS


class Loudspeaker:
    """Owns the levels of what was sent, past and to come. Call `play` with what is sent, `pause`, `resume`, and `stop`
    when what has not been heard is thrown away."""

    def __init__(self) -> None:
        self._levels = np.zeros(0, np.float32)  # [steps] mean square
        self._end_ms = 0.0  # when the last of them will have been played
        self._rest = np.zeros(0, np.float32)
        self._paused_ms: float | None = None

    def sounds(self, now_ms: float) -> bool:
        """Whether something is being played, or will be after the pause."""
        return self._end_ms > (now_ms if self._paused_ms is None else self._paused_ms)

    def play(self, pcm: np.ndarray, now_ms: float) -> None:
        """pcm: [samples] float32 at SPEECH_RATE, behind what was given before."""
        self._fill_until(now_ms if self._paused_ms is None else self._paused_ms)
        pcm = np.concatenate([self._rest, pcm])
        whole = len(pcm) - len(pcm) % STEP
        self._rest = pcm[whole:]
        self._append(np.square(pcm[:whole]).reshape(-1, STEP).mean(axis=1))

    def pause(self, now_ms: float) -> None:
        if self._paused_ms is None:
            self._paused_ms = now_ms

    def resume(self, now_ms: float) -> None:
        """What had not been heard follows from now on."""
        if self._paused_ms is None:
            return
        since, self._paused_ms = self._paused_ms, None
        steps = int((now_ms - since) / STEP_MS)
        if self._end_ms > since and steps > 0:
            at = len(self._levels) - int((self._end_ms - since) / STEP_MS)
            self._levels = np.insert(self._levels, max(at, 0), np.zeros(steps, np.float32))
            self._end_ms += steps * STEP_MS

    def stop(self, now_ms: float) -> None:
        """Silence from now on, or from when it was paused."""
        stopped_ms = now_ms if self._paused_ms is None else self._paused_ms
        unheard = int(max(0.0, self._end_ms - stopped_ms) / STEP_MS)
        self._levels = self._levels[: max(0, len(self._levels) - unheard)]
        self._end_ms -= unheard * STEP_MS
        self._rest, self._paused_ms = self._rest[:0], None

    def heard(self, until_ms: float, steps: int) -> np.ndarray:
        """[steps] float32: the mean squares of what was played before that time, the newest last."""
        if self._paused_ms is not None and until_ms > self._paused_ms:
            silent = min(steps, int((until_ms - self._paused_ms) / STEP_MS))
            before = self._slice(self._paused_ms, steps - silent)
            return np.concatenate([before, np.zeros(silent, np.float32)])
        return self._slice(until_ms, steps)

    def _slice(self, until_ms: float, steps: int) -> np.ndarray:
        end = len(self._levels) - int((self._end_ms - until_ms) // STEP_MS)
        places = np.arange(end - steps, end)
        known = (places >= 0) & (places < len(self._levels))
        levels = np.zeros(steps, np.float32)
        levels[known] = self._levels[places[known]]
        return levels

    def _fill_until(self, now_ms: float) -> None:
        """With silence, if all has been played; and forget what was long ago."""
        if self._end_ms < now_ms:
            steps = min(int((now_ms - self._end_ms) / STEP_MS), _KEPT)
            self._rest = self._rest[:0]
            self._append(np.zeros(steps, np.float32))
            self._end_ms = now_ms
        past = len(self._levels) - int((self._end_ms - now_ms) / STEP_MS) - _KEPT
        self._levels = self._levels[max(0, past) :]

    def _append(self, levels: np.ndarray) -> None:
        self._levels = np.concatenate([self._levels, levels])
        self._end_ms += len(levels) * STEP_MS
