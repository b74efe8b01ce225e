"""What a connector keeps of people who are erased, where another node fetches for it: that one takes it away, with its token.

It has in memory what it keeps, and would write it again. Who erases asks it, and begins anew where it does not answer. Not
here: what else is removed (``removing``), and how what is asked travels (``cdmd.control.carrying``).
"""

import os
from collections.abc import Awaitable, Callable, Collection
from typing import Final, Protocol

import msgspec

from cdmd.contracts import ErasingConnector
from cdmd.control.actors import Actor, Role
from cdmd.control.carrying import Answer, Carried, Carrier
from cdmd.daemon.gate import Live
from cdmd.daemon.live import LiveConnectors
from cdmd.daemon.removing import Holder, answered
from cdmd.errors import CdmdError, NotDurable

ERASE: Final = "a connector's own rows"
"""Where a path would stand: nobody can ask for it but a node."""
_DONE: Final = 200
_REFUSED: Final = 503
_TYPE: Final = "application/json"


class Whole(Protocol):
    """The daemon's parts that this needs (``Parts`` fulfils it)."""

    @property
    def connectors(self) -> LiveConnectors:
        """All of them."""
        ...


class Elsewhere:
    """Asks the nodes that fetch."""

    def __init__(self, whole: Whole, carrier: Carrier) -> None:
        self._whole, self._carrier = whole, carrier

    async def erase(self, live: Live, values: Collection[str]) -> int | str:
        """How many rows went, or how its plugin failed. Raises ``NotDurable`` where it is to be asked once more."""
        name, pulling = live.config.name, self._whole.connectors.pulling
        node = None if pulling is None else pulling.node_of(live)
        if node is None:
            raise NotDurable(
                f"{name} is fetched by no node now, and only that one erases what it keeps: start one with the role pull"
            )
        said = Carried(
            method="POST",
            path=ERASE,
            places={"name": name},
            query="",
            body=msgspec.json.encode(sorted(values)),
            actor=Actor(uid=os.getuid(), user="erasure", role=Role.ADMIN),
        )
        answer = await self._carrier.ask(said, to=node)
        if answer.status != _DONE:
            raise NotDurable(f"the node {node}: {answer.body.decode()}")
        return msgspec.json.decode(answer.body, type=int | str)


def erasing(whole: Whole, do: Callable[[Carried], Awaitable[Answer]]) -> Callable[[Carried], Awaitable[Answer]]:
    """What does what other nodes ask: that here, the rest as ``do`` does it."""

    async def done(said: Carried) -> Answer:
        if said.path != ERASE:
            return await do(said)
        try:
            found = await _erased(whole.connectors, said)
        except CdmdError as error:
            return Answer(status=_REFUSED, media_type=_TYPE, body=str(error).encode())
        return Answer(status=_DONE, media_type=_TYPE, body=msgspec.json.encode(found))

    return done


async def _erased(connectors: LiveConnectors, said: Carried) -> int | str:
    live = connectors.here(said.places["name"])
    if not isinstance(live.connector, ErasingConnector):
        return 0
    one = Holder(live.config.name, live.connector, connectors.desk(live))
    return await answered(one, live.connector, msgspec.json.decode(said.body, type=list[str]))
