"""How long a silence ends the user's turn: pure functions of what he said and of how he pauses.

People leave some 200 ms between turns because they hear where a sentence ends. Here the words so far tell it, which the
model knows during the silence, since it answers early. Who is heard to pause in mid-sentence is waited for longer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from types import MappingProxyType

from streaming.settings import TurnDetection

REMEMBERED_TURNS = 6
SPEAKS_ON_MS = 700
"""Who begins again so soon after he fell silent had not finished: it is too early to be a reaction to the answer."""


class Ending(Enum):
    """What an utterance sounds like where it stops."""

    FINISHED = auto()
    UNSURE = auto()  # or its words are not known yet
    UNFINISHED = auto()


@dataclass(frozen=True, slots=True)
class _Waits:
    """Silences in ms by what the utterance sounds like; `pauses`: what the user's own pauses may lengthen them to."""

    finished: int
    unsure: int
    unfinished: int
    pauses: int


_WAITS = MappingProxyType(
    {
        "low": _Waits(finished=600, unsure=1000, unfinished=8000, pauses=2000),
        "medium": _Waits(finished=256, unsure=500, unfinished=4000, pauses=1000),
        "high": _Waits(finished=192, unsure=320, unfinished=2000, pauses=500),
    }
)
_PAUSE_MARGIN = 1.25


@dataclass(frozen=True, slots=True)
class Manner:
    """How the user pauses: his longest pause within each of the newest turns, in ms; the last one is going on."""

    pauses_ms: tuple[int, ...] = (0,)

    def spoke_on(self, after_ms: int) -> Manner:
        """A silence of so long was not the end."""
        *before, now = self.pauses_ms
        return replace(self, pauses_ms=(*before, max(now, after_ms)))

    def next_turn(self) -> Manner:
        return replace(self, pauses_ms=(*self.pauses_ms[-REMEMBERED_TURNS + 1 :], 0))


def silence_ms(detection: TurnDetection, manner: Manner, transcript: str | None) -> int:
    """The silence that ends the turn. transcript: what the user has said, None while that is not known.

    `server_vad` has the client's own number. `semantic_vad` waits for its eagerness's longest where the words go on.
    """
    if detection.type == "server_vad":
        return detection.silence_duration_ms
    waits = _WAITS["medium" if detection.eagerness == "auto" else detection.eagerness]
    ending = Ending.UNSURE if transcript is None else ending_of(transcript)
    if ending is Ending.UNFINISHED:
        return waits.unfinished
    usual = waits.finished if ending is Ending.FINISHED else waits.unsure
    return max(usual, min(waits.pauses, round(_PAUSE_MARGIN * max(manner.pauses_ms))))


_GO_ON = frozenset(
    "a an the my your our their its every and or but nor because although unless whether if than of um uh er erm hmm mm"
    " i'm you're we're they're".split()
)
"""Behind these an English sentence goes on."""
_MAY_GO_ON = frozenset(
    "to in on at by for from with about into onto between under over near is are was were be do does did have has had"
    " can could will would shall should may might must i he she we they his this these some any no so then like well"
    " what which who whose when where why how okay ok nano hello hi hey".split()
)
"""Behind these it may, or the question follows a greeting. Two words that begin so are hardly a whole question."""
_OPENINGS = ("do you know", "do you think", "would you say", "tell me", "can you", "could you", "i think", "i want")
"""So do these: a question is about to be asked."""


def ending_of(transcript: str) -> Ending:
    """By the last word, which tells that a sentence goes on better than that it does not."""
    text = transcript.strip().lower().replace("\u2019", "'")
    words = text.rstrip(" .?!\u2026\"')").split()
    if not words:
        return Ending.UNSURE
    last = words[-1].strip("\"'(,;:-")
    if last in _GO_ON or text.endswith((",", ";", ":", "-", "\u2013", "\u2014", "\u2026", "...")):
        return Ending.UNFINISHED
    short = len(words) <= 2 and words[0] in _MAY_GO_ON
    opens = " ".join(words).endswith(_OPENINGS)
    if text.endswith(("?", "!")) or not (short or opens or last in _MAY_GO_ON):
        return Ending.FINISHED
    return Ending.UNFINISHED if short and len(words) == 2 and last in _MAY_GO_ON else Ending.UNSURE
