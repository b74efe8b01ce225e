"""HTTP servers on loopback for tests: an API that answers as it is told, and an endpoint that verifies what it is sent.

Each runs in threads of its own, so it serves a daemon in another process as well as a coroutine in this one.
"""

import base64
import hmac
import json
import secrets
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from typing_extensions import override

from cdmd.errors import CdmdError

_POLL_SECONDS: Final = 0.02
_LONGEST: Final = 30.0
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_CUT: Final = 0
_NO_CONTENT: Final = 204
_REFUSED: Final = 401
_UNKNOWN: Final = 404


class Asked(NamedTuple):
    """A request that arrived; names of headers are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Reply(NamedTuple):
    """What is answered. A status of 0 closes the connection without a word."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}


class _Server(ThreadingHTTPServer):
    """Says nothing of connections that end."""

    daemon_threads = True

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class FakeServer(ABC):
    """A context manager. ``url`` is where it listens, ``asked`` what arrived so far, in order."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._next: list[Reply] = []
        self._came = threading.Condition()
        self._answers = threading.Event()
        self._answers.set()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_SECONDS,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fails(self, *statuses: int, headers: Mapping[str, str] = {}) -> None:
        """Answer the next requests, whatever they are, with these; 0 closes the connection without an answer."""
        self._next += [Reply(status, headers=headers) for status in statuses]

    def silent(self) -> AbstractContextManager[None]:
        """Answer nothing from now until the ``with`` it stands in ends; what was asked is answered then."""
        self._answers.clear()
        return self._silence()

    @contextmanager
    def _silence(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._answers.set()

    def wait(self, count: int, *, seconds: float = 10.0) -> list[Asked]:
        """All that arrived, once it is so many. Raises CdmdError where that takes longer."""
        with self._came:
            if not self._came.wait_for(lambda: len(self.asked) >= count, seconds):
                raise CdmdError(f"{len(self.asked)} of {count} requests arrived within {seconds:g} seconds")
            return list(self.asked)

    @abstractmethod
    def reply(self, asked: Asked) -> Reply:
        """What is answered where nothing fails."""

    def take(self, asked: Asked) -> Reply:
        """One request, in its own thread."""
        with self._came:
            self.asked.append(asked)
            failing = self._next.pop(0) if self._next else None
            answer = self.reply(asked) if failing is None else failing
            self._came.notify_all()
        self._answers.wait(_LONGEST)
        return answer

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class FakeApi(FakeServer):
    """Another system's API: answers what ``answers`` said, and 404 to the rest."""

    def __init__(self) -> None:
        super().__init__()
        self._replies: dict[tuple[str, str], Reply] = {}

    def answers(
        self, path: str, document: Any, *, method: str = "GET", status: int = 200, headers: Mapping[str, str] = {}
    ) -> None:
        """From now on answer ``path`` (decoded, without its query) with a document: JSON, or bytes as they are."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self._replies[method, path] = Reply(status, body, {"content-type": "application/json", **headers})

    @override
    def reply(self, asked: Asked) -> Reply:
        return self._replies.get((asked.method, asked.path), Reply(_UNKNOWN))


class FakeEndpoint(FakeServer):
    """A receiver of webhooks that takes nothing whose signature it cannot verify (Standard Webhooks, ``v1``).

    ``messages`` are those taken, by their id: what arrives again is there once. ``refused`` counts those it cannot verify.
    """

    def __init__(self) -> None:
        super().__init__()
        self._key = secrets.token_bytes(32)
        self.messages: dict[str, Any] = {}
        self.refused = 0

    @property
    def secret(self) -> str:
        """What its target signs with."""
        return "whsec_" + base64.b64encode(self._key).decode()

    @property
    def settings(self) -> str:
        """The keys of a target of type ``webhook`` that sends to it, as TOML."""
        return f'url = "{self.url}/hooks/cdmd"\nsecret = "{self.secret}"\n'

    @override
    def reply(self, asked: Asked) -> Reply:
        signed = f"{asked.headers.get('webhook-id')}.{asked.headers.get('webhook-timestamp')}.".encode() + asked.body
        expected = base64.b64encode(hmac.digest(self._key, signed, "sha256")).decode()
        given = asked.headers.get("webhook-signature", "").split()
        if not any(hmac.compare_digest(f"v1,{expected}", one) for one in given):
            self.refused += 1
            return Reply(_REFUSED)
        self.messages[asked.headers["webhook-id"]] = asked.json()
        return Reply(_NO_CONTENT)


def _handler(server: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            asked = Asked(self.command, unquote(parts.path), query, headers, body)
            answer = server.take(asked)
            if answer.status == _CUT:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status != _NO_CONTENT:
                self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    for method in _METHODS:
        setattr(Handler, f"do_{method}", Handler.serve)
    return Handler
