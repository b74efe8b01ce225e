"""The store in PostgreSQL where several daemons apply one journal side by side, each its lanes of it.

A batch is one transaction. The profiles that it looks up are locked in the order of their numbers and read as they are then;
an identifier or an occurrence that it found to be nobody's must still be that when it is written. Where that fails, or somebody
would have to be waited for out of that order, nothing of the batch is written and it is decided once more, alone: so nobody
waits in a circle, and nobody for ever. What is not a batch is written alone, as if there were one daemon.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, Final, Self, TypeVar

import msgspec
import psycopg
from psycopg import errors
from typing_extensions import override

from cdmd.contracts import Audit, Clock, Decide, Lanes, Node
from cdmd.errors import NotDurable, NotOurs
from cdmd.models import Changes, ProfileKey, Seq, Wanted
from cdmd.store import letters
from cdmd.store.abreast import Abreast
from cdmd.store.opening import Server
from cdmd.store.postgres.connecting import migrate
from cdmd.store.postgres.divided import DividedStore
from cdmd.store.postgres.errands import PostgresErrands
from cdmd.store.postgres.nodes import NOTHING, SECONDS, Nodes, Way, divide, nodes_of
from cdmd.store.postgres.store import MIGRATIONS
from cdmd.store.postgres.tables import PostgresTables
from cdmd.store.standing import belong
from cdmd.store.tables import Row, Said, Tables

T = TypeVar("T")
_BLOCK: Final = 65_536
_STILL: Final = f"SET idle_in_transaction_session_timeout = '{SECONDS:g}s'".encode()
_OPENING: Final = 0x63646D66
"""The advisory lock of those who open it ("cdmf"): of several that find it empty one makes what there has to be."""
_ROOM: Final = 16_384
"""More new profiles than one batch makes."""


class Overtaken(Exception):
    """Somebody else wrote what this batch was decided upon."""


_IN_THE_WAY: Final = (Overtaken, errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)


class SharedTables(PostgresTables):
    """Tables that others write, too."""

    def __init__(self, connection: psycopg.Connection[Row], nodes: Nodes) -> None:
        super().__init__(connection, fence=nodes)
        self.plain = PostgresTables(connection)
        self._nodes = nodes
        self._next, self._end = 0, 0
        self._begin()

    def _begin(self) -> None:
        self._kinds: set[int] | None = None
        self._nobodys = set[tuple[int, str]]()
        self._holds, self._used = False, 0

    @override
    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._begin()
        with super().transaction():
            yield
        self._next = max(self._next, self._used + 1)

    @override
    def rows(self, name: str, said: Said = (), *, table: str = "") -> list[Row]:
        if name == "next_profile":
            return [(self._following(),)]
        found = super().rows(name, said, table=table)
        if name == "kinds" and self._kinds is None:
            self._kinds = {number for _, number in found}
        return found

    @override
    def owners(self, kind: int, values: Sequence[str]) -> Iterable[tuple[str, ProfileKey]]:
        found = list(super().owners(kind, values))
        self._nobodys |= {(kind, value) for value in values}
        self._nobodys -= {(kind, value) for value, _ in found}
        return found

    @override
    def rows_in(self, name: str, values: Sequence[Any], *, before: Sequence[Any] = ()) -> list[Row]:
        return super().rows_in("lanes.still_parked" if name == "still_parked" else name, values, before=before)

    @override
    def people(self, keys: Sequence[ProfileKey]) -> Iterable[tuple[Row, Seq | None]]:
        name = "lanes.more_people" if self._holds else "lanes.people"
        self._holds = True
        return [(row[:-1], row[-1]) for row in self.rows_in(name, keys)]

    @override
    def run(self, name: str, said: Said = (), *, table: str = "") -> int:
        if name != "set_position":
            return super().run(name, said, table=table)
        seq, _ = said
        moved = super().run("lanes.set_position", (seq, self._nodes.node))
        if moved != len(self._nodes.lanes):
            raise NotOurs("these are not this node's lanes any more")
        return moved

    @override
    def insert(self, name: str, rows: Sequence[Sequence[Any]], *, table: str = "") -> int:
        if name in {"put_profiles", "add_profiles"} and rows:
            self._used = max((row[0] for row in rows if self._next <= row[0] < self._end), default=self._used)
        if name == "put_identifiers":
            fresh = [row for row in rows if self._is_nobodys(row)]
            self._sure("lanes.put_new_identifiers", fresh)
            return len(fresh) + super().insert(name, [row for row in rows if not self._is_nobodys(row)])
        if name == "seen.insert":
            return self._sure("lanes.put_seen", rows, table=table)
        return super().insert(name, rows, table=table)

    def _is_nobodys(self, row: Sequence[Any]) -> bool:
        kind, value, *_ = row
        return (kind, value) in self._nobodys or kind not in (self._kinds or ())

    def _sure(self, name: str, rows: Sequence[Sequence[Any]], *, table: str = "") -> int:
        """Write what nobody had. Raises ``Overtaken`` where somebody has it by now."""
        if super().insert(name, rows, table=table) != len(rows):
            raise Overtaken
        return len(rows)

    def _following(self) -> int:
        if self._end - self._next < _ROOM:
            ((self._next,),) = super().rows("lanes.more_numbers")
            self._end = self._next + _BLOCK
        return self._next


class SharedStore(DividedStore, Lanes):
    """``Store`` for one of several nodes. ``position`` is how far all lanes are, as of the last look."""

    def __init__(
        self,
        url: str,
        password: str | None,
        *,
        clock: Clock,
        journal_id: str,
        digests: letters.Digests,
        nodes: Nodes,
        lanes: int,
        head: Seq = NOTHING,
    ) -> None:
        super().__init__(url, password, clock=clock, journal_id=journal_id, digests=digests, nodes=nodes)
        self._count, self._head = lanes, head
        self.errands = PostgresErrands(nodes, self._plainly, lambda: self._reading)
        self._abreast = Abreast(self._writer, whole=self._apply, put=self._put, in_steps=False)

    @classmethod
    @asynccontextmanager
    async def open_among(
        cls,
        url: str,
        password: str | None = None,
        *,
        clock: Clock,
        journal_id: str,
        digest: letters.Digests,
        nodes: Nodes,
        lanes: int,
        head: Seq = NOTHING,
    ) -> AsyncIterator[Self]:
        """As ``open``, beside others. ``head`` is up to where the journal reaches.

        Raises ``CdmdError`` where the store is divided into another number of lanes and cannot be divided anew now.
        """
        store = cls(url, password, clock=clock, journal_id=journal_id, digests=digest, nodes=nodes, lanes=lanes, head=head)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(store._running())
            try:
                await store.balance()
            except NotDurable:
                await store.balance()  # whoever stands still with what this one waited for is ended by now
            try:
                yield store
            finally:
                with suppress(NotDurable):
                    await store._plainly(nodes.leave)

    # ---- lanes ---------------------------------------------------------------------------------------------------------

    @property
    @override
    def name(self) -> str:
        return self._nodes.name

    @property
    @override
    def own(self) -> Seq:
        return min(self._nodes.lanes.values(), default=Seq(0))

    @property
    @override
    def undivided(self) -> Seq:
        return self._nodes.undivided

    @override
    async def look(self) -> bool:
        found = await self._heard(self._nodes.look)
        await self.sync()
        return found

    @override
    async def balance(self) -> Mapping[int, Seq]:
        await self._heard(self._nodes.balance)
        await self.sync()
        return dict(self._nodes.lanes)

    @override
    async def nodes(self) -> list[Node]:
        return nodes_of(await self._reading.rows("lanes.known", self._nodes.known()))

    @override
    async def report(self, said: str) -> None:
        await self._plainly(partial(self._nodes.report, said=said))

    @override
    def rests(self, *, resting: bool) -> None:
        self._nodes.rests = resting

    @override
    def settled(self, settings: str) -> None:
        self._nodes.settings = settings

    @override
    async def audit(self, row: Audit) -> None:
        await self._write(partial(self._audited, row))

    def _audited(self, row: Audit, tables: Tables) -> None:
        with self._nodes.going(Way(alone=False, desk=False)), tables.transaction():
            tables.run("audit", msgspec.structs.astuple(row))

    @override
    async def reached(self) -> Mapping[int, Seq]:
        return {lane: Seq(seq) for lane, seq, _ in await self._reading.rows("lanes.lanes")}

    @override
    def goes_by(self, suppressions: str | None) -> None:
        self._nodes.suppressions = suppressions

    @override
    def tells(self, suppressions: Callable[[], str]) -> None:
        self._nodes.tells = lambda: f"{self._nodes.tenure}.{suppressions()}"

    @override
    async def sync(self) -> Seq:
        ((seq,),) = await self._reading.rows("lanes.position")
        self._position = Seq(seq)
        return self._position

    # ---- writing -------------------------------------------------------------------------------------------------------

    @override
    def _apply(self, wanted: Wanted, decide: Decide, tables: Tables) -> Changes:
        if not wanted.journaled:
            return super()._apply(wanted, decide, tables)
        try:
            with self._nodes.going(Way(batch=True, alone=False)):
                return super()._apply(wanted, decide, tables)
        except _IN_THE_WAY:
            with self._nodes.going(Way(batch=True, alone=True)):
                return super()._apply(wanted, decide, tables)

    @override
    def _moved(self, position: Seq | None) -> None:
        """How far all lanes are, ``position``, is not for one batch to say."""
        if position is not None:
            self._nodes.moved(position)

    @override
    async def _beside(self, fn: Callable[[Tables], T]) -> T:
        def among_others(tables: Tables) -> T:
            with self._nodes.going(Way(alone=False)):
                return fn(tables)

        return await self._write(among_others)

    # ---- opening, on the threads' own time -----------------------------------------------------------------------------

    @override
    def _open_tables(self) -> SharedTables:
        connection = self._connect()
        try:
            # Whoever stands still in the middle of a transaction keeps all others from what it holds.
            connection.execute(_STILL)
            migrate(connection, MIGRATIONS)
            plain = PostgresTables(connection)
            with plain.transaction():
                plain.rows("lanes.alone", (_OPENING,))
                self._nodes.opened(plain)
                self.form = belong(*self._owner, plain)
                divide(plain, self._count, leads=self._nodes.tenure is not None, head=self._head)
        except BaseException:
            connection.close()
            raise
        return SharedTables(connection, self._nodes)


def open_among(
    server: Server, *, tenure: int | None, head: Seq, clock: Clock, journal_id: str, digest: letters.Digests
) -> AbstractAsyncContextManager[SharedStore]:
    """The store at ``server`` for one of several nodes; one with a ``tenure`` leads."""
    return SharedStore.open_among(
        server.url,
        server.password,
        clock=clock,
        journal_id=journal_id,
        digest=digest,
        nodes=Nodes(server.name, server.roles, tenure=tenure, settings=server.settings),
        lanes=server.lanes,
        head=head,
    )
