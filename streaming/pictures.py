"""Pictures in files: those of strangers read safely, ours written. Synchronous: call from a thread.

Of a stranger's file nothing is believed: its format is told by its first bytes, its size is read from its header before
any pixel is decoded, and whatever the decoder stumbles over becomes a sentence.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable

import numpy as np
from av import VideoFrame
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from streaming.events import Limits
from streaming.fields import ProtocolError
from streaming.media import MOST_PREVIEW_BYTES, Picture

logger = logging.getLogger(__name__)

PREVIEW_SIDE = 160
MIME_TYPES = {"png": "image/png", "webp": "image/webp"}

_READERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WEBP": WebPImageFile,
}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By the orientation of Exif 2.32, section 4.6.4."""


def read_picture(data: bytes, limits: Limits, path: str = "") -> Picture:
    """A PNG, JPEG or WebP, upright, on white, shrunk to `limits.picture_side`; of an animation the first picture.

    Raises ProtocolError, in words for who sent it.
    """
    if not data:
        raise ProtocolError("invalid_image", "The picture is empty: it has 0 bytes.", path)
    if len(data) > limits.picture_bytes:
        words = f"The picture has {len(data):,} bytes; at most {limits.picture_bytes:,} are accepted."
        raise ProtocolError("file_too_large", words, path)
    kind = picture_format(data)
    if kind is None:
        what = "SVG drawings are not accepted" if b"<svg" in data[:4096].lower() else "This is no picture that is known"
        raise ProtocolError("unsupported_image", f"{what}; send PNG, JPEG or WebP.", path)
    if kind == "WEBP":  # the decoder makes room for the whole picture before Pillow tells its size
        _check_size(_webp_size(data), limits.picture_pixels, path)
    try:
        with _READERS[kind](io.BytesIO(data)) as image:  # Image.open has a limit of its own, and is silent about sizes
            _check_size(image.size, limits.picture_pixels, path)
            pixels = _decode(image, limits.picture_side)
    except ProtocolError:
        raise
    except Exception as error:  # Pillow's decoders have no common family of errors
        logger.info("a picture cannot be read: %s", error)
        words = f"The picture is damaged or incomplete: its {kind} data cannot be read."
        raise ProtocolError("invalid_image", words, path) from None
    return Picture(pixels, preview(pixels))


def picture_format(data: bytes) -> str | None:
    """The name of one of the three formats, by the first bytes of a file."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    return "WEBP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def picture_of_video(frame: VideoFrame, limits: Limits) -> Picture:
    """A frame of a video track, shrunk. Its size may differ from that of the frame before it."""
    scale = min(1.0, limits.picture_side / max(frame.width, frame.height))
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    pixels = frame.reformat(width, height, "rgb24").to_ndarray()
    return Picture(pixels, preview(pixels))


def preview(pixels: np.ndarray, side: int = PREVIEW_SIDE) -> str:
    """A small JPEG of a picture, as a data URI of at most MOST_PREVIEW_BYTES. pixels: [height, width, 3] uint8."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    for quality in (75, 50, 25):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        uri = data_uri("image/jpeg", file.getvalue())
        if len(uri) <= MOST_PREVIEW_BYTES:
            return uri
    return preview(pixels, side // 2)


def picture_file(pixels: np.ndarray, extension: str) -> bytes:
    """A "png" or "webp". pixels: [height, width, 3] uint8."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, extension.upper())
    return file.getvalue()


def data_uri(mime_type: str, data: bytes) -> str:
    return f"data:{mime_type};base64,{base64.b64encode(data).decode()}"


def _check_size(size: tuple[int, int], most_pixels: int, path: str) -> None:
    width, height = size
    if width * height > most_pixels:
        words = f"The picture has {width:,} × {height:,} pixels; at most {most_pixels:,} in all are accepted."
        raise ProtocolError("image_too_large", words, path)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height by the first chunk of a WebP container; (0, 0) where it has none that is known."""
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return 0, 0


def _decode(image: Image.Image, side: int) -> np.ndarray:
    """[height, width, 3] uint8."""
    turn = _UPRIGHT.get(_orientation(image))
    image.draft("RGB", (side, side))  # a JPEG is decoded at a fraction of its size, if that is enough
    flat = _on_white(image)
    flat.thumbnail((side, side))
    return np.asarray(flat if turn is None else flat.transpose(turn))


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a picture may be good although its notes are not
        return 1


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off instead of scaling
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    with_alpha = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(with_alpha, mask=with_alpha.getchannel("A"))
    return white
