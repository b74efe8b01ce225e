"""What is sent to a node that stands by: it hands each request on to the one that leads, and answers what that one says.

All that is known about connectors, their secrets and their senders is the leading node's: nothing is looked at here, and what
cannot be handed on now is to be sent again. Not here: the messages that it travels in (``forwarding``).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import anyio
import msgspec
import structlog
from typing_extensions import override

from cdmd.errors import NotDurable
from cdmd.kit.bounded_http import Limits
from cdmd.kit.exchanges import Exchange, Handler, Headers, Shared

PATIENCE: Final = 30.0
"""Seconds that an answer is waited for: as long as a connector may take."""
_MOST_BYTES: Final = 64 * 2**20
"""Of all heads and bodies held at once."""
_MOST_REQUESTS: Final = 4_096
_TELL_AGAIN: Final = 60.0
_LATER: Final = (("retry-after", "1"), ("connection", "close"))
_WELL: Final = (("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store"))
_TOO_MUCH: Final = (("content-type", "application/json"),)
_WHY: Final = b"what the node that leads answers has more than the %d bytes that a message may have: ask that node itself"
_TOO_LARGE: Final = (("content-type", "application/json"), ("connection", "close"))


class _Sent(msgspec.Struct, frozen=True, array_like=True):
    """A request as it came."""

    method: str
    target: bytes
    headers: tuple[tuple[str, str], ...]
    body: bytes
    peer: str
    certificate: tuple[str, ...]


class _Said(msgspec.Struct, frozen=True, array_like=True):
    """What is answered."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


_ENCODE: Final = msgspec.msgpack.Encoder().encode
_SENT: Final = msgspec.msgpack.Decoder(_Sent)
_SAID: Final = msgspec.msgpack.Decoder(_Said)
_NOW_NOT: Final = _Said(503, _LATER)


class _Held:
    """What is here of one request: bytes of its head, and its body."""

    __slots__ = ("body", "head", "pieces")

    def __init__(self, head: int) -> None:
        self.pieces, self.head, self.body = list[bytes](), head, 0


class HandingOn(Handler):
    """For the node that stands by. ``send`` brings a request to the one that leads. Raises ``NotDurable``.

    ``largest`` is what a body may have at all, ``most`` all that is held at once, in bytes.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[bytes]],
        *,
        largest: int,
        most: int = _MOST_BYTES,
        requests: int = _MOST_REQUESTS,
    ) -> None:
        self._send, self._largest, self._most, self._most_requests = send, largest, most, requests
        self._waiting = set[Exchange]()
        self._bytes = self._unsent = 0
        self._tell_at = 0.0
        self._log: Any = structlog.get_logger()

    def give_up(self) -> None:
        """Whoever waits is to send again: nobody is asked any more from here on."""
        for exchange in list(self._waiting):
            self._tell("this node leads by now")
            if not exchange.whole:
                self._let_go(exchange)
            exchange.answer(_NOW_NOT.status, _LATER)

    @override
    def begin(self, exchange: Exchange) -> None:
        if exchange.path == b"/livez" and exchange.method in {"GET", "HEAD"}:
            exchange.answer(200, _WELL, b"ok\n")  # of this process, whoever leads
            return
        declared = next((value for name, value in exchange.headers if name == "content-length"), "0")
        if not declared.isdecimal() or int(declared) > self._largest:
            self._too_large(exchange)
            return
        head = len(exchange.target) + sum(len(name) + len(value) for name, value in exchange.headers)
        exchange.held = _Held(head)
        self._waiting.add(exchange)
        self._bytes += head
        if self._bytes > self._most or len(self._waiting) > self._most_requests:
            self._refuse(exchange)

    @override
    def piece(self, exchange: Exchange, data: bytes) -> None:
        held: _Held = exchange.held
        held.pieces.append(data)
        held.body += len(data)
        self._bytes += len(data)
        if held.body > self._largest:
            self._let_go(exchange)
            self._too_large(exchange)
        elif self._bytes > self._most:
            self._refuse(exchange)

    @override
    def complete(self, exchange: Exchange) -> None:
        exchange.start(self._hand_on, exchange)

    @override
    def left(self, exchange: Exchange) -> None:
        if not exchange.whole:
            self._let_go(exchange)

    def _let_go(self, exchange: Exchange) -> None:
        held: _Held = exchange.held
        self._bytes -= held.head + held.body
        self._waiting.discard(exchange)
        exchange.held = None

    def _refuse(self, exchange: Exchange) -> None:
        self._let_go(exchange)
        self._tell("more than can be held")
        exchange.answer(_NOW_NOT.status, _LATER)

    def _too_large(self, exchange: Exchange) -> None:
        self._tell("larger than any connector takes")
        body = b'{"code":"too_large","message":"no body here may have more than %d bytes"}' % self._largest
        exchange.answer(413, _TOO_LARGE, body)

    def _tell(self, why: str) -> None:
        """One line a minute at most, for all that was not handed on since the last one."""
        self._unsent += 1
        now = asyncio.get_running_loop().time()
        if now >= self._tell_at:
            self._log.warning("requests_not_handed_on", count=self._unsent, error=why)
            self._unsent, self._tell_at = 0, now + _TELL_AGAIN

    async def _hand_on(self, exchange: Exchange) -> None:
        sent = _Sent(
            exchange.method,
            exchange.target,
            tuple(exchange.headers),
            b"".join(exchange.held.pieces),
            exchange.peer,
            tuple(exchange.certificate),
        )
        try:
            said = _SAID.decode(await self._send(_ENCODE(sent)))
        except (NotDurable, msgspec.DecodeError) as error:
            said = _NOW_NOT
            self._tell(str(error))
        finally:
            self._let_go(exchange)
        if not (exchange.gone or exchange.answered):
            exchange.answer(said.status, said.headers, said.body)


class Serving:
    """For the node that leads: what others hand on goes to the ``handler`` of its own listeners.

    An answer that has more than ``most`` bytes as it travels is answered 502 in its place.
    """

    def __init__(self, handler: Handler, *, most: int) -> None:
        self._handler, self._shared, self._most = handler, Shared(handler, Limits()), most

    async def serve(self, message: bytes | None) -> bytes:
        """The answer to a request, as it travels; one that did not come whole (None) is to be sent again."""
        if message is None:
            return _ENCODE(_NOW_NOT)
        sent = _SENT.decode(message)
        exchange = _Carried(_Wire(self._shared, sent.peer, sent.certificate), sent.method, sent.target, sent.headers)
        exchange.start(self._feed, exchange, sent.body)
        with anyio.move_on_after(PATIENCE):
            await exchange.done.wait()
        said = _ENCODE(exchange.said)
        if len(said) <= self._most:
            return said
        structlog.get_logger().warning("answer_too_large", bytes=len(said), limit=self._most, status=exchange.said.status)
        return _ENCODE(_Said(502, _TOO_MUCH, b'{"code":"answer_too_large","message":"%b"}' % (_WHY % self._most)))

    async def _feed(self, exchange: "_Carried", body: bytes) -> None:
        self._handler.begin(exchange)
        if body and not exchange.answered:
            self._handler.piece(exchange, body)
        if not exchange.answered:
            exchange.whole = True
            self._handler.complete(exchange)
            await exchange.done.wait()


class _Wire:
    """See ``cdmd.kit.exchanges.Wire``."""

    dead = False

    def __init__(self, shared: Shared, peer: str, certificate: Sequence[str]) -> None:
        self.shared, self.peer, self.certificate = shared, peer, certificate

    def answered(self, exchange: Exchange, out: bytes) -> None:
        """Nothing goes over this one."""


class _Carried(Exchange):
    """One that another node's client waits for. ``said`` is what is answered, once it is ``done``."""

    __slots__ = ("done", "said")

    def __init__(self, wire: _Wire, method: str, target: bytes, headers: Headers) -> None:
        super().__init__(wire, method, target, headers)
        self.done, self.said = anyio.Event(), _NOW_NOT

    @override
    def answer(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        """As it is sent where nobody hands it on; what cannot travel cannot be sent. Raises ValueError and TypeError."""
        self._wire.shared.head(status, headers)
        if status not in range(100, 1_000):
            raise ValueError("a status has three digits")
        named = tuple((str(name), str(value)) for name, value in headers)
        self.said = _Said(int(status), named, b"%b" % body)
        self.answered = True
        self.done.set()
