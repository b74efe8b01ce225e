"""What is sent to a node that stands by: it hands each request on to the one that leads, and answers what that one says.

All that is known about connectors, their secrets and their senders is the leading node's: nothing is looked at here, and what
cannot be handed on now is to be sent again. Not here: the messages that it travels in (``forwarding``).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio
import msgspec
from typing_extensions import override

from cdmd.errors import NotDurable
from cdmd.kit.bounded_http import Limits
from cdmd.kit.exchanges import Exchange, Handler, Headers, Shared

PATIENCE: Final = 30.0
"""Seconds that an answer is waited for: as long as a connector may take."""
_MOST_BYTES: Final = 64 * 2**20
"""Of all bodies held at once."""
_LATER: Final = (("retry-after", "1"), ("connection", "close"))


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


class HandingOn(Handler):
    """For the node that stands by. ``send`` brings a request to the one that leads. Raises ``NotDurable``."""

    def __init__(self, send: Callable[[bytes], Awaitable[bytes]], *, most: int = _MOST_BYTES) -> None:
        self._send, self._most, self._bytes = send, most, 0

    @override
    def begin(self, exchange: Exchange) -> None:
        exchange.held = list[bytes]()

    @override
    def piece(self, exchange: Exchange, data: bytes) -> None:
        self._bytes += len(data)
        exchange.held.append(data)
        if self._bytes > self._most:
            self._let_go(exchange)
            exchange.answer(_NOW_NOT.status, _LATER)

    @override
    def complete(self, exchange: Exchange) -> None:
        exchange.start(self._hand_on, exchange)

    @override
    def left(self, exchange: Exchange) -> None:
        if not exchange.whole:
            self._let_go(exchange)

    def _let_go(self, exchange: Exchange) -> None:
        self._bytes -= sum(map(len, exchange.held))
        exchange.held = []

    async def _hand_on(self, exchange: Exchange) -> None:
        sent = _Sent(
            exchange.method,
            exchange.target,
            tuple(exchange.headers),
            b"".join(exchange.held),
            exchange.peer,
            tuple(exchange.certificate),
        )
        try:
            said = _SAID.decode(await self._send(_ENCODE(sent)))
        except (NotDurable, msgspec.DecodeError):
            said = _NOW_NOT
        finally:
            self._let_go(exchange)
        if not exchange.gone:
            exchange.answer(said.status, said.headers, said.body)


class Serving:
    """For the node that leads: what others hand on goes to the ``handler`` of its own listeners."""

    def __init__(self, handler: Handler) -> None:
        self._handler, self._shared = handler, Shared(handler, Limits())

    async def serve(self, message: bytes | None) -> bytes:
        """The answer to a request, as it travels; one that did not come whole (None) is to be sent again."""
        if message is None:
            return _ENCODE(_NOW_NOT)
        sent = _SENT.decode(message)
        exchange = _Carried(_Wire(self._shared, sent.peer, sent.certificate), sent.method, sent.target, sent.headers)
        exchange.start(self._feed, exchange, sent.body)
        with anyio.move_on_after(PATIENCE):
            await exchange.done.wait()
        return _ENCODE(exchange.said)

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
        self._wire.shared.head(status, headers)
        self.answered, self.said = True, _Said(status, tuple(headers), body)
        self.done.set()
