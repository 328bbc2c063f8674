"""A camera over WebRTC, between real aiortc peers on the loopback."""

from __future__ import annotations

import asyncio
import fractions

import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpsender import RTCRtpSender
from av import VideoFrame

from streaming.app import House
from streaming.camera import Frame
from streaming.events import Limits
from streaming.media import Picture
from streaming.runner import SessionRunner, Transport
from streaming.settings import SessionSettings
from streaming.transports.webrtc import Calls
from tests.streaming.fakes import SEES_AND_DRAWS, FakeWorker, Loudness, drawing, scene
from tests.streaming.test_webrtc import Peer, run, until

FPS = 5


class Film(MediaStreamTrack):
    """Shows one picture, until another one is put in its place."""

    kind = "video"

    def __init__(self, pixels: np.ndarray) -> None:
        super().__init__()
        self.show(pixels)
        self._count = 0
        self._start = 0.0

    def show(self, pixels: np.ndarray) -> None:
        self._planes = VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p").to_ndarray()

    async def recv(self) -> VideoFrame:
        if self.readyState != "live":
            raise MediaStreamError
        loop = asyncio.get_running_loop()
        self._start = self._start or loop.time()
        await asyncio.sleep(max(0.0, self._start + self._count / FPS - loop.time()))
        frame = VideoFrame.from_ndarray(self._planes, "yuv420p")
        frame.pts, frame.time_base = self._count * 90_000 // FPS, fractions.Fraction(1, 90_000)
        self._count += 1
        return frame


class Filmer(Peer):
    """A client with a camera."""

    def __init__(self, codec: str) -> None:
        super().__init__()
        self.camera = Film(scene(1, 64))
        line = self.connection.addTransceiver(self.camera, "sendonly")
        codecs = RTCRtpSender.getCapabilities("video").codecs
        line.setCodecPreferences([one for one in codecs if one.mimeType == codec])

    async def take(self, answer_sdp: str) -> None:
        await self.connection.setRemoteDescription(RTCSessionDescription(answer_sdp, "answer"))
        sound, _ = self.connection.getReceivers()
        self._listening = asyncio.create_task(self._listen(sound.track))

    def say(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        self.send({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}})
        self.send({"type": "response.create"})


class Server:
    """Calls to a scripted worker; the sessions that they got."""

    def __init__(self, worker: FakeWorker) -> None:
        self.settings = SessionSettings(worker.voices, worker.voices[0])
        self.house = House(worker, Loudness, self.settings, Limits(), "nano")
        self.calls = Calls(Limits())
        self.runners: list[SessionRunner] = []

    def make_runner(self, transport: Transport) -> SessionRunner:
        self.runners.append(self.house.runners(self.settings)(transport))
        return self.runners[-1]

    async def until_seen(self, pixels: np.ndarray) -> None:
        """Wait until the camera's newest frame is this picture."""
        wanted, frames = Frame.of(Picture(pixels, "")), self.runners[0].session._camera._frames
        await until(lambda: bool(frames) and frames[-1][1].changed_share(wanted) < 0.05, 60)


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
def test_a_camera_whose_picture_changes_its_size(codec: str) -> None:
    async def body() -> None:
        worker = FakeWorker(drawing)
        worker.abilities = SEES_AND_DRAWS
        server, peer = Server(worker), Filmer(codec)
        try:
            _, answer = await server.calls.answer(await peer.offer(), server.make_runner)
            assert "m=video" in answer and "a=recvonly" in answer
            await peer.take(answer)
            await peer.wait_for("session.created")
            await server.until_seen(scene(1, 64))
            peer.say("what is this?")
            await peer.wait_for("conversation.item.attachment.completed", timeout_s=60)
            assert "response.output_audio.delta" not in peer.types()
            peer.camera.show(scene(2, 96))
            await server.until_seen(scene(2, 96))
            peer.say("and this?")
            await peer.wait_for("conversation.item.attachment.completed", count=2, timeout_s=60)
            images = [turn.image for turn in worker.requests[-1].turns if turn.image is not None]
            assert [image.shape for image in images] == [(64, 64, 3), (96, 96, 3)]
            for image, pixels in zip(images, (scene(1, 64), scene(2, 96)), strict=True):
                assert np.abs(image.astype(int) - pixels).mean() < 30
            thumbnails = [
                event["item"]["content"][0]["image_url"]
                for event in peer.events
                if event["type"] == "conversation.item.done" and event["item"]["content"][0]["type"] == "input_image"
            ]
            assert len(thumbnails) == 2 and all(len(one) <= 16 * 1024 for one in thumbnails)
        finally:
            await peer.close()
            await server.calls.close()

    run(body())


def test_who_has_no_eyes_takes_no_video() -> None:
    async def body() -> None:
        server, peer = Server(FakeWorker()), Filmer("video/VP8")
        try:
            _, answer = await server.calls.answer(await peer.offer(), server.make_runner)
            video = answer[answer.index("m=video") :]
            assert "a=inactive" in video and "a=recvonly" not in video
        finally:
            await peer.close()
            await server.calls.close()

    run(body())
