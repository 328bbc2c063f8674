"""What the latency tool takes for speech, sound and a gap; and a measured call to a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from streaming.metrics import Metrics
from streaming.music import wav_file
from streaming.types import SPEECH_RATE, Finished, Output, Request, SpeechDelta, TextDelta
from tests.streaming.fakes import FakeWorker, silence, tone
from tests.streaming.test_webrtc import Server
from tools.latency import (
    FRAME,
    Gaps,
    Heard,
    LatencyError,
    Measured,
    Peer,
    first_sound,
    gaps,
    last_voiced_sample,
    measure,
    percentiles,
    stages,
    summary,
    table,
    worker_seconds,
)


@pytest.mark.parametrize("said", [1600, 1601, 1759, 1760])
def test_the_last_voiced_sample_is_that_of_its_ten_milliseconds(said: int) -> None:
    noise = np.random.default_rng(0).normal(0, 1e-3, 8000).astype(np.float32)
    noise[800 : 800 + said] += tone(1.0)[:said]
    last = last_voiced_sample(noise, SPEECH_RATE)
    assert abs(last - (800 + said)) < 160


def test_speech_to_the_very_end_and_no_speech_at_all() -> None:
    assert last_voiced_sample(tone(0.5)[:-7], SPEECH_RATE) == SPEECH_RATE // 2 - 7
    with pytest.raises(LatencyError):
        last_voiced_sample(silence(0.5), SPEECH_RATE)


def frame(at: float, number: int, peak: float = 0.5, onset: int = 0) -> Heard:
    pcm = np.zeros(FRAME)
    pcm[onset:] = peak
    return Heard.of(pcm, number * FRAME, at)


def test_the_first_sound_is_the_first_that_is_loud_enough_after_that_time() -> None:
    heard = [frame(1.0, 0), frame(1.02, 1, peak=0.003), frame(1.04, 2, onset=480), frame(1.06, 3)]
    assert first_sound(heard, after=1.01) == pytest.approx(1.05)
    assert first_sound(heard, after=0.9) == 1.0
    assert first_sound(heard[:2], after=1.0) is None


def test_gaps_are_counted_within_the_reply_alone() -> None:
    quiet = [frame(0.02 * n, n, peak=0) for n in range(5)]
    reply = [frame(0.02 * n, n) for n in range(5, 15)]
    assert gaps([*quiet, *reply]) == Gaps(frames=10)
    assert gaps(quiet) == Gaps()
    delayed = [frame(0.02 * n + (0.07 if n == 9 else 0.05), n, peak=0.0 if n == 12 else 0.5) for n in range(5, 15)]
    on_time = frame(0.08, 4)
    assert gaps([on_time, *delayed[:3], *delayed[4:]]) == Gaps(frames=10, late=1, lost=1, silent=1)


def test_stages_follow_each_other_and_add_up() -> None:
    milestones = {"end_of_speech_ms": 512.0, "first_audio_ms": 900.0, "transcription_ms": 700.0}
    passed = stages(1100.0, 600.0, milestones)
    assert passed == {
        "silence waited for": 512,
        "noticing it": 88,
        "transcription": 188,
        "first audio": 200,
        "way back": 112,
    }


def test_what_an_eager_answer_passed_in_the_silence_took_no_time() -> None:
    before, after = {"transcription_ms": 200.0, "first_token_ms": 210.0}, {"first_audio_ms": 300.0}
    passed = stages(500.0, 300.0, {"end_of_speech_ms": 256.0, **before, **after})
    assert passed == {
        "silence waited for": 256,
        "noticing it": 44,
        "transcription": 0,
        "first token": 0,
        "first audio": 44,
        "way back": 156,
    }


def test_percentiles_say_of_how_many() -> None:
    assert percentiles([float(n) for n in range(101)]) == {"count": 101, "p50": 50, "p95": 95, "max": 100}
    assert percentiles([]) == {"count": 0}


def scripted(request: Request) -> Iterator[Output]:
    one = request.response_id
    yield TextDelta(one, "yes")
    yield SpeechDelta(one, tone(0.5))
    yield Finished(one, "completed", "yes", (), (), milestones_ms={"speech_tokens": 30.0})


class SameProcess(Server):
    """Asked from a thread, answered in the event loop."""

    def __init__(self) -> None:
        super().__init__(FakeWorker(scripted))
        self._loop = asyncio.get_running_loop()

    def call(self, offer_sdp: str) -> str:
        answering = self.calls.answer(offer_sdp, self.make_runner)
        return asyncio.run_coroutine_threadsafe(answering, self._loop).result()[1]

    def metrics_text(self) -> str:
        return self.metrics.text(worker_alive=True).decode()


def test_two_utterances_of_a_call(tmp_path: Path) -> None:
    path = tmp_path / "question.wav"
    path.write_bytes(wav_file(np.concatenate([silence(0.2), tone(0.5), silence(0.3)]), SPEECH_RATE))

    async def body() -> None:
        server = SameProcess()
        rows = await measure(server, [path, path])
        await server.calls.close()
        for row in rows:
            assert row.failure is None and row.turns == 1 and row.total_ms is not None
            assert sum(row.stages_ms.values()) == pytest.approx(row.total_ms)
            assert 500 <= row.stages_ms["silence waited for"] <= 532 and 500 < row.total_ms
            assert row.worker_ms == {"speech_tokens": pytest.approx(30.0)}
            assert 24 <= row.gaps.frames <= 30 and row.gaps.lost == 0
        figures = summary(rows)
        assert figures["asked"] == figures["total_ms"]["count"] == 2

    asyncio.run(body())


def test_sessions_at_once_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / f"question_{n}.wav" for n in range(2)]
    for path in paths:
        path.write_bytes(wav_file(np.concatenate([silence(0.2), tone(0.5), silence(0.3)]), SPEECH_RATE))

    async def body() -> list[Measured]:
        server = SameProcess()
        rows = await measure(server, paths, sessions=2)
        await server.calls.close()
        assert len({request.session_id for request in server.worker.requests}) == 2
        return rows

    rows = asyncio.run(body())
    said = {session: [row.file for row in rows if row.session == session] for session in (0, 1)}
    assert said == {0: ["question_0.wav", "question_1.wav"], 1: ["question_1.wav", "question_0.wav"]}
    assert all(row.total_ms is not None and row.worker_ms == {} for row in rows)
    report = {"summary": summary(rows), "sessions": 2, "by_session": [summary(rows)["total_ms"]] * 2}
    about = dict.fromkeys(("model", "device", "threads", "commit", "load_before", "start_to_ready_s"), "x")
    shown = table(report | about | {"resident_mb": {"server": 1, "worker": 2, "together": 3}})
    assert "4 of 4 utterances answered with sound, 2 sessions at once" in shown and "session 1 " in shown
    assert "in the worker" not in shown


def test_an_utterance_that_is_not_answered_does_not_end_the_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "question.wav"
    path.write_bytes(wav_file(tone(0.3), SPEECH_RATE))

    async def unanswered(self: Peer, pcm: np.ndarray) -> None:
        raise LatencyError("no reply came to its end within 90 s")

    async def body() -> list[Measured]:
        server = SameProcess()
        rows = await measure(server, [path, path])
        await server.calls.close()
        return rows

    monkeypatch.setattr(Peer, "ask", unanswered)
    rows = asyncio.run(body())
    assert [row.failure for row in rows] == ["no reply came to its end within 90 s"] * 2
    assert summary(rows)["asked"] == 2 and summary(rows)["total_ms"] == {"count": 0}


def test_worker_milestones_are_added_up() -> None:
    metrics = Metrics()
    metrics.replied("completed", {"prefill": 40.0})
    metrics.replied("completed", {"prefill": 50.0})
    assert worker_seconds(metrics.text(worker_alive=True).decode()) == {"prefill": pytest.approx(0.09)}
