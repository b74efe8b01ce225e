"""A real headless Chromium, driven over its DevTools protocol: go to a page, ask it something, press keys, take a picture."""

import base64
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-default-apps", "--metrics-recording-only", "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip
_SECONDS = 20.0


class Tab:
    """One tab. ``complaints`` are what the page wrote to the console: refused scripts and styles are among them."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self._loaded = 0
        self.complaints: list[str] = []
        self.statuses: dict[str, int] = {}
        for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Send a command and return its result."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = self._next()
            if message.get("id") == self._number:
                assert "error" not in message, (method, message["error"])
                return message["result"]

    def go(self, url: str) -> int:
        """Go there and wait until it is loaded; the status of the page that it ended at."""
        return self._until_loaded(lambda: self.call("Page.navigate", url=url))

    def click(self, selector: str) -> int:
        """Click what leads to another page; its status."""
        return self._until_loaded(lambda: self.js(f"document.querySelector({json.dumps(selector)}).click()"))

    def js(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until the expression is true in the page."""
        give_up = monotonic() + _SECONDS
        while not (value := self.js(expression)):
            if monotonic() > give_up:
                raise TimeoutError(f"{expression} never became true")
            self.js("new Promise(done => setTimeout(done, 30))")
        return value

    def text(self, selector: str = "main") -> str:
        """What can be read there."""
        return str(self.js(f"document.querySelector({json.dumps(selector)}).innerText"))

    def key(self, key: str, **more: Any) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **more)

    def look(self, *, width: int, dark: bool = False, height: int = 900) -> None:
        """The size of the window, and whether the user likes it dark."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _until_loaded(self, start: Callable[[], Any]) -> int:
        before, self.complaints = self._loaded, []
        start()
        give_up = monotonic() + _SECONDS
        while self._loaded == before:
            if monotonic() > give_up:
                raise TimeoutError("the page never loaded")
            self._next()
        return self.statuses.get(str(self.js("location.href.split('#')[0]")), 0)

    def _next(self) -> Any:
        message = json.loads(self._connection.recv(timeout=_SECONDS))
        params = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded += 1
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(params["exceptionDetails"]["text"])
            case "Network.responseReceived":
                self.statuses[params["response"]["url"]] = params["response"]["status"]
        return message


@contextmanager
def browser(folder: Path) -> Iterator[Tab]:
    """A tab of a browser of its own; skips where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("chromium is not installed, so no browser can look at the console")
    profile = folder / "browser"
    with (folder / "browser.log").open("w") as log:
        process = subprocess.Popen([found, *_FLAGS, f"--user-data-dir={profile}", "about:blank"], stdout=log, stderr=log)
        try:
            with connect(_tab_of(profile, process), max_size=2**26) as connection:
                yield Tab(connection)
        finally:
            process.terminate()
            process.wait(60)


def _tab_of(profile: Path, process: "subprocess.Popen[bytes]") -> str:
    """The address of the first tab, once the browser has said where it listens."""
    place, give_up = profile / "DevToolsActivePort", monotonic() + _SECONDS
    while not (place.exists() and place.read_text().count("\n")):
        assert process.poll() is None, "chromium ended"
        if monotonic() > give_up:
            raise TimeoutError("chromium never listened")
    port = int(place.read_text().splitlines()[0])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=_SECONDS) as answer:
        return str(next(row for row in json.load(answer) if row["type"] == "page")["webSocketDebuggerUrl"])
