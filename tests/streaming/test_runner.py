"""One session's tasks, without a network: the peer is a list."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from streaming import runner as runner_module
from streaming.events import Limits
from streaming.metrics import Metrics
from streaming.playout import Played, Playout
from streaming.runner import Allowance, PeerGone, SessionRunner
from streaming.session import Session
from streaming.settings import SessionSettings
from streaming.types import SPEECH_RATE, Abilities, Overheard, Request, SpeechDelta, TextDelta
from tests.streaming.fakes import FakeWorker, Loudness, append, on_the_wire, silence, tone, utterance

Json = dict[str, Any]


class Peer:
    """A transport that keeps what it is sent. `open_gate` lets it take events; `gone` makes it unreachable."""

    name = "test"

    def __init__(self) -> None:
        self.events: list[Json] = []
        self.closed: tuple[int, str] | None = None
        self.gone = False
        self.gate = asyncio.Event()
        self.gate.set()
        self._news = asyncio.Event()

    async def send(self, event: Json) -> None:
        await self.gate.wait()
        if self.gone:
            raise PeerGone
        self.events.append(event)
        self._news.set()

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    async def until(self, kind: str) -> Json:
        while kind not in self.types:
            self._news.clear()
            await self._news.wait()
        return next(event for event in self.events if event["type"] == kind)


class VoicePeer(Peer):
    """A transport that plays sound, with the real playout."""

    def __init__(self) -> None:
        super().__init__()
        self.playout = Playout()

    def play(self, pcm: np.ndarray, response_id: str, item_id: str) -> None:
        self.playout.put(response_id, item_id, pcm)

    def finish(self, response_id: str) -> None:
        self.playout.end(response_id)

    def pause(self) -> None:
        self.playout.pause()

    def resume(self) -> None:
        self.playout.resume()

    def flush(self) -> list[Played]:
        return self.playout.clear()


class Talk:
    def __init__(self, peer: Peer, worker: FakeWorker, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        settings = SessionSettings(worker.voices, worker.voices[0])
        session = Session(settings, Loudness(), limits, paced=isinstance(peer, VoicePeer), abilities=worker.abilities)
        self.metrics = Metrics()
        self.peer, self.worker = peer, worker
        self.runner = SessionRunner(session, worker, peer, self.metrics, limits.events_per_second)

    async def send(self, **event: Any) -> None:
        await self.runner.receive_event(json.dumps(event))

    async def ask(self, text: str = "hello") -> None:
        content = [{"type": "input_text", "text": text}]
        await self.send(type="conversation.item.create", item={"type": "message", "role": "user", "content": content})
        await self.send(type="response.create")

    async def run(self, script: Callable[[], Awaitable[None]]) -> None:
        failures = []

        async def peer() -> None:
            self.runner.open()
            try:
                await script()
            except Exception as failure:  # the runner would take it for a defect of its own and go on
                failures.append(failure)

        async with asyncio.timeout(20):
            await self.runner.run(peer)
        if failures:
            raise failures[0]


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())


class Listener(FakeWorker):
    """One that overhears."""

    def __init__(self) -> None:
        super().__init__()
        self.abilities = Abilities(overhears=True)
        self.overheard: list[Overheard] = []

    def overhear(self, overheard: Overheard) -> None:
        self.overheard.append(overheard)


def test_the_worker_hears_the_user_while_he_speaks() -> None:
    worker = Listener()
    talk = Talk(VoicePeer(), worker)

    async def script() -> None:
        for pcm in np.split(tone(1), 50):
            await talk.runner.receive_audio(pcm)
        assert sum(len(piece.pcm) for piece in worker.overheard) > 0.5 * SPEECH_RATE and worker.requests == []

    asyncio.run(talk.run(script))


def test_a_turn_by_voice():
    async def test() -> None:
        talk = Talk(Peer(), FakeWorker())

        async def script() -> None:
            data = on_the_wire(utterance())
            for at in range(0, len(data), 4800):
                await talk.send(**append(data[at : at + 4800]))
            await talk.peer.until("response.done")

        await talk.run(script)
        types = talk.peer.types
        assert types[0] == "session.created" and types[1] == "input_audio_buffer.speech_started"
        assert types.index("response.created") < types.index("response.output_audio.delta")
        assert talk.worker.forgotten == [talk.runner.session.id]
        assert talk.metrics.open_sessions == 0

    run(test)


def test_the_first_packet_counts_from_when_a_slow_peer_has_taken_it():
    async def test() -> None:
        talk = Talk(Peer(), FakeWorker())

        async def script() -> None:
            data = on_the_wire(utterance())
            for at in range(0, len(data), 4800):
                await talk.send(**append(data[at : at + 4800]))
            talk.peer.gate.clear()
            await asyncio.sleep(0.1)
            talk.peer.gate.set()
            latency = await talk.peer.until("response.latency.updated")
            assert latency["stages"]["first_packet_ms"] > latency["stages"]["first_audio_ms"] + 90
            await talk.send(type="response.latency.report", response_id=latency["response_id"], first_sound_ms=900)

        await talk.run(script)
        for milestone in ("end_of_speech", "first_packet", "first_sound"):
            assert f'tertulia_milestone_seconds_count{{milestone="{milestone}"}} 1.0' in text_of(talk.metrics)
        assert 'tertulia_prompt_tokens_total{kind="computed"}' in text_of(talk.metrics)

    run(test)


def test_the_end_of_the_peer_ends_everything():
    async def test() -> None:
        talk = Talk(Peer(), FakeWorker(hold=1))

        async def script() -> None:
            await talk.ask()
            await talk.peer.until("response.output_audio_transcript.delta")

        await talk.run(script)
        (request,) = talk.worker.requests
        assert talk.worker._cancelled[request.response_id].is_set()

    run(test)


def test_a_peer_that_cannot_be_reached_ends_the_session():
    async def test() -> None:
        talk = Talk(Peer(), FakeWorker())

        async def script() -> None:
            talk.peer.gone = True
            await talk.ask()
            await asyncio.Event().wait()

        await talk.run(script)
        assert talk.metrics.open_sessions == 0

    run(test)


def test_a_session_that_closes_itself_says_so_and_closes():
    async def test() -> None:
        talk = Talk(Peer(), FakeWorker(), Limits(idle_s=0.01))
        await talk.run(asyncio.Event().wait)
        assert talk.peer.types == ["session.created", "error"]
        assert talk.peer.closed is not None and talk.peer.closed[0] == 1000

    run(test)


def test_a_defect_ends_this_session_alone_and_is_logged(caplog):
    def broken(request: Request):
        yield TextDelta(request.response_id, None)  # type: ignore[arg-type]

    async def test() -> None:
        talk = Talk(Peer(), FakeWorker(broken))

        async def script() -> None:
            await talk.ask()
            await asyncio.Event().wait()

        with caplog.at_level(logging.ERROR):
            await talk.run(script)
        assert talk.peer.closed is not None and talk.peer.closed[0] == 1011
        assert "defect" in caplog.text and 'tertulia_errors_total{code="internal_error"} 1.0' in text_of(talk.metrics)

    run(test)


def text_of(metrics: Metrics) -> str:
    return metrics.text(worker_alive=True).decode()


def test_a_peer_that_takes_nothing_makes_its_own_answer_wait():
    made = 0

    def endless(request: Request):
        nonlocal made
        while True:
            made += 1
            yield SpeechDelta(request.response_id, tone(0.02))

    async def test() -> None:
        talk = Talk(Peer(), FakeWorker(endless))

        async def script() -> None:
            talk.peer.gate.clear()
            await talk.ask()
            before = -1
            while made != before:
                before = made
                for _ in range(50):
                    await asyncio.sleep(0)
            assert made <= 2 * runner_module.MOST_UNSENT_EVENTS, "a piece of sound is not always worth an event"
            talk.peer.gate.set()
            while made < before + 2 * runner_module.MOST_UNSENT_EVENTS:
                await asyncio.sleep(0)

        await talk.run(script)

    run(test)


def test_a_long_append_lets_others_have_their_turn():
    async def test() -> None:
        talk = Talk(Peer(), FakeWorker())
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async def script() -> None:
            task = asyncio.create_task(other())
            before = turns
            await talk.send(**append(on_the_wire(silence(30))))
            assert turns - before >= 25, "about once a second of sound"
            task.cancel()

        await talk.run(script)

    run(test)


def test_a_cancel_that_follows_at_once_reaches_the_worker():
    async def test() -> None:
        worker = FakeWorker(hold=0)
        talk = Talk(Peer(), worker)

        async def script() -> None:
            await talk.ask()
            await talk.send(type="response.cancel")
            assert (await talk.peer.until("response.done"))["response"]["status"] == "cancelled"
            (cancelled,) = worker._cancelled.values()
            assert cancelled.is_set()

        await talk.run(script)

    run(test)


def test_an_answer_out_of_band_is_forgotten_by_the_worker():
    async def test() -> None:
        talk = Talk(Peer(), FakeWorker())

        async def script() -> None:
            content = [{"type": "input_text", "text": "aside"}]
            message = {"type": "message", "role": "user", "content": content}
            await talk.send(type="response.create", response={"conversation": "none", "input": [message]})
            await talk.peer.until("response.done")
            await asyncio.sleep(0)

        await talk.run(script)
        (request,) = talk.worker.requests
        assert talk.worker.forgotten == [request.session_id, talk.runner.session.id]

    run(test)


def test_speech_silences_a_voice_and_reports_what_was_heard():
    async def test() -> None:
        peer = VoicePeer()
        talk = Talk(peer, FakeWorker())

        async def script() -> None:
            await talk.ask()
            await peer.until("response.done")
            for _ in range(10):
                for report in peer.playout.next_frame().events:
                    talk.runner.receive_playout(report)
            assert peer.playout.waiting == SPEECH_RATE // 2 - 3200
            await talk.runner.receive_audio(tone(0.1))
            peer.playout.next_frame()  # fades
            assert not peer.playout.next_frame().pcm.any() and peer.playout.waiting, "paused, and nothing lost"
            await talk.runner.receive_audio(tone(0.7))
            assert peer.playout.waiting == 0
            truncated = await peer.until("conversation.item.truncated")
            assert truncated["audio_end_ms"] == 200

        await talk.run(script)
        types = peer.types
        assert "response.output_audio.delta" not in types
        in_order = [
            "output_audio_buffer.started",
            "output_audio_buffer.paused",
            "input_audio_buffer.speech_started",
            "output_audio_buffer.cleared",
            "conversation.item.truncated",
        ]
        assert [kind for kind in types if kind in in_order] == in_order

    run(test)


def test_a_cough_silences_a_voice_for_a_moment():
    async def test() -> None:
        peer = VoicePeer()
        talk = Talk(peer, FakeWorker())

        async def script() -> None:
            await talk.ask()
            await peer.until("response.done")
            heard = [peer.playout.next_frame().pcm for _ in range(10)]
            await talk.runner.receive_audio(tone(0.2))
            await peer.until("output_audio_buffer.paused")
            assert peer.playout.waiting == SPEECH_RATE // 2 - 3200
            await talk.runner.receive_audio(silence(0.5))
            await peer.until("output_audio_buffer.resumed")
            peer.playout.next_frame()  # faded
            heard += [peer.playout.next_frame().pcm for _ in range(15)]
            assert np.count_nonzero(np.concatenate(heard)) > 0.95 * SPEECH_RATE // 2, "all of it was heard"

        await talk.run(script)
        assert "input_audio_buffer.speech_started" not in peer.types

    run(test)


def test_an_allowance_lets_a_burst_through_and_then_the_rate():
    allowance = Allowance(per_second=10, burst=3)
    assert [allowance.take(100.0) for _ in range(5)] == pytest.approx([0, 0, 0, 0.1, 0.2])
    assert allowance.take(100.5) == 0, "half a second later the debt is paid"
    assert [allowance.take(200.0) for _ in range(4)] == pytest.approx([0, 0, 0, 0.1])
