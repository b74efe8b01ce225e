"""An HTTP API on loopback that answers with JSON, whatever a function of the test says."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.peers.serving import serving


class Asked(NamedTuple):
    """A request as it came; header names in small letters."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@contextmanager
def served(answer: Callable[[Asked], tuple[int, Any]]) -> Iterator[str]:
    """Its address; ``answer`` gives status and value, in the thread of the request."""

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): text for name, text in self.headers.items()}
            status, value = answer(Asked(self.command, parts.path, parse_qs(parts.query), headers, body))
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET = do  # noqa: N815 - the library's names

    with serving(Handler) as url:
        yield url
