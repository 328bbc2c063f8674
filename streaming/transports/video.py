"""The peer's camera over WebRTC: the newest frame goes to the session, whatever its size.

aiortc decodes VP8 and H.264, in a thread of its own, and cannot leave frames out: each builds on the one before.
"""

from __future__ import annotations

import asyncio
import contextlib

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import VideoFrame

from streaming.runner import SessionRunner
from streaming.sessions import Line


async def watch(tracks: asyncio.Queue[MediaStreamTrack], runner: SessionRunner | Line) -> None:
    """Show the session what the first track sends. Ends with the track."""
    track = await tracks.get()
    with contextlib.suppress(MediaStreamError):
        while True:
            frame = await track.recv()
            assert isinstance(frame, VideoFrame)
            runner.receive_video(frame)
