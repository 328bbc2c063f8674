"""How long an answer took, drawn under it by a real browser. Screenshots are kept in artifacts/."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import Chromium, find_chromium
from tests.browser.test_page import ARTIFACTS, press, question_after, served, wait_for_turn, write

TAB, ENTER = ("Tab", 9), ("Enter", 13)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium here (Debian: apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def thoughtful() -> Iterator[str]:
    with served("tests.browser.thoughtful") as (url, _):
        yield url


def steps(page: Chromium) -> list[dict[str, float | str]]:
    """What the rows of the only drawing say."""
    rows = """[...document.querySelectorAll('.timing li')].map((row) => ({
        name: row.querySelector('i').dataset.step, at: parseFloat(row.querySelector('.at').textContent),
        took: parseFloat(row.querySelector('.took').textContent) }))"""
    found: list[dict[str, float | str]] = json.loads(page.evaluate(f"JSON.stringify({rows})"))
    return found


def pieces(page: Chromium) -> list[float]:
    """The widths of the bar's pieces, in percent."""
    widths = "[...document.querySelectorAll('.timing .bar i')].map((piece) => parseFloat(piece.style.width))"
    return list(page.evaluate(widths))


def cut_off(page: Chromium) -> bool:
    """Whether the bar's last piece is outside of the bar."""
    right = "document.querySelector('{}').getBoundingClientRect().right"
    last, bar = right.format(".timing .bar i:last-child"), right.format(".timing .bar")
    return bool(page.evaluate(f"{last} > {bar} + 0.5"))


def overflows(page: Chromium) -> bool:
    turn = "document.querySelector('.turn.assistant')"
    return bool(page.evaluate(f"{turn}.scrollWidth > {turn}.clientWidth || document.body.scrollWidth > innerWidth"))


@pytest.mark.parametrize("transport", ["webrtc", "websocket"])
def test_every_milestone_of_an_answer_is_drawn_up_to_the_first_sound_here(
    thoughtful: str, transport: str, tmp_path: Path
) -> None:
    microphone = question_after(1, tmp_path / "question.wav")
    with Chromium(tmp_path / "profile", microphone=microphone) as page:
        page.open(f"{thoughtful}/?transport={transport}")
        press(page)
        wait_for_turn(page, "assistant", "hum")
        page.wait_for("document.querySelector('.timing [data-step=first_sound]') !== null")
        page.wait_for("tertulia.stats().state === 'listening'")
        page.screenshot(ARTIFACTS / f"waterfall_{transport}_closed.png")
        found = steps(page)
        at = {str(step["name"]): float(step["at"]) for step in found}
        assert list(at.values()) == sorted(at.values()), "what was made before the end was sure comes before it"
        words, sound = ["transcription", "first_token"], ["first_speech_token", "first_audio", "first_packet"]
        assert [name for name in at if name != "end_of_speech"] == [*words, *sound, "first_sound"]
        assert 240 <= at["end_of_speech"] <= 600 and at["end_of_speech"] <= at["first_packet"]
        assert at["first_audio"] - at["first_token"] > 150, "the script takes its time"
        assert at["first_packet"] <= at["first_sound"] < at["first_packet"] + 600
        assert sum(float(step["took"]) for step in found) == pytest.approx(at["first_sound"], abs=4)
        assert sum(pieces(page)) == pytest.approx(100, abs=0.1) and not cut_off(page)
        assert page.evaluate("tertulia.stats().state") == "listening"
        assert page.evaluate("document.getElementById('problem').hidden"), "the server took the report"
        figures = urllib.request.urlopen(f"{thoughtful}/metrics").read().decode()
        assert 'tertulia_milestone_seconds_count{milestone="first_sound"}' in figures
        open_by_key(page)
        for name, size in {"": (1000, 900), "_phone": (360, 800)}.items():
            for dark in (False, True):
                page.size(*size, dark=dark, phone=bool(name))
                time.sleep(0.5)  # colours fade
                page.screenshot(ARTIFACTS / f"waterfall_{transport}{name}{'_dark' * dark}.png")
                assert not overflows(page)
        assert page.console == []


def open_by_key(page: Chromium) -> None:
    assert not page.evaluate("document.querySelector('.timing').open")
    page.evaluate("document.getElementById('conversation').focus()")
    page.strike(*TAB)
    assert page.evaluate("document.activeElement.matches('.timing summary')")
    page.strike(*ENTER)
    assert page.evaluate("document.querySelector('.timing').open")


def test_a_typed_question_has_no_drawing(thoughtful: str, tmp_path: Path) -> None:
    with Chromium(tmp_path / "profile") as page:
        page.open(thoughtful)
        write(page, "good morning")
        page.wait_for("tertulia.stats().heardSeconds > 1")
        page.wait_for("tertulia.stats().state === 'listening'")
        assert page.evaluate("document.querySelector('.timing') === null")


@pytest.mark.parametrize(
    "milestones, rows",
    [
        ({"end_of_speech_ms": 300, "transcription_ms": 200, "first_packet_ms": 310}, [200, 100, 10]),
        ({"end_of_speech_ms": 500, "thought_ms": 600}, [500]),  # one that this page does not know
        ({"end_of_speech_ms": 0, "first_sound_ms": None}, [0]),
        ({}, None),
    ],
)
def test_the_drawing_is_in_the_order_of_time(
    thoughtful: str, milestones: dict[str, float | None], rows: list[float] | None, tmp_path: Path
) -> None:
    with Chromium(tmp_path / "profile") as page:
        page.open(thoughtful)
        module = "(await import('./waterfall.js')).waterfall"
        script = f"const drawn = {module}({json.dumps(milestones)}); if (drawn) document.body.append(drawn);"
        page.evaluate(f"(async () => {{ {script} }})()")
        drawn = [step["took"] for step in steps(page)] if page.evaluate("!!document.querySelector('.timing')") else None
        assert drawn == rows
