"""Playing out: speech that arrives in bursts leaves as an unbroken row of 20 ms frames.

Pure: somebody with a clock takes a frame every 20 ms. What is not speech is silence, so that the timestamps of a
stream never jump. Replies are kept apart by their response ids: one that was cleared is stale, and what still arrives
of it is dropped here, however late.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from streaming.types import SPEECH_RATE

FRAME = SPEECH_RATE // 50
"""Samples of one frame, 20 ms: the frame that Opus is mostly used with."""

RTP_RATE = 48_000
"""Ticks per second of an Opus stream's RTP timestamps, whatever its audio's rate (RFC 7587, section 4.1)."""

TICKS = FRAME * RTP_RATE // SPEECH_RATE

_STALE_IDS = 64
_SILENCE = np.zeros(FRAME, np.float32)
_SILENCE.flags.writeable = False
_FADE = SPEECH_RATE // 200
"""Samples of a fade, 5 ms: no click, and soon over."""


@dataclass(frozen=True, slots=True)
class Started:
    """The first sample of a reply is in this frame."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The last sample of a reply is in this frame."""

    response_id: str


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """20 ms of sound."""

    timestamp: int  # at RTP_RATE
    pcm: np.ndarray  # [FRAME] float32 at SPEECH_RATE, not to be written to
    response_id: str | None = None  # None: silence of nobody's
    events: tuple[Started | Stopped, ...] = ()


@dataclass(frozen=True, slots=True)
class Played:
    """How much of a reply's sound had left when it was cut off."""

    response_id: str
    item_id: str
    samples: int  # at SPEECH_RATE


@dataclass(slots=True, eq=False)
class _Reply:
    response_id: str
    item_id: str
    pieces: deque[np.ndarray] = field(default_factory=deque)
    waiting: int = 0  # samples in pieces
    played: int = 0
    late: int = 0  # samples of silence since the last sound: a gap, if more sound comes
    complete: bool = False

    def peek(self, samples: int) -> np.ndarray:
        """[<= samples] float32 of the first piece, which stays."""
        return self.pieces[0][:samples] if self.pieces else _SILENCE[:0]

    def take(self, samples: int) -> np.ndarray:
        """[<= samples] float32, removed from the front."""
        taken = []
        while samples and self.pieces:
            piece = self.pieces.popleft()
            if len(piece) > samples:
                self.pieces.appendleft(piece[samples:])
                piece = piece[:samples]
            samples -= len(piece)
            self.waiting -= len(piece)
            taken.append(piece)
        return np.concatenate(taken) if taken else _SILENCE[:0]


class Playout:
    """Owns the speech that waits to be heard. `put` what arrives, `end` each reply, take `next_frame` every 20 ms.

    Replies play one after the other. `pause` holds them, and `resume` goes on at that very sample. `max_waiting_s`
    bounds what waits; sound beyond it is refused, which only a reply longer than that can meet, since a model's reply
    is bounded by its context.
    """

    def __init__(self, max_waiting_s: float = 180.0) -> None:
        self.timestamp = 0
        self.missing_samples = 0  # silence that had to be played within replies, because their sound came late
        self._replies: deque[_Reply] = deque()
        self._stale: deque[str] = deque(maxlen=_STALE_IDS)
        self._fading = _SILENCE[:0]
        self._paused = False
        self._rising = False  # the next sound follows a pause
        self._max_waiting = int(max_waiting_s * SPEECH_RATE)

    @property
    def waiting(self) -> int:
        """Samples that are still to be heard."""
        return sum(reply.waiting for reply in self._replies)

    def put(self, response_id: str, item_id: str, pcm: np.ndarray) -> bool:
        """More of a reply: [samples] float32 at SPEECH_RATE. False: dropped, for the reply is stale or too long."""
        reply = self._find(response_id)
        if reply is None:
            if response_id in self._stale:
                return False
            reply = _Reply(response_id, item_id)
            self._replies.append(reply)
        if self.waiting + len(pcm) > self._max_waiting:
            return False
        if len(pcm):
            reply.pieces.append(np.asarray(pcm, np.float32))
            reply.waiting += len(pcm)
        return True

    def end(self, response_id: str) -> None:
        """Nothing more comes of this reply. One that never had sound is never heard of."""
        reply = self._find(response_id)
        if reply is not None:
            reply.complete = True
            if not reply.played and not reply.waiting:
                self._replies.remove(reply)

    def pause(self) -> None:
        """Fall silent, and keep what waits. The sound ends in a fade, and what faded plays again."""
        if not self._paused and self._replies and self._replies[0].played:
            self._fading = self._replies[0].peek(_FADE)
        self._paused = True

    def resume(self) -> None:
        self._rising = self._rising or self._paused
        self._paused = False

    def clear(self, response_id: str | None = None) -> list[Played]:
        """Cut off one reply, or all: they become stale. Returns how much of each was heard, the oldest first.

        A reply that had been heard to its end is not among them. The sound ends in a fade, not a click. Cutting off all
        ends a pause.
        """
        cut = [reply for reply in self._replies if response_id in (None, reply.response_id)]
        for reply in cut:
            self._replies.remove(reply)
            if reply.played and not self._paused:
                self._fading = reply.take(_FADE)
        if response_id is None:
            self._paused = self._rising = False
        self._stale.extend([reply.response_id for reply in cut] if response_id is None else [response_id])
        return [Played(reply.response_id, reply.item_id, reply.played) for reply in cut]

    def next_frame(self) -> Frame:
        """The next 20 ms."""
        timestamp = self.timestamp
        self.timestamp += TICKS
        if len(self._fading):
            faded = self._fading * np.linspace(1, 0, len(self._fading), dtype=np.float32)
            self._fading = _SILENCE[:0]
            return Frame(timestamp, _fill(faded))
        if not self._replies or self._paused:
            return Frame(timestamp, _SILENCE)
        reply = self._replies[0]
        if reply.waiting < FRAME and not reply.complete:
            # Late. What there is waits for the rest: a gap in one place is better than two.
            reply.late += FRAME if reply.played else 0
            return Frame(timestamp, _SILENCE, reply.response_id)
        events: list[Started | Stopped] = [] if reply.played else [Started(reply.response_id)]
        pcm = reply.take(FRAME)
        reply.played += len(pcm)
        if self._rising:
            pcm, self._rising = _risen(pcm), False
        if len(pcm):
            self.missing_samples += reply.late
            reply.late = 0
        if reply.complete and not reply.waiting:
            events.append(Stopped(reply.response_id))
            self._replies.popleft()
        return Frame(timestamp, _fill(pcm), reply.response_id, tuple(events))

    def _find(self, response_id: str) -> _Reply | None:
        return next((reply for reply in self._replies if reply.response_id == response_id), None)


def _fill(pcm: np.ndarray) -> np.ndarray:
    return pcm if len(pcm) == FRAME else np.concatenate([pcm, _SILENCE[len(pcm) :]])


def _risen(pcm: np.ndarray) -> np.ndarray:
    """The same, from silence on."""
    rise = np.linspace(0, 1, len(pcm[:_FADE]), dtype=np.float32)
    return np.concatenate([pcm[:_FADE] * rise, pcm[_FADE:]])
