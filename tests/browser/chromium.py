"""A headless Chromium on a leash: started with an empty profile and driven over its DevTools protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--remote-debugging-port=0",
    "--window-size=1000,760",
)


def find_chromium() -> str | None:
    """The program's path, None if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


class PageError(Exception):
    """A script on the page failed, or what was waited for did not come."""


class Chromium:
    """Owns a browser with one page. Use as a context manager; `profile` is a new, empty folder."""

    def __init__(
        self,
        profile: Path,
        *,
        microphone: Path | None = None,
        camera: Path | None = None,
        ask_for_microphone: bool = False,
        flags: tuple[str, ...] = (),
    ) -> None:
        program = find_chromium()
        assert program is not None
        if not ask_for_microphone:
            flags = (*flags, "--use-fake-ui-for-media-stream")  # yes to every question
        if microphone is not None:  # played once from when the page opens the microphone, then silence
            flags = (*flags, f"--use-file-for-fake-audio-capture={microphone}%noloop")
        if camera is not None:  # over and over
            flags = (*flags, f"--use-file-for-fake-video-capture={camera}")
        self._profile = profile
        self._program = [program, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
        self._open = ExitStack()
        self.console: list[str] = []
        self._last_id = 0

    def __enter__(self) -> Chromium:
        with ExitStack() as opening:
            null = subprocess.DEVNULL
            process = opening.enter_context(subprocess.Popen(self._program, stdout=null, stderr=null))
            opening.callback(_end, process)
            address = _page_address(self._profile, process)
            self._page = opening.enter_context(connect(address, max_size=None))
            for domain in ("Page", "Runtime", "Log"):
                self.command(f"{domain}.enable")
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One DevTools command and its result. What the page says meanwhile goes to `console`."""
        self._last_id += 1
        self._page.send(json.dumps({"id": self._last_id, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._page.recv(timeout=60))
            if message.get("id") == self._last_id:
                if "error" in message:
                    raise PageError(f"{method}: {message['error']['message']}")
                return message["result"]
            self._note(message)

    def open(self, url: str) -> None:
        self.command("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are waited for. Counts as a click of the user."""
        result = self.command(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in result:
            raise PageError(f"{script}: {result['exceptionDetails'].get('exception', {}).get('description')}")
        return result["result"].get("value")

    def wait_for(self, condition: str, timeout_s: float = 60) -> Any:
        """Look until the expression is true. If it never is, raises PageError with what the page has said."""
        deadline = time.monotonic() + timeout_s
        while not (value := self.evaluate(condition)):
            if time.monotonic() > deadline:
                shown = self.evaluate("document.body.innerText")
                said = "\n".join(self.console[-20:])
                raise PageError(f"not within {timeout_s} s: {condition}\nThe page shows: {shown}\nIt said: {said}")
            time.sleep(0.1)
        return value

    def size(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])

    def strike(self, key: str, code: int) -> None:
        """A key, by its name and its Windows code, on whatever has the focus."""
        text = "\r" if key == "Enter" else ""  # what it types: without it, it presses no button
        for kind in ("keyDown", "keyUp"):
            self.command("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text, windowsVirtualKeyCode=code)

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot")["data"]))

    def _note(self, message: dict[str, Any]) -> None:
        match message.get("method"):
            case "Runtime.consoleAPICalled":
                words = [str(part.get("value", part.get("description"))) for part in message["params"]["args"]]
                self.console.append(" ".join(words))
            case "Runtime.exceptionThrown":
                details = message["params"]["exceptionDetails"]
                self.console.append(str(details.get("exception", {}).get("description", details["text"])))
            case "Log.entryAdded":
                self.console.append(message["params"]["entry"]["text"])


def _page_address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    port_file = profile / "DevToolsActivePort"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if port_file.exists() and "\n" in (text := port_file.read_text()):
            with urllib.request.urlopen(f"http://127.0.0.1:{text.split()[0]}/json/list", timeout=10) as answer:
                pages = [target for target in json.load(answer) if target["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise PageError("Chromium did not start.")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
