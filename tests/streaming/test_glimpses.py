"""Which pictures of the camera come before what the user says."""

from __future__ import annotations

import itertools

import numpy as np

from streaming.actions import ReportLook, SendEvent
from streaming.camera import Camera, Frame, Sight
from streaming.conversation import Conversation, Item, Part
from streaming.events import Limits
from streaming.glimpses import Glimpses
from streaming.media import Picture
from streaming.outbox import Outbox
from streaming.resumption import Resumption
from tests.streaming.fakes import scene

BLACK = np.zeros((96, 96, 3), np.uint8)


def moved(pixels: np.ndarray) -> np.ndarray:
    """The same view with something small in it."""
    result = pixels.copy()
    result[20:32, 20:32] = 255 - result[20:32, 20:32]
    return result


class Visit:
    """Glimpses under test, with their camera and their conversation."""

    def __init__(self, limits: Limits | None = None) -> None:
        numbers = itertools.count(1)
        self.camera = Camera(0.06, 60_000)
        self.conversation = Conversation()
        self._outbox = Outbox(Resumption(0, str), str)
        self.glimpses = Glimpses(
            self.camera,
            self._outbox,
            self.conversation,
            limits or Limits(),
            lambda prefix: f"{prefix}_{next(numbers)}",
        )
        self._questions = itertools.count(1)
        self.now_ms = 0.0

    def camera_shows(self, pixels: np.ndarray) -> None:
        self.now_ms += 2000
        self.camera.receive(Frame.of(Picture(pixels, "preview")), self.now_ms)

    def look_ahead(self) -> Sight:
        return self.glimpses.look_ahead(self.now_ms)

    def ask(self) -> Item:
        asked = Item(f"question {next(self._questions)}", role="user", parts=[Part("input_text", "what is this?")])
        self.glimpses.show(asked, self.now_ms)
        self.conversation.add(asked)
        return asked

    @property
    def pictures(self) -> list[np.ndarray]:
        """Those in the conversation that the model has not seen."""
        parts = [part for item in self.conversation for part in item.parts]
        return [part.picture.pixels for part in parts if part.picture is not None]

    def told(self) -> tuple[list[Sight], list[str]]:
        """What the metrics are told, and the types of the events."""
        actions = self._outbox.take()
        sights = [action.sight for action in actions if isinstance(action, ReportLook)]
        return sights, [action.event["type"] for action in actions if isinstance(action, SendEvent)]


def test_a_picture_comes_before_the_question_and_the_same_one_not_again() -> None:
    one = Visit()
    for _ in range(3):
        one.camera_shows(scene(1))
        one.ask()
    assert [item.id for item in one.conversation] == ["item_1", "question 1", "question 2", "question 3"]
    sights, told = one.told()
    assert sights == ["new", "unchanged", "unchanged"]
    assert told == ["conversation.item.added", "conversation.item.done"]


def test_what_was_seen_when_the_user_began_to_speak_is_shown_though_the_camera_has_moved_a_little() -> None:
    one = Visit()
    one.camera_shows(scene(1))
    assert one.look_ahead() == "new"
    (seen,) = one.glimpses.items
    one.camera_shows(moved(scene(1)))
    one.ask()
    assert next(iter(one.conversation)) is seen and (one.pictures[0] == scene(1)).all()
    assert one.glimpses.items == []


def test_what_comes_into_view_while_the_user_speaks_takes_its_place() -> None:
    one = Visit()
    one.camera_shows(scene(1))
    one.look_ahead()
    assert one.glimpses.glimpse is not None
    one.glimpses.glimpse.sent = True
    one.camera_shows(scene(2))
    one.look_ahead()
    assert not one.glimpses.glimpse.sent, "the model has not seen this one"
    one.ask()
    assert len(one.pictures) == 1 and (one.pictures[0] == scene(2)).all()


def test_looking_for_an_answer_that_may_come_too_soon_shows_nothing_yet() -> None:
    one, perhaps = Visit(), Item("perhaps", role="user")
    one.camera_shows(scene(1))
    assert one.glimpses.look(perhaps, one.now_ms) == "new"
    assert len(one.conversation) == 0 and one.told() == ([], [])
    (seen,) = one.glimpses.items
    one.ask()
    assert next(iter(one.conversation)) is seen


def test_what_was_dropped_is_still_new() -> None:
    one = Visit()
    one.camera_shows(scene(1))
    one.look_ahead()
    one.glimpses.drop()
    assert one.glimpses.items == [] and one.look_ahead() == "new"


def test_a_question_before_a_dark_camera_says_so_unless_there_was_something_to_be_seen() -> None:
    one = Visit()
    one.camera_shows(BLACK)
    assert one.ask().dark_camera and one.pictures == [] and one.told()[0] == ["dark"]
    one.camera_shows(scene(1))
    one.look_ahead()
    one.camera_shows(BLACK)
    assert not one.ask().dark_camera and len(one.pictures) == 1 and one.told()[0] == ["new"]


def test_a_camera_that_is_off_shows_nothing_and_takes_back_what_was_seen() -> None:
    one = Visit()
    one.camera_shows(scene(1))
    one.look_ahead()
    one.camera.clear()
    assert one.glimpses.look(Item("perhaps", role="user"), one.now_ms) == "off" and one.glimpses.items == []
    assert not one.ask().dark_camera
    assert one.pictures == [] and one.told() == ([], [])


def test_a_picture_that_was_deleted_is_new_and_no_other_item_makes_it_so() -> None:
    one = Visit()
    one.camera_shows(scene(1))
    asked = one.ask()
    one.glimpses.forget(asked.id)
    assert one.look_ahead() == "unchanged"
    one.glimpses.forget("item_1")
    assert one.look_ahead() == "new"


def test_where_there_is_no_room_for_a_picture_and_the_question_there_is_no_picture() -> None:
    for items, pictures in ((2, 1), (1, 0)):
        one = Visit(Limits(items=items))
        one.camera_shows(scene(1))
        one.look_ahead()
        one.ask()
        assert len(one.pictures) == pictures and len(one.conversation) == items


def test_of_pictures_that_the_model_has_not_seen_the_newest_are_kept() -> None:
    one = Visit(Limits(unseen_files=2))
    for seed in (1, 2, 3):
        one.camera_shows(scene(seed))
        one.ask()
    assert [(shown == scene(seed)).all() for shown, seed in zip(one.pictures, (2, 3), strict=True)] == [True, True]
