"""uvicorn's HTTP/1.1 protocol (httptools) with bounds: connections, header bytes and count, header and body deadlines.

A client that is too slow, too long or one too many is told so in one line and let go; it never waits on a timer that a byte
now and then could push away. On a unix socket the peer's credentials stand in ``scope["extensions"]["cdmd.peer"]``, the names
in a client's verified certificate in ``["cdmd.certificate"]``.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from cdmd.kit.certificates import client_names

PEER: Final = "cdmd.peer"
CERTIFICATE: Final = "cdmd.certificate"
_SO_PEERGROUPS: Final = 59
_MOST_GROUP_BYTES: Final = 1024
_LINGER_SECONDS: Final = 1.0
_REASONS: Final = {
    400: b"400 Bad Request",
    408: b"408 Request Timeout",
    431: b"431 Request Header Fields Too Large",
    500: b"500 Internal Server Error",
    503: b"503 Service Unavailable",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one listener allows: sizes in bytes, times in seconds."""

    header_bytes: int = 65_536
    header_count: int = 100
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    connections: int = 2000
    keep_alive_seconds: int = 75
    stop_seconds: float = 10.0


class Peer(NamedTuple):
    """Who is at the other end of a unix socket, by the kernel's word. ``groups`` are the supplementary ones.

    Never authorise by ``pid``: it may already be another process.
    """

    pid: int
    uid: int
    gid: int
    groups: tuple[int, ...]


class _Phase(Enum):
    """What the connection waits for: a request's headers, its body, or our own answer."""

    HEADERS = 1
    BODY = 2
    ANSWER = 3


class _HeadersTooLarge(Exception):
    """Raised inside the parser, which turns it into its own error."""


class _Door:
    """A transport as a request's cycle sees it.

    Head and body of an answer leave together: apart they are two system calls and wake the client twice, which is a fifth of a
    small request's cost (tests/bench/intake.py). Closing waits until the client has had a chance to read the answer.
    """

    __slots__ = ("_close", "_held", "_loop", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, close: Callable[[], None]) -> None:
        self._transport, self._loop, self._close = transport, loop, close
        self.is_closing = transport.is_closing
        self._held = b""

    def write(self, data: bytes) -> None:
        """Hold ``data`` for what follows at once; what has nothing behind it leaves with the loop's next turn."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(b"".join((held, data)))
        else:
            self._held = data
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Let go of what is held."""
        if self._held:
            held, self._held = self._held, b""
            if not self._transport.is_closing():
                self._transport.write(held)

    def close(self) -> None:
        """The cycle has answered and will not keep the connection."""
        self.flush()
        self._close()


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Timers are set only for what has not arrived whole at once."""

    def __init__(self, config: uvicorn.Config, state: ServerState, *, limits: Limits, logger: logging.Logger) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self.logger = logger
        self.access_log = False
        self._limits = limits
        self._phase = _Phase.HEADERS
        self._armed: _Phase | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._header_bytes = self._fed = 0
        self._begun = False
        self._dead = False
        self._fault = 400
        self._peer: Peer | None = None
        self._certificate: tuple[str, ...] = ()

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        if len(self.connections) >= self._limits.connections:
            self.transport = transport
            self._dead = True
            transport.write(refusal(503))
            transport.close()
            return
        super().connection_made(transport)
        self._door = _Door(transport, self.loop, self._close)
        self._peer = _peer_of(transport)
        self._certificate = client_names(transport)
        self._watch()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._dead = True
        self._unwatch()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._gone():
            return
        before = self._phase
        super().data_received(data)
        if self._gone():
            return
        if self._phase is _Phase.ANSWER and self.cycle.response_complete and self.timeout_keep_alive_task is None:
            # Bytes between requests that begin none: they stop uvicorn's keep-alive timer, so ours takes over.
            self._phase = _Phase.HEADERS
        if before is self._phase is _Phase.HEADERS:
            # Counted as it came in: the parser says nothing about a header that never ends.
            self._fed += len(data)
            if self._fed > self._limits.header_bytes:
                self._leave(431)
                return
        self._watch()

    def _gone(self) -> bool:
        """Whether what still arrives is only thrown away."""
        return self._dead or self.transport.is_closing()

    def _watch(self) -> None:
        """Keep one timer for what is awaited, counted from when that began."""
        if self._phase is self._armed:
            return
        self._unwatch()
        if self._phase is _Phase.ANSWER:
            return
        limits = self._limits
        seconds = limits.header_seconds if self._phase is _Phase.HEADERS else limits.body_seconds
        self._armed = self._phase
        self._deadline = self.loop.call_later(seconds, self._expired)

    def _unwatch(self) -> None:
        self._armed = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expired(self) -> None:
        self._deadline = None
        self._leave(408 if self._begun else None)

    def _leave(self, status: int | None) -> None:
        """Close, saying why where no answer is under way; a request in flight sees a disconnect."""
        self._dead = True
        self._unwatch()
        self._unset_keepalive_if_required()
        cycle: Any = self.cycle
        waiting = cycle is not None and not cycle.response_complete
        if waiting:
            cycle.disconnected = True
            cycle.message_event.set()
        if self.transport.is_closing():
            return
        self._door.flush()
        in_body = self._phase is _Phase.BODY and waiting and not cycle.response_started and not self.pipeline
        if status is not None and (in_body or (self._phase is not _Phase.BODY and not waiting)):
            self.transport.write(refusal(status))
            self._linger()
        else:
            self.transport.close()

    def _close(self) -> None:
        """Called by a cycle that has answered and will not keep the connection."""
        if self._phase is _Phase.ANSWER or self._dead:
            self.transport.close()
        else:
            self._dead = True
            self._unwatch()
            self._linger()

    def _linger(self) -> None:
        """Half-close and discard for a moment: closing on unread bytes sends a reset that can destroy the answer."""
        if self.transport.can_write_eof():
            self.flow.resume_reading()  # what was too much for the application must not be too much for this
            self.transport.write_eof()
            self._deadline = self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()

    @override
    def on_response_complete(self) -> None:
        if not self._dead:
            super().on_response_complete()

    @override
    def send_400_response(self, msg: str) -> None:
        self._leave(self._fault)

    @override
    def _unsupported_upgrade_warning(self) -> None:
        """An upgrade is simply not taken; it is not worth a line."""

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._phase = _Phase.HEADERS
        self._header_bytes = self._fed = 0
        self._begun = True
        if self._peer is not None:
            self.scope["extensions"] = {PEER: self._peer}  # type: ignore[dict-item]  # ASGI leaves the values open
        elif self._certificate:
            self.scope["extensions"] = {CERTIFICATE: self._certificate}  # type: ignore[dict-item]

    @override
    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > self._limits.header_bytes or len(self.headers) >= self._limits.header_count:
            self._refuse_headers()
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self._limits.header_bytes:
            self._refuse_headers()

    def _refuse_headers(self) -> None:
        self._fault = 431
        raise _HeadersTooLarge

    @override
    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.cycle.transport = self._door  # type: ignore[assignment]  # all of a transport that a cycle uses
        self._phase = _Phase.BODY

    @override
    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._phase = _Phase.ANSWER
        self._header_bytes = self._fed = 0
        self._begun = False

    @override
    def shutdown(self) -> None:
        if self._dead:
            self.transport.close()
        else:
            self._door.flush()
            super().shutdown()


def refusal(status: int) -> bytes:
    """The whole of an answer that only says why the connection is closed."""
    return b"HTTP/1.1 " + _REASONS[status] + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def _peer_of(transport: asyncio.Transport) -> Peer | None:
    raw: Any = transport.get_extra_info("socket")
    if raw is None or raw.family != socket.AF_UNIX:
        return None
    pid, uid, gid = struct.unpack("3i", raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        packed = raw.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUP_BYTES)
    except OSError:  # more groups than fit: fewer rights, never more
        packed = b""
    return Peer(pid, uid, gid, struct.unpack(f"{len(packed) // 4}I", packed))
