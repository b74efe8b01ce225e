"""A listener on 127.0.0.1 that passes a browser's requests on to the console of the daemon, as whoever runs the command.

A port on loopback is open to every user and every page of this machine, so it is guarded three times: the address that is
printed works once and is exchanged for a cookie; a name that is not loopback's is refused; and a connection of another user is
not answered, where the kernel tells whose it is. Not here: what the pages are (the daemon's), any right (the control socket's).
"""

import hmac
import html
import secrets
from collections.abc import Collection, Mapping
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import BoundedSemaphore, Lock
from time import monotonic
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

from cdmd.control.browsers import local
from cdmd.control.client import Client
from cdmd.control.wire import BrokenAnswer, Response
from cdmd.errors import CdmdError

SESSION_HOURS: Final = 8
_MOST_AT_ONCE: Final = 64
_MOST_BODY: Final = 64 * 1024
_CHUNK: Final = 65_536
_PASSED_ON: Final = ("accept", "content-type", "host", "origin", "sec-fetch-site")
_PASSED_BACK: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "date", "server"})
_LOOPBACK: Final = "0100007F"
_CONNECTIONS: Final = (("/proc/net/tcp", _LOOPBACK), ("/proc/net/tcp6", f"0000000000000000FFFF0000{_LOOPBACK}"))
"""Where the kernel lists connections, and how 127.0.0.1 is written there: a socket of IPv6 may connect to it, too."""

NOBODY: Final = -1

_AWAY: Final = "The daemon does not answer. {} Load this page again once it runs."
_STRANGER: Final = "Open the address that cdmctl console printed. It works once: for another browser run cdmctl console again."


class Loopback(ThreadingHTTPServer):
    """Serves these ``users`` on 127.0.0.1; ``ticket`` is what the printed ``address`` carries. A context manager."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, asked: Client, *, port: int, ticket: str, users: Collection[int]) -> None:
        self.asked, self._users = asked, users
        self._ticket: str | None = ticket
        self._session: tuple[str, float] | None = None
        self._entering = Lock()
        self._room = BoundedSemaphore(_MOST_AT_ONCE)
        super().__init__(("127.0.0.1", port), _Handler)
        self.port: int = self.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}/?ticket={ticket}"
        self.cookie = f"cdmd_console_{self.port}"

    def exchanged(self, ticket: str) -> str | None:
        """The session that the ticket is worth, once; None afterwards and for any other."""
        with self._entering:
            if self._ticket is None or not hmac.compare_digest(self._ticket.encode(), ticket.encode(errors="replace")):
                return None
            self._ticket = None
            self._session = (secrets.token_urlsafe(32), monotonic() + SESSION_HOURS * 3600)
            return self._session[0]

    def is_session(self, given: str) -> bool:
        """Whether that is the session, and not too old."""
        if self._session is None:
            return False
        held, until = self._session
        return hmac.compare_digest(held.encode(), given.encode(errors="replace")) and monotonic() < until

    @override
    def verify_request(self, request: Any, client_address: Any) -> bool:
        return owner(client_address[1], self.port) in {None, *self._users}

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    @override
    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the midst of an answer is nothing to tell."""


def owner(port: int, server_port: int) -> int | None:
    """The user whose socket is the other end of a connection from 127.0.0.1:``port``.

    None where the kernel tells of no connections at all; ``NOBODY`` where it tells of them and this one is not among them:
    it is gone already, or comes through another network namespace, and nobody who was given the address sits there.
    """
    told = False
    for table, address in _CONNECTIONS:
        wanted = [f"{address}:{port:04X}", f"{address}:{server_port:04X}"]
        try:
            lines = Path(table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        told = True
        if found := next((row for row in map(str.split, lines) if row[1:3] == wanted), None):
            return int(found[7])
    return NOBODY if told else None


class _Handler(BaseHTTPRequestHandler):
    server: Loopback
    protocol_version = "HTTP/1.1"
    timeout = 60
    server_version, sys_version = "cdmctl", ""

    def do_GET(self) -> None:
        """A page, or the exchange of the ticket."""
        parts = urlsplit(self.path)
        if not local(self.headers.get("host", "")):
            self._say(HTTPStatus.FORBIDDEN, "This is answered only under 127.0.0.1 or localhost.")
        elif parts.path == "/":
            self._enter(parse_qs(parts.query).get("ticket", [""])[0])
        else:
            self._pass(None)

    def do_POST(self) -> None:
        """A form."""
        said = self.headers.get("content-length", "")
        if not (said.isascii() and said.isdigit() and len(said) < 7 and int(said) <= _MOST_BODY):  # noqa: PLR2004 - digits
            self.close_connection = True
            self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "That form is too large.")
            return
        body = self.rfile.read(int(said))
        if not local(self.headers.get("host", "")):
            self._say(HTTPStatus.FORBIDDEN, "This is answered only under 127.0.0.1 or localhost.")
        else:
            self._pass(body)

    def _enter(self, ticket: str) -> None:
        session = self.server.exchanged(ticket)
        if session is None:
            if not self._known():
                self._say(HTTPStatus.FORBIDDEN, _STRANGER)
                return
            headers = {}
        else:
            age = SESSION_HOURS * 3600
            headers = {"set-cookie": f"{self.server.cookie}={session}; HttpOnly; SameSite=Strict; Path=/; Max-Age={age}"}
        self._send(HTTPStatus.SEE_OTHER, b"", {"location": "/console/", **headers})

    def _known(self) -> bool:
        try:
            found = SimpleCookie(self.headers.get("cookie", "")).get(self.server.cookie)
        except CookieError:
            return False
        return found is not None and self.server.is_session(found.value)

    def _pass(self, body: bytes | None) -> None:
        if not self._known():
            self._say(HTTPStatus.FORBIDDEN, _STRANGER)
            return
        if not self.path.startswith("/console"):
            self._say(HTTPStatus.NOT_FOUND, "There is no such page: the console begins at /console/.")
            return
        headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
        try:
            with self.server.asked.raw(self.command, self.path, body=body, headers=headers) as answer:
                self._relay(answer)
        except CdmdError as error:
            self._say(HTTPStatus.BAD_GATEWAY, _AWAY.format(f"{str(error)[:1].upper()}{str(error)[1:]}."))

    def _relay(self, answer: Response) -> None:
        """What the daemon answered, piece by piece: the live tail never ends, and what is cut off looks cut off."""
        framed = answer.left is None and self.request_version == "HTTP/1.1"
        self.send_response(answer.status)
        for name, value in answer.headers:
            if name not in _PASSED_BACK:
                self.send_header(name, value)
        if framed:
            self.send_header("transfer-encoding", "chunked")
        elif answer.left is None:
            self.send_header("connection", "close")
        self.end_headers()
        try:
            while piece := answer.piece(_CHUNK):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if framed else piece)
            if framed:
                self.wfile.write(b"0\r\n\r\n")
        except (OSError, BrokenAnswer):
            # An answer that has begun cannot become another one.
            self.close_connection = True

    def _say(self, status: HTTPStatus, sentence: str) -> None:
        """A page of our own; it names nothing that was sent."""
        page = (
            f'<!doctype html><html lang="en"><title>cdmd</title><h1>{status.phrase}</h1><p>{html.escape(sentence)}</p></html>'
        )
        self._send(status, page.encode(), {"content-type": "text/html; charset=utf-8"})

    def _send(self, status: HTTPStatus, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body)), **_CLOSED}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Addresses may name customers: nothing is logged."""


_CLOSED: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
