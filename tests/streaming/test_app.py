"""The doors over HTTP: what a browser, an operator and a careless client find."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from streaming.events import Limits
from tests.streaming.fakes import jpeg, scene
from tests.streaming.serving import Served, serving

OFFER = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
SDP = {"Content-Type": "application/sdp"}


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test

    asyncio.run(bounded())


def client(served: Served) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=served.url, trust_env=False)


def error_of(response: httpx.Response) -> dict[str, Any]:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "code", "param"} and error["message"]
    return error


def test_the_page_and_its_files():
    async def test() -> None:
        async with serving() as served, client(served) as http:
            page = await http.get("/")
            assert page.status_code == 200 and "text/html" in page.headers["content-type"]
            script = await http.get("/realtime.js")
            assert script.status_code == 200 and "javascript" in script.headers["content-type"]
            assert (await http.get("/no-such-file")).status_code == 404
            assert (await http.get("/..%2fserver.py")).status_code == 404

    run(test())


def test_health_tells_whether_anyone_can_talk():
    async def test() -> None:
        async with serving() as served, client(served) as http:
            health = await http.get("/health")
            assert health.status_code == 200
            state = {"status": "ok", "model": "nano", "voices": ["ada", "ben"], "worker": {"alive": True}}
            assert health.json() == state | {"sessions": 0}
            async with connect(served.socket_url) as peer:
                await peer.recv()
                assert (await http.get("/health")).json()["sessions"] == 1
            served.worker.alive = False
            health = await http.get("/health")
            assert health.status_code == 503 and health.json()["status"] == "unavailable"

    run(test())


def test_metrics_count_sessions_responses_and_errors():
    async def test() -> None:
        async with serving() as served, client(served) as http:
            async with connect(served.socket_url) as peer:
                await peer.send("{")
                item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
                await peer.send(json.dumps({"type": "conversation.item.create", "item": item}))
                await peer.send(json.dumps({"type": "response.create"}))
                while json.loads(await peer.recv())["type"] != "response.done":
                    pass
                served.worker.restarts = 2
                for _ in range(2):
                    text = (await http.get("/metrics")).text
            assert "tertulia_worker_restarts_total 2.0" in text
            assert 'tertulia_sessions{transport="websocket"} 1.0' in text
            assert 'tertulia_responses_total{status="completed"} 1.0' in text
            assert 'tertulia_errors_total{code="invalid_json"} 1.0' in text
            assert "tertulia_worker_alive 1.0" in text

    run(test())


def test_an_offer_is_answered_and_the_call_can_be_ended():
    async def test() -> None:
        async with serving() as served, client(served) as http:
            answer = await http.post("/v1/realtime/calls", content=OFFER, headers=SDP)
            assert answer.status_code == 201 and answer.headers["content-type"].startswith("application/sdp")
            assert answer.headers["location"] == "/v1/realtime/calls/rtc_1" and answer.text.startswith("v=0")
            assert served.calls.offers == [OFFER]
            ended = await http.post("/v1/realtime/calls/rtc_1/hangup")
            assert (ended.status_code, ended.content) == (200, b"")
            unknown = await http.post("/v1/realtime/calls/rtc_2/hangup")
            assert unknown.status_code == 404 and error_of(unknown)["code"] == "call_not_found"

    run(test())


class Voice:
    """Just enough of a transport to get a paced session."""

    name = "webrtc"

    def play(self) -> None: ...


@pytest.mark.parametrize("with_file_names", [False, True])
def test_an_offer_may_bring_session_settings(with_file_names):
    async def test() -> None:
        session = json.dumps({"type": "realtime", "instructions": "Be kind.", "audio": {"output": {"voice": "ben"}}})
        names = ("offer.sdp", "session.json") if with_file_names else (None, None)
        form = {
            "sdp": (names[0], OFFER, "application/sdp"),
            "session": (names[1], session, "application/json"),
        }
        async with serving() as served, client(served) as http:
            answer = await http.post("/v1/realtime/calls", files=form)
            assert answer.status_code == 201 and served.calls.offers == [OFFER]
            line = served.calls.make_runners[0](Voice())
            settings = line._new_runner(Voice()).session.settings
            assert (settings.instructions, settings.voice) == ("Be kind.", "ben")

    run(test())


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"v=0", SDP, 400, "invalid_sdp"),
        (b"", SDP, 400, "invalid_sdp"),
        (b"\xff\xfe\x00", SDP, 400, "invalid_sdp"),
        (b"v=0\r\nm=video 9 RTP/AVP 96\r\n", SDP, 400, "invalid_sdp"),
        (OFFER.encode() + b"a=x\r\n" * 20_000, SDP, 413, "request_too_large"),
        (OFFER.encode(), {"Content-Type": "image/png"}, 415, "unsupported_media_type"),
        (b"not a form", {"Content-Type": "multipart/form-data"}, 400, "invalid_form"),
        (b"not a form", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "invalid_form"),
        (b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "invalid_sdp"),
    ],
)
def test_a_wrong_offer_gets_words(body, headers, status, code):
    async def test() -> None:
        async with serving() as served, client(served) as http:
            answer = await http.post("/v1/realtime/calls", content=body, headers=headers)
            assert (answer.status_code, error_of(answer)["code"]) == (status, code)
            assert served.calls.offers == []

    run(test())


@pytest.mark.parametrize(
    ("session", "code"),
    [("{", "invalid_json"), ("[]", "invalid_type"), ('{"colour": 1}', "unknown_parameter")],
)
def test_wrong_session_settings_of_a_call_get_words(session, code):
    async def test() -> None:
        form = {"sdp": (None, OFFER, "application/sdp"), "session": (None, session, "application/json")}
        async with serving() as served, client(served) as http:
            answer = await http.post("/v1/realtime/calls", files=form)
            assert (answer.status_code, error_of(answer)["code"]) == (400, code)

    run(test())


def test_an_offer_in_a_form_has_the_same_limit():
    async def test() -> None:
        form = {"sdp": (None, OFFER + "a=x\r\n" * 20_000, "application/sdp")}
        async with serving() as served, client(served) as http:
            answer = await http.post("/v1/realtime/calls", files=form)
            assert (answer.status_code, error_of(answer)["code"]) == (413, "request_too_large")

    run(test())


def test_calls_count_towards_the_places():
    async def test() -> None:
        async with serving(limits=Limits(sessions=1)) as served, client(served) as http:
            assert (await http.post("/v1/realtime/calls", content=OFFER, headers=SDP)).status_code == 201
            refused = await http.post("/v1/realtime/calls", content=OFFER, headers=SDP)
            assert refused.status_code == 503 and error_of(refused)["code"] == "too_many_sessions"

    run(test())


PATHS = ["/v1/realtime/calls", "/v1/realtime/calls/rtc_1/hangup", "/v1/realtime/client_secrets"]


@pytest.mark.parametrize("path", PATHS)
def test_with_keys_configured_nobody_gets_in_without_one(path):
    async def test() -> None:
        async with serving(api_keys=("sk-one",)) as served, client(served) as http:
            for headers in ({}, {"Authorization": "Bearer sk-on"}, {"Authorization": "sk-one"}):
                refused = await http.post(path, content=OFFER, headers={**SDP, **headers})
                assert refused.status_code == 401 and error_of(refused)["code"] == "invalid_api_key"
            let_in = await http.post(path, content=OFFER, headers={**SDP, "Authorization": "Bearer sk-one"})
            assert let_in.status_code != 401

    run(test())


def test_client_secrets_expire_and_cannot_make_more_of_themselves_wrongly():
    async def test() -> None:
        async with serving(api_keys=("sk-one",)) as served, client(served) as http:
            key = {"Authorization": "Bearer sk-one"}
            made = (await http.post("/v1/realtime/client_secrets", headers=key)).json()
            assert made["value"].startswith("ek_") and made["session"]["type"] == "realtime"
            assert made["session"]["id"].startswith("sess_") and made["session"]["expires_at"] == made["expires_at"]
            headers = {**SDP, "Authorization": f"Bearer {made['value']}"}
            assert (await http.post("/v1/realtime/calls", content=OFFER, headers=headers)).status_code == 201
            for wrong in ({"expires_after": {"seconds": 5}}, {"session": {"audio": 1}}, {"anything": 1}):
                refused = await http.post("/v1/realtime/client_secrets", headers=key, json=wrong)
                assert refused.status_code == 400 and error_of(refused)["param"]

    run(test())


def test_pages_of_other_origins():
    async def test() -> None:
        friend = {"Origin": "https://friend.example"}
        async with serving(allowed_origins=("https://friend.example",)) as served, client(served) as http:
            answer = await http.post("/v1/realtime/calls", content=OFFER, headers={**SDP, **friend})
            assert answer.status_code == 201
            assert answer.headers["access-control-allow-origin"] == "https://friend.example"
            assert "Location" in answer.headers["access-control-expose-headers"]
            asked = {
                **friend,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type,x-openai-agents-sdk",
            }
            assert (await http.options("/v1/realtime/calls", headers=asked)).status_code == 200
            stranger = {"Origin": "https://evil.example"}
            refused = await http.post("/v1/realtime/calls", content=OFFER, headers={**SDP, **stranger})
            assert refused.status_code == 403 and error_of(refused)["code"] == "origin_not_allowed"
            own = {"Origin": served.url}
            assert (await http.post("/v1/realtime/calls", content=OFFER, headers={**SDP, **own})).status_code == 201

    run(test())


def with_a_file(served: Served, name: str = "att_1.wav", data: bytes = b"0123456789") -> str:
    served.house.studio.files.put(name, data, "audio/wav")
    return f"/v1/realtime/attachments/{name}"


def test_an_attachment_is_fetched_from_anywhere_without_a_key():
    async def test() -> None:
        async with serving(api_keys=("sk-one",)) as served, client(served) as http:
            found = await http.get(with_a_file(served), headers={"Origin": "https://elsewhere.example"})
            assert found.status_code == 200 and found.content == b"0123456789"
            assert found.headers["access-control-allow-origin"] == "*" and found.headers["accept-ranges"] == "bytes"
            assert found.headers["content-type"] == "audio/wav" and found.headers["x-content-type-options"] == "nosniff"
            head = await http.head(with_a_file(served))
            assert head.status_code == 200 and head.headers["content-length"] == "10" and not head.content
            missing = await http.get("/v1/realtime/attachments/att_2.wav")
            assert missing.status_code == 404 and error_of(missing)["code"] == "attachment_not_found"

    run(test())


@pytest.mark.parametrize(
    ("wanted", "status", "content", "content_range"),
    [
        ("bytes=0-", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=9-100", 206, b"9", "bytes 9-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=-0", 416, b"", "bytes */10"),
        ("bytes=4-2", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
def test_ranges_of_an_attachment(wanted, status, content, content_range):
    async def test() -> None:
        async with serving() as served, client(served) as http:
            found = await http.get(with_a_file(served), headers={"Range": wanted})
            assert (found.status_code, found.content) == (status, content)
            assert found.headers.get("content-range") == content_range

    run(test())


def test_a_file_is_uploaded_and_never_served():
    async def test() -> None:
        limits = Limits(picture_bytes=5000, music_bytes=5000)
        async with serving(api_keys=("sk-one",), limits=limits) as served, client(served) as http:
            where, key = "/v1/realtime/attachments", {"Authorization": "Bearer sk-one"}
            picture = jpeg(scene())
            assert len(picture) < 5000
            assert (await http.post(where, content=picture)).status_code == 401
            taken = await http.post(where, content=picture, headers=key)
            assert taken.status_code == 201 and taken.json()["bytes"] == len(picture)
            assert (await http.get(f"{where}/{taken.json()['id']}")).status_code == 404
            refused = await http.post(where, content=b"<html>", headers=key)
            assert refused.status_code == 415 and error_of(refused)["code"] == "unsupported_file"
            assert (await http.post(where, content=bytes(6000), headers=key)).status_code == 413

    run(test())
