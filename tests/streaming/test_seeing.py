"""Over a real socket: pictures in, attachments out, while speech goes on."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Coroutine
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from websockets.asyncio.client import ClientConnection, connect

from streaming.events import Limits
from streaming.music import read_music, wav_file
from streaming.pictures import data_uri
from streaming.types import AttachmentProgress, AttachmentStarted, Finished, Request, TextDelta
from tests.streaming.fakes import (
    SEES_AND_DRAWS,
    FakeWorker,
    append,
    drawing,
    jpeg,
    on_the_wire,
    picture_part,
    playing,
    scene,
    tone,
    utterance,
)
from tests.streaming.serving import serving

Json = dict[str, Any]


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(120):
            await test

    asyncio.run(bounded())


async def send(peer: ClientConnection, **event: Any) -> None:
    await peer.send(json.dumps(event))


async def show(peer: ClientConnection, *content: Json) -> None:
    await send(
        peer, type="conversation.item.create", item={"type": "message", "role": "user", "content": list(content)}
    )


async def until(peer: ClientConnection, kind: str) -> list[Json]:
    """The events up to the first one of this type."""
    events: list[Json] = []
    while not events or events[-1]["type"] != kind:
        events.append(json.loads(await peer.recv()))
    return events


def able(script: Any) -> FakeWorker:
    worker = FakeWorker(script)
    worker.abilities = SEES_AND_DRAWS
    return worker


def broken() -> list[bytes]:
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    return [
        b"",
        jpeg(scene())[:400],
        bomb.getvalue(),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"GIF89a" + bytes(99),
    ]


def test_a_drawing_is_asked_for_by_voice_shown_a_picture_and_fetched():
    async def test() -> None:
        async with serving(able(drawing)) as served, connect(served.socket_url) as peer:
            session = (await until(peer, "session.created"))[0]["session"]
            assert session["extensions"] == ["attachments", "camera", "latency", "music_input", "pause", "resume"]
            await show(peer, picture_part(scene(3)))
            data = on_the_wire(utterance())
            for at in range(0, len(data), 4800):
                await send(peer, **append(data[at : at + 4800]))
            events = await until(peer, "conversation.item.attachment.completed")
            kinds = [event["type"] for event in events]
            assert kinds.index("response.done") < len(kinds) - 1
            (image, speech) = served.worker.requests[-1].turns
            assert image.image is not None and np.abs(image.image.astype(int) - scene(3)).mean() < 20
            assert speech.speech is not None
            part = events[-1]["part"]
            assert any("thumbnail" in event for event in events if event["type"].endswith("progress"))
            async with httpx.AsyncClient(base_url=served.url, trust_env=False) as http:
                found = await http.get(part["url"])
                assert found.headers["content-type"] == part["mime_type"] == "image/png"
                assert len(found.content) == part["bytes"]
                pixels = np.asarray(Image.open(io.BytesIO(found.content)))
                assert (pixels == scene(7, 128)).all() and (part["width"], part["height"]) == (128, 128)
                metrics = (await http.get("/metrics")).text
            assert 'tertulia_attachments_total{kind="image",outcome="made"} 1.0' in metrics
            done = (await until(peer, "conversation.item.done"))[-1]["item"]
            await send(peer, type="conversation.item.retrieve", item_id=done["id"])
            assert (await until(peer, "conversation.item.retrieved"))[-1]["item"] == done
            await send(peer, type="conversation.item.delete", item_id=done["id"])
            await until(peer, "conversation.item.deleted")
            assert len(served.house.studio.files) == 0

    run(test())


def test_music_in_and_music_out_heard_while_it_is_made():
    async def test() -> None:
        async with serving(able(playing)) as served, connect(served.socket_url) as peer:
            await send(peer, type="session.update", session={"type": "realtime", "attachments": {"stream_music": True}})
            uri = data_uri("audio/wav", wav_file(tone(0.5), 16_000))
            await show(peer, {"type": "input_audio_file", "audio_url": uri, "title": "mine"})
            await show(peer, {"type": "input_text", "text": "another like this"})
            await send(peer, type="response.create")
            events = await until(peer, "conversation.item.attachment.completed")
            music = served.worker.requests[-1].turns[0].music
            assert music is not None and len(music) == 16_000
            deltas = [event for event in events if event["type"].endswith("audio.delta") and "sample_rate" in event]
            assert len(b"".join(base64.b64decode(event["delta"]) for event in deltas)) == 32_000
            part = events[-1]["part"]
            files = [part, *part["alternatives"]]
            assert [file["mime_type"] for file in files] == ["audio/wav", "audio/ogg"]
            async with httpx.AsyncClient(base_url=served.url, trust_env=False) as http:
                for file in files:
                    data = (await http.get(file["url"])).content
                    assert abs(len(read_music(data, Limits()).pcm) - 16_000) < 1000
                part_of_it = await http.get(part["url"], headers={"Range": "bytes=0-3"})
                assert part_of_it.status_code == 206 and part_of_it.content == b"RIFF"

    run(test())


def test_one_talks_on_while_it_is_drawn_and_then_cancels_it():
    def endless(request: Request):
        one = request.response_id
        if request.turns[-1].text == "draw":
            yield AttachmentStarted(one, "w", "image", "a cathedral")
        yield TextDelta(one, "Yes.")
        yield Finished(one, "completed", "Yes.", (), ())
        while True:
            yield AttachmentProgress(one, "w", 0.5)

    async def test() -> None:
        worker = able(endless)
        async with serving(worker) as served, connect(served.socket_url) as peer:
            await show(peer, {"type": "input_text", "text": "draw"})
            await send(peer, type="response.create")
            events = await until(peer, "conversation.item.attachment.progress")
            item_id = events[-1]["item_id"]
            for _ in range(2):
                await show(peer, {"type": "input_text", "text": "and you?"})
                await send(peer, type="response.create")
                assert (await until(peer, "response.done"))[-1]["response"]["status"] == "completed"
            start = asyncio.get_running_loop().time()
            events = []
            while asyncio.get_running_loop().time() - start < 1:
                events += await until(peer, "conversation.item.attachment.progress")
            assert len(events) <= 5, "a few a second"
            await send(peer, type="conversation.item.delete", item_id=item_id)
            done = (await until(peer, "conversation.item.deleted"))[-2]
            assert done["type"] == "conversation.item.done" and done["item"]["status"] == "incomplete"
            assert worker.cancelled_attachments == {"w"}
            metrics = served.house.metrics.text(True).decode()
            assert 'tertulia_attachments_total{kind="image",outcome="cancelled"} 1.0' in metrics

    run(test())


def test_an_attachment_expires():
    async def test() -> None:
        limits = Limits(attachment_s=0.3)
        async with serving(able(drawing), limits) as served, connect(served.socket_url) as peer:
            await show(peer, {"type": "input_text", "text": "draw"})
            await send(peer, type="response.create")
            part = (await until(peer, "conversation.item.attachment.completed"))[-1]["part"]
            await asyncio.sleep(0.4)
            async with httpx.AsyncClient(base_url=served.url, trust_env=False) as http:
                assert (await http.get(part["url"])).status_code == 404

    run(test())


def test_broken_pictures_and_sounds_are_refused_in_words_and_the_session_goes_on():
    async def test() -> None:
        async with serving(able(drawing)) as served, connect(served.socket_url) as peer:
            await until(peer, "session.created")
            for data in broken():
                uri = data_uri("image/png", data)
                await show(peer, {"type": "input_image", "image_url": uri})
                failure = (await until(peer, "error"))[-1]["error"]
                assert failure["param"] == "item.content[0].image_url" and failure["message"].endswith(".")
                await show(peer, {"type": "input_audio_file", "audio_url": uri})
                failure = (await until(peer, "error"))[-1]["error"]
                assert failure["code"] in ("invalid_audio", "unsupported_audio")
            await show(peer, {"type": "input_text", "text": "draw"})
            await send(peer, type="response.create")
            assert (await until(peer, "response.done"))[-1]["response"]["status"] == "completed"

    run(test())


def test_live_frames_are_looked_at_when_the_user_asks():
    async def test() -> None:
        async with serving(able(drawing)) as served, connect(served.socket_url) as peer:
            uri = picture_part(scene(5))["image_url"]
            await send(peer, type="input_image_buffer.append", image_url="data:image/png;base64,AAAA", event_id="bad")
            assert (await until(peer, "error"))[-1]["error"]["event_id"] == "bad"
            await asyncio.sleep(0.5)
            await send(peer, type="input_image_buffer.append", image_url=uri)
            await asyncio.sleep(0.5)
            for _ in range(2):
                await show(peer, {"type": "input_text", "text": "what is this?"})
                await send(peer, type="response.create")
                await until(peer, "conversation.item.attachment.completed")
            images = [turn.image for turn in served.worker.requests[-1].turns if turn.image is not None]
            assert len(images) == 1 and np.abs(images[0].astype(int) - scene(5)).mean() < 20
            metrics = served.house.metrics.text(True).decode()
            assert 'tertulia_camera_looks_total{sight="new"} 1.0' in metrics
            assert 'tertulia_camera_looks_total{sight="unchanged"} 1.0' in metrics

    run(test())


@pytest.mark.parametrize("kind", ["image", "music"])
def test_what_is_too_large_for_a_message_is_uploaded_first(kind):
    async def test() -> None:
        async with serving(able(drawing)) as served, connect(served.socket_url) as peer:
            data = jpeg(scene()) if kind == "image" else wav_file(tone(0.5), 16_000)
            async with httpx.AsyncClient(base_url=served.url, trust_env=False) as http:
                file_id = (await http.post("/v1/realtime/attachments", content=data)).json()["id"]
            await show(peer, {"type": "input_image" if kind == "image" else "input_audio_file", "file_id": file_id})
            added = (await until(peer, "conversation.item.done"))[-1]["item"]
            assert added["content"][0]["type"] in ("input_image", "input_audio_file")
            await show(peer, {"type": "input_image", "file_id": "file_unknown"})
            assert (await until(peer, "error"))[-1]["error"]["code"] == "file_not_found"

    run(test())
