"""WebRTC calls: an SDP offer in, an SDP answer out, then events on a data channel and sound on one audio line.

Sections 1 and 7 of the protocol's notes. There is no trickle: the answer holds all our candidates, and the peer's are
learned from its checks. The voice is encoded here, not by aiortc: the model speaks at 16 kHz mono, which Opus takes as
it is, so nothing is resampled and half the bits that aiortc's stereo encoder would send carry more.
"""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import functools
import json
import logging
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcicetransport import RTCIceTransport
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.sdp import SessionDescription
from av import AudioCodecContext, AudioFrame, CodecContext, Packet

from streaming import events
from streaming.events import Json, Limits
from streaming.fields import ProtocolError
from streaming.playout import FRAME, RTP_RATE, Played, Playout, Started, Stopped
from streaming.runner import PeerGone, SessionRunner, VoiceTransport
from streaming.session import random_id
from streaming.sessions import Line
from streaming.transports import video
from streaming.transports.microphone import Ears
from streaming.types import SPEECH_RATE

logger = logging.getLogger(__name__)

CHANNEL = "oai-events"
MOST_EVENT_BYTES = 60 * 1024
"""Each side of a data channel may assume 64 KiB of the other."""

MOST_UNSENT_BYTES = 256 * 1024
LOSSY = 0.01
"""The share of our packets that a peer must miss for the voice to carry its own error correction."""

CALM_S = 10.0
"""After so long without a loss it no longer does."""

_AUDIO_CODECS = RTCRtpReceiver.getCapabilities("audio").codecs
_MOST_LINES = 8
_FRAME_S = FRAME / SPEECH_RATE
_TOO_LATE_S = 0.5


MakeRunner = Callable[[VoiceTransport], SessionRunner | Line]


class SdpError(Exception):
    """The offer cannot be answered; the message says why, in words for the peer."""


class Calls:
    """Owns the WebRTC calls. `answer` offers, and `close` at the end."""

    def __init__(self, limits: Limits, connect_timeout_s: float = 30.0) -> None:
        self._limits = limits
        self._connect_timeout_s = connect_timeout_s
        self._calls: dict[str, tuple[Call, asyncio.Task[None]]] = {}
        self._answering = 0

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def coming(self) -> int:
        """How many are being set up."""
        return self._answering + sum(not call.connected for call, _ in self._calls.values())

    async def answer(self, offer_sdp: str, make_runner: MakeRunner) -> tuple[str, str]:
        """Start a call. Returns its id and the SDP answer. Raises SdpError.

        The runner that `make_runner` returns runs from when the peer has opened its data channel.
        """
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))  # by default aiortc asks a public STUN server
        call = Call(connection, self._limits)
        self._answering += 1
        try:
            offer, runner = _read_offer(offer_sdp), make_runner(call)
            answer_sdp = await _negotiate(connection, offer, call.voice, call.ears, runner.sees)
        except BaseException:
            await connection.close()
            raise
        finally:
            self._answering -= 1
        call_id = random_id("rtc")
        task = asyncio.create_task(call.run(runner, self._connect_timeout_s), name=call_id)
        self._calls[call_id] = (call, task)
        task.add_done_callback(lambda _: self._calls.pop(call_id))
        return call_id, answer_sdp

    async def hang_up(self, call_id: str) -> bool:
        """End a call. False: there is no such call."""
        call, task = self._calls.get(call_id, (None, None))
        if call is None or task is None:
            return False
        call.hang_up()
        await asyncio.shield(task)
        return True

    async def close(self) -> None:
        """End all calls."""
        await asyncio.gather(*(self.hang_up(call_id) for call_id in list(self._calls)))


class Call:
    """One call: the way to the peer that its session's runner uses (a VoiceTransport), and the reader of what comes."""

    name = "webrtc"

    def __init__(self, connection: RTCPeerConnection, limits: Limits) -> None:
        self.voice = Voice(self._report)
        self.ears = Ears()
        self._connection = connection
        self._limits = limits
        self._runner: SessionRunner | Line | None = None
        self._channel: RTCDataChannel | None = None
        self._opened = asyncio.Event()
        self._drained = asyncio.Event()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._messages: asyncio.Queue[str | bytes] = asyncio.Queue(limits.events_waiting)
        self._waiting_bytes = 0
        connection.on("connectionstatechange", self._watch)
        connection.on("datachannel", self._take_channel)
        self._cameras: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()
        connection.on("track", self._take_track)

    async def run(self, runner: SessionRunner | Line, connect_timeout_s: float) -> None:
        """Wait for the peer's data channel, run the session, close the connection."""
        try:
            if await self._wait_until_open(connect_timeout_s):
                self._runner = runner
                await runner.run(self._read)
        finally:
            self._runner = None
            self.hang_up()
            await self._connection.close()

    def hang_up(self) -> None:
        if not self._over.done():
            self._over.set_result(None)
        self._drained.set()

    @property
    def connected(self) -> bool:
        """Whether its session has it, or had it."""
        return self._opened.is_set()

    # The way to the peer

    async def send(self, event: Json) -> None:
        text = json.dumps(event, separators=(",", ":"), allow_nan=False)
        if len(text) > MOST_EVENT_BYTES:
            words = f"The event '{event['type']}' is too large for a data channel; use a WebSocket for such items."
            failure = events.error(ProtocolError("event_too_large", words), None)
            text = json.dumps({**failure, "event_id": event["event_id"]})
        assert self._channel is not None
        while self._channel.bufferedAmount > MOST_UNSENT_BYTES and not self._over.done():
            self._drained.clear()
            await self._drained.wait()
        if self._over.done() or self._channel.readyState != "open":
            raise PeerGone
        self._channel.send(text)

    async def close(self, code: int, reason: str) -> None:
        """A data channel has no close codes. What was sent is given a second to arrive."""
        assert self._channel is not None
        self._channel.bufferedAmountLowThreshold = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while self._channel.bufferedAmount and not self._over.done():
                    self._drained.clear()
                    await self._drained.wait()

    def play(self, pcm: np.ndarray, response_id: str, item_id: str) -> None:
        if not self.voice.playout.put(response_id, item_id, pcm):
            logger.warning("%d samples of %s were not wanted any more, or too many", len(pcm), response_id)

    def finish(self, response_id: str) -> None:
        self.voice.playout.end(response_id)

    def pause(self) -> None:
        self.voice.playout.pause()

    def resume(self) -> None:
        self.voice.playout.resume()

    def flush(self) -> list[Played]:
        return self.voice.playout.clear()

    @property
    def silent_s(self) -> float:
        return self.ears.silent_s

    # What comes from the peer

    async def _wait_until_open(self, timeout_s: float) -> bool:
        opened = asyncio.ensure_future(self._opened.wait())
        try:
            await asyncio.wait([opened, self._over], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()
        return self._opened.is_set() and not self._over.done()

    async def _read(self) -> None:
        """Returns when the call is over. Raises PeerGone when the peer was lost without a word."""
        assert self._runner is not None
        self._runner.open()
        async with asyncio.TaskGroup() as readers:
            watching = video.watch(self._cameras, self._runner)
            reads = (self._read_events(), self._read_sound(), self._follow_losses(), watching)
            tasks = [readers.create_task(read) for read in reads]
            await self._over
            for task in tasks:
                task.cancel()
        if self._is_lost:
            raise PeerGone

    @property
    def _is_lost(self) -> bool:
        """The peer has not said that it leaves, and its consent has expired (RFC 7675)."""
        assert self._connection.sctp is not None, "a session begins with a data channel"
        return self._connection.sctp.transport.transport.state == "failed"

    async def _read_events(self) -> None:
        assert self._runner is not None
        while True:
            message = await self._messages.get()
            self._waiting_bytes -= len(message)
            await self._runner.receive_event(message)

    async def _read_sound(self) -> None:
        assert self._runner is not None
        while True:
            await self._runner.receive_audio(await self.ears.hear())

    async def _follow_losses(self) -> None:
        """What the peer says of our packets comes about once a second."""
        (sender,) = (sender for sender in self._connection.getSenders() if sender.track is self.voice)
        while True:
            await asyncio.sleep(1.0)
            reports = (await sender.getStats()).values()
            lost = [report.fractionLost / 256 for report in reports if report.type == "remote-inbound-rtp"]
            self.voice.expect_loss(max(lost, default=0.0))

    # aiortc's callbacks

    def _watch(self) -> None:
        if self._connection.connectionState in ("failed", "closed"):
            self.hang_up()

    def _take_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "video":
            self._cameras.put_nowait(track)

    def _take_channel(self, channel: RTCDataChannel) -> None:
        if channel.label != CHANNEL or self._channel is not None:
            return
        self._channel = channel
        channel.bufferedAmountLowThreshold = MOST_UNSENT_BYTES // 2
        channel.on("bufferedamountlow", self._drained.set)
        channel.on("message", self._take_message)
        channel.on("close", self.hang_up)
        self._opened.set()

    def _take_message(self, message: str | bytes) -> None:
        """A data channel cannot be told to wait, so a peer that sends far more than is read loses the call."""
        self._waiting_bytes += len(message)
        if self._messages.full() or self._waiting_bytes > self._limits.message_bytes:
            logger.warning("a peer sends events faster than they are read: the call ends")
            self.hang_up()
            return
        self._messages.put_nowait(message)

    def _report(self, event: Started | Stopped) -> None:
        if self._runner is None:
            return
        try:
            self._runner.receive_playout(event)
        except Exception as defect:  # raised in aiortc's task, where nobody would see it: it belongs to the session
            if not self._over.done():
                self._over.set_exception(defect)


class Voice(MediaStreamTrack):
    """The track that carries the answer's sound, a packet of Opus every 20 ms from the first `recv` on.

    48 kbit/s, application "audio": on synthetic speech the log-spectral distance to the original is 2.6 dB, against 3.0
    with "voip" and 3.9 with in-band error correction on top, at the same rate and delay. So that correction is switched
    on only for a peer that loses packets, and in silence, since the other encoder would begin with a click.
    """

    kind = "audio"

    def __init__(self, report: Callable[[Started | Stopped], None]) -> None:
        super().__init__()
        self.playout = Playout()
        self._report = report
        self._corrected = False
        self._encoder = _opus_encoder(self._corrected)
        self._lossy_until = -math.inf
        self._next_at: float | None = None

    def expect_loss(self, share: float) -> None:
        """The peer lately missed that share of the packets."""
        if share >= LOSSY:
            self._lossy_until = asyncio.get_running_loop().time() + CALM_S

    async def recv(self) -> Packet:
        if self.readyState != "live":
            raise MediaStreamError
        await self._wait_for_the_next()
        frame = self.playout.next_frame()
        for event in frame.events:
            self._report(event)
        if frame.response_id is None:
            self._choose_encoder()
        return self._encode(frame.pcm, frame.timestamp)

    async def _wait_for_the_next(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._next_at is None or now - self._next_at > _TOO_LATE_S:
            self._next_at = now  # the first, or the machine was asleep: what was missed is not sent all at once
        await asyncio.sleep(max(0.0, self._next_at - now))
        self._next_at += _FRAME_S

    def _choose_encoder(self) -> None:
        corrected = asyncio.get_running_loop().time() < self._lossy_until
        if corrected != self._corrected:
            self._corrected, self._encoder = corrected, _opus_encoder(corrected)

    def _encode(self, pcm: np.ndarray, timestamp: int) -> Packet:
        linear = np.clip(np.rint(pcm * 32767), -32768, 32767).astype(np.int16)
        frame = AudioFrame.from_ndarray(linear[None], format="s16", layout="mono")
        frame.sample_rate = SPEECH_RATE
        frame.pts = timestamp * SPEECH_RATE // RTP_RATE
        (packet,) = self._encoder.encode(frame)
        packet.time_base = fractions.Fraction(1, RTP_RATE)
        packet.pts = timestamp
        return packet


def _opus_encoder(corrected: bool) -> AudioCodecContext:
    encoder = CodecContext.create("libopus", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate = SPEECH_RATE
    encoder.layout = "mono"
    encoder.format = "s16"
    encoder.bit_rate = 48_000
    encoder.time_base = fractions.Fraction(1, SPEECH_RATE)
    correction = {"fec": "1", "packet_loss": "10"} if corrected else {}
    encoder.options = {"application": "audio", "frame_duration": "20", **correction}
    return encoder


# Offer and answer -----------------------------------------------------------------------------------------------------


def _read_offer(sdp: str) -> str:
    """The offer, checked, without what would mislead aiortc. Raises SdpError."""
    if not sdp.lstrip().startswith("v=0"):
        raise SdpError("The body is not an SDP offer: a session description begins with 'v=0'.")
    lines = [line for line in sdp.splitlines() if not _misleads(line)]
    cleaned = "\r\n".join(lines) + "\r\n"
    try:
        offer = SessionDescription.parse(cleaned)
    except Exception as error:  # the parser raises whatever it stumbles over
        raise SdpError("The SDP offer is malformed: it cannot be read as a session description.") from error
    kinds = [media.kind for media in offer.media]
    if "audio" not in kinds:
        raise SdpError("The SDP offer has no audio line (m=audio).")
    if "application" not in kinds:
        raise SdpError(f"The SDP offer has no data channel: create one named '{CHANNEL}' before the offer.")
    if len(kinds) > _MOST_LINES or kinds.count("application") > 1:
        raise SdpError("The SDP offer has too many media lines.")
    if not any(codec.name.lower() == "opus" for media in offer.media for codec in media.rtp.codecs):
        raise SdpError("The SDP offer has no Opus, which is the only audio codec here.")
    return cleaned


def _misleads(line: str) -> bool:
    # Names that only multicast DNS knows would hold the answer up while they are looked for, and the end of the
    # candidates would end the wait for those that the peer's own checks bring.
    return line.strip() == "a=end-of-candidates" or (line.startswith("a=candidate:") and ".local " in line)


async def _negotiate(connection: RTCPeerConnection, offer: str, voice: Voice, ears: Ears, sees: bool) -> str:
    """The SDP answer, with one video line to receive if that is of use. Raises SdpError."""
    try:
        ours = connection.addTransceiver(voice, "sendrecv")
        ears.tap(ours.receiver)
        ours.setCodecPreferences([codec for codec in _AUDIO_CODECS if codec.mimeType == "audio/opus"])
        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        others = [line for line in connection.getTransceivers() if line is not ours]
        camera = next((line for line in others if sees and line.kind == "video"), None)
        for line in others:
            line.direction = "recvonly" if line is camera else "inactive"
        ends = (*(line.receiver for line in connection.getTransceivers()), connection.sctp)
        for transport in {end.transport.transport for end in ends}:
            _offer_loopback(transport)
        await connection.setLocalDescription()
    except Exception as error:  # aiortc has no family of errors for what it cannot answer
        logger.info("an SDP offer cannot be answered", exc_info=error)
        raise SdpError(f"The SDP offer cannot be answered: {str(error) or type(error).__name__}.") from error
    return _with_error_correction(connection.localDescription.sdp)


def _with_error_correction(sdp: str) -> str:
    """The answer, in which we say that we can use Opus's in-band error correction (RFC 7587, section 6.1)."""
    return re.sub(r"(?m)^(a=rtpmap:(\d+) opus/\S+)(\r?)$", r"\1\3\na=fmtp:\2 useinbandfec=1\3", sdp)


def _offer_loopback(transport: RTCIceTransport) -> None:
    # aioice leaves 127.0.0.1 out of what it gathers and has no setting for it, but a browser on a machine without a
    # network has no other address to reach us at. So the one method that turns addresses into candidates is wrapped, on
    # this connection alone.
    connection = transport.iceGatherer._connection
    connection.get_component_candidates = functools.partial(_with_loopback, connection.get_component_candidates)


async def _with_loopback(gather: Callable[..., Any], component: int, addresses: list[str]) -> list[Any]:
    return await gather(component=component, addresses=[*addresses, "127.0.0.1"])
