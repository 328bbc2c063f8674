"""Connections that are lost and sessions that are not, over real sockets and real calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streaming.events import Limits
from streaming.types import SPEECH_RATE, AttachmentStarted, Finished, Output, Request, SpeechDelta, TextDelta
from tests.streaming.fakes import SEES_AND_DRAWS, FakeWorker, append, drawing, on_the_wire, tone, utterance
from tests.streaming.serving import Served, serving
from tests.streaming.test_webrtc import SDP, Peer
from tests.streaming.test_websocket import HELLO, exchange, send, until

openai = pytest.importorskip("openai")

Json = dict[str, Any]


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(90):
            await test

    asyncio.run(bounded())


def resuming(served: Served, token: str) -> str:
    return f"{served.socket_url}?model=any&resume={token}"


async def until_true(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def waiting(served: Served) -> float:
    return number(served, "tertulia_sessions_waiting")


def number(served: Served, name: str) -> float:
    lines = served.house.metrics.text(True).decode().splitlines()
    return next(float(line.split(" ")[-1]) for line in lines if line.startswith(name + " "))


async def greeted(peer: ClientConnection) -> Json:
    return json.loads(await peer.recv())


def token_of(greeting: Json) -> str:
    return greeting["session"]["resume"]["token"]


@asynccontextmanager
async def called(served: Served, token: str | None = None) -> AsyncIterator[Peer]:
    peer = Peer()
    try:
        headers = SDP if token is None else SDP | {"Resume-Session": token}
        async with httpx.AsyncClient(base_url=served.url, trust_env=False) as http:
            answer = await http.post("/v1/realtime/calls", content=await peer.offer(), headers=headers)
        assert answer.status_code == 201, answer.text
        await peer.take(answer.text)
        await peer.wait_for("session.created" if token is None else "session.resumed")
        yield peer
    finally:
        await peer.close()


def wordy_answer(request: Request) -> list[Output]:
    one, words = request.response_id, " ".join(["word"] * 50)
    return [TextDelta(one, words), SpeechDelta(one, tone(20)), Finished(one, "completed", words, (), ())]


def fall_silent(peer: Peer) -> None:
    """The peer's network is gone: nothing comes from it or reaches it."""
    for protocol in peer.ice._protocols:
        protocol.transport.abort()


def test_a_conversation_goes_on_over_another_socket():
    async def test() -> None:
        async with serving() as served:
            async with connect(served.socket_url) as peer:
                created = await greeted(peer)
                await exchange(peer)
                peer.transport.abort()
            await until_true(lambda: waiting(served) == 1)
            assert served.worker.forgotten == [], "the worker keeps its cache"
            async with connect(resuming(served, token_of(created))) as peer:
                resumed = await greeted(peer)
                assert resumed["type"] == "session.resumed"
                assert resumed["session"]["id"] == created["session"]["id"]
                assert resumed["last_item_id"] == resumed["items"][-1]["id"]
                assert (await exchange(peer))["status"] == "completed"
            first, second = served.worker.requests
            assert first.session_id == second.session_id and len(second.turns) == 3
            await served.until_empty()
            assert served.worker.forgotten == [first.session_id] and waiting(served) == 0

    run(test())


def test_who_closes_in_good_order_has_left():
    async def test() -> None:
        async with serving() as served, connect(served.socket_url) as peer:
            created = await greeted(peer)
            await peer.close()
            await served.until_empty()
            async with connect(resuming(served, token_of(created))) as peer:
                assert (await greeted(peer))["type"] == "session.created"
                failure = await greeted(peer)
                assert failure["error"]["code"] == "session_resume_failed"
                assert (await exchange(peer))["status"] == "completed"

    run(test())


def test_a_page_that_is_reloaded_may_come_back():
    async def test() -> None:
        async with serving() as served, connect(served.socket_url) as peer:
            created = await greeted(peer)
            await peer.close(1001)
            await until_true(lambda: waiting(served) == 1)
            async with connect(resuming(served, token_of(created))) as peer:
                assert (await greeted(peer))["type"] == "session.resumed"

    run(test())


@pytest.mark.parametrize("token", ["", "resume_0", "resume_" + 32 * "a", "%C3%BC%00", 5000 * "x"])
def test_a_token_that_is_none_starts_a_new_session_and_says_so(token):
    async def test() -> None:
        async with serving() as served, connect(served.socket_url) as other:
            before = await greeted(other)
            async with connect(resuming(served, token)) as peer:
                created, failure = await greeted(peer), await greeted(peer)
                assert created["type"] == "session.created" and created["session"]["id"] != before["session"]["id"]
                assert failure["type"] == "error" and failure["error"]["code"] == "session_resume_failed"
            assert (await exchange(other))["status"] == "completed"
            assert 'tertulia_resumes_total{outcome="failed"} 1.0' in served.house.metrics.text(True).decode()

    run(test())


def test_a_token_works_once():
    async def test() -> None:
        async with serving() as served, connect(served.socket_url) as peer:
            token = token_of(await greeted(peer))
            peer.transport.abort()
            async with connect(resuming(served, token)) as second:
                assert (await greeted(second))["type"] == "session.resumed"
                async with connect(resuming(served, token)) as third:
                    assert (await greeted(third))["type"] == "session.created"
                    assert (await greeted(third))["error"]["code"] == "session_resume_failed"
                assert (await exchange(second))["status"] == "completed"

    run(test())


def test_a_token_is_no_key():
    async def test() -> None:
        async with serving(api_keys=("sk-one",)) as served:
            headers = {"Authorization": "Bearer sk-one"}
            async with connect(served.socket_url, additional_headers=headers) as peer:
                token = token_of(await greeted(peer))
                peer.transport.abort()
            with pytest.raises(InvalidStatus) as refused:
                await connect(resuming(served, token))
            assert refused.value.response.status_code == 401
            async with connect(resuming(served, token), additional_headers=headers) as peer:
                assert (await greeted(peer))["type"] == "session.resumed"

    run(test())


def test_who_comes_back_takes_over_from_a_connection_that_seems_alive():
    async def test() -> None:
        async with serving() as served, connect(served.socket_url) as old:
            created = await greeted(old)
            async with connect(resuming(served, token_of(created))) as new:
                assert (await greeted(new))["session"]["id"] == created["session"]["id"]
                await old.wait_closed()
                assert old.close_code == 1000 and "another connection" in old.close_reason
                assert (await exchange(new))["status"] == "completed"
                assert served.house.metrics.open_sessions == 1

    run(test())


def test_a_question_whose_answer_was_not_heard_is_answered_after_resuming():
    async def test() -> None:
        worker = FakeWorker(hold=1)
        async with serving(worker) as served:
            async with connect(served.socket_url) as peer:
                created = await greeted(peer)
                data = on_the_wire(utterance())
                for at in range(0, len(data), 4800):
                    await send(peer, **append(data[at : at + 4800]))
                await until(peer, "response.created")
                peer.transport.abort()
            await until_true(lambda: waiting(served) == 1)
            worker.hold = None
            async with connect(resuming(served, token_of(created))) as peer:
                events = await until(peer, "response.created")
                done = (await until(peer, "response.done"))[-1]["response"]
                assert events[0]["type"] == "session.resumed" and done["status"] == "completed"
                assert done["output"][0]["content"][0]["transcript"] == "Hi! I am fine."
            assert [len(request.turns) for request in worker.requests] == [1, 1]

    run(test())


def test_nobody_comes_back_and_nothing_stays():
    async def test() -> None:
        async with serving(limits=Limits(resume_s=0.3)) as served:
            async with connect(served.socket_url) as peer:
                created = await greeted(peer)
                assert created["session"]["resume"]["expires_after_ms"] == 300
                peer.transport.abort()
            await until_true(lambda: waiting(served) == 1)
            await served.until_empty()
            assert served.worker.forgotten == [created["session"]["id"]]
            assert waiting(served) == 0 and len(served.house.sessions) == 0
            async with connect(resuming(served, token_of(created))) as peer:
                await greeted(peer)
                assert (await greeted(peer))["error"]["code"] == "session_resume_failed"

    run(test())


def test_who_waits_keeps_his_place_and_only_his():
    async def test() -> None:
        async with serving(limits=Limits(sessions=1, resume_s=1.5)) as served:
            async with connect(served.socket_url) as peer:
                token = token_of(await greeted(peer))
                peer.transport.abort()
            await until_true(lambda: waiting(served) == 1)
            async with connect(served.socket_url) as newcomer:
                assert (await greeted(newcomer))["error"]["code"] == "too_many_sessions"
            async with connect(resuming(served, "resume_guessed")) as liar:
                assert (await greeted(liar))["error"]["code"] == "too_many_sessions"
            async with connect(resuming(served, token)) as peer:
                assert (await greeted(peer))["type"] == "session.resumed"
                peer.transport.abort()
            await served.until_empty()
            async with connect(served.socket_url) as newcomer:
                assert (await greeted(newcomer))["type"] == "session.created"

    run(test())


def test_the_end_of_the_server_ends_those_who_wait():
    async def test() -> None:
        async with serving() as served, connect(served.socket_url) as peer:
            created = await greeted(peer)
            peer.transport.abort()
            await until_true(lambda: waiting(served) == 1)
        assert served.worker.forgotten == [created["session"]["id"]]

    run(test())


def test_a_drawing_is_finished_while_nobody_is_there():
    async def test() -> None:
        gate = asyncio.Event()

        class Slow(FakeWorker):
            async def respond(self, request: Request) -> AsyncIterator[Output]:
                async for output in super().respond(request):
                    yield output
                    if isinstance(output, AttachmentStarted):
                        await gate.wait()

        worker = Slow(drawing)
        worker.abilities = SEES_AND_DRAWS
        async with serving(worker) as served:
            async with connect(served.socket_url) as peer:
                created = await greeted(peer)
                await send(peer, type="conversation.item.create", item=HELLO)
                await send(peer, type="response.create")
                while "attachment_id" not in (await peer.recv()):
                    pass
                peer.transport.abort()
            await until_true(lambda: waiting(served) == 1)
            gate.set()
            await asyncio.sleep(0.3)
            async with connect(resuming(served, token_of(created))) as peer:
                completed = (await until(peer, "conversation.item.attachment.completed"))[-1]
                async with httpx.AsyncClient(base_url=served.url, trust_env=False) as http:
                    assert (await http.get(completed["part"]["url"])).status_code == 200

    run(test())


def test_the_stock_client_resumes_too():
    async def test() -> None:
        async with serving() as served:
            client = openai.AsyncOpenAI(api_key="none", base_url=f"{served.url}/v1")
            async with client.realtime.connect(model="any") as connection:
                created = await connection.recv()
                token = created.session.resume["token"]
                connection._connection.transport.abort()
            async with client.realtime.connect(model="any", extra_query={"resume": token}) as connection:
                resumed = await connection.recv()
                assert resumed.type == "session.resumed" and resumed.session["id"] == created.session.id
            await client.close()

    run(test())


def test_a_call_that_is_lost_goes_on_as_another_call():
    async def test() -> None:
        worker = FakeWorker(wordy_answer)
        async with serving(worker, real_calls=True) as served:
            async with called(served) as peer:
                created = peer.events[0]
                peer.microphone.say(0.5)
                await peer.wait_for("output_audio_buffer.started")
                await until_true(lambda: peer.loud_seconds > 1)
                fall_silent(peer)
                ((call, _),) = served.calls._calls.values()
                heard_ms = call.voice.playout._replies[0].played * 1000 / SPEECH_RATE
                await asyncio.sleep(2)  # of sound that nobody hears
                async with called(served, token_of(created)) as again:
                    assert again.events[0]["session"]["id"] == created["session"]["id"]
                    truncated = await again.wait_for("conversation.item.truncated")
                    assert abs(truncated["audio_end_ms"] - heard_ms) < 500
                    assert served.house.metrics.open_sessions == 1 and len(served.calls) <= 2
                    again.microphone.say(0.5)
                    await again.wait_for("output_audio_buffer.started")
                    await until_true(lambda: again.loud_seconds > 0.5)
                    again.send({"type": "output_audio_buffer.clear"})
                    await until_true(lambda: len(served.calls) == 1)
            assert len(worker.requests) == 2 and len({request.session_id for request in worker.requests}) == 1
            (heard,) = (turn.text for turn in worker.requests[1].turns if turn.role == "assistant")
            assert 2 <= len(heard.split()) < 20, "of fifty words"
            await served.until_empty()
            assert len(worker.forgotten) == 1

    run(test())


def test_a_call_that_died_long_ago_waits_to_be_resumed(monkeypatch):
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.1)  # RFC 7675: five seconds, and gone after thirty

    async def test() -> None:
        async with serving(real_calls=True) as served:
            async with called(served) as peer:
                token = token_of(peer.events[0])
                fall_silent(peer)
                await until_true(lambda: waiting(served) == 1)
                assert served.worker.forgotten == [] and len(served.calls) == 0
            async with connect(resuming(served, token)) as other:  # and changes to a socket
                assert (await greeted(other))["type"] == "session.resumed"
                assert (await exchange(other))["status"] == "completed"
                other.transport.abort()
            await until_true(lambda: waiting(served) == 1)

    run(test())


def test_a_call_that_is_ended_by_its_peer_is_over():
    async def test() -> None:
        async with serving(real_calls=True) as served:
            async with called(served):
                pass
            await served.until_empty()
            assert len(served.worker.forgotten) == 1

    run(test())


def test_a_call_that_does_not_come_about_uses_up_no_token():
    """A browser behind a strict firewall tries a call first, and then a socket."""

    async def test() -> None:
        async with serving(real_calls=True) as served:
            async with connect(served.socket_url) as first:
                token = token_of(await greeted(first))
                first.transport.abort()
            peer = Peer()
            async with httpx.AsyncClient(base_url=served.url, trust_env=False) as http:
                headers = SDP | {"Resume-Session": token}
                answer = await http.post("/v1/realtime/calls", content=await peer.offer(), headers=headers)
                assert answer.status_code == 201
                await http.post(f"{answer.headers['location']}/hangup")
            await peer.close()
            async with connect(resuming(served, token)) as second:
                assert (await greeted(second))["type"] == "session.resumed"

    run(test())


def test_a_full_house_tells_callers_when_to_try_again():
    async def test() -> None:
        async with serving(limits=Limits(sessions=1), real_calls=True) as served, called(served):
            async with httpx.AsyncClient(base_url=served.url, trust_env=False) as http:
                peer = Peer()
                refused = await http.post("/v1/realtime/calls", content=await peer.offer(), headers=SDP)
                await peer.close()
            assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
            error = refused.json()["error"]
            assert error["code"] == "too_many_sessions" and "places" in error["message"]
            with pytest.raises(ConnectionClosed) as closed:
                async with connect(served.socket_url) as socket:
                    assert (await greeted(socket))["error"]["code"] == "too_many_sessions"
                    await socket.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013

    run(test())


def test_callers_who_are_on_their_way_in_are_counted():
    async def test() -> None:
        async with serving(limits=Limits(sessions=2), real_calls=True) as served, connect(served.socket_url) as one:
            await greeted(one)
            peers = [Peer(), Peer()]
            async with httpx.AsyncClient(base_url=served.url, trust_env=False) as http:
                answers = [
                    await http.post("/v1/realtime/calls", content=await peer.offer(), headers=SDP) for peer in peers
                ]
            assert [answer.status_code for answer in answers] == [201, 503]
            for peer in peers:
                await peer.close()

    run(test())
