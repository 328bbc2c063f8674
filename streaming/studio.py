"""Where pictures and music are decoded and made into files: threads, so that nobody's sound waits for them."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from av import VideoFrame

from streaming import music, pictures
from streaming.attachments import FileStore, TooLarge
from streaming.camera import Frame
from streaming.events import ATTACHMENTS_PATH, Limits
from streaming.fields import ProtocolError
from streaming.media import Decoded, Encoded, Kept, Picture
from streaming.session import random_id
from streaming.types import MusicDone, PictureDone

FrameSource = Encoded | VideoFrame
Result = TypeVar("Result")

UPLOADS = 64
UPLOAD_S = 600.0
_THREADS = 2
_NICENESS = 5
_EXTENSIONS = ("png", "webp", "wav", "ogg")


class Studio:
    """Owns the files that wait to be fetched (`files`), those that were brought (`uploads`), and two threads."""

    def __init__(
        self, limits: Limits | None = None, picture_extension: str = "png", clock: Callable[[], float] = time.monotonic
    ) -> None:
        """picture_extension: "png" or "webp"."""
        self._limits = limits or Limits()
        self._picture_extension = picture_extension
        self.files = FileStore(
            self._limits.attachment_bytes, self._limits.attachments, self._limits.attachment_s, clock
        )
        self.uploads = FileStore(self._limits.attachment_bytes, UPLOADS, UPLOAD_S, clock)
        self._threads = ThreadPoolExecutor(_THREADS, "studio", initializer=_yield_to_speech)

    async def read(self, file: Encoded) -> Decoded:
        """What a client sent or uploaded, or what is wrong with it."""
        try:
            data = self._bytes_of(file)
            read = pictures.read_picture if file.kind == "image" else music.read_music
            return await self._in_thread(lambda: read(data, self._limits, file.path))
        except ProtocolError as failure:
            return failure

    async def look(self, source: FrameSource) -> Frame | ProtocolError:
        """A camera's frame, or what is wrong with it."""
        if isinstance(source, VideoFrame):
            return await self._in_thread(lambda: Frame.of(pictures.picture_of_video(source, self._limits)))
        picture = await self.read(source)
        if not isinstance(picture, Picture):
            assert isinstance(picture, ProtocolError)
            return picture
        return await self._in_thread(lambda: Frame.of(picture))

    async def keep(self, attachment_id: str, made: PictureDone | MusicDone) -> Kept | ProtocolError:
        """Make files of an attachment, named after it, and keep them for a while."""
        make = self._picture_files if isinstance(made, PictureDone) else self._music_files
        kept, files = await self._in_thread(lambda: make(attachment_id, made))  # type: ignore[arg-type]
        try:
            for name, data, mime_type in files:
                self.files.put(name, data, mime_type)
        except TooLarge as reason:
            return ProtocolError("attachment_too_large", f"The attachment is too large to be kept: {reason}.")
        return kept

    def forget(self, attachment_id: str) -> None:
        for extension in _EXTENSIONS:
            self.files.remove(f"{attachment_id}.{extension}")

    def upload(self, data: bytes) -> str:
        """Keep a stranger's file for the event that will name it. Returns its id. Raises ProtocolError."""
        if pictures.picture_format(data) is not None:
            most = self._limits.picture_bytes
        elif music.music_format(data) is not None:
            most = self._limits.music_bytes
        else:
            words = "This is neither a PNG, JPEG or WebP picture nor a WAV, MP3, FLAC, Ogg, M4A or WebM sound."
            raise ProtocolError("unsupported_file", words)
        if len(data) > most:
            words = f"The file has {len(data):,} bytes; at most {most:,} are accepted of its kind."
            raise ProtocolError("file_too_large", words)
        file_id = random_id("file")
        try:
            self.uploads.put(file_id, data, "")
        except TooLarge as reason:
            raise ProtocolError("file_too_large", f"The file is too large: {reason}.") from None
        return file_id

    def _bytes_of(self, file: Encoded) -> bytes:
        if not file.file_id:
            return file.data
        upload = self.uploads.get(file.file_id)
        if upload is None:
            raise ProtocolError("file_not_found", f"There is no file '{file.file_id}', or no more.", file.path)
        return upload.data

    def _picture_files(self, attachment_id: str, made: PictureDone) -> tuple[Kept, list[tuple[str, bytes, str]]]:
        name = f"{attachment_id}.{self._picture_extension}"
        data = pictures.picture_file(made.image, self._picture_extension)
        mime_type = pictures.MIME_TYPES[self._picture_extension]
        height, width = made.image.shape[:2]
        size = {"width": width, "height": height}
        kept = Kept(_url(name), mime_type, len(data), pictures.preview(made.image), size)
        return kept, [(name, data, mime_type)]

    def _music_files(self, attachment_id: str, made: MusicDone) -> tuple[Kept, list[tuple[str, bytes, str]]]:
        """The WAV plays everywhere; the Opus is a tenth of it."""
        wav, opus = music.wav_file(made.pcm, made.sample_rate), music.opus_file(made.pcm, made.sample_rate)
        files = [(f"{attachment_id}.wav", wav, "audio/wav"), (f"{attachment_id}.ogg", opus, "audio/ogg")]
        (first, *others) = [
            {"url": _url(name), "mime_type": mime_type, "bytes": len(data)} for name, data, mime_type in files
        ]
        details = {
            "duration_ms": len(made.pcm) * 1000 // made.sample_rate,
            "sample_rate": made.sample_rate,
            "channels": 1,
            "alternatives": others,
        }
        thumbnail = pictures.preview(music.waveform(made.pcm))
        return Kept(_url(files[0][0]), "audio/wav", len(wav), thumbnail, details), files

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _url(name: str) -> str:
    return f"{ATTACHMENTS_PATH}/{name}"


def _yield_to_speech() -> None:
    if sys.platform == "linux":  # where a thread has a niceness of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
