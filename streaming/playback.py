"""The sound of answers on its way to the user's ear: what of it can be heard, what is held back, what was heard.

A playout that paces it reports how far it has come. Without one the client plays what it gets, and our clock tells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streaming import events
from streaming.actions import FinishAudio, FlushAudio, PauseAudio, PlayAudio, ResumeAudio
from streaming.conversation import Item
from streaming.fields import ProtocolError
from streaming.loudspeaker import Loudspeaker
from streaming.outbox import Outbox
from streaming.pcm import samples_to_ms
from streaming.reply import Reply


@dataclass(frozen=True, slots=True, eq=False)
class _Playing:
    """The answer that the playout began with last, and when."""

    item: Item
    since_ms: float


class Playback:
    """Owns the sound that was made and has not been heard. `play` an answer's and `finish` it; tell what the playout
    `started`, `stopped` and `flushed`. `pause` it and `resume` or `interrupt` it while the user may want the floor.

    When the connection is lost, `lose` it, and `cut` answers to what was heard; `regain` it with the next one.
    """

    def __init__(self, outbox: Outbox, paced: bool) -> None:
        self.paced = paced
        self.loudspeaker = Loudspeaker()
        self._outbox = outbox
        self._audible: dict[str, Item] = {}  # by response: handed to the playout, not yet reported as over
        self._last_id = ""  # of the response that spoke last
        self._paused_id: str | None = None  # the response that is held while it is not sure that the user speaks
        self._playing: _Playing | None = None
        self._reached_ms = 0.0  # when the user could last be reached, before the connection was lost

    @property
    def has_spoken(self) -> bool:
        return self._last_id != ""

    def sounds(self, now_ms: float) -> bool:
        """Whether an answer can be heard, or will be after a pause."""
        return bool(self._audible) if self.paced else self.loudspeaker.sounds(now_ms)

    def awaits_report(self, response_id: str) -> bool:
        """Whether the playout will tell how much of this response was heard."""
        return response_id in self._audible

    def play(self, reply: Reply, pcm: np.ndarray, now_ms: float) -> None:
        """pcm: [samples] float32 at SPEECH_RATE, which has gone to the client in events unless it is paced."""
        self.loudspeaker.play(pcm, now_ms)
        self._last_id = reply.id
        if self.paced:
            self._audible[reply.id] = reply.item
            self._outbox.do(PlayAudio(reply.id, reply.item.id, pcm))

    def finish(self, response_id: str) -> None:
        """There is no more sound of this response."""
        if self.paced and response_id in self._audible:
            self._outbox.do(FinishAudio(response_id))

    def pause(self, now_ms: float) -> None:
        self._paused_id = next(iter(self._audible), self._last_id)
        self.loudspeaker.pause(now_ms)
        if self.paced:
            self._outbox.do(PauseAudio())
        self._outbox.send(events.playout_paused(self._paused_id))

    def resume(self, now_ms: float) -> None:
        """If it is paused."""
        if self._paused_id is None:
            return
        if self.paced:
            self._outbox.do(ResumeAudio())
        self.loudspeaker.resume(now_ms)
        self._outbox.send(events.playout_resumed(self._paused_id))
        self._paused_id = None

    def interrupt(self, now_ms: float) -> None:
        """The user has the floor: whatever he could hear, or would after the pause, stops."""
        if self._audible or self._paused_id is not None or not self.paced:
            self._flush(now_ms)

    def clear(self, now_ms: float) -> None:
        """Stop what the playout has."""
        if self._audible:
            self._flush(now_ms)

    def _flush(self, now_ms: float) -> None:
        if self.paced:
            self._outbox.do(FlushAudio())
        self.loudspeaker.stop(now_ms)
        self._paused_id = None

    # What the playout reports

    def started(self, response_id: str, now_ms: float) -> None:
        if response_id in self._audible:
            self._playing = _Playing(self._audible[response_id], now_ms)
        self._outbox.send(events.playout_started(response_id))

    def stopped(self, response_id: str) -> None:
        """All of it has been played."""
        self._audible.pop(response_id, None)
        self._outbox.send(events.playout_stopped(response_id))

    def flushed(self, response_id: str) -> Item | None:
        """The rest of it was thrown away. Returns its item, which is to be truncated or cut to what was played."""
        self._outbox.send(events.playout_cleared(response_id))
        return self._audible.pop(response_id, None)

    # What was heard

    def truncate(self, item: Item, heard_ms: int) -> None:
        """So much of an answer was heard."""
        heard_ms = min(heard_ms, samples_to_ms(item.parts[0].samples))
        try:
            item.truncate(0, heard_ms)
        except ProtocolError:  # still being made: the client cleared the sound of a reply that goes on
            return
        self._outbox.send(events.item_truncated(item.id, 0, heard_ms))

    def lose(self, reached_ms: float) -> None:
        """The connection is gone, and nobody could be reached over it since then."""
        self._reached_ms = reached_ms

    @property
    def last_stopped(self) -> Item | None:
        """The newest answer that has all been played, though not all of it need have been heard."""
        over = self._playing is not None and self._playing.item not in self._audible.values()
        return self._playing.item if self._playing is not None and over else None

    def cut(self, item: Item, heard_ms: float) -> None:
        """So much of an answer was heard at most before the connection was lost."""
        if self._playing is not None and self._playing.item is item:
            heard_ms = min(heard_ms, self._reached_ms - self._playing.since_ms)
        if item.parts[0].spoken and heard_ms < samples_to_ms(item.parts[0].samples):
            self.truncate(item, max(0, int(heard_ms)))

    def regain(self, paced: bool) -> None:
        """There is another connection."""
        self.paced = paced
        self._playing = None
