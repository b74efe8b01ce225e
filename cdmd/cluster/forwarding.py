"""What nodes append that do not write the journal: they ask the one that does, over NATS, and wait until it is durable there.

A request is one or several messages, numbered by who asks; who does not hear asks again under the same number, and is told the
same. So what was taken once is not taken twice by the same writer; by another one it may be, where ids make the repeat harmless
and the state is the same again. Not here: what whoever writes does with it (``Take``).
"""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio
import anyio.abc
import msgspec

from cdmd.cluster.commits import split
from cdmd.cluster.connection import REQUEST, Link
from cdmd.cluster.handing import PATIENCE
from cdmd.contracts import Append, Clock, Take
from cdmd.errors import CdmdError, Followed, NotDurable
from cdmd.models import Seq, decode_entry, encode_entry

_PATIENCE: Final = 20.0
"""Seconds: longer than another node takes to go on where the one that led is gone."""
_PAUSE: Final = 0.25
_SLACK: Final = 4_096
_MOST_NODES: Final = 1_000
_MOST_BYTES: Final = 128 * 2**20
"""Of requests that are not whole yet."""


class _Part(msgspec.Struct, frozen=True, array_like=True):
    """One message of a request: who asks (one life of a node), the request's number, and which part of it this is.

    ``sent``: it is what a node was sent that stands by, each under a name of its own in place of a life.
    """

    life: str
    number: int
    part: int
    parts: int
    body: bytes
    sent: bool = False


class _Carried(msgspec.Struct, frozen=True, array_like=True):
    """``Append`` on its way."""

    connector: str
    encoded: tuple[bytes, ...]
    state: tuple[tuple[bytes, bytes | None], ...]
    counts: tuple[tuple[str, int], ...]
    fence: int


class _Reply(msgspec.Struct, frozen=True, array_like=True):
    """``first``: it is durable; else ``problem``, where it is not whole with None. ``followed``: see ``Followed.tokens``."""

    first: int | None = None
    problem: str | None = None
    retry_after: int = 1
    followed: tuple[tuple[str, int], ...] = ()


_ENCODE: Final = msgspec.msgpack.Encoder().encode
_PART: Final = msgspec.msgpack.Decoder(_Part)
_APPENDS: Final = msgspec.msgpack.Decoder(tuple[_Carried, ...])
_REPLY: Final = msgspec.msgpack.Decoder(_Reply)


def subject_of(name: str) -> str:
    """Where whoever writes the journal of that name is asked."""
    return f"{name}.asked"


class Asking:
    """For one that does not write. What it appends is asked for one after the other."""

    def __init__(self, link: Link, name: str, *, clock: Clock, patience: float = _PATIENCE) -> None:
        self._link, self._subject, self._clock, self._patience = link, subject_of(name), clock, patience
        self._life, self._number = uuid.uuid4().hex, 0
        self._asking = anyio.Lock()

    async def append(self, appends: Sequence[Append]) -> Seq:
        """As ``Journal.append``. Raises ``NotDurable``, and ``Followed``."""
        body = _ENCODE([_carried(one) for one in appends])
        async with self._asking:
            self._number += 1
            reply = await self._asked(self._number, body)
        if reply.followed:
            raise Followed(dict(reply.followed))
        if reply.first is None:
            raise NotDurable(reply.problem or "it is not known whether that was taken", retry_after=reply.retry_after)
        return Seq(reply.first)

    async def _asked(self, number: int, body: bytes) -> _Reply:
        until = self._clock.monotonic() + self._patience
        while True:
            try:
                reply = await self._once(number, body)
                if reply.first is not None or reply.problem is not None:
                    return reply
                problem = NotDurable("the node that leads did not hear all of it")
            except NotDurable as error:
                problem = error
            if self._clock.monotonic() >= until:
                raise NotDurable(f"the node that leads does not answer: {problem}", retry_after=2) from problem
            await self._clock.sleep(_PAUSE)

    async def _once(self, number: int, body: bytes) -> _Reply:
        return _REPLY.decode(await _asked(self._link, self._subject, _Part(self._life, number, 0, 1, body)))


async def hand_on(link: Link, name: str, request: bytes) -> bytes:
    """What the node that leads answers to what this one was sent (``handing``). Raises ``NotDurable``."""
    part = _Part(uuid.uuid4().hex, 0, 0, 1, request, sent=True)
    return await _asked(link, subject_of(name), part, seconds=PATIENCE)


async def _asked(link: Link, subject: str, whole: _Part, *, seconds: float = REQUEST) -> bytes:
    """In as many messages as it takes; the answer to the last is waited for ``seconds``."""
    pieces = split(whole.body, link.max_payload - _SLACK)
    for at, piece in enumerate(pieces[:-1]):
        await link.say(subject, _ENCODE(msgspec.structs.replace(whole, part=at, parts=len(pieces), body=piece)))
    last = msgspec.structs.replace(whole, part=len(pieces) - 1, parts=len(pieces), body=pieces[-1])
    return await link.request(subject, _ENCODE(last), seconds=seconds)


class _Taken:
    """What becomes of one request."""

    def __init__(self, number: int, *, done: bool = False) -> None:
        self.number, self.reply, self.done = number, _Reply(), anyio.Event()
        if done:
            self.done.set()


class _Half:
    """What is there of a request that is not whole, since the last of it came, by the loop's time."""

    def __init__(self, parts: list[_Part], since: float) -> None:
        self.parts, self.since, self.bytes = parts, since, sum(len(one.body) for one in parts)


class Answers:
    """For the one that writes. ``serve`` answers what others were sent; None is a request that did not come whole."""

    def __init__(self, take: Take, serve: Callable[[bytes | None], Awaitable[bytes]] | None = None) -> None:
        self._take, self._serve = take, serve
        self._halves: dict[str, _Half] = {}
        self._bytes = 0
        self._taken: dict[str, _Taken] = {}

    async def answer(self, message: bytes) -> bytes | None:
        """What is answered to one message of a request; None for one that is not the last."""
        part = _PART.decode(message)
        body = self._whole(part)
        if part.part < part.parts - 1:
            return None
        if part.sent:
            return None if self._serve is None else await self._serve(body)
        return _ENCODE(await self._once(part, body))

    def _whole(self, part: _Part) -> bytes | None:
        """All of the request, where its last part is there and so were all others."""
        before = self._taken_out(part.life)
        so_far = [*before, part] if [one.number for one in before] == [part.number] * part.part else [part]
        now = anyio.current_time()
        if part.part < part.parts - 1:
            self._halves[part.life] = half = _Half(so_far, now)
            self._bytes += half.bytes
        self._forget(now - PATIENCE)
        return b"".join([one.body for one in so_far]) if len(so_far) == part.parts else None

    def _taken_out(self, life: str) -> list[_Part]:
        half = self._halves.pop(life, None)
        if half is None:
            return []
        self._bytes -= half.bytes
        return half.parts

    def _forget(self, before: float) -> None:
        """Those of which nothing came for long, whose node is gone; and the oldest where all are too many."""
        halves = self._halves
        while halves:
            life, oldest = next(iter(halves.items()))
            if oldest.since >= before and len(halves) <= _MOST_NODES and (self._bytes <= _MOST_BYTES or len(halves) == 1):
                return
            self._taken_out(life)

    async def _once(self, part: _Part, body: bytes | None) -> _Reply:
        before = self._taken.get(part.life)
        if before is not None and before.number == part.number:
            await before.done.wait()
            return before.reply
        if before is not None and part.number < before.number:
            return _Reply(problem="this was asked after something else")
        if body is None:
            return _Reply()
        self._taken.pop(part.life, None)  # whoever asked last is the last to be forgotten
        self._taken[part.life] = taken = _Taken(part.number)
        try:
            taken.reply = await self._appended(body)
        finally:
            # What failed may be asked again, and is taken then; what was asked after it meanwhile has its own place.
            if taken.reply.first is None and self._taken.get(part.life) is taken:
                self._taken[part.life] = _Taken(part.number - 1, done=True)
            taken.done.set()
            while len(self._taken) > _MOST_NODES:
                del self._taken[next(iter(self._taken))]
        return taken.reply

    async def _appended(self, body: bytes) -> _Reply:
        try:
            return _Reply(first=await self._take([_append(one) for one in _APPENDS.decode(body)]))
        except Followed as error:
            return _Reply(problem=str(error), followed=tuple(error.tokens.items()))
        except NotDurable as error:
            return _Reply(problem=str(error), retry_after=error.retry_after or 1)
        except (CdmdError, msgspec.DecodeError) as error:
            return _Reply(problem=f"the node that leads cannot take it: {error}")


def _carried(one: Append) -> _Carried:
    encoded = one.encoded or [encode_entry(entry) for entry in one.entries]
    return _Carried(one.connector, tuple(encoded), tuple(one.state.items()), tuple(one.counts.items()), one.fence)


def _append(one: _Carried) -> Append:
    entries = [decode_entry(body) for body in one.encoded]
    return Append(
        connector=one.connector,
        entries=entries,
        encoded=one.encoded,
        state=dict(one.state),
        counts=dict(one.counts),
        fence=one.fence,
    )
