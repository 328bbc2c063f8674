"""The soak's figures, limits and page; and a soak of a scripted server over a lossy link."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streaming.metrics import Metrics
from streaming.types import Finished, Output, Request, SpeechDelta, TextDelta, Usage
from tests.streaming.fakes import FakeWorker, silence, tone
from tests.streaming.test_webrtc import Server
from tools import soak
from tools.latency import LatencyError, Record, Told
from tools.network import Link
from tools.soak import (
    Conversation,
    Repertoire,
    Sample,
    Soak,
    Sound,
    Turn,
    gaps,
    growth_percent,
    judged,
    main,
    mean_milestones_ms,
    names_in,
    onset_and_last,
    progress,
    prompt_reused_percent,
    report,
    sample,
    silent_at,
    summary,
)
from tools.soak_report import Verdict, histogram, over_time, page


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
        (sounds(at={5: 1.1 + 0.09}), 7, 1),
        (sounds(at={n: 1 + 0.02 * n + 1.0 for n in range(5, 10)}), 6 + 46, 46),  # a second late, but once
        (sounds(at={n: 1 + 0.02 * n + (1.0 if n < 7 else 0.0) for n in range(5, 10)}), 6 + 46, 46),
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


def samples_of(values: list[float], every_s: float) -> list[Sample]:
    return [Sample(every_s * n, value, 40) for n, value in enumerate(values)]


@pytest.mark.parametrize(
    "values, every_s, percent",
    [
        ([1.0] * 9, 60, None),
        ([9.0] * 10 + [1.0] * 90, 60, 0.0),  # a tenth of a long time is warming up
        ([9.0] * 10 + [1.0] * 90, 5, 0.0),  # as is the first minute
        ([9.0] * 16 + [1.0] * 24, 5, -88.89),  # but not much more
        ([9.0] * 10 + [5.0] * 2 + [1.0] * 8, 5, -80.0),  # never more than half
        ([1.0] * 50 + [1.5] * 50, 60, 50.0),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 7.0, 1.0, 1.0, 1.0] * 10, 60, 0.0),  # what is there for a moment is no growth
    ],
)
def test_growth_is_counted_behind_the_warm_up(values: list[float], every_s: float, percent: float | None) -> None:
    assert growth_percent(samples_of(values, every_s), lambda each: each.resident_mb) == percent


def test_all_processes_of_the_server_are_looked_at() -> None:
    alone = sample(os.getpid(), 0.0)
    with subprocess.Popen(["sleep", "60"]) as child:
        both = sample(os.getpid(), 1.0)
        assert both.resident_mb > alone.server_mb and both.open_files > alone.open_files >= 3
        child.kill()
        child.wait()
    with pytest.raises(ProcessLookupError):
        sample(child.pid, 2.0)


def test_a_server_that_ends_is_told_of_once() -> None:
    async def body() -> None:
        with subprocess.Popen(["true"]) as ended:
            ended.wait()
        found = Soak(soak.now())
        await found.watch(ended.pid)
        assert found.errors == ["the server has ended after 0.0 min"] and not found.samples

    asyncio.run(body())


def measured() -> Soak:
    turns = [
        Turn(0, 10.0, "name", 400.0, frames=100, gaps=1),
        Turn(1, 20.0, "interruption", None, 120.0, frames=100, gaps=0),
        Turn(1, 30.0, "who am i", 500.0, said="Your name is <Tom>.", leak="tom", failure="<nothing>"),
    ]
    metrics = Metrics()
    metrics.answered_speech({"end_of_speech_ms": 512, "first_packet_ms": 800})
    metrics.answered_speech({"end_of_speech_ms": 512, "first_packet_ms": 900})
    metrics.prompted(Usage(text_in=40, cached=30))
    text = metrics.text(worker_alive=True).decode()
    return Soak(0.0, turns, samples_of([100.0 + n for n in range(20)], 5), ["session 1: <b>"], text)


def options_of(arguments: str = "") -> Any:
    """The parsed command line, as `run` is given it."""
    seen: list[Any] = []

    async def run(options: Any) -> Any:
        seen.append(options)
        raise LatencyError("this is a test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(soak, "run", run)
        assert main(arguments.split()) == 2
    return seen[0]


def test_limits_that_are_broken_are_named() -> None:
    figures = summary(measured())
    assert figures["gaps_percent"] == 0.5 and figures["leaks"] == 1 and figures["errors"] == 2
    assert figures["latency_p50_ms"] == 450 and figures["barge_in_p95_ms"] == 120 and figures["turns"] == 3
    assert figures["prompt_reused_percent"] == 75.0
    assert all(verdict.holds for verdict in judged(figures, ["gaps_percent=0.5", "leaks=1", "latency_p50_ms=450"]))
    verdicts = judged(figures, ["gaps_percent=0.4", "leaks=0", "errors=2"])
    assert [verdict.holds for verdict in verdicts] == [False, False, True]
    (unknown,) = judged(summary(Soak(0.0)), ["latency_p50_ms=900"])
    assert not unknown.holds and unknown.words == "latency_p50_ms is unknown, and 900 is the limit"
    with pytest.raises(ValueError, match="no figure is called 'gap'"):
        judged(figures, ["gap=1"])
    with pytest.raises(ValueError, match="'leaks=none' is no limit"):
        judged(figures, ["leaks=none"])


@pytest.mark.parametrize(
    "limit, code",
    [
        ("gaps_percent=0.4", 1),
        ("gaps_percent=0.5", 0),
        ("memory_growth_percent=2", 1),
        ("memory_growth_percent=9", 0),
        ("open_files_growth_percent=0", 0),
        ("nothing=1", 2),
        ("errors", 2),
    ],
)
def test_the_exit_code_says_whether_the_limits_hold(
    limit: str, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run(options: Any) -> Any:
        return report(options, measured())

    monkeypatch.setattr(soak, "run", run)
    monkeypatch.setattr(soak, "ALWAYS", ())
    page_, data = tmp_path / "new" / "soak.html", tmp_path / "soak.json"
    assert main(["--limit", limit, "--html", str(page_), "--json", str(data)]) == code
    said = capsys.readouterr()
    if code < 2:
        assert json.loads(data.read_text())["summary"]["leaks"] == 1 and "<svg" in page_.read_text()
        assert ("is the limit" in said.err) == bool(code) and "latency p50 ms" in said.out
    else:
        assert "No soak" in said.err and not page_.exists()


def test_leaks_and_errors_are_always_limits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run(options: Any) -> Any:
        return report(options, measured())

    monkeypatch.setattr(soak, "run", run)
    assert main([]) == 1
    broken = {"leaks is 1, and 0 is the limit", "errors is 2, and 0 is the limit"}
    assert broken <= set(capsys.readouterr().err.splitlines())


def test_callers_that_were_held_up_say_so() -> None:
    async def body() -> Soak:
        found = Soak(soak.now())
        watching = asyncio.create_task(found.watch_itself())
        await asyncio.sleep(0.01)
        time.sleep(0.2)
        await asyncio.sleep(0.01)
        watching.cancel()
        return found

    found = asyncio.run(body())
    assert 100 < summary(found)["callers_lag_p99_ms"]
    assert "held up" in page(report(options_of(), found), [])
    found.lags_ms = [3.0]
    assert "held up" not in page(report(options_of(), found), [])


def test_the_terminal_is_told_how_it_goes() -> None:
    line = progress(measured(), 754.0, 30)
    assert line.startswith(" 12:34 of 30 min") and "450/495 ms" in line and "leaks 1" in line and "119 MB" in line
    assert "latency -/- ms" in progress(Soak(0.0), 1.0, 30)


def test_the_page_needs_nothing_else_and_shows_what_was_measured() -> None:
    result = report(options_of("--sessions 2"), measured()) | {"device": "a <processor>"}
    shown = page(result, [Verdict("leaks", 1, 0), Verdict("errors", 2, 5)])
    assert shown.count("<svg") == 6 and shown.count("<polyline") == 3 and shown.count("<circle") == 2 + 2
    assert "1 of 2 limits broken" in shown and shown.count('class="breaks"') == 1
    assert "&lt;b&gt;" in shown and "&lt;Tom&gt;" in shown and "<processor>" not in shown
    assert "http" not in shown and "src=" not in shown and "850 ms" in shown
    assert "Every limit holds" in page(result, [Verdict("leaks", 0, 0)])


def test_a_page_of_a_soak_in_which_nothing_happened() -> None:
    shown = page(report(options_of(), Soak(0.0)), [])
    assert "<svg" not in shown and shown.count("nothing was measured") == 7


def test_plots_are_as_large_as_what_they_show() -> None:
    drawn = over_time("Latency", "ms", {"all": [(0.0, 10.0), (60.0, 430.0), (120.0, None)]}, {"p95": 430.0})
    assert drawn.count("<circle") == 2 and ">500<" in drawn and 'class="mark"' in drawn and ">p95<" in drawn
    bars = histogram("Latency", "ms", [0.0, 99.0, 100.0, 312.0, None], 100)
    assert all(f"{100 * n} to {100 * n + 100} ms: {count}" in bars for n, count in enumerate((2, 1, 0, 1)))
    assert histogram("Latency", "ms", [5000.0, 90_000.0], 100).count("<rect") <= 41


def test_the_servers_own_figures_are_read() -> None:
    assert mean_milestones_ms(measured().metrics) == {"end_of_speech": 512.0, "first_packet": 850.0}
    assert mean_milestones_ms("") == {} and prompt_reused_percent("") is None


# Conversations --------------------------------------------------------------------------------------------------------


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


class FakeCaller:
    """A caller without a network. Every thing that is said is answered at once, by the name of the first session, until
    `fails` says otherwise."""

    made: list[FakeCaller] = []
    fails: Callable[[FakeCaller], str | None] = staticmethod(lambda caller: None)
    abilities: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.record, self.sounds, self.errors = Record(), sounds(40), []
        self.said = self.shown = 0
        self.token: str | None = None
        self.vanished = self.closed = False
        self.made.append(self)

    can = property(lambda self: self.abilities)
    resume_token = property(lambda self: f"token {len(self.made)}" if "resume" in self.abilities else None)

    async def call(self, server: Any, link: Link, seed: int, token: str | None = None) -> None:
        self.token = token
        self._fail()

    def begin_turn(self) -> Record:
        self.record = Record()
        return self.record

    async def say(self, pcm: np.ndarray) -> float:
        self.said += 1
        self._fail()
        events = [{"type": "response.output_audio_transcript.done", "response_id": "r", "transcript": "Hello, anna."}]
        self.record.told += [Told(soak.now(), event) for event in events]
        return soak.now()

    async def until(self, condition: Callable[[], bool], timeout_s: float, words: str) -> None:
        await asyncio.sleep(0)

    def show(self, picture_url: str) -> None:
        assert picture_url.startswith("data:image/png;base64,") and len(picture_url) < 45_000
        self.shown += 1

    def vanish(self) -> None:
        self.vanished = True

    async def close(self) -> None:
        self.closed = True

    def _fail(self) -> None:
        reason = type(self).fails(self)
        if reason is not None:
            raise RuntimeError(reason)


@pytest.fixture
def callers(monkeypatch: pytest.MonkeyPatch) -> type[FakeCaller]:
    class Mine(FakeCaller):
        made: list[FakeCaller] = []

    monkeypatch.setattr(soak, "Caller", Mine)
    monkeypatch.setattr(soak, "CALL_AGAIN_S", 0.0)
    monkeypatch.setattr(random.Random, "uniform", lambda self, low, high: 0.0)
    return Mine


def hold(over: Callable[[Soak], bool]) -> Soak:
    """One session's conversation with fake callers."""

    async def body() -> Soak:
        found = Soak(soak.now())
        repertoire = Repertoire(dict.fromkeys(NAMES, tone(0.1)), tone(0.1), {"question": tone(0.1)})
        conversation = Conversation(found, 0, NAMES, repertoire, seed=1)
        async with asyncio.timeout(20):
            await conversation.hold(None, Link(), 0, lambda: over(found))
        return found

    return asyncio.run(body())


def test_a_session_that_breaks_is_named_and_calls_again(callers: type[FakeCaller]) -> None:
    breaks = staticmethod(lambda caller: "the line broke" if len(caller.made) == 1 and caller.said == 3 else None)
    callers.fails = breaks
    found = hold(lambda found: len(found.turns) > 8)
    assert found.errors == ["session 0, 0.0 min: RuntimeError: the line broke"] and len(callers.made) == 2
    assert [turn.kind for turn in found.turns].count("name") == 2 and all(caller.closed for caller in callers.made)
    assert summary(found)["errors"] == 1


def test_a_session_that_cannot_call_gives_up(callers: type[FakeCaller]) -> None:
    def while_another_goes_on(found: Soak) -> bool:
        found.turns.append(Turn(1, 0.0, "question"))
        return False

    callers.fails = staticmethod(lambda caller: "nobody answers")
    found = hold(while_another_goes_on)
    assert len(callers.made) == soak.MOST_FAILED_CALLS and len(found.errors) == soak.MOST_FAILED_CALLS + 1
    assert found.errors[-1].endswith("gives up after 5 calls")


@pytest.mark.parametrize("sees", [False, True])
def test_pictures_are_shown_to_a_model_that_sees(callers: type[FakeCaller], sees: bool) -> None:
    callers.abilities = frozenset({"camera"} if sees else ())
    found = hold(lambda found: len(found.turns) > 60)
    pictures = [turn.kind for turn in found.turns].count("picture")
    assert pictures == callers.made[0].shown and (pictures > 0) == sees and not found.errors


@pytest.mark.parametrize("resumes", [False, True])
def test_a_session_that_can_be_resumed_is_cut_off_and_comes_back(callers: type[FakeCaller], resumes: bool) -> None:
    callers.abilities = frozenset({"resume"} if resumes else ())
    found = hold(lambda found: len(found.turns) > 200)
    back = [turn.kind for turn in found.turns].count("back")
    assert len(callers.made) == back + 1 and (back > 0) == resumes and not found.errors
    first, *others = callers.made
    assert first.token is None and [caller.token for caller in others] == [f"token {n + 1}" for n in range(back)]
    assert all(caller.vanished for caller in callers.made[:-1]) and all(caller.closed for caller in callers.made)
    assert [turn.kind for turn in found.turns].count("name") == 1, "it is still the same session"


def cut_off(found: Soak) -> int:
    return sum(turn.barge_in_ms is not None for turn in found.turns)


@pytest.mark.slow  # it talks in real time
def test_two_sessions_over_a_lossy_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "ASKS_NAME", 0.0)
    monkeypatch.setattr(soak, "INTERRUPTS", 1.0)
    said = np.concatenate([silence(0.1), tone(1.0), silence(0.1)])  # more than somebody says who only agrees
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
