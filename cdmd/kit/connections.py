"""One HTTP/1.1 connection: httptools in an ``asyncio.Protocol``, its requests handed to a ``Handler`` as they arrive.

Everything is bounded: header bytes and count, what surrounds a body, requests at once, and the time of each step. Pipelined
requests are answered in order. Not here: the sockets (``cdmd.kit.listener``), the answers (``cdmd.kit.exchanges``).
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

import httptools
from typing_extensions import override

from cdmd.kit.bounded_http import refusal
from cdmd.kit.certificates import client_names
from cdmd.kit.deadlines import Due
from cdmd.kit.exchanges import Exchange, Refused, Shared, target_of
from cdmd.kit.proxies import UNIX

_SLICE: Final = 16_384
_MOST_OPEN: Final = 32
"""Requests of one connection at once: beyond them it is not read until some are answered."""

_LINGER_SECONDS: Final = 1.0
_FRAMING: Final = 16
"""Bytes of a chunked body that may arrive for each byte of it: the smallest chunks take seven."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Phase(Enum):
    """What a connection waits for: a head, a body, our answer, or the next request."""

    HEAD = 1
    BODY = 2
    ANSWER = 3
    REST = 4


class Connection(asyncio.Protocol):
    """One client. A single timer watches it; it is moved only when what is due comes earlier than what it was set for."""

    def __init__(self, shared: Shared, others: "set[Connection]", *, encrypted: bool) -> None:
        self.shared, self._others, self._encrypted = shared, others, encrypted
        self._limits, self._handler, self._names = shared.limits, shared.handler, shared.names
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        # What follows a request that closes the connection is not read, so it can be no fault.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.peer, self.dead = UNIX, False
        self.certificate: Sequence[str] = ()
        self._phase, self._due = _Phase.HEAD, Due(self._expired)
        self._open: deque[Exchange] = deque()  # not answered, or answered and waiting for those in front of them
        self._incoming: Exchange | None = None  # the one whose body is not whole
        self._watched: Exchange | None = None
        self._url, self._headers = b"", list[tuple[str, str]]()
        self._begun = self._expects = self._feeding = self._choked = self._halted = self._ended = self._deaf = False
        self._room = self._slack = self._limits.header_bytes
        self._wholes, self._fault, self._unfed, self._lingers_until = 0, 400, b"", 0.0

    @override
    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        if len(self._others) >= self._limits.connections or self.shared.stopping:
            self.dead = True
            self._transport.write(refusal(503))
            self._transport.close()
            return
        self._others.add(self)
        if isinstance(name := transport.get_extra_info("peername"), tuple):
            self.peer = str(name[0])
        self.certificate = client_names(transport)
        self._enter(_Phase.HEAD, self._limits.header_seconds)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._others.discard(self)
        self._die()
        self._due.cancel()
        self._incoming = self._watched = None
        del self._parser, self._due  # each of the four refers back to it, and only the garbage collector would find that

    @override
    def data_received(self, data: bytes) -> None:
        if self.dead or self._deaf:
            if self._lingers_until:  # altogether no longer than for a body
                self._due.after(min(_LINGER_SECONDS, self._lingers_until - self._loop.time()))
            return
        if self._unfed:
            self._unfed += data
        else:
            self._feed(data)

    @override
    def eof_received(self) -> bool:
        """A client may say that it sends nothing more and still wait for its answers."""
        self._ended = True
        return bool(self._open) and self._incoming is None and not self.dead and not self._encrypted

    @override
    def pause_writing(self) -> None:
        self._choked = True
        self._halt()

    @override
    def resume_writing(self) -> None:
        self._choked = False
        self._loop.call_soon(self._go_on)  # it may be said within a write, and that within the parser

    # ---- what arrives ------------------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        self._feeding, wholes = True, self._wholes
        try:
            self._parse(data)
        except httptools.HttpParserCallbackError as error:
            self._failed(error.__context__)
        except httptools.HttpParserError:
            if not self._deaf:
                self._leave(self._fault)
        finally:
            self._feeding = False
        if not self.dead:
            self._wait(len(data), nothing=wholes == self._wholes)

    def _parse(self, data: bytes) -> None:
        """Hand it to the parser in pieces so small that few requests begin before those in front of them are answered."""
        for start in range(0, len(data), _SLICE):
            if self.dead or self._full():
                self._unfed = data[start:]
                return
            self._parse_slice(data[start : start + _SLICE])

    def _parse_slice(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # An upgrade is simply not taken; what follows are requests like any other.
            if rest := data[upgrade.args[0] :]:
                self._parse_slice(rest)

    def _failed(self, fault: BaseException | None) -> None:
        if isinstance(fault, Refused) or not self._open or self._open[-1].answered:
            self._leave(self._fault)
            return
        self.shared.log.error("request_failed", error=type(fault).__name__)
        self._deaf, self._open[-1].keep = True, False
        self._open[-1].answer(500)

    def _full(self) -> bool:
        return self._choked or len(self._open) >= _MOST_OPEN

    def _halt(self) -> None:
        if not self._halted and not self._transport.is_closing():
            self._halted = True
            self._transport.pause_reading()

    def _go_on(self) -> None:
        """Read on, once there is room again."""
        while self._unfed and not self.dead and not self._full():
            data, self._unfed = self._unfed, b""
            self._feed(data)
        if self._halted and not self.dead and not self._full() and not self._transport.is_closing():
            self._halted = False
            self._transport.resume_reading()

    # ---- as the parser calls it --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request line begins."""
        if self.dead:
            raise Refused
        self._url, self._headers, self._expects = b"", [], False
        self._room = self._limits.header_bytes
        self._begun = not self._deaf

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._room -= len(url)
        if self._room < 0:
            self._refuse_headers()
        self._url += url

    def on_header(self, raw: bytes, value: bytes) -> None:
        """A header, or what comes like one behind a body in chunks."""
        headers = self._headers
        self._room -= len(raw) + len(value) + 4
        if self._room < 0 or len(headers) >= self._limits.header_count:
            self._refuse_headers()
        name = self._names.get(raw) or self.shared.name(raw)
        headers.append((name, value.decode("latin-1")))
        if name == "expect" and value.lower() == b"100-continue":
            self._expects = True

    def _refuse_headers(self) -> None:
        self._fault = 431
        raise Refused

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if self._deaf:
            return
        self._begun = False
        parser, target = self._parser, self._url
        if target[:1] != b"/" or b"#" in target or not target.isascii():
            target = target_of(target)
        exchange = Exchange(self, parser.get_method().decode(), target, self._headers)
        self._headers = []
        exchange.keep = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        self._incoming = exchange
        self._open.append(exchange)
        self._handler.begin(exchange)
        if self._expects and not exchange.answered and len(self._open) == 1:
            self._transport.write(_CONTINUE)

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._slack += len(data) * _FRAMING
        exchange = self._incoming
        if exchange is not None and not exchange.answered:
            self._handler.piece(exchange, data)

    def on_message_complete(self) -> None:
        """The request is whole."""
        exchange, self._incoming = self._incoming, None
        self._wholes += 1
        if exchange is None:
            return
        exchange.whole = True
        self._deaf = not exchange.keep or self.shared.stopping
        if not exchange.answered:
            self._handler.complete(exchange)

    # ---- what is awaited, and how long -------------------------------------------------------------------------------

    def _wait(self, size: int, *, nothing: bool) -> None:
        """After ``size`` bytes were read, which completed ``nothing`` or something."""
        if self._full():
            self._halt()
        if self._incoming is not None:
            if self._incoming is self._watched:
                self._spend(size)
            else:
                self._watched = self._incoming
                self._enter(_Phase.BODY, self._limits.body_seconds)
        elif self._begun or (nothing and not self._open):
            if self._phase is _Phase.HEAD and nothing:
                self._spend(size)
            else:
                self._enter(_Phase.HEAD, self._limits.header_seconds)
        elif self._open:
            self._phase = _Phase.ANSWER
            self._due.never()
        else:
            self._enter(_Phase.REST, self._limits.keep_alive_seconds)

    def _spend(self, size: int) -> None:
        """Counted as it came in: the parser says nothing about a header, or what surrounds a chunk, that never ends."""
        self._slack -= size
        if self._slack < 0:
            self._leave(431)

    def _enter(self, phase: _Phase, seconds: float) -> None:
        self._phase, self._slack = phase, self._limits.header_bytes
        self._due.after(seconds)

    def _expired(self) -> None:
        if self.dead:
            self._transport.close()
        elif self._transport.get_write_buffer_size():
            self._transport.abort()  # it does not even read what it was sent
        else:
            self._leave(408 if self._begun or self._incoming is not None else None)

    # ---- what leaves -------------------------------------------------------------------------------------------------

    def answered(self, exchange: Exchange, out: bytes) -> None:
        """``exchange`` has its answer; it leaves once those in front of it have left."""
        if self.dead:
            return
        exchange.out, waiting = out, self._open
        while waiting and (ready := waiting[0].out) is not None:
            last = waiting.popleft()
            self._transport.write(ready)
            if not last.keep:
                self._finish(last)
                return
        if not self._feeding:
            self._after()

    def _after(self) -> None:
        if self._ended and not self._open:
            self._transport.close()
        elif self._halted:
            self._loop.call_soon(self._go_on)
        elif not self._open and self._incoming is None and not self._begun:
            self._enter(_Phase.REST, self._limits.keep_alive_seconds)

    def _finish(self, last: Exchange) -> None:
        """Nothing more is answered here. Closing on what is still to be read would destroy the answer."""
        self._die()
        self._lingers_until = self._loop.time() + self._limits.body_seconds
        self._linger() if last is self._incoming else self._transport.close()

    def _leave(self, status: int | None) -> None:
        """Close, saying why where no answer is under way."""
        if self.dead:
            return
        incoming = self._incoming
        quiet = any(one is not incoming for one in self._open) or (incoming is not None and incoming.answered)
        self._die()
        if quiet or status is None:
            self._transport.close()
        else:
            self._transport.write(refusal(status))
            self._linger()

    def _linger(self) -> None:
        """Half-close and discard what comes: closing on unread bytes sends a reset that can destroy the answer."""
        if self._transport.can_write_eof():
            if self._halted:
                self._transport.resume_reading()
            self._transport.write_eof()
            self._due.after(_LINGER_SECONDS)
        else:
            self._transport.close()

    def _die(self) -> None:
        if self.dead:
            return
        self.dead, self._unfed = True, b""
        self._due.never()
        for exchange in self._open:
            if not exchange.answered:
                self._handler.left(exchange)
        self._open.clear()

    def shutdown(self) -> None:
        """Finish what has begun and take nothing more."""
        if self._incoming is None:
            self._deaf = True
        if self.dead or not self._open:
            self._die()
            self._transport.close()

    def abort(self) -> None:
        """Cut it off."""
        self._die()
        self._transport.abort()
