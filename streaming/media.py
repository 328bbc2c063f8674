"""Pictures and music of a client: encoded as they come, decoded as the conversation keeps them.

Decoding takes time and happens elsewhere. So an event that brings media is read twice: the first reading finds out
what there is to decode, the second one finds it decoded.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from streaming.events import MOST_ID_CHARACTERS, Json, Limits, decode_base64
from streaming.fields import Fields, ProtocolError
from streaming.types import MUSIC_RATE, Kind


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture, upright and no larger than the model needs it."""

    pixels: np.ndarray  # [height, width, 3] uint8 RGB
    preview: str  # data URI, at most MOST_PREVIEW_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class Music:
    """A piece of music."""

    pcm: np.ndarray  # [samples] float32 at MUSIC_RATE
    preview: str  # data URI of its wave form

    @property
    def duration_ms(self) -> int:
        return len(self.pcm) * 1000 // MUSIC_RATE


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file that is to be decoded: `data`, or what was uploaded under `file_id`."""

    kind: Kind
    path: str  # of the field that brought it, for complaints
    data: bytes = b""
    file_id: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """The files of a finished attachment: what its content part says of them."""

    url: str
    mime_type: str
    bytes: int
    thumbnail: str
    details: Json  # width and height, or duration_ms and so on


Decoded = Picture | Music | ProtocolError
"""Of each Encoded comes a Picture or Music, or what is wrong with it."""

MOST_PREVIEW_BYTES = 16 * 2**10
MOST_FILES = 16
"""In one event."""

_NAMES = {"image": "pictures", "music": "music"}


class Media:
    """The files of one event, in the order in which they are read. While `missing` has any, decode them and read the
    event again with what came of them."""

    def __init__(self, takes: Collection[Kind], limits: Limits, decoded: Sequence[Decoded] = ()) -> None:
        self.missing: list[Encoded] = []
        self._takes = takes
        self._limits = limits
        self._decoded = decoded
        self._count = 0

    def picture(self, fields: Fields, url_name: str) -> Picture | None:
        """The picture that an object names. None while it is missing. Raises ProtocolError."""
        decoded = self._get("image", fields, url_name, self._limits.picture_bytes)
        assert decoded is None or isinstance(decoded, Picture)
        return decoded

    def music(self, fields: Fields, url_name: str) -> Music | None:
        """The music that an object names. None while it is missing. Raises ProtocolError."""
        decoded = self._get("music", fields, url_name, self._limits.music_bytes)
        assert decoded is None or isinstance(decoded, Music)
        return decoded

    def _get(self, kind: Kind, fields: Fields, url_name: str, most_bytes: int) -> Decoded | None:
        if kind not in self._takes:
            words = f"This model does not take {_NAMES[kind]}."
            raise ProtocolError("unsupported", words, fields.path("type"))
        encoded = read_file(fields, kind, url_name, most_bytes)
        self._count += 1
        if self._count > MOST_FILES:
            raise ProtocolError("too_many_files", f"One event may bring {MOST_FILES} files at most.", encoded.path)
        if self._count > len(self._decoded):
            self.missing.append(encoded)
            return None
        decoded = self._decoded[self._count - 1]
        if isinstance(decoded, ProtocolError):
            raise decoded
        return decoded


def read_file(fields: Fields, kind: Kind, url_name: str, most_bytes: int) -> Encoded:
    """The file that an object names: a data URI in `url_name`, or the `file_id` of an upload. Raises ProtocolError."""
    file_id = fields.text("file_id", None, most=MOST_ID_CHARACTERS)
    if file_id:
        return Encoded(kind, fields.path("file_id"), file_id=file_id)
    path = fields.path(url_name)
    head, comma, body = fields.text(url_name).partition(",")
    if not head.startswith("data:") or not head.endswith(";base64") or not comma:
        words = (
            f"'{path}' must be a data URI in base64, as in 'data:image/png;base64,...': nothing is fetched from here."
        )
        raise ProtocolError("invalid_url", words, path)
    if len(body) // 4 * 3 > most_bytes + 3:
        words = f"'{path}' holds about {len(body) // 4 * 3:,} bytes; at most {most_bytes:,} are accepted."
        raise ProtocolError("file_too_large", words, path)
    return Encoded(kind, path, decode_base64(body, path))
