"""Many small requests to one place over few connections: sent as they are, and of each answer little more than the status read.

For deliveries, of which thousands a second go to a fast receiver: a tenth of the time that a general client takes for each
(tests/bench/deliveries.py). The status counts as soon as the answer's head is there; what comes behind ``_MOST`` bytes, or
after the deadline, is cut off. No redirects, no cookies, no compression. Which addresses may be reached, whoever connects says.
"""

import asyncio
import socket
import ssl
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlencode, urlsplit

import httptools
from typing_extensions import override

from cdmd.errors import AddressRefused, RequestFailed
from cdmd.kit.unreached import unreached

_MOST: Final = 16 * 1024
_MOST_HEAD: Final = 64 * 1024
_MOST_IDLE: Final = 16
_IDLE_SECONDS: Final = 15.0
_CONNECT_SECONDS: Final = 5.0
_FINAL: Final = 200
_FORBIDDEN: Final = frozenset("\r\n\0")


class Brief(NamedTuple):
    """An answer: its status, its headers (names in lower case), and the beginning of its body."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


class Connect(Protocol):
    """``GuardedHttp.connect``: a connection to a configured host, at an address that was checked."""

    def __call__(self, host: str, port: int, *, timeout: float) -> Awaitable[socket.socket]:
        """Raises ``AddressRefused`` and ``RequestFailed``."""
        ...


class _Stale(Exception):
    """The connection was closed before anything of an answer came."""


class Poster:
    """Keeps connections open between requests; ``close`` ends them."""

    def __init__(self, connect: Connect, tls: ssl.SSLContext, *, clock: Callable[[], float]) -> None:
        self._connect, self._tls, self._clock = connect, tls, clock
        self._idle: dict[tuple[str, str, int], deque[_Connection]] = defaultdict(deque)

    async def send(
        self,
        url: str,
        *,
        method: str = "POST",
        headers: Mapping[str, str],
        params: Mapping[str, str] = {},
        content: bytes = b"",
        timeout: float,
    ) -> Brief:
        """One request; ``timeout`` in seconds bounds all of it. Header names and values are the configuration's.

        Raises ``AddressRefused`` before connecting anywhere that is not configured, ``RequestFailed`` where no answer came.
        """
        place, request = _request(url, method=method, headers=headers, params=params, content=content)
        ends = self._clock() + timeout
        while True:
            connection, fresh = await self._connection(place, ends)
            try:
                answer = await connection.ask(request, seconds=ends - self._clock(), limit=timeout)
            except _Stale:
                if fresh:
                    raise RequestFailed("the other side broke off or does not speak HTTP") from None
                continue  # it had been closed while nobody used it
            except BaseException:
                connection.close()
                raise
            self._keep(place, connection)
            return answer

    def close(self) -> None:
        """End what is idle."""
        for waiting in self._idle.values():
            while waiting:
                waiting.pop().close()

    async def _connection(self, place: tuple[str, str, int], ends: float) -> tuple["_Connection", bool]:
        """One that is idle, else a new one, and whether it is new."""
        waiting = self._idle[place]
        while waiting:
            one = waiting.pop()
            if one.usable and self._clock() - one.since < _IDLE_SECONDS:
                return one, False
            one.close()
        scheme, host, port = place
        seconds = min(_CONNECT_SECONDS, max(0.001, ends - self._clock()))
        found = await self._connect(host, port, timeout=seconds)
        encrypted: dict[str, Any] = {"ssl": self._tls, "server_hostname": host} if scheme == "https" else {}
        if encrypted:
            encrypted["ssl_handshake_timeout"] = seconds
        try:
            _, made = await asyncio.get_running_loop().create_connection(_Connection, sock=found, **encrypted)
        except OSError as error:
            found.close()
            raise RequestFailed(unreached(error)) from error
        except BaseException:
            found.close()
            raise
        return made, True

    def _keep(self, place: tuple[str, str, int], connection: "_Connection") -> None:
        waiting = self._idle[place]
        if connection.usable and len(waiting) < _MOST_IDLE:
            connection.since = self._clock()
            waiting.append(connection)
        else:
            connection.close()


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Brief] | None = None
        self._parser: Any = None
        self._status, self._headers, self._body = 0, dict[str, str](), bytearray()
        self._head, self._received, self._whole = False, 0, True
        self.since = 0.0

    @property
    def usable(self) -> bool:
        """Whether another request may follow."""
        transport = self._transport
        return self._whole and transport is not None and not transport.is_closing()

    async def ask(self, request: bytes, *, seconds: float, limit: float) -> Brief:
        """Send it, and wait for its answer. Raises _Stale and ``RequestFailed``."""
        self._parser = httptools.HttpResponseParser(self)
        self._status, self._headers, self._body = 0, {}, bytearray()
        self._head, self._received, self._whole = False, 0, False
        if self._transport is None or self._transport.is_closing():
            raise _Stale
        self._answer = answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                found: Brief = await answer
        except TimeoutError:
            if self._head:  # what it says is known; the rest of it is not worth waiting for
                return self._brief()
            raise RequestFailed(f"no whole answer came within {limit:g} seconds") from None
        finally:
            self._answer = None
        return found

    def close(self) -> None:
        """At once."""
        if self._transport is not None:
            self._transport.abort()

    # ---- as the transport calls it -----------------------------------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    @override
    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        try:
            if self._parser is not None:
                self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._failed(RequestFailed("the other side broke off or does not speak HTTP"))
            self.close()
            return
        if not self._head and self._received > _MOST_HEAD:
            self._failed(RequestFailed("the head of the answer is too large"))
            self.close()
        elif self._head and len(self._body) > _MOST:
            self._done()
            self.close()

    @override
    def connection_lost(self, error: Exception | None) -> None:
        if self._head:
            self._done()
        elif self._received:
            self._failed(RequestFailed("the other side broke off or does not speak HTTP"))
        else:
            self._failed(_Stale())

    # ---- as the parser calls it --------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; the first of its name counts."""
        self._headers.setdefault(name.lower().decode("latin-1"), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """The head is there; one of the 1xx is no answer yet."""
        self._status = self._parser.get_status_code()
        if self._status >= _FINAL:
            self._head = True
        else:
            self._headers.clear()

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if len(self._body) <= _MOST:
            self._body += data

    def on_message_complete(self) -> None:
        """All of it."""
        if self._head:
            self._whole = bool(self._parser.should_keep_alive())
            self._done()

    def _brief(self) -> Brief:
        return Brief(self._status, self._headers, bytes(self._body[:_MOST]))

    def _done(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(self._brief())

    def _failed(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _request(
    url: str, *, method: str, headers: Mapping[str, str], params: Mapping[str, str], content: bytes
) -> tuple[tuple[str, str, int], bytes]:
    """Where to connect (scheme, host, port), and the request as it is sent. Raises ``AddressRefused`` and ``RequestFailed``."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise AddressRefused("this is not an http or https address") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise AddressRefused("this is not an http or https address")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("an address must not carry credentials: send them in a header")
    query = "&".join(filter(None, (parts.query, urlencode(dict(params)))))
    target = (parts.path or "/") + (f"?{query}" if query else "")
    host = parts.netloc.rpartition("@")[2]
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}", "user-agent: cdmd", f"content-length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if any(_FORBIDDEN & set(line) for line in lines):
        raise RequestFailed("the request holds what cannot be sent")
    try:
        head = "\r\n".join((*lines, "", "")).encode("latin-1")
    except UnicodeEncodeError:
        raise RequestFailed("the request holds what cannot be sent") from None
    return (parts.scheme, parts.hostname, port), head + content
