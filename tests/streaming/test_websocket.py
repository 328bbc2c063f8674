"""Sessions over real sockets: what only shows when there is a network between the two."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streaming.events import Limits
from streaming.types import Finished, Request, SpeechDelta, TextDelta
from tests.streaming.fakes import FakeWorker, append, on_the_wire, tone, utterance
from tests.streaming.serving import serving

Json = dict[str, Any]
HELLO = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test

    asyncio.run(bounded())


async def send(peer: ClientConnection, **event: Any) -> None:
    await peer.send(json.dumps(event))


async def until(peer: ClientConnection, kind: str) -> list[Json]:
    """The events up to the first one of this type."""
    events = []
    while not events or events[-1]["type"] != kind:
        events.append(json.loads(await peer.recv()))
    return events


async def exchange(peer: ClientConnection) -> Json:
    """A turn by text. Returns the response."""
    await send(peer, type="conversation.item.create", item=HELLO)
    await send(peer, type="response.create")
    return (await until(peer, "response.done"))[-1]["response"]


def test_a_turn_by_voice():
    async def test() -> None:
        async with serving() as served, connect(served.socket_url) as peer:
            assert (await until(peer, "session.created"))[0]["type"] == "session.created"
            data = on_the_wire(utterance())
            for at in range(0, len(data), 4800):
                await send(peer, **append(data[at : at + 4800]))
            events = await until(peer, "response.done")
            assert events[0]["type"] == "input_audio_buffer.speech_started"
            assert events[-1]["response"]["status"] == "completed"
            assert events[-1]["response"]["output"][0]["content"][0]["transcript"] == "Hi! I am fine."

    run(test())


@pytest.mark.parametrize("message", ["{", b"\x00\x01\x02", '{"type": "no.such"}', "null", "\x00"])
def test_nonsense_gets_an_error_and_the_session_goes_on(message):
    async def test() -> None:
        async with serving() as served, connect(served.socket_url) as peer:
            await until(peer, "session.created")
            await peer.send(message)
            failure = (await until(peer, "error"))[-1]["error"]
            assert failure["message"] and failure["code"]
            assert (await exchange(peer))["status"] == "completed"

    run(test())


def test_a_message_of_50_mb_is_refused_and_others_do_not_notice():
    async def test() -> None:
        limits = Limits(message_bytes=1 << 20)
        async with serving(limits=limits) as served, connect(served.socket_url) as other:
            async with connect(served.socket_url) as peer:
                await until(peer, "session.created")
                try:
                    await send(peer, type="input_audio_buffer.append", audio="A" * 50_000_000)
                except ConnectionClosed:
                    pass  # told before all of it was sent
                with pytest.raises(ConnectionClosed) as closed:
                    await until(peer, "never")
                assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
            await until(other, "session.created")
            assert (await exchange(other))["status"] == "completed"
            await served_sessions(served, 1)

    run(test())


async def served_sessions(served: Any, count: int) -> None:
    async with asyncio.timeout(10):
        while served.house.metrics.open_sessions != count:
            await asyncio.sleep(0.01)


def test_who_reads_only_after_sending_too_much_still_finds_the_reason():
    async def test() -> None:
        async with serving(limits=Limits(message_bytes=1 << 20)) as served:
            host, port = served.address.split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            upgrade = "GET /v1/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            writer.write((upgrade + key).encode())
            await reader.readuntil(b"\r\n\r\n")
            size, mask = 50_000_000, bytes(4)
            writer.write(b"\x81\xff" + size.to_bytes(8, "big") + mask)
            for _ in range(50):
                writer.write(b"A" * (size // 50))
                await writer.drain()
            received = await reader.read()
            assert b"\x03\xf1" in received, "the close frame with the code 1009"
            writer.close()

    run(test())


def test_the_largest_append_that_the_protocol_allows_is_taken():
    async def test() -> None:
        limits = Limits(message_bytes=24 << 20, audio_ahead_s=400)
        async with serving(limits=limits) as served, connect(served.socket_url) as peer:
            await until(peer, "session.created")
            await send(peer, **append(bytes(15 << 20)))
            assert (await exchange(peer))["status"] == "completed"

    run(test())


def test_a_client_that_vanishes_in_mid_reply_leaves_nothing_behind():
    async def test() -> None:
        worker = FakeWorker(hold=2)
        async with serving(worker, Limits(resume_s=0)) as served, connect(served.socket_url) as other:
            await until(other, "session.created")
            peer = await connect(served.socket_url)
            await until(peer, "session.created")
            await send(peer, type="conversation.item.create", item=HELLO)
            await send(peer, type="response.create")
            await until(peer, "response.output_audio_transcript.delta")
            peer.transport.abort()
            await served_sessions(served, 1)
            (request,) = worker.requests
            assert worker.forgotten == [request.session_id]
            assert worker._cancelled[request.response_id].is_set()
            worker.hold = None
            assert (await exchange(other))["status"] == "completed"
        assert served.house.metrics.open_sessions == 0

    run(test())


def test_barge_in_stops_the_sound_at_once():
    async def test() -> None:
        worker = FakeWorker(hold=6)
        async with serving(worker) as served, connect(served.socket_url) as peer:
            await until(peer, "session.created")
            await send(peer, type="conversation.item.create", item=HELLO)
            await send(peer, type="response.create")
            await until(peer, "response.output_audio.delta")
            await send(peer, **append(on_the_wire(tone(0.3))))
            events = await until(peer, "response.done")
            kinds = [event["type"] for event in events]
            assert "response.output_audio.delta" not in kinds[kinds.index("input_audio_buffer.speech_started") :]
            assert events[-1]["response"]["status_details"]["reason"] == "turn_detected"

    run(test())


def test_two_sessions_do_not_disturb_each_other():
    async def test() -> None:
        async with serving() as served, connect(served.socket_url) as one, connect(served.socket_url) as two:
            first, second = await asyncio.gather(exchange(one), exchange(two))
            assert first["status"] == second["status"] == "completed"
            assert first["id"] != second["id"]
            sessions = {request.session_id for request in served.worker.requests}
            assert len(sessions) == 2

    run(test())


def test_a_client_that_does_not_read_makes_only_its_own_answer_wait():
    def endless(request: Request):
        if request.turns[-1].text != "go on":
            yield TextDelta(request.response_id, "Hi")
            yield Finished(request.response_id, "completed", "Hi", (), ())
        while True:
            yield SpeechDelta(request.response_id, tone(1.0))

    async def test() -> None:
        worker = FakeWorker(endless)
        async with serving(worker, Limits(resume_s=0)) as served, connect(served.socket_url) as other:
            await until(other, "session.created")
            deaf = await connect(served.socket_url, max_queue=1)
            await until(deaf, "session.created")
            text = {"type": "input_text", "text": "go on"}
            await send(deaf, type="conversation.item.create", item={**HELLO, "content": [text]})
            await send(deaf, type="response.create")
            await asyncio.sleep(1)  # its answer fills every buffer on the way
            assert (await exchange(other))["status"] == "completed"
            deaf.transport.abort()
            await served_sessions(served, 1)

    run(test())


def test_a_full_house_says_so():
    async def test() -> None:
        async with serving(limits=Limits(sessions=1)) as served, connect(served.socket_url) as first:
            await until(first, "session.created")
            async with connect(served.socket_url) as second:
                failure = (await until(second, "error"))[-1]["error"]
                assert failure["code"] == "too_many_sessions"
                await second.wait_closed()
                assert second.close_code == 1013
            await first.close()
            await served.until_empty()
            async with connect(served.socket_url) as third:
                await until(third, "session.created")

    run(test())


def test_an_idle_session_is_closed_with_a_word():
    async def test() -> None:
        async with serving(limits=Limits(idle_s=0.3)) as served, connect(served.socket_url) as peer:
            failure = (await until(peer, "error"))[-1]["error"]
            assert failure["code"] == "session_idle"
            await peer.wait_closed()
            assert peer.close_code == 1000

    run(test())


def test_the_subprotocol_realtime_is_chosen_only_if_it_was_offered():
    async def test() -> None:
        async with serving(api_keys=("sk-one",)) as served:
            offered = ["realtime", "openai-insecure-api-key.sk-one", "openai-agents-sdk.0.20.0"]
            async with connect(served.socket_url, subprotocols=offered) as peer:
                assert peer.subprotocol == "realtime"
            headers = {"Authorization": "Bearer sk-one"}
            async with connect(served.socket_url, additional_headers=headers) as peer:
                assert peer.subprotocol is None

    run(test())


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "invalid_api_key"),
        ({"Authorization": "Bearer sk-two"}, 401, "invalid_api_key"),
        ({"Authorization": "Bearer sk-one", "Origin": "https://evil.example"}, 403, "origin_not_allowed"),
    ],
)
def test_strangers_are_refused_before_the_upgrade(headers, status, code):
    async def test() -> None:
        async with serving(api_keys=("sk-one",)) as served:
            with pytest.raises(InvalidStatus) as refused:
                await connect(served.socket_url, additional_headers=headers)
            assert refused.value.response.status_code == status
            error = json.loads(refused.value.response.body)["error"]
            assert error["code"] == code and set(error) == {"message", "type", "code", "param"}

    run(test())


def test_the_page_itself_may_connect():
    async def test() -> None:
        async with serving() as served, connect(served.socket_url, origin=served.url) as peer:
            await until(peer, "session.created")

    run(test())
