"""The page in a real browser that talks to a real server: with a scripted model.

A screenshot of each test's end is kept in artifacts/.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.browser.chromium import Chromium, find_chromium
from tests.browser.scripted import HEARD, REPLY

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "artifacts"
QUESTION = Path(__file__).with_name("hello_who_are_you.wav")  # 16 kHz
"""In one of the voices that nano never learned from."""

NO_CALLS = "--webrtc-ip-handling-policy=disable_non_proxied_udp"
"""Lets no WebRTC connection come about, as a strict firewall would."""

DENY_MICROPHONE = "--deny-permission-prompts"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium here (Debian: apt-get install chromium)"),
]


@contextmanager
def served(module: str, config: Path | None = None) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a server on a free port, and its process."""
    command = [sys.executable, "-m", module, "--port", "0", *(() if config is None else ("--config", str(config)))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, f"the server did not start: {line!r}"
            yield found[0], process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@pytest.fixture(scope="module")
def scripted() -> Iterator[str]:
    with served("tests.browser.scripted") as (url, _):
        yield url


def question_after(seconds: float, path: Path, times: int = 1, pause: float = 0) -> Path:
    """The spoken question behind some silence: the browser plays the file once, from when the microphone is opened.

    It may be asked several times, with a pause for the answer.
    """
    with wave.open(str(QUESTION)) as source, wave.open(str(path), "wb") as target:
        target.setparams(source.getparams())
        target.writeframes(bytes(int(2 * seconds * source.getframerate())))
        question = source.readframes(source.getnframes())
        for _ in range(times):
            target.writeframes(question + bytes(int(2 * pause * source.getframerate())))
    return path


def press(page: Chromium) -> None:
    page.evaluate("document.getElementById('talk').click()")


def write(page: Chromium, text: str) -> None:
    page.evaluate(f"document.getElementById('text').value = {json.dumps(text)}")
    page.evaluate("document.getElementById('type').requestSubmit()")


def turns(page: Chromium, role: str) -> list[str]:
    found: list[str] = page.evaluate(
        f"[...document.querySelectorAll('.turn.{role} .words')].map((words) => words.textContent)"
    )
    return found


def wait_for_turn(page: Chromium, role: str, text: str = "") -> None:
    """Until the last turn of that side holds the text, and at least some."""
    last = f"[...document.querySelectorAll('.turn.{role} .words')].at(-1)?.textContent ?? ''"
    page.wait_for(f"({last}).length > 1 && ({last}).includes({json.dumps(text)})")


def heard_seconds(page: Chromium) -> float:
    return float(page.evaluate("tertulia.stats().heardSeconds"))


def wait_for_problem(page: Chromium, words: str) -> None:
    shown = f"document.getElementById('problem-words').textContent.includes({json.dumps(words)})"
    page.wait_for(f"!document.getElementById('problem').hidden && {shown}")


@pytest.mark.parametrize("transport", ["WebRTC", "WebSocket"])
def test_a_spoken_question_is_written_down_and_answered_aloud(scripted: str, transport: str, tmp_path: Path) -> None:
    lead_s = 1 if transport == "WebRTC" else 11  # the page gives a call eight seconds before it falls back
    flags = (NO_CALLS,) if transport == "WebSocket" else ()
    microphone = question_after(lead_s, tmp_path / "question.wav")
    with Chromium(tmp_path / "profile", microphone=microphone, flags=flags) as page:
        page.open(scripted)
        page.wait_for("document.getElementById('voice').options.length === 4")
        assert page.evaluate("tertulia.stats().state") == "idle"
        press(page)
        page.wait_for(f"tertulia.stats().transport === '{transport}'")
        page.wait_for("tertulia.stats().microphoneLevel > 0.3")
        wait_for_turn(page, "user", HEARD)
        wait_for_turn(page, "assistant", REPLY)
        page.wait_for("tertulia.stats().heardSeconds > 1")
        page.wait_for("tertulia.stats().state === 'listening'")
        page.screenshot(ARTIFACTS / f"page_{transport.lower()}.png")
        assert turns(page, "user") == [HEARD] and turns(page, "assistant") == [REPLY]
        assert heard_seconds(page) < 3
        press(page)
        page.wait_for("tertulia.stats().state === 'idle'")
        assert page.console == [] or transport == "WebSocket"


def test_typing_works_without_a_microphone(scripted: str, tmp_path: Path) -> None:
    with Chromium(tmp_path / "profile", flags=(DENY_MICROPHONE,)) as page:
        page.open(scripted)
        write(page, "good morning")
        wait_for_turn(page, "assistant", REPLY)
        page.wait_for("tertulia.stats().heardSeconds > 1")
        assert turns(page, "user") == ["good morning"]
        write(page, "and again")
        page.wait_for("document.querySelectorAll('.turn.assistant').length === 2")
        assert turns(page, "user") == ["good morning", "and again"]


def test_a_new_question_cuts_the_answer_off(scripted: str, tmp_path: Path) -> None:
    for transport in ("webrtc", "websocket"):
        with Chromium(tmp_path / transport) as page:
            page.open(f"{scripted}/?transport={transport}")
            write(page, "a long one")
            page.wait_for("tertulia.stats().heardSeconds > 1")
            write(page, "something else")
            page.wait_for("document.querySelectorAll('.turn.assistant').length === 2")
            page.wait_for("document.querySelector('.turn.assistant .aside')?.textContent === 'interrupted'")
            page.wait_for("tertulia.stats().state === 'listening'")  # the long one hums for thirty seconds
            assert heard_seconds(page) < 10


def test_a_player_that_pauses_goes_on_where_it_was(scripted: str, tmp_path: Path) -> None:
    """The piece of a page that plays what comes over a WebSocket: ten seconds of sound, held for two of them."""
    with Chromium(tmp_path / "profile") as page:
        page.open(scripted)
        page.evaluate("""(async () => {
            const { Player } = await import('./player.js');
            globalThis.player = await Player.ofPcm();
            const loud = new Uint8Array(10 * 48000).fill(32);
            let bytes = '';
            for (const byte of loud) bytes += String.fromCharCode(byte);
            player.push('item', btoa(bytes));
        })()""")
        page.wait_for("player.heardSeconds > 0.5")
        page.evaluate("player.pause(true)")
        page.wait_for("player.meter.rms() < 0.001")
        before = float(page.evaluate("player.heardSeconds"))
        page.evaluate("new Promise((after) => setTimeout(after, 2000))")
        assert float(page.evaluate("player.heardSeconds")) - before < 0.2
        page.evaluate("player.pause(false)")
        page.wait_for(f"player.heardSeconds > {before + 0.5}")
        page.evaluate("player.pause(true)")
        cut = page.evaluate("player.flush()")
        heard_ms = 1000 * float(page.evaluate("player.heardSeconds"))
        assert cut["item"] == "item" and abs(cut["ms"] - heard_ms) < 400, "and counts what was heard"
        page.evaluate("player.push('next', btoa(String.fromCharCode(...new Uint8Array(48000).fill(32))))")
        page.wait_for(f"player.heardSeconds > {heard_ms / 1000 + 0.5}")


def test_a_microphone_that_is_denied_is_explained(scripted: str, tmp_path: Path) -> None:
    with Chromium(tmp_path / "profile", ask_for_microphone=True, flags=(DENY_MICROPHONE,)) as page:
        page.size(390, 780, phone=True)
        page.open(scripted)
        press(page)
        wait_for_problem(page, "The microphone was not allowed")
        assert page.evaluate("tertulia.stats().state") == "idle"
        page.screenshot(ARTIFACTS / "page_denied.png")


def test_a_restarted_model_is_explained_and_the_conversation_goes_on(scripted: str, tmp_path: Path) -> None:
    with Chromium(tmp_path / "profile") as page:
        page.open(scripted)
        write(page, "crash")
        wait_for_problem(page, "The model had to be restarted")
        write(page, "still there")
        wait_for_turn(page, "assistant", REPLY)


@pytest.mark.parametrize("transport", ["webrtc", "websocket"])
def test_a_server_that_goes_away_is_explained(transport: str, tmp_path: Path) -> None:
    forgetful = tmp_path / "forgetful.toml"
    forgetful.write_text("[server]\nresume_timeout_s = 0\n")
    with served("tests.browser.scripted", forgetful) as (url, process), Chromium(tmp_path / "profile") as page:
        page.open(f"{url}/?transport={transport}")
        write(page, "hello")
        wait_for_turn(page, "assistant", REPLY)
        process.send_signal(signal.SIGINT)
        wait_for_problem(page, "The connection to the server was lost")
        page.wait_for("tertulia.stats().state === 'idle'")
        press(page)
        wait_for_problem(page, "cannot be reached")
