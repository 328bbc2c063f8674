"""The Realtime protocol over a WebSocket: text frames, one JSON object each, both ways."""

from __future__ import annotations

import json
from collections.abc import Callable

from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from streaming import events
from streaming.events import Json
from streaming.fields import ProtocolError
from streaming.runner import PeerGone, SessionRunner
from streaming.session import random_id
from streaming.sessions import Line

SUBPROTOCOL = "realtime"

_MOST_REASON_BYTES = 123  # RFC 6455, section 5.5
_GOING_AWAY = 1001
_LINGER_S = 1.0
_MOST_LINGER_S = 10.0


class WebSocketTransport:
    """The way to one peer. The answer's sound goes in events, as fast as it is made."""

    name = "websocket"

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def send(self, event: Json) -> None:
        try:
            await self._websocket.send_text(json.dumps(event, separators=(",", ":"), allow_nan=False))
        except (WebSocketDisconnect, RuntimeError) as error:
            raise PeerGone from error

    async def close(self, code: int, reason: str) -> None:
        short = reason.encode()[:_MOST_REASON_BYTES].decode(errors="ignore")
        try:
            await self._websocket.close(code, short)
        except (WebSocketDisconnect, RuntimeError):
            pass  # the peer was faster


async def accept(websocket: WebSocket) -> None:
    """Browsers fail the handshake when they offered subprotocols and none is chosen."""
    await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in websocket.scope["subprotocols"] else None)


async def refuse(websocket: WebSocket, failure: ProtocolError) -> None:
    """Turn away a peer that may come back later."""
    transport = WebSocketTransport(websocket)
    event = {"event_id": random_id("event"), **events.error(failure, None, "server_error")}
    try:
        await transport.send(event)
    except PeerGone:
        return
    await transport.close(1013, failure.message)


async def serve(websocket: WebSocket, make_runner: Callable[[WebSocketTransport], SessionRunner | Line]) -> None:
    """Hold a session over an accepted WebSocket until either side ends it.

    A peer that leaves says so in a close frame, which has a reason, if only an empty one. A browser whose page is left
    or reloaded says that it goes away, and may come back.
    """
    runner = make_runner(WebSocketTransport(websocket))

    async def read() -> None:
        runner.open()
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                if message.get("reason") is None or message["code"] == _GOING_AWAY:
                    raise PeerGone
                return
            text = message.get("text")
            await runner.receive_event(message["bytes"] if text is None else text)

    await runner.run(read)


class LingeringProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, polite to those who send too much.

    uvicorn answers a message over the limit with the code 1009 and closes the connection at once. A peer that is still
    sending then meets a reset connection, which throws away the unread close frame with its reason. So here what still
    comes is read, thrown away, and the connection closed when the peer has fallen silent.
    """

    _lingering = False

    def handle_parser_exception(self) -> None:
        close = self.conn.close_sent
        assert close is not None
        self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code, "reason": close.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = self._lingering = True
        self.frames = []
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(_LINGER_S, self.transport.close)
        self._last_timer = self.loop.call_later(_MOST_LINGER_S, self.transport.close)

    def data_received(self, data: bytes) -> None:
        if not self._lingering:
            super().data_received(data)
            return
        self.close_timer.cancel()
        self.close_timer = self.loop.call_later(_LINGER_S, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lingering:
            self._last_timer.cancel()
        super().connection_lost(exc)
