"""Official tracking libraries as senders, each in a process of its own, and a proxy that makes their lives hard.

A sender is called with URL, write key, user id and a number of events; it sends that many ``Order`` events numbered from 0
and one call of every other kind, and ends with 0 once its library says that all were delivered.
"""

import http.client
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import pytest
from typing_extensions import override

from cdmd.testing import DaemonProcess
from tests.peers import npm

HERE = Path(__file__).parent
NODE = {"@segment/analytics-node": "3.1.0", "@rudderstack/rudder-sdk-node": "3.0.13"}
KINDS = ("identify", "page", "screen", "group", "alias")


class Library(NamedTuple):
    """One of them: the package that must be there, its script, and the calls it knows beside ``track``."""

    package: str
    script: str
    calls: tuple[str, ...] = KINDS

    def command(self, url: str, key: str, user: str, *, events: int, folder: Path) -> list[str]:
        """How it is run; ``folder`` holds the node modules."""
        arguments = [url, key, user, str(events)]
        if self.script.endswith(".py"):
            return [sys.executable, str(HERE / self.script), self.package, *arguments]
        return ["node", str(HERE / self.script), str(folder), *arguments]


LIBRARIES = (
    Library("segment", "send.py"),
    Library("rudderstack", "send.py"),
    Library("@segment/analytics-node", "send_segment.cjs"),
    Library("@rudderstack/rudder-sdk-node", "send_rudder.cjs"),
)


def node_modules(config: pytest.Config, tmp: Path) -> Path:
    """The libraries for Node, fetched with npm once and kept where pytest keeps its own cache."""
    return npm.installed(config, tmp, "tracking", [f"{package}@{version}" for package, version in NODE.items()])


class Mischief:
    """A proxy before the daemon, which does to requests what networks and servers do; ``requests`` counts them.

    The second one is delivered and its answer lost; the fourth meets a server that is busy, the sixth one that counts; in
    the midst of the eighth the daemon is killed and started again. No request meets two of them in a row.
    """

    def __init__(self, daemon: DaemonProcess) -> None:
        self._daemon, self.requests = daemon, 0
        self._turn = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]] | None:
        """What the sender reads; None: the connection ends."""
        with self._turn:
            self.requests += 1
            match self.requests:
                case 2:
                    self._forward(path, body, headers)
                    return None
                case 4:
                    return 503, b"", {"retry-after": "1"}
                case 6:
                    return 429, b'{"code":"quota_exceeded","message":"later"}', {"retry-after": "1"}
                case 8:
                    return self._crash(lambda: self._forward(path, body, headers))
                case _:
                    return self._forward(path, body, headers)

    def _crash(self, forward: Callable[[], Any]) -> None:
        killer = threading.Timer(0.002, self._daemon.kill)
        killer.start()
        with suppress(OSError, http.client.HTTPException):
            forward()
        killer.join()
        self._daemon.start()

    def _forward(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        parts = urlsplit(self._daemon.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        try:
            connection.request("POST", path, body=body, headers=headers)
            reply = connection.getresponse()
            return reply.status, reply.read(), dict(reply.getheaders())
        finally:
            connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        mischief = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                given = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "connection"}}
                reply = mischief.answer(self.path, body, given)
                if reply is None:
                    self.close_connection = True
                    return
                status, content, headers = reply
                self.send_response(status)
                for name in ("retry-after", "content-type"):
                    if name in headers:
                        self.send_header(name, headers[name])
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            @override
            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler
