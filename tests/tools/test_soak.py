"""The soak's figures, limits and page; and a soak of a scripted server over a lossy link."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from streaming.types import Finished, Output, Request, SpeechDelta, TextDelta
from tests.streaming.fakes import FakeWorker, silence, tone
from tests.streaming.test_webrtc import Server
from tools import soak
from tools.network import Link
from tools.soak import (
    Conversation,
    Repertoire,
    Sample,
    Soak,
    Sound,
    Turn,
    broken,
    gaps,
    growth_percent,
    names_in,
    onset_and_last,
    page,
    plot,
    silent_at,
    summary,
)


def sounds(count: int = 10, **changes: dict[int, object]) -> list[Sound]:
    """Frames of 20 ms that come in time; changes: {number: value} of a field."""
    made = []
    for number in range(count):
        fields = {"at": 1 + 0.02 * number, "number": number, "loud": 2 <= number < count - 2, "real": True}
        made.append(Sound(**fields | {name: at[number] for name, at in changes.items() if number in at}))
    return made


@pytest.mark.parametrize(
    "heard, frames, missing",
    [
        (sounds(), 6, 0),
        (sounds(real={4: False}), 6, 1),
        (sounds(real={0: False, 9: False}), 6, 0),  # before and behind the reply
        (sounds(at={5: 1.1 + 0.07}), 6, 0),
        (sounds(at={5: 1.1 + 0.09}), 6, 1),
        (sounds(loud=dict.fromkeys(range(10), False)), 0, 0),
        ([], 0, 0),
    ],
)
def test_a_gap_is_what_was_late_or_made_up_within_a_reply(heard: list[Sound], frames: int, missing: int) -> None:
    assert gaps(heard) == (frames, missing)


def test_silence_begins_behind_the_last_sound() -> None:
    assert silent_at(sounds(), before=9.0) == pytest.approx(1.16)
    assert silent_at(sounds(), before=1.07) == pytest.approx(1.08)
    assert silent_at(sounds(), before=1.0) is None


def test_the_voice_begins_and_ends_where_it_is_heard() -> None:
    pcm = np.concatenate([silence(0.3), tone(0.4), silence(0.2)])
    assert onset_and_last(pcm) == pytest.approx((0.3, 0.7), abs=0.011)


def test_names_are_whole_words() -> None:
    assert names_in("Your name is Tom. Tomorrow, Anna's!", ("tom", "anna", "lucy")) == {"tom", "anna"}
    assert names_in("Tomorrow", ("tom",)) == set()


@pytest.mark.parametrize(
    "values, percent",
    [
        ([1.0] * 9, None),
        ([9.0] * 10 + [1.0] * 90, 0.0),  # warming up does not count
        ([1.0] * 50 + [1.5] * 50, 50.0),
    ],
)
def test_growth_is_counted_behind_the_warm_up(values: list[float], percent: float | None) -> None:
    assert growth_percent(values) == percent


def measured() -> Soak:
    turns = [
        Turn(0, 10.0, "name", 400.0, frames=100, gaps=1),
        Turn(1, 20.0, "interruption", None, 120.0, frames=100, gaps=0),
        Turn(1, 30.0, "who am i", 500.0, said="Your name is Tom.", leak="tom", failure="<nothing>"),
    ]
    return Soak(0.0, turns, [Sample(5.0 * n, 100.0 + n, 40) for n in range(20)], ["session 1: <b>"])


def test_limits_that_are_broken_are_named() -> None:
    figures = summary(measured())
    assert figures["gaps_percent"] == 0.5 and figures["leaks"] == 1 and figures["errors"] == 2
    assert figures["latency_p50_ms"] == 450 and figures["barge_in_p95_ms"] == 120 and figures["turns"] == 3
    assert broken(figures, ["gaps_percent=0.5", "leaks=1", "latency_p50_ms=450"]) == []
    assert len(broken(figures, ["gaps_percent=0.4", "leaks=0", "errors=2"])) == 2
    assert broken(summary(Soak(0.0)), ["latency_p50_ms=900"]) == ["latency_p50_ms is unknown, and 900 is the limit"]
    with pytest.raises(ValueError, match="no figure is called 'gap'"):
        broken(figures, ["gap=1"])


def test_the_page_needs_nothing_else_and_shows_what_was_measured() -> None:
    about = {"when": "today", "sessions": 2, "minutes": 1.0, "loss_percent": 2.0, "jitter_ms": 0.0}
    result = {**about, "device": "a <processor>", "commit": "abc", "summary": summary(measured())}
    found = measured()
    result |= {
        "errors": found.errors,
        "turns": [{name: getattr(turn, name) for name in Turn.__slots__} for turn in found.turns],
        "samples": [{name: getattr(sample, name) for name in Sample.__slots__} for sample in found.samples],
    }
    shown = page(result, ["leaks is 1, and 0 is the limit"])
    assert shown.count("<svg") == 5 and "<polyline" in shown and shown.count("<circle") == 2 + 1 + 2
    assert "leaks is 1" in shown and "&lt;b&gt;" in shown and "<processor>" not in shown and "http" not in shown
    assert "nothing was measured" in plot("x", "ms", [(1.0, None)])


NAMES = ("anna", "tom")


class Forgetful:
    """Calls the first session by its name, and the second by everybody's."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def __call__(self, request: Request) -> Iterator[Output]:
        known = self._names.setdefault(request.session_id, NAMES[len(self._names) % len(NAMES)])
        introduces_itself = len(request.turns) == 1
        said = f"Hello, you are {known}." if introduces_itself or known == NAMES[0] else "You are anna or tom."
        one = request.response_id
        yield TextDelta(one, said)
        yield SpeechDelta(one, tone(3.0))
        yield Finished(one, "completed", said, (), ())


class SameProcess(Server):
    """Asked from a thread, answered in the event loop."""

    def __init__(self) -> None:
        super().__init__(FakeWorker(Forgetful()))
        self._loop = asyncio.get_running_loop()

    def call(self, offer_sdp: str) -> str:
        answering = self.calls.answer(offer_sdp, self.make_runner)
        return asyncio.run_coroutine_threadsafe(answering, self._loop).result()[1]


def cut_off(found: Soak) -> int:
    return sum(turn.barge_in_ms is not None for turn in found.turns)


@pytest.mark.slow  # it talks in real time
def test_two_sessions_over_a_lossy_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "ASKS_NAME", 0.0)
    monkeypatch.setattr(soak, "INTERRUPTS", 1.0)
    said = np.concatenate([silence(0.1), tone(0.5), silence(0.1)])
    repertoire = Repertoire({name: said for name in NAMES}, said, {"question": said})

    async def body() -> Soak:
        server, found = SameProcess(), Soak(soak.now())
        async with asyncio.timeout(240):
            # One after the other, so that the scripted server tells them apart by their order.
            for number in range(2):
                conversation = Conversation(found, number, NAMES, repertoire, seed=number)
                await conversation.hold(
                    server, Link(loss=0.02), number, lambda wanted=number + 1: cut_off(found) >= wanted
                )
        await server.calls.close()
        return found

    found = asyncio.run(body())
    kinds = [turn.kind for turn in found.turns]
    assert kinds.count("name") == kinds.count("who am i") == 2 and kinds.count("interruption") >= 2
    assert not found.errors and all(turn.failure is None for turn in found.turns)
    assert {turn.session for turn in found.turns if turn.leak} == {1}
    assert all(turn.frames > 20 for turn in found.turns if turn.kind != "interruption")
    assert all(turn.barge_in_ms > 0 for turn in found.turns if turn.barge_in_ms is not None)
