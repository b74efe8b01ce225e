"""Which node has which duty (``cdmd.contracts.Duties``), in the table that all of them write.

A duty goes with its node: who is buried (``nodes``) has none any more, and whatever it writes after that is refused by the
fence that stands before each transaction. Functions for the writer's thread. Not here: what a duty is about.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeVar

from cdmd.contracts import Holder, Part
from cdmd.errors import NotDurable
from cdmd.store.postgres.nodes import SECONDS, Nodes
from cdmd.store.tables import Tables

T = TypeVar("T")
_MARGIN: Final = 0.1
"""Of how long a node may be silent: more than two clocks differ in it, and than an answer takes."""


class NodeDuties:
    """Those of this node. ``steady`` is a clock that only grows, in seconds."""

    def __init__(self, nodes: Nodes, *, steady: Callable[[], float], seconds: float = SECONDS) -> None:
        self._nodes, self._steady, self._seconds = nodes, steady, seconds
        self._heard: float | None = None
        self._mine: Mapping[tuple[str, str], int | None] = {}

    def heard(self, since: float) -> None:
        """Others were told at that time or later that this node is there."""
        self._heard = since

    def holds(self, kind: str, name: str) -> bool:
        """See ``Duties.holds``. A node that came back is another one: what it had before is not its own."""
        node = self._mine.get((kind, name))
        if node is None or node != self._nodes.node or self._heard is None:
            return False
        return self._steady() - self._heard < self._seconds * (1 - _MARGIN)

    def held(self, tables: Tables, kind: str, names: Collection[str]) -> set[str]:
        """Within a transaction behind the fence: which of these are this node's until its end."""
        return {name for (name,) in tables.rows("duties.held", (self._nodes.node, kind, list(names)))}

    def part(self, tables: Tables, kind: str, names: Collection[str]) -> Part:
        """See ``Duties.part``."""
        with tables.transaction():
            self._nodes.bury(tables)
            tables.run("duties.orphan")
            found = tables.rows("duties.there", (kind, list(names)))
            if len(found) < len(set(names)):
                tables.run("duties.add", (kind, sorted(set(names))))
                found = tables.rows("duties.there", (kind, list(names)))
            share, node = self._nodes.share(tables, kind, len(found)), self._nodes.node
        mine = {name: token for name, owner, token, _, _ in found if node is not None and owner == node}
        others = {key: owner for key, owner in self._mine.items() if key[0] != kind}
        self._mine = others | {(kind, name): node for name in mine}
        free = [name for name, owner, *_ in found if owner is None]
        return Part(
            mine=mine,
            surplus=list(mine)[share:],
            free=free[: max(0, share - len(mine))],
            holders={name: Holder(called, said) for name, _, _, called, said in found},
        )

    def take(self, tables: Tables, kind: str, name: str) -> int | None:
        """See ``Duties.take``."""
        node = self._nodes.node
        with tables.transaction():
            if not self._nodes.stays(tables):
                raise NotDurable("nothing was heard of this node for too long; it begins again")
            for (token,) in tables.rows("duties.take", (node, kind, name)):
                self._mine = {**self._mine, (kind, name): node}
                return int(token)
        return None

    def let_go(self, tables: Tables, kind: str, names: Collection[str]) -> None:
        """See ``Duties.let_go``."""
        self._mine = {key: node for key, node in self._mine.items() if key[0] != kind or key[1] not in names}
        with tables.transaction():
            tables.run("duties.let_go", (self._nodes.node, kind, list(names)))

    def say(self, tables: Tables, kind: str, name: str, said: str) -> None:
        """See ``Duties.say``."""
        with tables.transaction():
            tables.run("duties.say", (said, self._nodes.node, kind, name))
