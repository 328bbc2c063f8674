"""The inference process dies in the middle of an answer: the conversation goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import connect

from streaming.worker import Worker
from tests.streaming.serving import Served, serving
from tests.streaming.test_sessions import called
from tests.streaming.test_websocket import send, until
from tests.streaming.test_worker import Echo


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test

    asyncio.run(bounded())


@asynccontextmanager
async def served_by_a_process() -> AsyncIterator[tuple[Served, Worker]]:
    worker = Worker(Echo)
    await worker.start()
    try:
        async with serving(worker, real_calls=True) as served:  # type: ignore[arg-type]
            yield served, worker
    finally:
        await worker.close()


def kill(worker: Worker) -> None:
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)


def item(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def test_over_a_socket() -> None:
    async def test() -> None:
        async with served_by_a_process() as (served, worker), connect(served.socket_url) as peer:
            await until(peer, "session.created")
            await send(peer, type="conversation.item.create", item=item("talk forever"))
            await send(peer, type="response.create")
            await until(peer, "response.output_audio_transcript.delta")
            kill(worker)
            events = await until(peer, "response.done")
            kinds = [event["type"] for event in events if not event["type"].endswith("delta")]
            assert kinds[0] == "session.interrupted"
            interrupted = next(event for event in events if event["type"] == "session.interrupted")
            assert interrupted["reason"] == "worker_restarted" and interrupted["event_id"].startswith("event_")
            response = events[-1]["response"]
            assert response["status"] == "failed"
            assert response["status_details"]["error"]["code"] == "worker_restarted"
            assert response["output"][0]["status"] == "incomplete"

            await send(peer, type="conversation.item.create", item=item("are you back"))
            await send(peer, type="response.create")
            done = (await until(peer, "response.done"))[-1]["response"]
            assert done["status"] == "completed"
            assert done["output"][0]["content"][0]["transcript"] == "areyouback"
            assert worker.restarts == 1 and served.house.metrics.open_sessions == 1

    run(test())


def test_over_a_call() -> None:
    async def test() -> None:
        async with served_by_a_process() as (served, worker), called(served) as peer:
            peer.send({"type": "conversation.item.create", "item": item("talk forever")})
            peer.send({"type": "response.create"})
            await peer.wait_for("response.output_audio_transcript.delta")
            kill(worker)
            assert (await peer.wait_for("session.interrupted"))["reason"] == "worker_restarted"
            assert (await peer.wait_for("response.done"))["response"]["status"] == "failed"
            peer.send({"type": "conversation.item.create", "item": item("hello")})
            peer.send({"type": "response.create"})
            assert (await peer.wait_for("response.done", 2))["response"]["status"] == "completed"

    run(test())
