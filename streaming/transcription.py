"""The user's words as they become known. An answer brings them; what no answer is made to is transcribed by itself."""

from __future__ import annotations

from collections import deque

from streaming import events
from streaming.conversation import Conversation, Item, Part
from streaming.events import Json
from streaming.types import SPEECH_RATE


class Transcriptions:
    """Owns the spoken items whose transcripts the client waits for, the oldest first."""

    def __init__(self) -> None:
        self._awaited: deque[Item] = deque()

    def expect(self, item: Item) -> None:
        """The client is to be told the words of this item."""
        self._awaited.append(item)

    def next(self, conversation: Conversation) -> Item | None:
        """The item to transcribe, unless nobody waits. Those that were deleted meanwhile are forgotten."""
        while self._awaited and not conversation.has(self._awaited[0].id):
            self._awaited.popleft()
        return self._awaited[0] if self._awaited else None

    def heard(self, item: Item, text: str, done: bool) -> list[Json]:
        """The words so far. A second request may begin from the start again, so only what is new is sent."""
        part = _spoken(item)
        if part is None:
            return []
        messages = []
        known, awaited = part.text or "", item in self._awaited
        if awaited and len(text) > len(known) and text.startswith(known):
            messages.append(events.transcription_delta(item.id, text[len(known) :]))
        if done or text.startswith(known):
            part.text = text
        if awaited and done:
            self._awaited.remove(item)
            messages.append(events.transcription_completed(item.id, text, round(part.samples / SPEECH_RATE, 3)))
        return messages

    def failed(self, item: Item, code: str, message: str) -> list[Json]:
        """The words will not be known."""
        if item not in self._awaited:
            return []
        self._awaited.remove(item)
        return [events.transcription_failed(item.id, code, message)]


def _spoken(item: Item) -> Part | None:
    return next((part for part in item.parts if part.type == "input_audio"), None)
