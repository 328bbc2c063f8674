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
from collections.abc import Callable
from typing import Any

import numpy as np
import soxr
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
from streaming.types import SPEECH_RATE

logger = logging.getLogger(__name__)

CHANNEL = "oai-events"
MOST_EVENT_BYTES = 60 * 1024
"""Each side of a data channel may assume 64 KiB of the other."""

MOST_UNSENT_BYTES = 256 * 1024
LONGEST_FILLED_GAP_S = 1.0
"""Sound that was lost is replaced by silence, so that time does not shrink. After a longer gap it had been paused."""

_AUDIO_CODECS = RTCRtpReceiver.getCapabilities("audio").codecs
_MOST_LINES = 8
_FRAME_S = FRAME / SPEECH_RATE
_TOO_LATE_S = 0.5


class SdpError(Exception):
    """The offer cannot be answered; the message says why, in words for the peer."""


class Calls:
    """Owns the WebRTC calls. `answer` offers, and `close` at the end."""

    def __init__(self, limits: Limits, connect_timeout_s: float = 30.0) -> None:
        self._limits = limits
        self._connect_timeout_s = connect_timeout_s
        self._calls: dict[str, tuple[Call, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    async def answer(self, offer_sdp: str, make_runner: Callable[[VoiceTransport], SessionRunner]) -> tuple[str, str]:
        """Start a call. Returns its id and the SDP answer. Raises SdpError.

        The runner that `make_runner` returns runs from when the peer has opened its data channel.
        """
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))  # by default aiortc asks a public STUN server
        call = Call(connection, self._limits)
        try:
            answer_sdp = await _negotiate(connection, _read_offer(offer_sdp), call.voice)
            runner = make_runner(call)
        except BaseException:
            await connection.close()
            raise
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
        self._connection = connection
        self._limits = limits
        self._runner: SessionRunner | None = None
        self._channel: RTCDataChannel | None = None
        self._opened = asyncio.Event()
        self._drained = asyncio.Event()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._messages: asyncio.Queue[str | bytes] = asyncio.Queue(limits.events_waiting)
        self._waiting_bytes = 0
        self._tracks: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()
        connection.on("connectionstatechange", self._watch)
        connection.on("datachannel", self._take_channel)
        connection.on("track", self._tracks.put_nowait)

    async def run(self, runner: SessionRunner, connect_timeout_s: float) -> None:
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

    def flush(self) -> list[Played]:
        return self.voice.playout.clear()

    # What comes from the peer

    async def _wait_until_open(self, timeout_s: float) -> bool:
        opened = asyncio.ensure_future(self._opened.wait())
        try:
            await asyncio.wait([opened, self._over], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()
        return self._opened.is_set() and not self._over.done()

    async def _read(self) -> None:
        """Returns when the call is over."""
        assert self._runner is not None
        self._runner.open()
        async with asyncio.TaskGroup() as readers:
            tasks = [readers.create_task(read) for read in (self._read_events(), self._read_sound())]
            await self._over
            for task in tasks:
                task.cancel()

    async def _read_events(self) -> None:
        assert self._runner is not None
        while True:
            message = await self._messages.get()
            self._waiting_bytes -= len(message)
            await self._runner.receive_event(message)

    async def _read_sound(self) -> None:
        assert self._runner is not None
        track = await self._tracks.get()
        while track.kind != "audio":
            track = await self._tracks.get()
        ears = Ears()
        with contextlib.suppress(MediaStreamError):  # the track has ended; the events go on
            while True:
                frame = await track.recv()
                assert isinstance(frame, AudioFrame)
                await self._runner.receive_audio(ears.hear(frame))

    # aiortc's callbacks

    def _watch(self) -> None:
        if self._connection.connectionState in ("failed", "closed"):
            self.hang_up()

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
    with "voip" and 3.9 with in-band error correction on top, at the same rate and delay.
    """

    kind = "audio"

    def __init__(self, report: Callable[[Started | Stopped], None]) -> None:
        super().__init__()
        self.playout = Playout()
        self._report = report
        self._encoder = _opus_encoder()
        self._next_at: float | None = None

    async def recv(self) -> Packet:
        if self.readyState != "live":
            raise MediaStreamError
        await self._wait_for_the_next()
        frame = self.playout.next_frame()
        for event in frame.events:
            self._report(event)
        return self._encode(frame.pcm, frame.timestamp)

    async def _wait_for_the_next(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._next_at is None or now - self._next_at > _TOO_LATE_S:
            self._next_at = now  # the first, or the machine was asleep: what was missed is not sent all at once
        await asyncio.sleep(max(0.0, self._next_at - now))
        self._next_at += _FRAME_S

    def _encode(self, pcm: np.ndarray, timestamp: int) -> Packet:
        linear = np.clip(np.rint(pcm * 32767), -32768, 32767).astype(np.int16)
        frame = AudioFrame.from_ndarray(linear[None], format="s16", layout="mono")
        frame.sample_rate = SPEECH_RATE
        frame.pts = timestamp * SPEECH_RATE // RTP_RATE
        (packet,) = self._encoder.encode(frame)
        packet.time_base = fractions.Fraction(1, RTP_RATE)
        packet.pts = timestamp
        return packet


def _opus_encoder() -> AudioCodecContext:
    encoder = CodecContext.create("libopus", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate = SPEECH_RATE
    encoder.layout = "mono"
    encoder.format = "s16"
    encoder.bit_rate = 48_000
    encoder.time_base = fractions.Fraction(1, SPEECH_RATE)
    encoder.options = {"application": "audio", "frame_duration": "20"}
    return encoder


class Ears:
    """Turns the decoded frames of the peer's microphone into one stream at SPEECH_RATE, placed by their timestamps.

    aiortc closes the gap that a lost packet leaves; here it becomes silence again.
    """

    def __init__(self) -> None:
        self._resampler: soxr.ResampleStream | None = None
        self._rate = 0
        self._expected: int | None = None

    def hear(self, frame: AudioFrame) -> np.ndarray:
        """[samples] float32. The first frames give less than they hold: the resampler keeps 15 ms."""
        if self._resampler is None or frame.sample_rate != self._rate:
            self._rate = frame.sample_rate
            self._resampler = soxr.ResampleStream(self._rate, SPEECH_RATE, 1, dtype="float32", quality="MQ")
        pcm = np.concatenate([np.zeros(self._gap(frame), np.float32), _to_mono(frame)])
        return self._resampler.resample_chunk(pcm)

    def _gap(self, frame: AudioFrame) -> int:
        assert frame.pts is not None
        gap = 0 if self._expected is None else frame.pts - self._expected
        self._expected = frame.pts + frame.samples
        return gap if 0 < gap <= LONGEST_FILLED_GAP_S * frame.sample_rate else 0


def _to_mono(frame: AudioFrame) -> np.ndarray:
    """[samples] float32 of 16-bit sound, interleaved or not."""
    channels = len(frame.layout.channels)
    samples = frame.to_ndarray()
    samples = samples if frame.format.is_planar else samples.reshape(-1, channels).T  # [channels, samples]
    return samples.mean(axis=0, dtype=np.float32) / 32768


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


async def _negotiate(connection: RTCPeerConnection, offer: str, voice: Voice) -> str:
    """The SDP answer. Raises SdpError."""
    try:
        ours = connection.addTransceiver(voice, "sendrecv")
        ours.setCodecPreferences([codec for codec in _AUDIO_CODECS if codec.mimeType == "audio/opus"])
        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        for line in connection.getTransceivers():
            if line is not ours:
                line.direction = "inactive"
        ends = (*(line.receiver for line in connection.getTransceivers()), connection.sctp)
        for transport in {end.transport.transport for end in ends}:
            _offer_loopback(transport)
        await connection.setLocalDescription()
    except Exception as error:  # aiortc has no family of errors for what it cannot answer
        logger.info("an SDP offer cannot be answered", exc_info=error)
        raise SdpError(f"The SDP offer cannot be answered: {str(error) or type(error).__name__}.") from error
    return connection.localDescription.sdp


def _offer_loopback(transport: RTCIceTransport) -> None:
    # aioice leaves 127.0.0.1 out of what it gathers and has no setting for it, but a browser on a machine without a
    # network has no other address to reach us at. So the one method that turns addresses into candidates is wrapped, on
    # this connection alone.
    connection = transport.iceGatherer._connection
    connection.get_component_candidates = functools.partial(_with_loopback, connection.get_component_candidates)


async def _with_loopback(gather: Callable[..., Any], component: int, addresses: list[str]) -> list[Any]:
    return await gather(component=component, addresses=[*addresses, "127.0.0.1"])
