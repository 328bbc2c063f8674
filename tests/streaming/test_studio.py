"""Threads that decode and encode, and the files that come of it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from av import VideoFrame
from PIL import Image

from streaming.camera import Frame
from streaming.events import Limits
from streaming.fields import ProtocolError
from streaming.media import MOST_PREVIEW_BYTES, Encoded, Kept, Music, Picture
from streaming.music import wav_file
from streaming.studio import Studio
from streaming.types import MusicDone, PictureDone
from tests.streaming.fakes import jpeg, scene, tone


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())


def test_what_clients_send() -> None:
    async def test() -> None:
        studio = Studio()
        assert isinstance(await studio.read(Encoded("image", "x", jpeg(scene()))), Picture)
        assert isinstance(await studio.read(Encoded("music", "x", wav_file(tone(0.2), 16_000))), Music)
        for wrong in (Encoded("image", "x", wav_file(tone(0.2), 16_000)), Encoded("music", "x", jpeg(scene()))):
            refused = await studio.read(wrong)
            assert isinstance(refused, ProtocolError) and refused.param == "x"

    run(test)


def test_frames_of_either_transport() -> None:
    async def test() -> None:
        studio = Studio()
        one = await studio.look(Encoded("image", "x", jpeg(scene())))
        two = await studio.look(VideoFrame.from_ndarray(scene(), "rgb24"))
        assert isinstance(one, Frame) and isinstance(two, Frame) and one.changed_share(two) < 0.03
        assert isinstance(await studio.look(Encoded("image", "x", b"no")), ProtocolError)

    run(test)


@pytest.mark.parametrize("extension", ["png", "webp"])
def test_a_picture_is_kept_and_forgotten(extension: str) -> None:
    async def test() -> None:
        studio = Studio(picture_extension=extension)
        kept = await studio.keep("att_1", PictureDone("r", "w", scene(side=128)))
        assert isinstance(kept, Kept) and kept.url == f"/v1/realtime/attachments/att_1.{extension}"
        file = studio.files.get(f"att_1.{extension}")
        assert file is not None and file.mime_type == kept.mime_type == f"image/{extension}"
        assert len(file.data) == kept.bytes and len(kept.thumbnail) <= MOST_PREVIEW_BYTES
        assert Image.open(io.BytesIO(file.data)).size == (128, 128) and kept.details == {"width": 128, "height": 128}
        studio.forget("att_1")
        assert len(studio.files) == 0

    run(test)


def test_music_is_kept_as_wav_and_as_opus() -> None:
    async def test() -> None:
        studio = Studio()
        kept = await studio.keep("att_1", MusicDone("r", "w", tone(1), 16_000))
        assert isinstance(kept, Kept) and kept.mime_type == "audio/wav" and kept.details["duration_ms"] == 1000
        (other,) = kept.details["alternatives"]
        for url, mime_type, size in ((kept.url, kept.mime_type, kept.bytes), tuple(other.values())):
            file = studio.files.get(url.rpartition("/")[2])
            assert file is not None and (file.mime_type, len(file.data)) == (mime_type, size)
        assert other["bytes"] < kept.bytes / 2
        studio.forget("att_1")
        assert len(studio.files) == 0

    run(test)


def test_what_does_not_fit_is_told() -> None:
    async def test() -> None:
        studio = Studio(Limits(attachment_bytes=1000))
        kept = await studio.keep("att_1", MusicDone("r", "w", tone(1), 16_000))
        assert isinstance(kept, ProtocolError) and kept.code == "attachment_too_large"

    run(test)


def test_an_upload_is_used_until_it_expires() -> None:
    async def test() -> None:
        now = 0.0
        studio = Studio(clock=lambda: now)
        file_id = studio.upload(jpeg(scene()))
        assert isinstance(await studio.read(Encoded("image", "x", file_id=file_id)), Picture)
        now = 601
        gone = await studio.read(Encoded("image", "x", file_id=file_id))
        assert isinstance(gone, ProtocolError) and gone.code == "file_not_found"

    run(test)


@pytest.mark.parametrize("data", [b"", b"<svg/>", b"<html>", bytes(2000), b"\xff\xd8\xff" + bytes(2000)])
def test_what_may_not_be_uploaded(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Studio(Limits(picture_bytes=1000, music_bytes=1000)).upload(data)


def test_the_loop_goes_on_while_a_picture_is_decoded() -> None:
    async def test() -> None:
        studio = Studio()
        large = io.BytesIO()
        Image.fromarray(np.zeros((3000, 3000, 3), np.uint8)).save(large, "PNG")
        task = asyncio.create_task(studio.read(Encoded("image", "x", large.getvalue())))
        turns = 0
        while not task.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns > 10

    run(test)
