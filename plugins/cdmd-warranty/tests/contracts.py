"""A real contract service on loopback whose behaviour a test changes while it runs."""

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self


class Asked(NamedTuple):
    path: str
    headers: Mapping[str, str]


class Reply(NamedTuple):
    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = {}
    after: threading.Event | None = None


def terms(**found: Any) -> Reply:
    return Reply(body=json.dumps(found).encode())


class ContractService:
    """A context manager; ``replies`` decides by path, ``asked`` is what came, ``wait_for`` waits until so much came."""

    def __init__(self, reply: Reply | Callable[[str], Reply], *, port: int = 0) -> None:
        self.reply = reply
        self.asked: list[Asked] = []
        self._came = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_for(self, count: int, *, seconds: float = 10.0) -> None:
        with self._came:
            assert self._came.wait_for(lambda: len(self.asked) >= count, seconds), f"asked {len(self.asked)} times"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def do_GET(self) -> None:
                with service._came:
                    service.asked.append(Asked(self.path, {name.lower(): value for name, value in self.headers.items()}))
                    reply = service.reply(self.path) if callable(service.reply) else service.reply
                    service._came.notify_all()
                if reply.after is not None:
                    reply.after.wait(10)
                try:
                    self.send_response(reply.status)
                    for name, value in reply.headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(reply.body)
                except OSError:
                    return

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
