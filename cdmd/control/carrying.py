"""Requests to the control socket that another node has to answer: which ones, how they travel, and that they are done once.

The node that was asked says who asks and with which role; the one that does it believes that, because what travels is sealed
with a key that only nodes have. Not here: the table it travels in (``Errands``), and what each request does (``handlers``).
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cdmd.contracts import Clock, Errands
from cdmd.control.actors import Actor
from cdmd.control.asking import whole
from cdmd.errors import CdmdError, NotDurable
from cdmd.kit.sealing import Seal

_HERE: Final = frozenset(("/v1/reload", "/v1/log-level", "/v1/backup"))
"""Changes of one node: each of them is asked by itself."""
_ELSEWHERE: Final = frozenset(
    (
        "/v1/connectors/gone",
        "/v1/shelves/{kind}",
        "/v1/targets",
        "/v1/audiences",
        "/v1/erasures",
        "/v1/suppressions",
        "/v1/minimisation",
        "/v1/identity/job",
    )
)
"""What only the node knows that leads, of what is only looked at."""
_CONNECTOR: Final = ("/v1/connectors/{name}/pause", "/v1/connectors/{name}/resume", "/v1/connectors/{name}/poll")
"""For the node that runs that connector."""
_TARGET: Final = tuple(f"/v1/targets/{{name}}/{what}" for what in ("enable", "disable", "test", "send"))
"""For the node that sends to that target."""
_REPLAY: Final = "/v1/deliveries/replay"
"""The same, of the target that the body names."""
_SHELF: Final = "/v1/shelves/{kind}/{command}"
"""For the node that runs the connector that the body names, or the only one that has such rows."""
_PAUSE: Final = 0.1
_TRIES: Final = 5
_AGAIN: Final = 2.0
_LONGEST: Final = 3600.0
"""Seconds that an answer is waited for."""
_BEGUN: Final = 20.0
"""Seconds until somebody has begun what was asked; a node looks four times a second."""


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """A request on its way: the path as the table of paths has it, and what stood in its places."""

    method: str
    path: str
    places: Mapping[str, Any]
    query: str
    body: bytes
    actor: Actor


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    status: int
    media_type: str
    body: bytes

    def response(self) -> Response:
        """As it was answered there."""
        return Response(self.body, status_code=self.status, media_type=self.media_type)


class About(NamedTuple):
    """What a request is about that one node does: a connector, a target, rows of a kind that connectors show."""

    connector: str | None = None
    target: str | None = None
    shelf: str | None = None


class _Named(msgspec.Struct):
    target: str | None = None
    connector: str | None = None


def belongs_elsewhere(method: str, path: str) -> bool:
    """Whether a node that does not lead leaves that to the one that does, or to the one that runs the connector."""
    return path in _ELSEWHERE if method == "GET" else path not in _HERE


def about_connector(path: str) -> bool:
    """Whether it is for the node that runs the connector that it names."""
    return path in _CONNECTOR


def about_target(path: str) -> bool:
    """Whether it is for the node that sends to the target that it names."""
    return path in _TARGET


async def about(request: Request, path: str) -> "About":
    """What the request names of that. Raises ``BadArguments`` where it is not whole."""
    name = request.path_params.get("name")
    if path in {_REPLAY, _SHELF}:
        try:
            said = msgspec.json.decode(await whole(request), type=_Named)
        except (msgspec.DecodeError, RecursionError):  # it is answered by whoever leads
            return About()
        kind = request.path_params["kind"] if path == _SHELF else None
        return About(target=said.target) if kind is None else About(connector=said.connector, shelf=kind)
    return About(connector=name if about_connector(path) else None, target=name if about_target(path) else None)


class Carrier:
    """Takes requests to the node that answers them."""

    def __init__(self, errands: Errands, seal: Seal, *, clock: Clock) -> None:
        self._errands, self._seal, self._clock = errands, seal, clock

    async def carry(self, request: Request, path: str, actor: Actor, *, to: str | None) -> Response:
        """Its answer there. ``to``: a node's name, by default the one that leads.

        Raises ``NotDurable`` where there is no such node, where it does not answer, and where it was lost meanwhile.
        """
        said = Carried(
            method=request.method,
            path=path,
            places=request.path_params,
            query=request.url.query,
            body=await whole(request),
            actor=actor,
        )
        return (await self.ask(said, to=to)).response()

    async def ask(self, said: Carried, *, to: str | None) -> Answer:
        """The same of what is no request. Raises ``NotDurable``."""
        number = await self._errands.ask(to, self._seal.close(msgspec.msgpack.encode(said), "asked"))
        if number is None:
            who = "no node leads" if to is None else f"the node {to} is not there"
            raise NotDurable(f"{who} now, and this is for it to do: start it, and see cdmctl status")
        sealed = await self._answered(number)
        return msgspec.msgpack.decode(self._seal.open(sealed, f"answer {number}"), type=Answer)

    async def _answered(self, number: int) -> bytes:
        began = self._clock.monotonic()
        while True:
            found = await self._errands.look(number)
            if found is not None and found.answer is not None:
                await self._errands.forget(number)
                return found.answer
            lost = found is None or not found.there
            late = found is not None and not found.begun and self._clock.monotonic() - began > _BEGUN
            if (lost or late) and await self._errands.withdraw(number):
                raise NotDurable("the node that has to do this does not answer; nothing was done: see cdmctl status")
            if lost or self._clock.monotonic() - began > _LONGEST:
                await self._errands.forget(number)
                raise NotDurable("nothing is heard of the node that was doing this: see with cdmctl audit whether it was done")
            await self._clock.sleep(_PAUSE)


class Doing:
    """Does what other nodes ask of this one."""

    def __init__(self, errands: Errands, seal: Seal, do: Callable[[Carried], Awaitable[Answer]], *, clock: Clock) -> None:
        self._errands, self._seal, self._do, self._clock = errands, seal, do, clock

    async def do(self, number: int, sealed: bytes) -> None:
        """One of them. What was not sealed by a node is forgotten. Raises ``NotDurable`` where nobody can be told."""
        try:
            said = msgspec.msgpack.decode(self._seal.open(sealed, "asked"), type=Carried)
        except (CdmdError, msgspec.DecodeError):
            await self._errands.forget(number)
            return
        answer = await self._do(said)
        sealed = self._seal.close(msgspec.msgpack.encode(answer), f"answer {number}")
        for left in reversed(range(_TRIES)):
            try:
                await self._errands.answer(number, sealed)
            except NotDurable:
                if not left:
                    raise
                await self._clock.sleep(_AGAIN)
            else:
                return


def request_of(said: Carried) -> Request:
    """The request once more, where it is done."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": said.body, "more_body": False}

    scope = {
        "type": "http",
        "method": said.method,
        "path": said.path,
        "path_params": dict(said.places),
        "query_string": said.query.encode("latin-1"),
        "headers": [],
    }
    return Request(scope, receive)
