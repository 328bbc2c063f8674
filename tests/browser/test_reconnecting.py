"""The page loses its connection, and the conversation goes on.

A screenshot of each test's end is kept in artifacts/.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from streaming.events import Limits
from streaming.types import Request
from tests.browser.breakable import breakable
from tests.browser.chromium import Chromium, find_chromium
from tests.browser.test_page import ARTIFACTS, served, turns, wait_for_problem, wait_for_turn, write

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium here (Debian: apt-get install chromium)"),
]

RECONNECTING = "statuses.includes('Connection lost. Reconnecting…')"
"""Now or a moment ago: it may last for some milliseconds only."""


def open_page(page: Chromium, url: str) -> None:
    """And note all that the page says of its state."""
    page.open(url)
    page.evaluate("""{
        const status = document.getElementById('status');
        window.statuses = [];
        const note = () => statuses.push(status.textContent);
        new MutationObserver(note).observe(status, { childList: true, subtree: true });
    }""")


def state(page: Chromium) -> str:
    return str(page.evaluate("tertulia.stats().state"))


def sessions(requests: list[Request]) -> int:
    return len({request.session_id for request in requests})


@pytest.mark.parametrize("transport", ["websocket", "webrtc"])
def test_the_page_goes_on_with_the_same_conversation(transport: str, tmp_path: Path) -> None:
    with breakable() as server, Chromium(tmp_path / "profile") as page:
        open_page(page, f"{server.served.url}/?transport={transport}")
        write(page, "my name is Lisa")
        wait_for_turn(page, "assistant", "I am fine")
        page.wait_for("tertulia.stats().state === 'listening'")
        (server.break_calls if transport == "webrtc" else server.break_sockets)()
        page.wait_for(RECONNECTING, timeout_s=30)
        page.wait_for("tertulia.stats().state === 'listening'")
        write(page, "what is my name")
        page.wait_for("document.querySelectorAll('.turn.assistant').length === 2")
        wait_for_turn(page, "assistant", "I am fine")
        page.screenshot(ARTIFACTS / f"page_resumed_{transport}.png")
        assert turns(page, "user") == ["my name is Lisa", "what is my name"]
        assert page.evaluate("document.querySelectorAll('.break').length") == 0
        requests = server.served.worker.requests
        assert sessions(requests) == 1 and len(requests[-1].turns) == 3
        assert page.evaluate("document.getElementById('problem').hidden")


def test_what_is_typed_meanwhile_is_said_afterwards(tmp_path: Path) -> None:
    with breakable() as server, Chromium(tmp_path / "profile") as page:
        open_page(page, f"{server.served.url}/?transport=websocket")
        write(page, "hello")
        wait_for_turn(page, "assistant", "I am fine")
        page.evaluate(
            "window.realSocket = WebSocket; window.WebSocket = class { constructor() { throw Error('no'); } }"
        )
        server.break_sockets()
        page.wait_for(RECONNECTING)
        write(page, "are you there")
        page.evaluate("window.WebSocket = window.realSocket")
        page.wait_for("document.querySelectorAll('.turn.assistant').length === 2")
        assert turns(page, "user") == ["hello", "are you there"] and sessions(server.served.worker.requests) == 1


def test_an_answer_that_was_not_heard_comes_after_reconnecting(tmp_path: Path) -> None:
    with breakable(hold=0) as server, Chromium(tmp_path / "profile") as page:
        open_page(page, f"{server.served.url}/?transport=websocket")
        write(page, "hello")
        wait_for_turn(page, "user", "hello")
        page.wait_for("tertulia.stats().state === 'thinking'")
        server.served.worker.hold = None
        server.break_sockets()
        wait_for_turn(page, "assistant", "I am fine")
        page.wait_for("tertulia.stats().heardSeconds > 0.2")
        assert turns(page, "user") == ["hello"] and turns(page, "assistant") == ["Hi! I am fine."]


def test_a_call_that_cannot_be_made_again_goes_on_as_a_socket(tmp_path: Path) -> None:
    with breakable() as server, Chromium(tmp_path / "profile") as page:
        open_page(page, server.served.url)
        write(page, "hello")
        wait_for_turn(page, "assistant", "I am fine")
        assert page.evaluate("tertulia.stats().transport") == "WebRTC"
        page.evaluate("delete window.RTCPeerConnection; window.RTCPeerConnection = undefined")
        server.break_calls()
        page.wait_for(RECONNECTING, timeout_s=30)
        page.wait_for("tertulia.stats().transport === 'WebSocket'")
        write(page, "and again")
        page.wait_for("document.querySelectorAll('.turn.assistant').length === 2")
        assert sessions(server.served.worker.requests) == 1


def test_a_conversation_that_is_not_there_any_more_is_begun_anew_in_words(tmp_path: Path) -> None:
    with breakable() as server, Chromium(tmp_path / "profile") as page:
        open_page(page, f"{server.served.url}/?transport=websocket")
        write(page, "hello")
        wait_for_turn(page, "assistant", "I am fine")
        for runner in server.served.house.sessions._living:
            runner.session._resumption._token = "another"
        server.break_sockets()
        wait_for_problem(page, "could not be taken up again")
        page.wait_for("document.querySelector('.break')?.textContent === 'New conversation'")
        write(page, "hello again")
        page.wait_for("document.querySelectorAll('.turn.assistant').length === 2")
        assert sessions(server.served.worker.requests) == 2
        assert turns(page, "user") == ["hello", "hello again"], "what was said stays on the page"


@pytest.mark.parametrize("transport", ["webrtc", "websocket"])
def test_a_full_house_is_explained(transport: str, tmp_path: Path) -> None:
    with breakable(limits=Limits(sessions=1)) as server:
        with Chromium(tmp_path / "first") as first, Chromium(tmp_path / "second") as second:
            first.open(f"{server.served.url}/?transport={transport}")
            write(first, "hello")
            wait_for_turn(first, "assistant", "I am fine")
            second.open(f"{server.served.url}/?transport={transport}")
            write(second, "hello")
            wait_for_problem(second, "All 1 places for a conversation are taken; try again in a while")
            assert state(second) == "idle"


def test_a_server_that_stays_away_is_given_up_with_a_button(tmp_path: Path) -> None:
    brief = tmp_path / "brief.toml"
    brief.write_text("[server]\nresume_timeout_s = 2\n")
    with served("tests.browser.scripted", brief) as (url, process), Chromium(tmp_path / "profile") as page:
        open_page(page, f"{url}/?transport=websocket")
        write(page, "hello")
        wait_for_turn(page, "assistant")
        process.send_signal(signal.SIGINT)
        page.wait_for(RECONNECTING)
        write(page, "are you there")
        wait_for_problem(page, "The connection to the server was lost and could not be restored.")
        page.screenshot(ARTIFACTS / "page_given_up.png")
        assert state(page) == "idle" and turns(page, "user") == ["hello"]
        assert page.evaluate("document.getElementById('text').value") == "are you there"
        assert page.evaluate("document.getElementById('problem-action').textContent") == "Start again"
        page.evaluate("document.getElementById('problem-action').click()")
        wait_for_problem(page, "cannot be reached")
