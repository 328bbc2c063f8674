"""The page with nano behind it, as whoever types `make run` meets it. Screenshots are kept in artifacts/.

The questions are in voices that nano never learned from.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.browser.chromium import Chromium, find_chromium
from tests.browser.test_page import ARTIFACTS, ROOT, press, question_after, served
from tests.browser.test_pictures_and_music import click, film_of

QUESTIONS = tuple(
    Path(__file__).with_name(f"{name}.wav")
    for name in ("what_is_this", "draw_me_a_red_apple", "play_some_happy_piano_music")
)
RATE = 16_000
NANO = ROOT / "models" / "nano" / "MANIFEST"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.weights,
    pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium here (Debian: apt-get install chromium)"),
    pytest.mark.skipif(not NANO.exists(), reason="models/nano is not here"),
]


def questions_after(seconds: float, path: Path, pauses: tuple[float, ...]) -> Path:
    """The spoken questions behind some silence, each with a pause for its answer behind it."""
    with wave.open(str(path), "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(RATE)
        target.writeframes(bytes(int(2 * seconds * RATE)))
        for question, pause in zip(QUESTIONS, pauses, strict=True):
            with wave.open(str(question)) as source:
                assert source.getframerate() == RATE
                target.writeframes(source.readframes(source.getnframes()) + bytes(int(2 * pause * RATE)))
    return path


def clock() -> np.ndarray:
    """A clock on a table before a wall. [480, 640, 3] uint8 RGB."""
    picture = Image.new("RGB", (1280, 960), (196, 190, 178))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 700, 1280, 960), fill=(150, 112, 78))
    pen.ellipse((340, 180, 940, 780), fill=(200, 40, 40))
    pen.ellipse((390, 230, 890, 730), fill=(250, 250, 246))
    for hour in range(12):
        turn = np.array((np.sin(hour * np.pi / 6), -np.cos(hour * np.pi / 6)))
        start, end = (640, 480) + 195 * turn, (640, 480) + 230 * turn
        pen.line((*start, *end), fill=(40, 40, 40), width=16)
    pen.line((640, 480, 640, 310), fill=(30, 30, 30), width=22)
    pen.line((640, 480, 760, 560), fill=(30, 30, 30), width=22)
    return np.asarray(picture.resize((640, 480), Image.Resampling.LANCZOS))


def test_a_spoken_question_is_understood_and_answered(tmp_path: Path) -> None:
    understood = """(() => {
        const words = (role) => [...document.querySelectorAll(`.turn.${role} .words`)].map((each) => each.textContent);
        const answers = words("assistant");
        return words("user").some((said, k) => said.includes("who are you") && (answers[k] ?? "").includes("Nano"));
    })()"""
    question = question_after(1, tmp_path / "question.wav", times=1, pause=6)
    with served("server") as (url, _), Chromium(tmp_path / "profile", microphone=question) as page:
        page.open(url)
        press(page)
        page.wait_for("tertulia.stats().transport === 'WebRTC'")
        page.wait_for(understood, timeout_s=30)
        page.wait_for("tertulia.stats().heardSeconds > 1")
        page.screenshot(ARTIFACTS / "page_nano.png")


def test_it_sees_draws_and_plays_in_one_spoken_conversation(tmp_path: Path) -> None:
    film = film_of(clock(), tmp_path / "film.y4m")
    asked = questions_after(10, tmp_path / "questions.wav", pauses=(8, 10, 6))
    with served("server") as (url, _), Chromium(tmp_path / "profile", microphone=asked, camera=film) as page:
        page.open(url)
        press(page)
        page.wait_for("tertulia.stats().transport === 'WebRTC'")
        click(page, "#camera")
        page.wait_for("document.querySelector('#sight video')?.videoWidth === 640")
        page.wait_for("[...document.querySelectorAll('.turn.assistant')].some((turn) => /clock/.test(turn.innerText))")
        page.screenshot(ARTIFACTS / "nano_sees.png")
        page.wait_for("document.querySelector('.card.image img')?.naturalWidth >= 128")
        page.wait_for("!document.querySelector('.card.image[aria-busy]')")
        assert "apple" in page.evaluate("document.querySelector('.card.image').textContent")
        page.screenshot(ARTIFACTS / "nano_draws.png")
        page.wait_for("document.querySelector('.card.music audio')?.currentTime > 3")
        page.screenshot(ARTIFACTS / "nano_plays.png")
        assert page.console == []
