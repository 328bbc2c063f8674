"""The microphone's sound that is not yet part of the conversation, by its position since the session began."""

from __future__ import annotations

import numpy as np

from streaming.pcm import ms_to_samples
from streaming.vad import WINDOW, SpeechProbability, VadEvent, VadSettings, VadState, step, suspect


class InputBuffer:
    """Owns the samples [start, end) of the stream. `append` what arrives; with voice activity detection call
    `next_event` until it has nothing more to say; `take` what shall become an item.

    The buffer itself is unbounded: whoever appends looks at `samples` first. `scout` listens half a window ahead while
    speech is to be suspected, so that it is not 32 ms until somebody looks.
    """

    def __init__(self, probability: SpeechProbability, scout: SpeechProbability | None = None) -> None:
        self.start = 0
        self.state = VadState()  # its position is how far the detector has listened
        self._probability = probability
        self._scout = scout
        self._scouted = 0  # how far
        self._data = np.empty(0, np.float32)
        self._offset = 0  # of sample `start` in _data
        self._length = 0

    @property
    def samples(self) -> int:
        """How many samples the buffer holds."""
        return self._length

    @property
    def end(self) -> int:
        """How many samples the stream has brought until now."""
        return self.start + self._length

    @property
    def waiting(self) -> int:
        """Samples that the detector has yet to listen to, in whole windows."""
        waiting = self.end - self.state.position
        return waiting - waiting % WINDOW

    def append(self, pcm: np.ndarray) -> None:
        """pcm: [samples] float32 at SPEECH_RATE."""
        used = self._offset + self._length
        if used + len(pcm) > len(self._data):
            grown = np.empty(max(2 * (self._length + len(pcm)), ms_to_samples(1000)), np.float32)
            grown[: self._length] = self._data[self._offset : used]
            self._data, self._offset = grown, 0
            used = self._length
        self._data[used : used + len(pcm)] = pcm
        self._length += len(pcm)

    def next_event(self, settings: VadSettings, padding_ms: int, max_windows: int) -> VadEvent | None:
        """Listen to at most `max_windows` windows. Silence is forgotten but for the padding before speech."""
        for _ in range(max_windows):
            event = self._look_ahead(settings)
            if event is not None:
                return event
            if not self.waiting:
                break
            window = self._view(self.state.position, self.state.position + WINDOW)
            self.state, event = step(self.state, self._probability(window), settings)
            if event is not None:
                return event
        since = self.state.position if self.state.speech_from is None else self.state.speech_from
        self.drop_before(since - ms_to_samples(padding_ms))
        return None

    def _look_ahead(self, settings: VadSettings) -> VadEvent | None:
        until = self.state.position + WINDOW // 2
        known = self.start <= until - WINDOW and until <= self.end
        if self._scout is None or not settings.suspects or not known or until == self._scouted:
            return None
        if self._scouted != until - WINDOW:
            self._scout.reset()
        self._scouted = until
        self.state, event = suspect(self.state, self._scout(self._view(until - WINDOW, until)), settings)
        return event

    def take(self, start: int, end: int) -> np.ndarray:
        """Remove and return [end - start] float32. What lies before `start` goes too; what lies behind `end` stays."""
        pcm = self.copy(start, end)
        self.drop_before(end)
        return pcm

    def copy(self, start: int, end: int) -> np.ndarray:
        """[samples] float32: what the buffer holds of start..end, which stays."""
        return self._view(max(start, self.start), min(end, self.end)).copy()

    def drop_before(self, position: int) -> None:
        gone = min(max(position - self.start, 0), self._length)
        self.start += gone
        self._offset += gone
        self._length -= gone

    def listen_afresh(self) -> None:
        """Forget speech that has begun, and listen from the newest sample on."""
        self.state = VadState(self.end)
        self._probability.reset()

    def _view(self, start: int, end: int) -> np.ndarray:
        at = self._offset + start - self.start
        return self._data[at : at + max(end - start, 0)]
