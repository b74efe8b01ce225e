"""A small real HTTP server on loopback for the demo's neighbours that are asked: documents in JSON, by path."""

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

from typing_extensions import override

_POLL_SECONDS: Final = 0.05

Respond = Callable[[str, Mapping[str, str]], tuple[int, Any]]
"""Status and document for a path and headers (any case)."""


class JsonServer:
    """Answers GET by ``respond``, called in a thread for each connection; a context manager. ``asked`` counts what came."""

    def __init__(self, respond: Respond) -> None:
        self._respond, self.asked = respond, 0
        self._counting = threading.Lock()
        self._server: ThreadingHTTPServer
        self._thread: threading.Thread

    @property
    def url(self) -> str:
        """Where it answers, once it is entered."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, path: str, headers: Mapping[str, str]) -> tuple[int, Any]:
        """What a request is told; counted."""
        with self._counting:
            self.asked += 1
        return self._respond(path, headers)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_SECONDS,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, document = service.answer(self.path, self.headers)  # type: ignore[arg-type]  # a Message is near enough
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            @override
            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: the story is told elsewhere."""

        return Handler
