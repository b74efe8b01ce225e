"""The demo's contract service: a real HTTP server on loopback that knows whose television is under warranty."""

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import unquote

from typing_extensions import override

_POLL_SECONDS: Final = 0.05


class ContractService:
    """``GET /contracts/SERIAL`` answers the terms, or 404; a context manager. ``asked`` counts what came."""

    def __init__(self, contracts: Mapping[str, Mapping[str, Any]]) -> None:
        self._contracts, self.asked = contracts, 0
        self._counting = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_SECONDS,), daemon=True)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, path: str) -> tuple[int, Any]:
        """Status and document for a path."""
        with self._counting:
            self.asked += 1
        terms = self._contracts.get(unquote(path.removeprefix("/contracts/")))
        return (404, {"error": "no contract"}) if terms is None else (200, terms)

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
            def do_GET(self) -> None:
                status, document = service.answer(self.path)
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
