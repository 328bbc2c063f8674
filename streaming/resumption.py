"""A conversation without its connection: who may take it up again, until when, and what he is told then."""

from __future__ import annotations

import json
import secrets
from collections import deque
from collections.abc import Callable, Iterable

from streaming.conversation import Item
from streaming.events import Json
from streaming.pcm import ms_to_samples
from streaming.settings import ResponseSettings

MOST_ITEM_BYTES = 24 * 1024
"""Of the items in `session.resumed`, which must fit a data channel's message with the session beside them."""

_MOST_MISSED = 256
_NOT_MISSED = (".delta", ".progress")
"""Late they are of no use: nothing is said twice, and the items show what has come of it."""

_CHARACTERS_PER_SECOND = 14
"""Of speech: some 150 words a minute."""


class Resumption:
    """Owns what a session keeps for a client that lost its connection. `renew` the token at each greeting, `claim` it
    for who comes back; between `lose` and `regain` put what would have been sent into `miss`."""

    def __init__(self, timeout_s: float, new_id: Callable[[str], str]) -> None:
        self.timeout_s = timeout_s
        self.owed: ResponseSettings | None = None  # of the answer that could not be given
        self._new_id = new_id
        self._token = ""
        self._lost_ms: float | None = None
        self._missed: deque[Json] = deque(maxlen=_MOST_MISSED)

    @property
    def possible(self) -> bool:
        return self.timeout_s > 0

    @property
    def lost(self) -> bool:
        return self._lost_ms is not None

    def renew(self) -> None:
        self._token = self._new_id("resume") if self.possible else ""

    def is_token(self, token: str) -> bool:
        """In a time that tells nothing."""
        return self._token != "" and secrets.compare_digest(self._token.encode(), token.encode(errors="replace"))

    def claim(self, token: str) -> bool:
        """Whether this is the token. Each is good for one time."""
        right = self.is_token(token)
        if right:
            self._token = ""
        return right

    def lose(self, now_ms: float) -> None:
        self._lost_ms = now_ms

    def regain(self) -> list[Json]:
        """The connection is back. Returns what was missed."""
        self._lost_ms = None
        missed, self._missed = list(self._missed), deque(maxlen=_MOST_MISSED)
        return missed

    def miss(self, message: Json) -> None:
        if not message["type"].endswith(_NOT_MISSED):
            self._missed.append(message)

    def expired(self, now_ms: float) -> bool:
        return self._lost_ms is not None and now_ms - self._lost_ms > self.timeout_s * 1000

    def to_json(self) -> Json:
        """What the session shows of it: nothing where there is nothing to be had."""
        if not self._token:
            return {}
        return {"resume": {"token": self._token, "expires_after_ms": int(self.timeout_s * 1000)}}


def newest(items: Iterable[Item], most_bytes: int = MOST_ITEM_BYTES) -> list[Json]:
    """As many of the newest items as fit, in their order."""
    shown: list[Json] = []
    for item in reversed(list(items)):
        one = item.to_json()
        most_bytes -= len(json.dumps(one, separators=(",", ":")))
        if most_bytes < 0:
            break
        shown.append(one)
    return shown[::-1]


def expect_whole_sound(item: Item) -> None:
    """The making of an answer was broken off. Its words may be ahead of its sound, so let the length be that of all its
    words, for cutting it to what was heard."""
    for part in item.parts:
        if part.spoken:
            part.samples = max(part.samples, ms_to_samples(1000 * len(part.text or "") / _CHARACTERS_PER_SECOND))
