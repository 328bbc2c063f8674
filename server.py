"""The server: flags → configuration → worker → app. The only place where the parts are joined."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import functools
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
import uvloop
from fastapi import FastAPI

from configuration import ROOT, Configuration, ConfigurationError, load
from streaming import silero
from streaming.access import Doorkeeper
from streaming.app import House, create_app
from streaming.events import Limits
from streaming.settings import SessionSettings, TurnDetection, VideoInput
from streaming.studio import Studio
from streaming.transports.webrtc import Calls
from streaming.transports.websocket import LingeringProtocol
from streaming.vad import Interruption, SpeechProbability
from streaming.worker import Worker, WorkerError, cut_off_by

if TYPE_CHECKING:
    from streaming.types import Responder

PAGE = ROOT / "web_client"

_SHUTDOWN_S = 3
_BACKLOG = 128
_PRIMITIVES = 256
"""oneDNN keeps so many compiled products, one for each shape, in place of 1,024: each takes some 100 kB, and every
length of a prompt or a sound is another shape."""


class CannotStart(Exception):
    """The server cannot start; the message says why and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    try:
        uvloop.run(serve(_configuration(_flags(arguments))))
    except (CannotStart, ConfigurationError) as reason:
        print(f"Tertulia cannot start: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
    return 0


def make_responder(configuration: Configuration) -> Responder:
    """Called in the inference process. Only there is torch imported. Raises WorkerError."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_PRIMITIVES))
    from assistant.checkpoints import CheckpointError
    from assistant.responder import AnyGPTResponder

    try:
        return AnyGPTResponder.from_configuration(configuration)
    except CheckpointError as reason:
        raise WorkerError(str(reason)) from None


async def serve(configuration: Configuration) -> None:
    """Serve until a signal ends it. Raises CannotStart."""
    began = time.monotonic()
    worker = Worker(functools.partial(make_responder, configuration))
    with _listen(configuration.server.host, configuration.server.port) as listening:
        try:
            vad_model = silero.load()
            with cut_off_by(signal.SIGTERM):  # as by Ctrl-C
                await worker.start()
        except (WorkerError, silero.SileroMissing) as reason:
            raise CannotStart(str(reason)) from None
        try:
            await _serve(configuration, worker, lambda: silero.Silero(vad_model), listening, began)
        finally:
            await worker.close()


async def _serve(
    configuration: Configuration,
    worker: Worker,
    new_probability: Callable[[], SpeechProbability],
    listening: socket.socket,
    began: float,
) -> None:
    model, turns, limits = configuration.model.name, configuration.turns, _limits(configuration)
    settings = _session_settings(configuration, worker.voices)
    studio = Studio(limits, configuration.attachments.picture_format)
    interruption = Interruption(turns.interruption_ms, turns.unpaused_interruption_ms, guards_echo=turns.echo_guard)
    house = House(worker, new_probability, settings, limits, model, turns.min_speech_ms, studio, interruption)
    doorkeeper = Doorkeeper(configuration.server.api_keys, configuration.server.allowed_origins)
    calls = Calls(limits)
    app = create_app(house, doorkeeper, calls, PAGE, configuration.server.allowed_origins)
    try:
        await _run(app, limits, listening, f"Tertulia ({model})", began)
    finally:
        await calls.close()
        await house.sessions.close()


def _flags(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="server.py", description="Talk with a model from a browser.")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "nano.toml", help="TOML file (default: nano)")
    parser.add_argument("--host", help="address to listen on, instead of the configured one")
    parser.add_argument("--port", type=int, help="port to listen on, instead of the configured one")
    return parser.parse_args(arguments)


def _configuration(flags: argparse.Namespace) -> Configuration:
    configuration = load(flags.config)
    given = {name: value for name in ("host", "port") if (value := getattr(flags, name)) is not None}
    if not 0 <= given.get("port", 0) <= 65_535:
        raise CannotStart(f"--port {given['port']} is no port: it must lie between 0 and 65,535.")
    return dataclasses.replace(configuration, server=dataclasses.replace(configuration.server, **given))


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before the models are loaded: its being taken shows at once, and early guests wait in line."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except socket.gaierror:
        raise CannotStart(f"'{host}' is no address of this machine; choose another with --host.") from None
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]
        what = f"port {port} of {host} cannot be used ({reason})"
        raise CannotStart(f"{what}; stop the program that has it, or choose another with --port or --host.") from None


def _limits(configuration: Configuration) -> Limits:
    server, attachments = configuration.server, configuration.attachments
    return Limits(
        message_bytes=server.max_message_bytes,
        sdp_bytes=server.max_sdp_bytes,
        sessions=server.max_sessions,
        events_per_second=server.events_per_second,
        audio_ahead_s=server.max_audio_ahead_s,
        utterance_s=server.max_utterance_s,
        picture_bytes=server.max_picture_bytes,
        picture_pixels=server.max_picture_pixels,
        picture_side=configuration.camera.picture_side,
        music_bytes=server.max_music_bytes,
        music_s=server.max_music_s,
        history_tokens=configuration.model.history_tokens,
        works=attachments.max_at_once,
        attachment_bytes=attachments.max_bytes,
        attachments=attachments.max_files,
        attachment_s=attachments.lifetime_s,
        idle_s=server.idle_timeout_s,
        resume_s=server.resume_timeout_s,
    )


def _session_settings(configuration: Configuration, voices: tuple[str, ...]) -> SessionSettings:
    turns = configuration.turns
    detection = TurnDetection(
        type=turns.detection,
        eagerness=turns.eagerness,
        threshold=turns.vad_threshold,
        prefix_padding_ms=turns.prefix_padding_ms,
        silence_duration_ms=turns.silence_duration_ms,
    )
    camera = configuration.camera
    video = VideoInput(camera.max_fps, camera.change_share, camera.look_again_s)
    return SessionSettings(
        voices,
        voices[0],
        turn_detection=detection,
        default_turn_detection=detection,
        video=video,
        default_video=video,
    )


async def _run(app: FastAPI, limits: Limits, listening: socket.socket, name: str, began: float) -> None:
    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"{name} is ready after {time.monotonic() - began:.1f} s: open {_url(listening)}", flush=True)

    settings = uvicorn.Config(
        app,
        ws=LingeringProtocol,
        ws_max_size=limits.message_bytes,
        ws_per_message_deflate=False,  # sound in base64 does not get smaller, only later
        lifespan="off",
        log_level="warning",
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    # uvicorn raises the signal that ended it once more when it is done; by then it has been heeded.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    await Server(settings).serve([listening])


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


if __name__ == "__main__":
    sys.exit(main())
