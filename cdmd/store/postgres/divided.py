"""What nodes divide among themselves beside lanes: the store's side of duties, and what each may write of deliveries.

Whoever sends to a target notes what became of that, whichever node leads. Not here: whose a duty is (``duties``), and lanes
(``shared``).
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

from typing_extensions import override

from cdmd.contracts import DELIVER, Clock, Duties, Part
from cdmd.errors import NotDurable
from cdmd.store import letters
from cdmd.store.forgetting import Settle
from cdmd.store.outbox import SENT_ELSEWHERE, SharedOutbox
from cdmd.store.postgres.duties import NodeDuties
from cdmd.store.postgres.nodes import Nodes, Way
from cdmd.store.postgres.store import PostgresStore
from cdmd.store.stored import NOTE
from cdmd.store.tables import Reading, Tables

T = TypeVar("T")


class DividedStore(PostgresStore, Duties):
    """For one of ``nodes``."""

    def __init__(
        self, url: str, password: str | None, *, clock: Clock, journal_id: str, digests: letters.Digests, nodes: Nodes
    ) -> None:
        super().__init__(url, password, clock=clock, journal_id=journal_id, digests=digests)
        self._nodes = nodes
        self._duties = NodeDuties(nodes, steady=clock.monotonic)

    async def _heard(self, fn: Callable[[Tables], T]) -> T:
        """One that says that this node is there: the time counts from before it was sent."""
        began = self._clock.monotonic()
        found = await self._plainly(fn)
        self._duties.heard(began)
        return found

    async def _plainly(self, fn: Callable[[Tables], T]) -> T:
        """On the writer's thread and connection, behind what is under way, with no fence."""
        return await self._mapped(self._writer.run(lambda tables: fn(tables.plain)))  # type: ignore[attr-defined]

    @override
    async def part(self, kind: str, names: Collection[str]) -> Part:
        return await self._plainly(partial(self._duties.part, kind=kind, names=names))

    @override
    async def take(self, kind: str, name: str) -> int | None:
        return await self._plainly(partial(self._duties.take, kind=kind, name=name))

    @override
    async def let_go(self, kind: str, names: Collection[str]) -> None:
        await self._plainly(partial(self._duties.let_go, kind=kind, names=names))

    @override
    async def say(self, kind: str, name: str, said: str) -> None:
        await self._plainly(partial(self._duties.say, kind=kind, name=name, said=said))

    @override
    def holds(self, kind: str, name: str) -> bool:
        return self._duties.holds(kind, name)

    # ---- deliveries ----------------------------------------------------------------------------------------------------

    @override
    def _ask(self, reading: Reading, *, settle: Settle) -> None:
        super()._ask(reading, settle=settle)
        self.outbox = SharedOutbox(reading, self._sending, self._sending_beside, held=self._held_targets)

    async def _sending(self, fn: Callable[[Tables], T]) -> T:
        """What a node may write that sends, whichever leads."""

        def anybody(tables: Tables) -> T:
            with self._nodes.going(Way(desk=False)):
                return fn(tables)

        return await self._write(anybody)

    async def _sending_beside(self, fn: Callable[[Tables], T]) -> T:
        def among_others(tables: Tables) -> T:
            with self._nodes.going(Way(alone=False, desk=False)):
                return fn(tables)

        return await self._write(among_others)

    def _held_targets(self, tables: Tables, names: Collection[str]) -> set[str]:
        return self._duties.held(tables, DELIVER, names)

    @override
    async def note(self, name: str, value: str, *, target: str | None = None) -> None:
        if target is None:
            await super().note(name, value)
        else:
            await self._sending_beside(partial(self._note_of, name, value, target))

    def _note_of(self, name: str, value: str, target: str, tables: Tables) -> None:
        with tables.transaction():
            if target not in self._held_targets(tables, [target]):
                raise NotDurable(SENT_ELSEWHERE)
            tables.run("note", (NOTE + name, value))
