"""A request and its answer, without a task or a coroutine between them: what a ``Handler`` is told and what it answers with.

Not here: the connection that it comes over (``cdmd.kit.connections``), the sockets (``cdmd.kit.listener``), what is answered.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Protocol

import httptools
import structlog

from cdmd.kit.bounded_http import Limits
from cdmd.kit.detached import Ended, detach

_MOST_KNOWN: Final = 512
_NO_LENGTH: Final = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
_FORBIDDEN: Final = "\r\n\0"

Headers = Sequence[tuple[str, str]]


class Handler(Protocol):
    """Who answers. Called in the loop's own thread, must neither wait nor raise; what it raises all the same is one 500."""

    def begin(self, exchange: "Exchange") -> None:
        """The head is there. An answer now refuses what follows."""
        ...

    def piece(self, exchange: "Exchange", data: bytes) -> None:
        """A piece of the body, ``data``; not called once it is answered."""
        ...

    def complete(self, exchange: "Exchange") -> None:
        """The request is whole; not called once it is answered."""
        ...

    def left(self, exchange: "Exchange") -> None:
        """The client has gone, or was too slow, before it was answered."""
        ...


class Refused(Exception):
    """Raised inside the parser, which turns it into its own error: what arrives is no request that can be taken."""


class Wire(Protocol):
    """The connection as an exchange needs it."""

    peer: str
    certificate: Sequence[str]
    dead: bool

    @property
    def shared(self) -> "Shared":
        """What all connections share."""
        ...

    def answered(self, exchange: "Exchange", out: bytes) -> None:
        """``exchange`` has its answer, ``out``."""
        ...


class Shared:
    """What the connections of one listener share: names of headers met so far, heads of answers, the date, what runs."""

    def __init__(self, handler: Handler, limits: Limits) -> None:
        self.handler, self.limits = handler, limits
        self.log: Any = structlog.get_logger()
        self.tasks: set[asyncio.Task[Ended]] = set()
        self.stopping = False
        self.date = b""
        self.names: dict[bytes, str] = {}  # headers' names as they were sent, and in lower case
        self._heads: dict[tuple[int, tuple[tuple[str, str], ...]], tuple[bytes, bool]] = {}

    def name(self, raw: bytes) -> str:
        """A header's name in lower case, for one that is not among ``names``; then it is, while there are not too many."""
        name = raw.lower().decode("latin-1")
        if len(self.names) < _MOST_KNOWN:
            self.names[raw] = name
        return name

    def head(self, status: int, headers: Headers) -> tuple[bytes, bool]:
        """Status line and headers of an answer, and whether they close the connection. Raises ValueError."""
        key = (status, headers if isinstance(headers, tuple) else tuple(headers))
        found = self._heads.get(key)
        if found is None:
            found = _head(*key)
            if len(self._heads) < _MOST_KNOWN:
                self._heads[key] = found
        return found


class Exchange:
    """One request and its answer. ``held`` is the handler's own; ``headers`` are (lower-case name, value) as they came.

    ``target`` is path and query as they were sent.
    """

    __slots__ = ("_wire", "answered", "headers", "held", "keep", "method", "out", "path", "query", "target", "whole")

    def __init__(self, wire: Wire, method: str, target: bytes, headers: Headers) -> None:
        self._wire, self.method, self.target, self.headers = wire, method, target, headers
        self.path, _, self.query = target.partition(b"?")
        self.answered = self.whole = False
        self.keep = True
        self.out: bytes | None = None
        self.held: Any = None

    @property
    def peer(self) -> str:
        """The client's address."""
        return self._wire.peer

    @property
    def certificate(self) -> Sequence[str]:
        """The names in the client's verified certificate."""
        return self._wire.certificate

    @property
    def gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._wire.dead

    def answer(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        """Send this, in its turn. Raises ValueError for what cannot be sent; then it is not answered yet."""
        wire = self._wire
        head, closes = wire.shared.head(status, headers)
        if closes or wire.shared.stopping:
            self.keep = False
        close = b"" if self.keep or closes else b"connection: close\r\n"
        if status in _NO_LENGTH:
            out = b"%b%b%b\r\n" % (head, wire.shared.date, close)
        else:
            sent = b"" if self.method == "HEAD" else body
            out = b"%b%bcontent-length: %d\r\n%b\r\n%b" % (head, wire.shared.date, len(body), close, sent)
        self.answered = True
        wire.answered(self, out)

    def start(self, function: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Run ``function(*arguments)`` in a task of its own, for an answer that takes waiting; cut off when the listener ends.

        If it ends without an answer, that is a 500.
        """
        task = detach(partial(function, *arguments), name="request")
        self._wire.shared.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[Ended]") -> None:
        shared = self._wire.shared
        shared.tasks.discard(task)
        if not self.answered and not self.gone:
            fault = None if task.cancelled() else task.result()
            shared.log.error("request_failed", error=type(fault).__name__)
            self.answer(500)


def _head(status: int, headers: Headers) -> tuple[bytes, bool]:
    lines = [f"HTTP/1.1 {status} {_phrase(status)}", *(f"{name}: {value}" for name, value in headers)]
    if any(character in line for line in lines for character in _FORBIDDEN):
        raise ValueError("a header of the answer holds a line break")
    closes = any(name == "connection" and value == "close" for name, value in headers)
    return "\r\n".join((*lines, "")).encode("latin-1"), closes


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def target_of(url: bytes) -> bytes:
    """Path and query of a target in another form than the common one. Raises Refused."""
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        raise Refused from None
    path, query = parsed.path or b"/", parsed.query
    if not url.isascii():
        raise Refused
    return path if not query else b"%b?%b" % (path, query)
