"""Pictures of the camera that belong before the user's turns. The model sees one before it becomes an item."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streaming import events
from streaming.actions import ReportLook
from streaming.camera import Camera, Frame, Sight
from streaming.conversation import Conversation, Item, Part
from streaming.events import Limits
from streaming.outbox import Outbox


@dataclass(slots=True, eq=False)
class Glimpse:
    """What the camera showed while the user began to speak."""

    frame: Frame
    item: Item
    sent: bool = False


class Glimpses:
    """Owns the glimpse before the turn that has begun, if there was anything new. `look_ahead` when the user speaks,
    `look` when his turn may be over, `show` when it is; or `drop` what was seen."""

    def __init__(
        self,
        camera: Camera,
        outbox: Outbox,
        conversation: Conversation,
        limits: Limits,
        new_id: Callable[[str], str],
    ) -> None:
        self.glimpse: Glimpse | None = None
        self._camera = camera
        self._outbox = outbox
        self._conversation = conversation
        self._limits = limits
        self._new_id = new_id
        self._shown_id: str | None = None  # of the item with the newest picture

    @property
    def items(self) -> list[Item]:
        """What belongs before the turn."""
        return [self.glimpse.item] if self.glimpse is not None else []

    def look_ahead(self, now_ms: float) -> Sight:
        """What the camera shows. If that is new, it is the glimpse."""
        sight, frame = self._camera.look(now_ms)
        if frame is not None and (self.glimpse is None or self._camera.differ(frame, self.glimpse.frame)):
            item = Item(self._new_id("item"), role="user", parts=[Part.of_picture(frame.picture)])
            self.glimpse = Glimpse(frame, item)
        return sight

    def look(self, asked: Item, now_ms: float) -> Sight:
        """The user has asked this, perhaps: what belongs before it is the glimpse."""
        room = len(self._conversation) + 1 < self._limits.items
        sight = self.look_ahead(now_ms) if room else "off"
        if sight == "off":
            self.drop()
        asked.dark_camera = sight == "dark" and self.glimpse is None
        return sight

    def show(self, asked: Item, now_ms: float) -> None:
        """The user's turn is about to become this item: before it comes the glimpse."""
        sight = self.look(asked, now_ms)
        glimpse, self.glimpse = self.glimpse, None
        if sight == "off":
            return
        self._outbox.do(ReportLook(sight if glimpse is None else "new"))
        if glimpse is None:
            return
        self._camera.shown(glimpse.frame, now_ms)
        self._shown_id = glimpse.item.id
        self._conversation.let_go_of_files(self._limits.unseen_files - 1)
        previous_id = self._conversation.add(glimpse.item)
        self._outbox.send(*events.item_complete(glimpse.item.to_json(), previous_id))

    def drop(self) -> None:
        self.glimpse = None

    def forget(self, item_id: str) -> None:
        """This item has been deleted. If it is the picture that the model saw last, it is new again."""
        if item_id == self._shown_id:
            self._camera.shown(None, 0)
