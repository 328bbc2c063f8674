"""The HTTP side: the page, health and metrics, and the doors to a session."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Protocol

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from streaming.access import DEFAULT_SECRET_SECONDS, SECRET_SECONDS, Doorkeeper, Refused
from streaming.attachments import StoredFile
from streaming.events import ATTACHMENTS_PATH, Json, Limits
from streaming.fields import Fields, ProtocolError
from streaming.metrics import Metrics
from streaming.pictures import preview
from streaming.runner import SessionRunner, Transport, VoiceTransport, Worker
from streaming.session import Session
from streaming.sessions import Line, NewRunner, Sessions
from streaming.settings import SessionSettings
from streaming.studio import Studio
from streaming.transports import websocket as websocket_transport
from streaming.transports.webrtc import SdpError
from streaming.vad import Interruption, SpeechProbability

MakeLine = Callable[[Transport | VoiceTransport], Line]

RESUME_HEADER = "resume-session"

_MOST_JSON_BYTES = 256 * 2**10
_TRY_AGAIN_S = 30


class Calls(Protocol):
    """The WebRTC calls that are running or being set up."""

    @property
    def coming(self) -> int:
        """How many are being set up."""
        ...

    async def answer(self, offer_sdp: str, make_runner: MakeLine) -> tuple[str, str]:
        """Take a call. Returns its id and the SDP answer. Raises SdpError."""
        ...

    async def hang_up(self, call_id: str) -> bool:
        """False: there is no such call."""
        ...


class House:
    """Owns what all sessions share."""

    def __init__(
        self,
        worker: Worker,
        new_probability: Callable[[], SpeechProbability],
        settings: SessionSettings,
        limits: Limits,
        model: str,
        min_speech_ms: int = 64,
        studio: Studio | None = None,
        interruption: Interruption | None = None,
    ) -> None:
        self.worker = worker
        self.studio = studio or Studio(limits)
        self.settings = settings
        self.limits = limits
        self.model = model
        self.metrics = Metrics()
        self.sessions = Sessions(self.metrics)
        self._new_probability = new_probability
        self._min_speech_ms = min_speech_ms
        self._interruption = interruption

    def check_room(self, coming: int = 0) -> None:
        """Raises Refused when all places are taken. Who lost his connection keeps his place while he may come back.

        `coming`: how many are on their way in.
        """
        if not self.has_room(coming):
            words = f"All {self.limits.sessions} places for a conversation are taken; try again in a while."
            raise Refused(503, "too_many_sessions", words)

    def has_room(self, coming: int = 0) -> bool:
        return self.metrics.open_sessions + coming < self.limits.sessions

    def new_session(self, settings: SessionSettings, paced: bool = False) -> Session:
        return Session(
            settings,
            self._new_probability(),
            self.limits,
            model=self.model,
            min_speech_ms=self._min_speech_ms,
            interruption=self._interruption,
            scout=self._new_probability(),
            paced=paced,
            abilities=self.worker.abilities,
            preview=preview,
            expires_at=int(time.time() + self.limits.session_s),
            resume_s=self.limits.resume_s,
        )

    def lines(self, settings: SessionSettings, token: str | None = None) -> MakeLine:
        """How a transport gets its line to a session: the one that the token stands for, or a new one."""
        new_runner, sees = self.runners(settings), "image" in self.worker.abilities.takes
        return lambda transport: Line(self.sessions, transport, new_runner, token, sees, self.has_room)

    def runners(self, settings: SessionSettings) -> NewRunner:
        """How new sessions are made. A transport that plays sound gets one that is paced by it."""

        def new_runner(transport: Transport | VoiceTransport) -> SessionRunner:
            session = self.new_session(settings, paced=hasattr(transport, "play"))
            events_per_second = self.limits.events_per_second
            return SessionRunner(session, self.worker, transport, self.metrics, events_per_second, studio=self.studio)

        return new_runner

    def settings_with(self, session: Json) -> SessionSettings:
        """The default settings with those that a key or a call brings. Raises Refused."""
        try:
            return self.settings.updated(Fields(session, "session"), self.limits.text_characters)
        except ProtocolError as failure:
            raise _refusal(failure) from None


class Doors:
    """The endpoints."""

    def __init__(self, house: House, doorkeeper: Doorkeeper, calls: Calls) -> None:
        self._house = house
        self._doorkeeper = doorkeeper
        self._calls = calls

    async def health(self) -> Response:
        alive = self._house.worker.alive
        state = {
            "status": "ok" if alive else "unavailable",
            "model": self._house.model,
            "voices": self._house.worker.voices,
            "worker": {"alive": alive},
            "sessions": self._house.metrics.open_sessions,
        }
        return JSONResponse(state, 200 if alive else 503)

    async def metrics(self) -> Response:
        worker = self._house.worker
        return Response(self._house.metrics.text(worker.alive, worker.restarts), media_type=CONTENT_TYPE_LATEST)

    async def realtime(self, websocket: WebSocket) -> None:
        """A session over a WebSocket, a new one or an older one. Any `model` will do."""
        try:
            offered = websocket.scope["subprotocols"]
            settings = self._house.settings_with(self._doorkeeper.admit(websocket.headers, time.time(), offered))
            if "call_id" in websocket.query_params:
                raise Refused(404, "unsupported", "A call has no side channel here; use its data channel.", "call_id")
        except Refused as refusal:
            await websocket.send_denial_response(_answer_to(refusal))
            return
        await websocket_transport.accept(websocket)
        token = websocket.query_params.get("resume")
        try:
            self._check_room(token)
        except Refused as refusal:
            await websocket_transport.refuse(websocket, ProtocolError(refusal.code, refusal.message))
            return
        await websocket_transport.serve(websocket, self._house.lines(settings, token))

    async def take_call(self, request: Request) -> Response:
        """A session over WebRTC, a new one or an older one: an SDP offer, alone or with settings, is answered."""
        brought = self._doorkeeper.admit(request.headers, time.time())
        offer, session = await self._read_offer(request)
        settings = self._house.settings_with(brought | session)
        token = request.headers.get(RESUME_HEADER)
        self._check_room(token)
        try:
            call_id, answer = await self._calls.answer(offer, self._house.lines(settings, token))
        except SdpError as failure:
            raise Refused(400, "invalid_sdp", str(failure), "sdp") from None
        location = request.url_for("take_call").path + f"/{call_id}"
        return Response(answer, 201, {"Location": location}, media_type="application/sdp")

    async def hang_up(self, request: Request, call_id: str) -> Response:
        self._doorkeeper.admit(request.headers, time.time())
        if not await self._calls.hang_up(call_id):
            raise Refused(404, "call_not_found", "There is no such call.", "call_id")
        return Response(status_code=200)

    async def make_secret(self, request: Request) -> Response:
        """A short-lived key for a browser, with the session settings that come with it."""
        self._doorkeeper.admit(request.headers, time.time())
        wanted = _read_json(await _read_body(request, _MOST_JSON_BYTES))
        try:
            fields = Fields(wanted)
            session = fields.anything("session") or {}
            expiry = fields.object("expires_after")
            expiry.choice("anchor", ("created_at",), "created_at")
            seconds = expiry.whole("seconds", *SECRET_SECONDS, DEFAULT_SECRET_SECONDS)
            fields.no_others()
        except ProtocolError as failure:
            raise _refusal(failure) from None
        settings = self._house.settings_with(session)
        value, expires_at = self._doorkeeper.new_secret(seconds, session, time.time())
        effective = {**self._house.new_session(settings).to_json(), "expires_at": expires_at}
        return JSONResponse({"value": value, "expires_at": expires_at, "session": effective})

    async def attachment(self, request: Request, name: str) -> Response:
        """A picture or a tune that a session made. Whoever knows the name may fetch it, or a range of its bytes."""
        file = self._house.studio.files.get(name)
        if file is None:
            raise Refused(404, "attachment_not_found", "There is no such attachment, or no more.", "name")
        return _file_response(file, request.headers.get("range"))

    async def upload(self, request: Request) -> Response:
        """A picture or music for an event that will name it: larger than a data channel's messages may be."""
        self._doorkeeper.admit(request.headers, time.time())
        limits = self._house.limits
        data = await _read_body(request, max(limits.picture_bytes, limits.music_bytes))
        try:
            file_id = self._house.studio.upload(data)
        except ProtocolError as failure:
            raise Refused(415, failure.code, failure.message) from None
        seconds = self._house.studio.uploads.lifetime_s
        return JSONResponse({"id": file_id, "bytes": len(data), "expires_at": int(time.time() + seconds)}, 201)

    def _check_room(self, token: str | None) -> None:
        """Who comes back has a place. Raises Refused."""
        if token is None or not self._house.sessions.knows(token):
            self._house.check_room(self._calls.coming)

    async def _read_offer(self, request: Request) -> tuple[str, Json]:
        limit = self._house.limits.sdp_bytes
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            offer, body = await _read_parts(request, ("sdp", "session"), limit + _MOST_JSON_BYTES)
            session = _read_json(body)
        elif kind in ("application/sdp", "text/plain"):
            offer, session = await _read_body(request, limit), {}
        else:
            words = "Send the SDP offer as application/sdp, or as the part 'sdp' of multipart/form-data."
            raise Refused(415, "unsupported_media_type", words)
        if len(offer) > limit:
            raise _too_large(limit)
        if not offer.lstrip().startswith(b"v=") or b"m=" not in offer:
            words = "This is no SDP offer: it must begin with 'v=0' and have an m= line."
            raise Refused(400, "invalid_sdp", words, "sdp")
        return offer.decode(errors="replace"), session


def create_app(
    house: House, doorkeeper: Doorkeeper, calls: Calls, page: Path, allowed_origins: tuple[str, ...] = ()
) -> FastAPI:
    """The application. `page`: the folder of the web client."""
    doors = Doors(house, doorkeeper, calls)
    app = FastAPI(title="Tertulia")
    app.add_exception_handler(Refused, lambda _, refusal: _answer_to(refusal))
    app.add_middleware(
        CORSMiddleware,
        allow_origins=allowed_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type", "x-openai-agents-sdk", "openai-beta", RESUME_HEADER],
        expose_headers=["Location", "Accept-Ranges", "Content-Length", "Content-Range"],
    )
    app.add_api_route("/health", doors.health)
    app.add_api_route("/metrics", doors.metrics)
    app.add_api_websocket_route("/v1/realtime", doors.realtime)
    app.add_api_route("/v1/realtime/calls", doors.take_call, methods=["POST"], status_code=201)
    app.add_api_route("/v1/realtime/calls/{call_id}/hangup", doors.hang_up, methods=["POST"])
    app.add_api_route(ATTACHMENTS_PATH + "/{name}", doors.attachment, methods=["GET", "HEAD"])
    app.add_api_route(ATTACHMENTS_PATH, doors.upload, methods=["POST"], status_code=201)
    app.add_api_route("/v1/realtime/client_secrets", doors.make_secret, methods=["POST"])
    app.mount("/", StaticFiles(directory=page, html=True))
    return app


def _file_response(file: StoredFile, wanted: str | None) -> Response:
    """RFC 9110, section 14: one range of bytes, or all."""
    size = len(file.data)
    headers = {
        "Accept-Ranges": "bytes",
        "Access-Control-Allow-Origin": "*",
        "Cache-Control": "private, immutable",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "X-Content-Type-Options": "nosniff",
    }
    span = _read_range(wanted, size)
    if span is None:
        return Response(file.data, 200, headers, file.mime_type)
    if not span:
        return Response(None, 416, headers | {"Content-Range": f"bytes */{size}"})
    content_range = f"bytes {span.start}-{span.stop - 1}/{size}"
    return Response(file.data[span.start : span.stop], 206, headers | {"Content-Range": content_range}, file.mime_type)


def _read_range(wanted: str | None, size: int) -> range | None:
    """The bytes that a Range header asks for; none of them if it cannot be satisfied. None: it asks for no one range
    that is understood, and is to be ignored."""
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", (wanted or "").replace(" ", ""), re.ASCII)
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(size, int(last) + 1 if last else size))


def _answer_to(refusal: Refused) -> Response:
    headers = {"Retry-After": str(_TRY_AGAIN_S)} if refusal.status == 503 else None
    return JSONResponse(refusal.to_json(), refusal.status, headers)


def _refusal(failure: ProtocolError) -> Refused:
    return Refused(400, failure.code, failure.message, failure.param)


def _too_large(limit: int) -> Refused:
    return Refused(413, "request_too_large", f"The request is larger than {limit:,} bytes.")


async def _read_body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


async def _read_parts(request: Request, names: tuple[str, ...], limit: int) -> list[bytes]:
    """The parts of a form, whether they came with a file name or not; empty for one that did not come."""
    body = await _read_body(request, limit)

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(request.headers, stream(), max_files=4, max_fields=4, max_part_size=limit).parse()
    except (MultiPartException, KeyError) as error:
        raise Refused(400, "invalid_form", f"The form cannot be read: {error}.") from None
    try:
        parts = [form.get(name, "") for name in names]
        return [await part.read() if isinstance(part, UploadFile) else part.encode() for part in parts]
    finally:
        await form.close()


def _read_json(body: bytes) -> Json:
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise Refused(400, "invalid_json", "The session is not valid JSON.", "session") from None
    if not isinstance(value, dict):
        raise Refused(400, "invalid_type", "Expected a JSON object.", "session")
    return value
