"""Calls between real aiortc peers over the loopback, with a scripted worker behind the session."""

from __future__ import annotations

import asyncio
import fractions
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame

from streaming.access import Doorkeeper
from streaming.app import House, create_app
from streaming.events import Limits
from streaming.metrics import Metrics
from streaming.playout import TICKS, Started, Stopped
from streaming.runner import SessionRunner, Transport
from streaming.session import Session
from streaming.settings import SessionSettings
from streaming.transports.webrtc import CHANNEL, Calls, SdpError, Voice
from streaming.types import SPEECH_RATE, Finished, Output, Request, SpeechDelta, TextDelta
from tests.streaming.fakes import FakeWorker, Loudness, tone
from tests.streaming.serving import PAGE

RATE = 48_000
SDP = {"Content-Type": "application/sdp"}


class Microphone(MediaStreamTrack):
    """Silence in real time, and what is said into it."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.words = np.zeros(0, np.int16)
        self._count = 0
        self._start = 0.0

    def say(self, seconds: float) -> None:
        time = np.arange(int(seconds * RATE)) / RATE
        self.words = (16_000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)

    async def recv(self) -> AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        loop = asyncio.get_running_loop()
        self._start = self._start or loop.time()
        await asyncio.sleep(max(0.0, self._start + self._count * 0.02 - loop.time()))
        samples = np.zeros((1, 960), np.int16)
        samples[0, : min(960, len(self.words))] = self.words[:960]
        self.words = self.words[960:]
        frame = AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._count * 960, fractions.Fraction(1, RATE)
        self._count += 1
        return frame


class Peer:
    """A client: one microphone, one data channel, and what came."""

    def __init__(self) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.microphone = Microphone()
        self.connection.addTrack(self.microphone)
        self.channel = self.connection.createDataChannel(CHANNEL)
        self.channel.on("message", lambda message: self.events.append(json.loads(message)))
        self.events: list[dict[str, Any]] = []
        self.heard: list[np.ndarray] = []
        self.timestamps: list[int] = []
        self._listening: asyncio.Task[None] | None = None

    async def offer(self) -> str:
        """As browsers' sample code does it: at once, without a candidate."""
        await self.connection.setLocalDescription(await self.connection.createOffer())
        lines = self.connection.localDescription.sdp.splitlines()
        return "\r\n".join(line for line in lines if "candidate" not in line) + "\r\n"

    async def take(self, answer_sdp: str) -> None:
        await self.connection.setRemoteDescription(RTCSessionDescription(answer_sdp, "answer"))
        (receiver,) = self.connection.getReceivers()
        self._listening = asyncio.create_task(self._listen(receiver.track))

    async def _listen(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, AudioFrame) and frame.pts is not None
            self.timestamps.append(frame.pts)
            self.heard.append(frame.to_ndarray().reshape(-1, 2).mean(axis=1) / 32768)

    @property
    def ice(self) -> Any:
        """aioice's end of the connection."""
        return self.connection.sctp.transport.transport._connection

    @property
    def loud_seconds(self) -> float:
        return sum(0.02 for frame in self.heard if np.abs(frame).max() > 0.1)

    def send(self, event: dict[str, Any] | str | bytes) -> None:
        self.channel.send(json.dumps(event) if isinstance(event, dict) else event)

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    async def wait_for(self, kind: str, count: int = 1, timeout_s: float = 30) -> dict[str, Any]:
        await until(lambda: self.types().count(kind) >= count, timeout_s, lambda: f"{kind}, only {self.types()}")
        return [event for event in self.events if event["type"] == kind][count - 1]

    async def close(self) -> None:
        await self.connection.close()
        if self._listening is not None:
            await self._listening


async def until(
    condition: Callable[[], bool], timeout_s: float = 30, words: Callable[[], str] = lambda: "it never came"
) -> None:
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, words()
        await asyncio.sleep(0.02)


class Server:
    """Calls, and the runners that they get."""

    def __init__(
        self, worker: FakeWorker | None = None, limits: Limits | None = None, connect_timeout_s: float = 30
    ) -> None:
        self.worker = worker or FakeWorker()
        self.limits = limits or Limits()
        self.calls = Calls(self.limits, connect_timeout_s)
        self.metrics = Metrics()

    def make_runner(self, transport: Transport) -> SessionRunner:
        settings = SessionSettings(self.worker.voices, self.worker.voices[0])
        session = Session(settings, Loudness(), self.limits, paced=True)
        return SessionRunner(session, self.worker, transport, self.metrics, self.limits.events_per_second)


@asynccontextmanager
async def call(
    worker: FakeWorker | None = None, limits: Limits | None = None
) -> AsyncIterator[tuple[Server, Peer, str]]:
    server, peer = Server(worker, limits), Peer()
    try:
        call_id, answer_sdp = await server.calls.answer(await peer.offer(), server.make_runner)
        await peer.take(answer_sdp)
        await peer.wait_for("session.created")
        yield server, peer, call_id
    finally:
        await peer.close()
        await server.calls.close()


@asynccontextmanager
async def app() -> AsyncIterator[tuple[httpx.AsyncClient, Server]]:
    """A client of the app, whose sessions have a scripted worker."""
    server = Server()
    settings = SessionSettings(server.worker.voices, server.worker.voices[0])
    house = House(server.worker, Loudness, settings, server.limits, "nano")
    application = create_app(house, Doorkeeper((), ()), server.calls, PAGE)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://test") as http:
        try:
            yield http, server
        finally:
            await server.calls.close()


def run(body: Awaitable[None]) -> None:
    async def main() -> None:
        async with asyncio.timeout(120):
            await body

    asyncio.run(main())


def long_answer(request: Request) -> list[Output]:
    one = request.response_id
    return [
        TextDelta(one, "a long story"),
        SpeechDelta(one, tone(20)),
        Finished(one, "completed", "a long story", (), ()),
    ]


def test_three_turns_through_the_app() -> None:
    async def body() -> None:
        async with app() as (http, server):
            peer = Peer()
            answered = await http.post("/v1/realtime/calls", content=await peer.offer(), headers=SDP)
            assert answered.status_code == 201 and answered.headers["content-type"] == "application/sdp"
            location = answered.headers["location"]
            assert location.startswith("/v1/realtime/calls/rtc_") and len(server.calls) == 1
            await peer.take(answered.text)
            await peer.wait_for("session.created")
            assert await converse(peer) == 3

            heard_speech = server.worker.requests[0].turns[-1].speech
            assert heard_speech is not None and 0.6 <= len(heard_speech) / SPEECH_RATE < 1.5
            assert 0.3 < np.abs(heard_speech).max() < 0.6  # 16000 / 32768, which aiortc's encoder lowers by 3 dB
            assert len(server.worker.requests[-1].turns) == 5

            assert (await http.post(f"{location}/hangup")).status_code == 200
            assert (await http.post(f"{location}/hangup")).status_code == 404
            await until(lambda: peer.channel.readyState == "closed")
            await peer.close()

    run(body())


async def converse(peer: Peer) -> int:
    """Two spoken turns and a typed one. Returns how many were answered aloud."""
    audio = {"input": {"transcription": {"model": "any"}}}
    peer.send({"type": "session.update", "session": {"type": "realtime", "audio": audio}})
    await peer.wait_for("session.updated")
    for turn in (1, 2):
        peer.microphone.say(0.6)
        await peer.wait_for("output_audio_buffer.stopped", turn)
        done = await peer.wait_for("conversation.item.input_audio_transcription.completed", turn)
        assert done["transcript"] == "hello there"
        response = (await peer.wait_for("response.done", turn))["response"]
        assert response["status"] == "completed"
        assert response["output"][0]["content"][0]["transcript"] == "Hi! I am fine."
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "bye"}]}
    peer.send({"type": "conversation.item.create", "item": item})
    peer.send({"type": "response.create"})
    await peer.wait_for("output_audio_buffer.stopped", 3)
    await until(lambda: peer.loud_seconds > 1.3)  # three times half a second, but for what the codec blurs

    kinds = peer.types()
    assert "response.output_audio.delta" not in kinds and "error" not in kinds
    assert kinds.index("response.content_part.added") < kinds.index("output_audio_buffer.started")
    assert kinds.index("output_audio_buffer.started") < kinds.index("output_audio_buffer.stopped")
    assert set(np.diff(peer.timestamps)) == {TICKS}
    return kinds.count("output_audio_buffer.started")


def test_a_call_that_cannot_be_answered_is_refused_by_the_app_in_words() -> None:
    async def body() -> None:
        async with app() as (http, server):
            for offer in ("abc", "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"):
                refused = await http.post("/v1/realtime/calls", content=offer, headers=SDP)
                assert refused.status_code == 400
                error = refused.json()["error"]
                assert error["code"] == "invalid_sdp" and len(error["message"]) > 20
            assert len(server.calls) == 0

    run(body())


def test_speech_stops_the_sound_and_says_what_was_heard() -> None:
    async def body() -> None:
        async with call(FakeWorker(long_answer)) as (_, peer, _):
            peer.microphone.say(0.5)
            started = await peer.wait_for("output_audio_buffer.started")
            await until(lambda: peer.loud_seconds > 0.5)
            peer.microphone.say(1.0)
            cleared = await peer.wait_for("output_audio_buffer.cleared")
            assert cleared["response_id"] == started["response_id"]
            truncated = await peer.wait_for("conversation.item.truncated")
            assert truncated["audio_end_ms"] > 400
            await until(lambda: not any(np.abs(frame).max() > 0.1 for frame in peer.heard[-25:]))
            assert 0.5 < peer.loud_seconds < 10  # of twenty
            assert "output_audio_buffer.stopped" not in peer.types()

    run(body())


def test_the_client_clears_the_sound() -> None:
    async def body() -> None:
        async with call(FakeWorker(long_answer)) as (_, peer, _):
            peer.microphone.say(0.5)
            await peer.wait_for("output_audio_buffer.started")
            peer.send({"type": "output_audio_buffer.clear"})
            await peer.wait_for("output_audio_buffer.cleared")

    run(body())


@pytest.mark.parametrize(
    "offer, words",
    [
        ("v=0", "no audio line"),
        ("abc", "begins with 'v=0'"),
        ("", "begins with 'v=0'"),
        ("v=0\r\no=- 0 0 IN IP4 x\r\ns=-\r\nt=0 0\r\nm=audio nonsense\r\n", "malformed"),
        ("v=0\r\n" + "\x00\xff" * 1000, "no audio line"),
        ("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n", "no data channel"),
    ],
)
def test_a_bad_offer_is_refused_in_words(offer: str, words: str) -> None:
    async def body() -> None:
        server = Server()
        with pytest.raises(SdpError, match=words):
            await server.calls.answer(offer, server.make_runner)
        assert len(server.calls) == 0

    run(body())


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda sdp: sdp.replace("opus", "flac"), "no Opus"),
        (lambda sdp: sdp.replace("m=audio", "m=video"), "no audio line"),
        (
            lambda sdp: "\r\n".join(line for line in sdp.splitlines() if "ice-" not in line) + "\r\n",
            "cannot be answered",
        ),
        (lambda sdp: sdp + 40 * sdp[sdp.index("m=application") :], "too many"),
    ],
)
def test_an_offer_that_cannot_work_is_refused_in_words(change: Callable[[str], str], words: str) -> None:
    async def body() -> None:
        server, peer = Server(), Peer()
        with pytest.raises(SdpError, match=words):
            await server.calls.answer(change(await peer.offer()), server.make_runner)
        await peer.close()

    run(body())


def test_a_video_line_is_answered_inactive_and_loopback_is_offered() -> None:
    async def body() -> None:
        server, peer = Server(), Peer()
        peer.connection.addTransceiver("video", "sendonly")
        _, sdp = await server.calls.answer(await peer.offer(), server.make_runner)
        audio, video, application = sdp.split("m=")[1:]
        assert video.startswith("video") and "a=inactive" in video
        assert audio.startswith("audio") and "a=sendrecv" in audio and "opus" in audio and "PCMU" not in audio
        assert application.startswith("application")
        candidates = [line for line in audio.splitlines() if line.startswith("a=candidate")]
        assert sum(" 127.0.0.1 " in line for line in candidates) == 1 and "a=end-of-candidates" in audio
        await peer.close()
        await server.calls.close()

    run(body())


def test_hanging_up_ends_the_call_and_frees_it() -> None:
    async def body() -> None:
        async with call() as (server, peer, call_id):
            assert await server.calls.hang_up(call_id)
            assert not await server.calls.hang_up(call_id)
            assert len(server.calls) == 0 and len(server.worker.forgotten) == 1
            await until(lambda: peer.channel.readyState == "closed")

    run(body())


def test_a_peer_that_leaves_in_mid_reply_frees_everything() -> None:
    async def body() -> None:
        async with call(FakeWorker(long_answer, hold=2)) as (server, peer, _):
            peer.microphone.say(0.5)
            await peer.wait_for("output_audio_buffer.started")
            await peer.close()
            await until(lambda: len(server.calls) == 0)
            assert server.worker.forgotten and server.metrics.open_sessions == 0
        await until(lambda: len(asyncio.all_tasks()) == 1, words=lambda: str(asyncio.all_tasks()))

    run(body())


def test_a_peer_that_vanishes_without_a_word_frees_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.1)  # RFC 7675: five seconds, and gone after thirty

    async def body() -> None:
        async with call(FakeWorker(long_answer, hold=2)) as (server, peer, _):
            peer.microphone.say(0.5)
            await peer.wait_for("output_audio_buffer.started")
            for protocol in peer.ice._protocols:
                protocol.transport.abort()
            await until(lambda: len(server.calls) == 0)
            assert server.worker.forgotten and server.metrics.open_sessions == 0

    run(body())


def test_an_offer_that_nobody_follows_up_is_forgotten() -> None:
    async def body() -> None:
        server, peer = Server(connect_timeout_s=0.2), Peer()
        await server.calls.answer(await peer.offer(), server.make_runner)
        assert len(server.calls) == 1
        await until(lambda: len(server.calls) == 0)
        await peer.close()

    run(body())


def test_wrong_messages_get_an_error_and_the_call_goes_on() -> None:
    async def body() -> None:
        async with call() as (_, peer, _):
            for message in ("{", b"\x00\x01", '{"type": "no.such"}'):
                peer.send(message)
            await peer.wait_for("error", 3)
            peer.send({"type": "session.update", "session": {"type": "realtime"}})
            await peer.wait_for("session.updated")

    run(body())


def test_an_event_too_large_for_the_channel_becomes_an_error() -> None:
    async def body() -> None:
        async with call() as (_, peer, _):
            content = [{"type": "input_text", "text": "\u00e9" * 15_000}]  # six bytes each, in JSON
            item = {"id": "big", "type": "message", "role": "user", "content": content}
            peer.send({"type": "conversation.item.create", "item": item})
            error = await peer.wait_for("error")
            assert error["error"]["code"] == "event_too_large"

    run(body())


def test_a_peer_that_floods_the_channel_loses_the_call() -> None:
    async def body() -> None:
        async with call(limits=Limits(events_waiting=20, events_per_second=2)) as (server, peer, _):
            for _ in range(60):
                peer.send({"type": "response.cancel"})
            await until(lambda: len(server.calls) == 0)

    run(body())


def test_other_channels_are_ignored() -> None:
    async def body() -> None:
        async with call() as (_, peer, _):
            other = peer.connection.createDataChannel("chat")
            await until(lambda: other.readyState == "open")
            other.send("not an event")
            peer.send({"type": "no.such"})
            await peer.wait_for("error")
            assert peer.types().count("error") == 1

    run(body())


def test_a_session_that_closes_itself_ends_the_call() -> None:
    async def body() -> None:
        server, peer = Server(limits=Limits(session_s=0.3)), Peer()
        _, sdp = await server.calls.answer(await peer.offer(), server.make_runner)
        await peer.take(sdp)
        error = await peer.wait_for("error")
        assert error["error"]["code"] == "session_expired"
        await until(lambda: len(server.calls) == 0)
        await peer.close()

    run(body())


def test_the_voice_is_paced_and_its_timestamps_never_jump() -> None:
    async def body() -> None:
        reports: list[Started | Stopped] = []
        voice = Voice(reports.append)
        voice.playout.put("r", "i", tone(0.1))
        voice.playout.end("r")
        loop = asyncio.get_running_loop()
        began = loop.time()
        packets = [await voice.recv() for _ in range(25)]
        took = loop.time() - began
        assert took > 0.47  # 24 waits of 20 ms
        assert [packet.pts for packet in packets] == [n * TICKS for n in range(25)]
        assert reports == [Started("r"), Stopped("r")]
        loud = [packet.size for packet in packets[:5]]
        assert packets[-1].size < 20 < min(loud), loud  # silence costs next to nothing
        voice.stop()
        with pytest.raises(MediaStreamError):
            await voice.recv()

    run(body())


@pytest.mark.parametrize("lost, corrected", [(0.0, False), (0.005, False), (0.02, True)])
def test_the_voice_carries_error_correction_for_a_peer_that_loses_packets(lost: float, corrected: bool) -> None:
    async def body() -> None:
        voice = Voice(lambda event: None)
        await voice.recv()
        voice.expect_loss(lost)
        await voice.recv()  # silence, in which the encoder may change
        voice.playout.put("r", "i", tone(0.2))
        modes = {bytes(await voice.recv())[0] >> 3 for _ in range(8)}
        voice.stop()
        silk_only = all(mode < 12 for mode in modes)  # RFC 6716, section 3.1: no other mode has error correction
        assert silk_only == corrected, modes

    run(body())


def test_the_server_says_that_it_can_use_error_correction_and_tells_what_it_lost() -> None:
    async def body() -> None:
        server, peer = Server(), Peer()
        _, sdp = await server.calls.answer(await peer.offer(), server.make_runner)
        (payload_type,) = [line for line in sdp.splitlines() if line.endswith(" opus/48000/2")]
        number = payload_type.removeprefix("a=rtpmap:").split(" ")[0]
        assert sdp.count(f"\r\na=fmtp:{number} useinbandfec=1\r\n") == 1
        await peer.take(sdp)
        (sender,) = peer.connection.getSenders()

        async def told() -> float | None:
            reports = (await sender.getStats()).values()
            return next((each.fractionLost for each in reports if each.type == "remote-inbound-rtp"), None)

        while await told() is None:
            await asyncio.sleep(0.1)
        assert await told() == 0
        await peer.close()
        await server.calls.close()

    run(body())
