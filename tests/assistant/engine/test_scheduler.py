from __future__ import annotations

from dataclasses import dataclass, field

from assistant.engine.scheduler import schedule


@dataclass
class Waiting:
    name: str
    pending: list[int] = field(default_factory=list)


def planned(waiting: dict[str, int], budget: int) -> dict[str, int]:
    return {s.name: count for s, count in schedule([Waiting(n, [0] * count) for n, count in waiting.items()], budget)}


def test_short_work_goes_first_and_the_rest_is_cut_to_the_budget() -> None:
    waiting = {"history": 500, "reply": 1, "idle": 0, "listener": 6, "reply 2": 2}
    assert planned(waiting, 64) == {"reply": 1, "reply 2": 2, "listener": 6, "history": 55}


def test_the_budget_is_never_exceeded() -> None:
    assert planned({"a": 3, "b": 3, "c": 3}, 7) == {"a": 3, "b": 3, "c": 1}
    assert planned({"a": 3, "b": 3, "c": 3}, 3) == {"a": 3}
    assert planned({}, 8) == {}
