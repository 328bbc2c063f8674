"""The page's camera, drawings, tunes and uploads, in a real browser against a real server with a scripted model.

Screenshots are kept in artifacts/.
"""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from av import VideoFrame

from streaming.music import wav_file
from streaming.pictures import picture_file
from tests.browser.artist import MUSIC_S, disc, melody
from tests.browser.chromium import Chromium, find_chromium
from tests.browser.test_page import (
    ARTIFACTS,
    DENY_MICROPHONE,
    press,
    question_after,
    served,
    wait_for_problem,
    wait_for_turn,
    write,
)

ESCAPE, ENTER, RIGHT = ("Escape", 27), ("Enter", 13), ("ArrowRight", 39)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium here (Debian: apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def artist() -> Iterator[str]:
    with served("tests.browser.artist") as (url, _):
        yield url


def film_of(pixels: np.ndarray, path: Path) -> Path:
    """A camera's film in YUV4MPEG2 of one picture. pixels: [height, width, 3] uint8 RGB."""
    height, width = pixels.shape[:2]
    frame = VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p").to_ndarray().tobytes()
    path.write_bytes(f"YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C420jpeg\n".encode() + (b"FRAME\n" + frame) * 10)
    return path


def connect(page: Chromium, address: str) -> None:
    page.open(address)
    write(page, "hello")
    page.wait_for("tertulia.stats().state === 'listening'")
    wait_for_turn(page, "assistant", "hum")


def click(page: Chromium, selector: str) -> None:
    page.evaluate(f"document.querySelector({json.dumps(selector)}).click()")


def shows(selector: str) -> str:
    """That at least one such element can be seen."""
    return f"[...document.querySelectorAll({json.dumps(selector)})].some((one) => one.offsetWidth > 0)"


def give(page: Chromium, how: str, files: dict[str, tuple[str, bytes]]) -> None:
    """Files by their names, with their types, are picked, pasted or dropped."""
    made = [[name, kind, base64.b64encode(data).decode()] for name, (kind, data) in files.items()]
    page.evaluate(
        f"""{{
        const transfer = new DataTransfer();
        for (const [name, type, data] of {json.dumps(made)})
          transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, {{ type }}));
        if ({json.dumps(how)} === "pick") {{
          const field = document.getElementById("files");
          field.files = transfer.files;
          field.dispatchEvent(new Event("change"));
        }} else if ({json.dumps(how)} === "paste")
          dispatchEvent(new ClipboardEvent("paste", {{ clipboardData: transfer, cancelable: true }}));
        else
          dispatchEvent(new DragEvent({json.dumps(how)}, {{ dataTransfer: transfer, cancelable: true }}));
        }}"""
    )


def png(pixels: np.ndarray) -> bytes:
    return picture_file(pixels, "png")


@pytest.mark.parametrize("transport", ["webrtc", "websocket"])
def test_the_camera_is_seen_and_shown_until_it_is_switched_off(artist: str, transport: str, tmp_path: Path) -> None:
    film = film_of(disc("green", 480, 640), tmp_path / "film.y4m")
    with Chromium(tmp_path / "profile", camera=film) as page:
        connect(page, f"{artist}/?transport={transport}")
        assert not page.evaluate(shows("#sight"))
        click(page, "#camera")
        page.wait_for("document.querySelector('#sight video')?.videoWidth === 640")
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 2500))")  # until a frame has got to the server
        write(page, "what is this")
        wait_for_turn(page, "assistant", "I see something green.")
        page.wait_for(
            "[...document.querySelectorAll('.turn.user')].at(-1).querySelector('.seen img')?.naturalWidth > 50"
        )
        page.wait_for("tertulia.stats().state === 'listening'")
        page.screenshot(ARTIFACTS / f"camera_{transport}.png")
        page.evaluate("window.eye = document.querySelector('#sight video').srcObject.getVideoTracks()[0]")
        click(page, "#camera-off")
        page.wait_for("window.eye.readyState === 'ended'")
        assert not page.evaluate(shows("#sight")) and page.evaluate("document.activeElement.id") == "camera"
        write(page, "and now")
        page.wait_for("document.querySelectorAll('.turn.assistant').length === 3")
        wait_for_turn(page, "assistant", "hum")
        assert page.evaluate("document.querySelectorAll('.seen').length") == 1
        assert page.console == []


def test_a_spoken_question_is_answered_from_the_camera(artist: str, tmp_path: Path) -> None:
    """Asked three times: the first may come before the camera's first frame, the others need not see it again."""
    film = film_of(disc("red", 480, 640), tmp_path / "film.y4m")
    question = question_after(8, tmp_path / "question.wav", times=3, pause=6)
    with Chromium(tmp_path / "profile", microphone=question, camera=film) as page:
        page.size(390, 780, phone=True)
        page.open(artist)
        press(page)
        page.wait_for("tertulia.stats().transport === 'WebRTC'")
        click(page, "#camera")
        page.wait_for("document.getElementById('turns').textContent.includes('I see something red.')")
        page.wait_for("document.querySelector('.turn.user .seen img')?.naturalWidth > 50")
        page.wait_for("tertulia.stats().state === 'listening'")
        page.screenshot(ARTIFACTS / "camera_phone.png")
        assert page.evaluate("document.querySelectorAll('.seen').length") == 1  # it did not change


def test_drawings_and_tunes_are_made_shown_played_and_stopped(artist: str, tmp_path: Path) -> None:
    with Chromium(tmp_path / "profile") as page:
        connect(page, artist)
        write(page, "draw a red apple")
        page.wait_for("document.querySelector('.card.image progress')?.value > 0.3")
        page.wait_for("document.querySelector('.card.image img').naturalWidth > 0")
        page.screenshot(ARTIFACTS / "drawing_in_progress.png")
        page.wait_for("document.querySelector('.card.image img').naturalWidth === 256")
        page.evaluate("document.querySelector('.card.image .picture').focus()")
        page.strike(*ENTER)
        page.wait_for("document.getElementById('viewer').open")
        page.wait_for("document.getElementById('viewer-picture').naturalWidth === 256")
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 400))")
        page.screenshot(ARTIFACTS / "drawing_full_size.png")
        page.strike(*ESCAPE)
        page.wait_for("!document.getElementById('viewer').open")
        assert page.evaluate("tertulia.stats().state") != "idle"  # Escape closed the picture, not the conversation
        link = page.evaluate("(({href, download}) => [href, download])(document.querySelector('.card.image a'))")
        assert link[1] == "a-red-apple.png" and urllib.request.urlopen(link[0]).read(4) == b"\x89PNG"

        write(page, "play some happy piano music")
        page.wait_for("document.querySelector('.card.music progress')?.value > 0.3")
        page.screenshot(ARTIFACTS / "tune_in_progress.png")
        page.wait_for("document.querySelector('.card.music audio').currentTime > 3", 30)  # by itself
        page.screenshot(ARTIFACTS / "tune.png")
        assert page.evaluate("document.querySelector('.card.music audio').duration") == pytest.approx(MUSIC_S, abs=0.1)
        click(page, ".card.music .play")
        page.wait_for("document.querySelector('.card.music audio').paused")
        page.evaluate("document.querySelector('.wave input').focus()")
        before = page.evaluate("document.querySelector('.card.music audio').currentTime")
        page.strike(*RIGHT)
        assert page.evaluate("document.querySelector('.card.music audio').currentTime") > before
        links = page.evaluate("[...document.querySelectorAll('.card.music a')].map((one) => one.href)")
        assert [urllib.request.urlopen(link).read(4) for link in links] == [b"RIFF", b"OggS"]

        write(page, "draw a blue ball slowly")
        page.wait_for(shows(".card.image[aria-busy] .small"))
        click(page, ".card.image[aria-busy] .small")
        page.wait_for("[...document.querySelectorAll('.making')].at(-1).textContent === 'Stopped'")
        write(page, "play a march badly")
        page.wait_for("[...document.querySelectorAll('.making')].at(-1).textContent === 'The hand slipped.'")
        page.wait_for("tertulia.stats().state === 'listening'")
        page.screenshot(ARTIFACTS / "attachments.png")
        page.size(390, 780, phone=True)
        page.evaluate("document.getElementById('conversation').scrollTop = 140")
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 500))")
        page.screenshot(ARTIFACTS / "attachments_phone.png")
        page.size(1000, 760, dark=True)
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 500))")
        page.screenshot(ARTIFACTS / "attachments_dark.png")
        assert page.console == []


def test_pictures_and_music_are_picked_pasted_and_dropped(artist: str, tmp_path: Path) -> None:
    wav = wav_file(melody(2.0), 32000)
    with Chromium(tmp_path / "profile") as page:
        connect(page, artist)
        give(page, "paste", {"ball.png": ("image/png", png(disc("blue", 480, 640)))})
        page.wait_for("document.querySelector('.brought .making')?.textContent === 'Now ask about it'")
        write(page, "what is this")
        wait_for_turn(page, "assistant", "I see something blue.")
        give(page, "dragenter", {"tune.wav": ("audio/wav", wav)})
        assert page.evaluate("!document.getElementById('veil').hidden")
        page.screenshot(ARTIFACTS / "drop.png")
        give(page, "drop", {"tune.wav": ("audio/wav", wav)})
        assert page.evaluate("document.getElementById('veil').hidden")
        page.wait_for("[...document.querySelectorAll('.brought .making')].at(-1).textContent === 'Now ask about it'")
        write(page, "what is this")
        wait_for_turn(page, "assistant", "That is 2 seconds of music.")
        give(page, "pick", {"broken.png": ("image/png", png(disc("red", 64))[:200]), "poem.txt": ("text/plain", b"O")})
        page.wait_for(
            "/damaged|incomplete/.test([...document.querySelectorAll('.brought .making')].at(-1).textContent)"
        )
        wait_for_problem(page, "neither a picture nor music")
        page.screenshot(ARTIFACTS / "uploads.png")


def test_a_camera_that_is_denied_is_explained(artist: str, tmp_path: Path) -> None:
    with Chromium(tmp_path / "profile", ask_for_microphone=True, flags=(DENY_MICROPHONE,)) as page:
        connect(page, artist)
        click(page, "#camera")
        wait_for_problem(page, "The camera was not allowed")
        assert page.evaluate("document.getElementById('camera').ariaPressed") == "false"


def test_a_model_that_only_speaks_is_offered_nothing_else(tmp_path: Path) -> None:
    with served("tests.browser.scripted") as (url, _), Chromium(tmp_path / "profile") as page:
        connect(page, url)
        assert not page.evaluate(shows("#camera, #add, #sight, .hints .more"))
        give(page, "paste", {"ball.png": ("image/png", png(disc("blue", 64)))})
        wait_for_problem(page, "does not take pictures")
