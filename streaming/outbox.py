"""What a session wants done and has to say, in one order, whichever of its parts asks for it."""

from __future__ import annotations

from collections.abc import Callable

from streaming.actions import Action, SendEvent
from streaming.events import Json
from streaming.resumption import Resumption


class Outbox:
    """Owns the actions that wait to be run. `do` one more, `send` events to the client, then `take` them all.

    An event for a client that has lost its connection is kept for when it comes back.
    """

    def __init__(self, resumption: Resumption, new_id: Callable[[str], str]) -> None:
        self._resumption = resumption
        self._new_id = new_id
        self._actions: list[Action] = []

    def do(self, action: Action) -> None:
        self._actions.append(action)

    def send(self, *messages: Json) -> None:
        for message in messages:
            event = {"type": message["type"], "event_id": self._new_id("event"), **message}
            if self._resumption.lost:
                self._resumption.miss(event)
            else:
                self.do(SendEvent(event))

    def take(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions
