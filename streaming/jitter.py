"""The jitter buffer: RTP packets come as the network brings them, sound leaves as one unbroken row.

Nobody plays this sound: it is listened to by a model, which takes it whenever it is there. So a packet in its place is
passed on at once, and there is no delay to add to a network that behaves. Only a packet that others have overtaken is
waited for, as long as the network's measured jitter makes it likely to come; then its place is filled, from the
forward error correction in the packet behind it (RFC 6716, section 2.1.7) or by the decoder's concealment, and if it
comes after all it is dropped. Where nothing comes at all, time goes on: a sender that sends no silence (DTX) has its
silence filled as it passes, and a network that stalls is given a little longer before sound is made up. What then
comes is heard all the same, for real sound late is worth more than a pause of the right length; and what never comes
has already had its share of time filled.

Pure: arrival times are passed in, in seconds of any one clock. Positions count ticks of the RTP clock.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

PATIENCE_S = 0.2
"""So long a network may deliver nothing before the sound that is missing is replaced."""

LONGEST_FILL_S = 10.0
"""Longer than any silence that ends a turn. A microphone that is quiet for longer has been switched off."""

LONGEST_JUMP_S = 1.0
"""Timestamps that leap further ahead than that of all that came are those of a new beginning."""

_WINDOW_S = 5.0
_SHRINK = 0.01  # seconds of delay given back in a second
_LONGEST_DTX_PAYLOAD = 2  # bytes; RFC 7587, section 3.1.3: such a packet announces that none will follow for a while


@dataclass(frozen=True, slots=True)
class Packet:
    """What matters of an RTP packet with sound."""

    ssrc: int
    sequence: int  # 16 bits
    timestamp: int  # 32 bits
    payload: bytes
    ticks: int  # how long its sound is; positive


@dataclass(frozen=True, slots=True)
class Decode:
    """The next piece of sound is in this payload."""

    payload: bytes
    ticks: int


@dataclass(frozen=True, slots=True)
class Recover:
    """The next piece of sound was lost. What this payload, which comes next, says of the sound before it will do."""

    payload: bytes
    ticks: int


@dataclass(frozen=True, slots=True)
class Conceal:
    """The next piece of sound is not there: something plausible is to be made up."""

    ticks: int


Step = Decode | Recover | Conceal


@dataclass(slots=True)
class Counts:
    """What became of the packets, and of time."""

    received: int = 0
    decoded: int = 0
    late: int = 0  # dropped, for what came behind them had already been passed on
    duplicate: int = 0
    overflowed: int = 0  # dropped, for nobody took the sound
    restarts: int = 0
    recovered_ticks: int = 0
    concealed_ticks: int = 0


@dataclass(frozen=True, slots=True)
class _Placed:
    sequence: int  # unwrapped
    payload: bytes
    ticks: int


class JitterBuffer:
    """Owns the packets that wait for others. `push` what arrives, then `take`; and `take` again when it is `due`.

    The delay follows the jitter between the two bounds: it grows with the packet that shows the need, and shrinks
    slowly once the network has been better for a while. `most_waiting` packets are kept if nobody takes them, the
    newest.
    """

    def __init__(
        self, rate: int, least_delay_s: float = 0.01, most_delay_s: float = 0.08, most_waiting: int = 100
    ) -> None:
        self.counts = Counts()
        self.delay_s = least_delay_s
        self._rate = rate
        self._bounds = (least_delay_s, most_delay_s)
        self._most_waiting = most_waiting
        self._ssrc: int | None = None
        self._steps: list[Step] = []  # of the stream before, when a new one has begun
        self._waiting: dict[int, _Placed] = {}  # by position
        self._transits: deque[tuple[float, float]] = deque()  # (arrival, arrival less timestamp), the latest _WINDOW_S
        self._base = 0.0  # the least transit
        self._head = 0  # position of the next piece of sound
        self._filled = 0  # ticks that were made up since the newest packet, while nothing came
        self._arrived = 0.0  # when the newest packet came
        self._ticks = 0  # how long the piece before it was
        self._sequence = 0  # of the newest packet that was passed on
        self._quiet = False  # that packet announced silence
        self._newest_sequence = 0
        self._newest_position = 0
        self._newest_end = 0

    @property
    def due(self) -> float:
        """When `take` will have something although nothing arrives; infinity: never."""
        return -math.inf if self._steps else self._deadline()

    def push(self, packet: Packet, at: float) -> None:
        """A packet arrived at this time. Any packet is welcome, in any order and any number of times."""
        self.counts.received += 1
        sequence = self._newest_sequence + _signed(packet.sequence - self._newest_sequence, 16)
        position = self._newest_position + _signed(packet.timestamp - self._newest_position, 32)
        if packet.ssrc != self._ssrc or self._has_leapt(sequence, position):
            self._begin(packet)
            sequence, position = packet.sequence, packet.timestamp
        self._measure(position, at)
        if sequence > self._newest_sequence:
            self._newest_sequence, self._newest_position = sequence, position
            self._newest_end = position + packet.ticks
        if position < self._head:
            self.counts.late += 1
        elif position in self._waiting:
            self.counts.duplicate += 1
        else:
            self._head += min(self._filled, position - self._head)
            self._filled, self._arrived = 0, at
            self._waiting[position] = _Placed(sequence, packet.payload, packet.ticks)
            self._make_room()

    def take(self, at: float) -> list[Step]:
        """All the sound that is certain at this time, in order, without a hole."""
        steps, self._steps = self._steps, []
        while at >= self._deadline():
            steps.append(self._next())
        return steps

    def _deadline(self) -> float:
        """When the next piece of sound has to do without its packet, if that is not there."""
        if self._waiting:
            first = min(self._waiting)
            if first == self._head or self._waiting[first].sequence == self._sequence + 1:
                return -math.inf  # in its place, or behind a pause in which nothing was sent
            expected = self._base + self._head / self._rate  # of a packet as quick as the quickest
            return expected + self.delay_s
        if self._ssrc is None or self._filled >= LONGEST_FILL_S * self._rate:
            return math.inf
        next_at = self._arrived + (self._ticks + self._filled) / self._rate
        return next_at + (self.delay_s if self._quiet else PATIENCE_S)

    def _next(self) -> Step:
        if not self._waiting:
            self._filled += self._ticks
            self.counts.concealed_ticks += self._ticks
            return Conceal(self._ticks)
        first = min(self._waiting)
        step: Step
        if first == self._head:
            placed = self._waiting.pop(first)
            step = Decode(placed.payload, placed.ticks)
            self._sequence, self._quiet = placed.sequence, len(placed.payload) <= _LONGEST_DTX_PAYLOAD
            self._ticks = placed.ticks
        else:
            placed, gap = self._waiting[first], first - self._head
            lost = placed.sequence != self._sequence + 1
            step = Recover(placed.payload, gap) if lost and gap <= placed.ticks else Conceal(min(gap, self._ticks))
        self._count(step)
        self._head += step.ticks
        for position in [position for position in self._waiting if position < self._head]:
            del self._waiting[position]  # it overlaps with what was passed on
            self.counts.late += 1
        return step

    def _count(self, step: Step) -> None:
        match step:
            case Decode():
                self.counts.decoded += 1
            case Recover():
                self.counts.recovered_ticks += step.ticks
            case Conceal():
                self.counts.concealed_ticks += step.ticks

    def _has_leapt(self, sequence: int, position: int) -> bool:
        """Whether timestamps and sequence numbers go different ways, or the former far ahead."""
        ahead = position - self._newest_position
        if (ahead > 0) != (sequence > self._newest_sequence) or (ahead == 0) != (sequence == self._newest_sequence):
            return True
        return position - max(self._head, self._newest_end) > LONGEST_JUMP_S * self._rate

    def _begin(self, packet: Packet) -> None:
        """A new stream, right behind what there is of the one before."""
        while self._waiting:
            self._steps.append(self._next())
        del self._steps[: -self._most_waiting]
        self.counts.restarts += self._ssrc is not None
        self._ssrc = packet.ssrc
        self._transits.clear()
        self._head = packet.timestamp
        self._ticks = packet.ticks
        self._filled = 0
        self._sequence, self._quiet = packet.sequence - 1, False
        self._newest_sequence, self._newest_position = packet.sequence, packet.timestamp
        self._newest_end = packet.timestamp + packet.ticks

    def _measure(self, position: int, at: float) -> None:
        least, most = self._bounds
        passed = at - self._transits[-1][0] if self._transits else 0.0
        self._transits.append((at, at - position / self._rate))
        while self._transits[0][0] < at - _WINDOW_S:
            self._transits.popleft()
        transits = [transit for _, transit in self._transits]
        self._base = min(transits)
        self.delay_s = min(most, max(least, max(transits) - self._base, self.delay_s - _SHRINK * passed))

    def _make_room(self) -> None:
        if len(self._waiting) > self._most_waiting:
            del self._waiting[min(self._waiting)]
            self._head = min(self._waiting)
            self._sequence = self._waiting[self._head].sequence - 1
            self.counts.overflowed += 1


def _signed(difference: int, bits: int) -> int:
    """The difference of two numbers that count modulo 2 ** bits, as the smaller of the two ways round."""
    half = 1 << bits - 1
    return (difference + half) % (2 * half) - half
