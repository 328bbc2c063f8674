"""Pictures of strangers: what is good is made upright and small, what is bad becomes a sentence."""

from __future__ import annotations

import base64
import io
import struct
from typing import Any

import numpy as np
import pytest
from av import VideoFrame
from PIL import Image

from streaming.events import Limits
from streaming.fields import ProtocolError
from streaming.media import MOST_PREVIEW_BYTES
from streaming.pictures import picture_file, picture_of_video, preview, read_picture
from tests.streaming.fakes import jpeg, scene

LIMITS = Limits(picture_pixels=1_000_000, picture_side=64)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def refusal(data: bytes, limits: Limits = LIMITS) -> ProtocolError:
    with pytest.raises(ProtocolError) as refused:
        read_picture(data, limits, "item.content[0].image_url")
    assert refused.value.param == "item.content[0].image_url" and refused.value.message.endswith(".")
    return refused.value


def halves(left: str = "red", right: str = "blue", mode: str = "RGB") -> Image.Image:
    """32 wide, 16 high."""
    image = Image.new("RGB", (32, 16), left)
    image.paste(right, (16, 0, 32, 16))
    return image.convert(mode)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_keeps_its_colours(kind: str) -> None:
    pixels = read_picture(encoded(halves(), kind), LIMITS).pixels
    assert pixels.shape == (16, 32, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels[8, 4].astype(int) - (255, 0, 0)).max() < 12
    assert np.abs(pixels[8, 28].astype(int) - (0, 0, 255)).max() < 12


def test_a_large_one_is_shrunk() -> None:
    assert read_picture(jpeg(np.zeros((300, 600, 3), np.uint8)), LIMITS).pixels.shape == (32, 64, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_camera_held_upright_is_turned(kind: str) -> None:
    notes = Image.Exif()
    notes[0x0112] = 6  # turn it clockwise
    pixels = read_picture(encoded(halves(), kind, exif=notes), LIMITS).pixels
    assert pixels.shape == (32, 16, 3)
    assert pixels[4, 8, 0] > 200 and pixels[28, 8, 2] > 200, "what was left is on top"


@pytest.mark.filterwarnings("ignore::UserWarning")  # with which Pillow mentions them
def test_broken_notes_do_not_spoil_a_picture() -> None:
    data = encoded(halves(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_picture(data, LIMITS).pixels.shape == (16, 32, 3)


def test_printers_colours() -> None:
    pixels = read_picture(encoded(halves(mode="CMYK"), "JPEG"), LIMITS).pixels
    assert pixels[8, 4, 0] > 200 and pixels[8, 4, 2] < 60 and pixels[8, 28, 2] > 200


def test_what_is_transparent_is_white() -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert (read_picture(encoded(image, "PNG"), LIMITS).pixels == 255).all()


def test_sixteen_bits_of_grey_are_scaled() -> None:
    image = Image.fromarray(np.full((8, 8), 0x8080, np.uint16))
    assert (read_picture(encoded(image, "PNG"), LIMITS).pixels == 0x80).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_picture(kind: str) -> None:
    others = [Image.new("RGB", (32, 16), "green")]
    pixels = read_picture(encoded(halves(), kind, save_all=True, append_images=others, lossless=True), LIMITS).pixels
    assert pixels[8, 4].tolist() == [255, 0, 0]


def test_one_pixel() -> None:
    assert read_picture(encoded(Image.new("RGB", (1, 1)), "PNG"), LIMITS).pixels.shape == (1, 1, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_one(kind: str) -> None:
    data = encoded(Image.fromarray(scene()), kind)
    for size in (13, 40, len(data) // 2, len(data) - 30):
        failure = refusal(data[:size])
        assert failure.code == "invalid_image" and "damaged or incomplete" in failure.message


def test_too_many_pixels_are_not_decoded() -> None:
    data = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    assert len(data) < 100_000, "a bomb"
    failure = refusal(data, Limits())
    assert failure.code == "image_too_large" and "20,000 × 20,000" in failure.message


def test_a_header_alone_does_not_make_room_for_its_pixels() -> None:
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16_382).to_bytes(3, "little") * 2
    failure = refusal(b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk)
    assert failure.code == "image_too_large" and "16,383 × 16,383" in failure.message


@pytest.mark.parametrize("options", [{"quality": 50}, {"lossless": True}, {"save_all": True}])
def test_every_kind_of_webp_tells_its_size(options: dict[str, Any]) -> None:
    data = encoded(Image.new("RGB", (700, 500)), "WEBP", **options)
    assert "700 × 500" in refusal(data, Limits(picture_pixels=349_999)).message
    read_picture(data, Limits(picture_pixels=350_000))


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", "invalid_image", "0 bytes"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_image", "SVG"),
        (b"GIF89a" + bytes(40), "unsupported_image", "send PNG, JPEG or WebP"),
        (b"hello", "unsupported_image", "send PNG, JPEG or WebP"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "invalid_image", "damaged"),
        (b"\xff\xd8\xff" + b"\xff" * 100, "invalid_image", "damaged"),
    ],
)
def test_what_is_no_picture(data: bytes, code: str, words: str) -> None:
    failure = refusal(data)
    assert failure.code == code and words in failure.message


def test_too_many_bytes() -> None:
    failure = refusal(bytes(1001), Limits(picture_bytes=1000))
    assert failure.code == "file_too_large" and "1,001 bytes; at most 1,000" in failure.message


def test_a_preview_fits_its_event_whatever_it_shows() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    for pixels in (noise, scene(), np.zeros((3, 2000, 3), np.uint8)):
        uri = preview(pixels)
        assert uri.startswith("data:image/jpeg;base64,") and len(uri) <= MOST_PREVIEW_BYTES
        assert Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).width > 1


def test_frames_of_any_size() -> None:
    for width, height in ((320, 240), (240, 320), (34, 18), (2, 2)):
        pixels = np.full((height, width, 3), (200, 30, 30), np.uint8)
        frame = VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p")
        got = picture_of_video(frame, LIMITS).pixels
        assert max(got.shape[:2]) == min(64, max(width, height)) and abs(int(got[0, 0, 0]) - 200) < 12


@pytest.mark.parametrize("extension", ["png", "webp"])
def test_files_of_ours_can_be_read(extension: str) -> None:
    pixels = read_picture(picture_file(scene(), extension), Limits()).pixels
    assert pixels.shape == (96, 96, 3) and np.abs(pixels[6, 6].astype(int) - scene()[6, 6]).max() < 40
