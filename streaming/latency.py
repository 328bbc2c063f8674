"""How quick an answer to speech is: its milestones (streaming/milestones.py) as they are passed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from streaming import events, milestones
from streaming.actions import ReportMilestones
from streaming.fields import ProtocolError
from streaming.outbox import Outbox
from streaming.pcm import samples_to_ms

UNHEARD_RESPONSES = 8
"""Of so many a client may still report when their first sound was heard."""


@dataclass(frozen=True, slots=True)
class SpeechEnd:
    """When the user fell silent, in the stream and on the clock."""

    sample: int
    waited_ms: float  # until it was sure
    sure_at_ms: float


@dataclass(slots=True, eq=False)
class _Answer:
    item_id: str
    speech_end: SpeechEnd
    made: bool = False
    silent: bool = False  # none of the sound that was made of it will leave any more
    milestones_ms: dict[str, float] = field(default_factory=dict)


class Latency:
    """Owns the milestones of the answers to speech. `begin` each answer, tell what it has `passed`, and its `end`.

    They are reported when its first sound has `left`, or will not any more; the client may add the `first_sound` there.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._answers: dict[str, _Answer] = {}  # by response: not reported yet
        self._unheard: deque[str] = deque(maxlen=UNHEARD_RESPONSES)  # whose first sound the client may report

    def begin(self, response_id: str, item_id: str, speech_end: SpeechEnd) -> None:
        self._answers[response_id] = _Answer(item_id, speech_end)

    def passed(self, response_id: str, milestone: str, now_ms: float) -> None:
        """The first of something came, or one more."""
        answer = self._answers.get(response_id)
        if answer is None:
            return
        answer.silent &= milestone != milestones.FIRST_AUDIO
        if milestone not in answer.milestones_ms:
            end = answer.speech_end
            answer.milestones_ms.setdefault(milestones.END_OF_SPEECH, end.waited_ms)
            answer.milestones_ms[milestone] = round(end.waited_ms + now_ms - end.sure_at_ms, 1)

    def end(self, response_id: str) -> None:
        """No more of it is made; its sound may have yet to leave."""
        answer = self._answers.get(response_id)
        if answer is None:
            return
        answer.made = True
        passed = answer.milestones_ms
        if milestones.FIRST_AUDIO not in passed or milestones.FIRST_PACKET in passed or answer.silent:
            self._report(response_id)

    def left(self, response_id: str, now_ms: float) -> None:
        """Sound of it has been handed to the network."""
        self.passed(response_id, milestones.FIRST_PACKET, now_ms)
        self.stopped(response_id)

    def stopped(self, response_id: str) -> None:
        """None of the sound that was made of it will leave any more."""
        answer = self._answers.get(response_id)
        if answer is not None:
            answer.silent = True
            if answer.made:
                self._report(response_id)

    def forget(self) -> None:
        """The connection is gone, and with it the sound that had yet to leave."""
        self._answers.clear()

    def first_sound(self, response_id: str, first_sound_ms: float) -> None:
        """By the client's own report. Raises ProtocolError if that is not expected."""
        if response_id not in self._unheard:
            words = "There is no such response whose first sound was not reported yet."
            raise ProtocolError("response_not_found", words, "response_id")
        self._unheard.remove(response_id)
        self._outbox.do(ReportMilestones({milestones.FIRST_SOUND: first_sound_ms}))

    def _report(self, response_id: str) -> None:
        answer = self._answers.pop(response_id)
        passed = answer.milestones_ms
        if not passed:
            return
        self._outbox.do(ReportMilestones(passed))
        if milestones.FIRST_PACKET in passed:
            self._unheard.append(response_id)
            end_ms, total_ms = samples_to_ms(answer.speech_end.sample), passed[milestones.FIRST_PACKET]
            self._outbox.send(events.latency_updated(response_id, answer.item_id, end_ms, passed, total_ms))
