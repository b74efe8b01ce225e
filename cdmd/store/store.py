"""The store in SQLite: profiles, activities and all that a batch changes, in one transaction with the journal position.

``synchronous=NORMAL``: what a power cut takes back is applied again from the journal; FULL only where that could name people
otherwise. Not here: any decision (``apply`` is handed the function) and the tables' details (``batches``, ``seen``, ``rows``).
"""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import anyio.to_thread
import msgspec
from typing_extensions import override

from cdmd.contracts import Audit, Clock, DeadLetterFilter, Decide, Derive, ProfileFound, Store, StoreTotals, Trace
from cdmd.errors import Damaged
from cdmd.models import (
    Changes,
    DeadLetter,
    Digest,
    Micros,
    Parked,
    ProfileKey,
    Seen,
    Seq,
    Wanted,
    from_micros,
)
from cdmd.store import deriving, letters, looking, seen
from cdmd.store.abreast import Abreast
from cdmd.store.batches import Found, look_up, write
from cdmd.store.checking import verify_store
from cdmd.store.checkpoints import Checkpoints
from cdmd.store.copying import copy_database
from cdmd.store.database import (
    Connect,
    Plan,
    Readers,
    Writer,
    connect_beside,
    connect_writer,
    not_durable,
    opening,
    synced_commits,
    transaction,
    why,
)
from cdmd.store.directory import SqliteDirectory, read_audit
from cdmd.store.forgetting import SqliteForgetting
from cdmd.store.membership import SqliteMembership
from cdmd.store.outbox import SqliteOutbox
from cdmd.store.rows import read_letter, read_parked
from cdmd.store.sql import load_migrations, load_queries
from cdmd.store.standing import belong, check_position, position_of

T = TypeVar("T")
_SQL: Final = load_queries("store")
_PLAN: Final = Plan(name="store", migrations=load_migrations("store"), synchronous="NORMAL", autocheckpoint=16_000)
"""Checkpoints go beside the writer; it begins its log anew itself where those never find it at rest."""
_NOTE: Final = "note: "
_KEY_CHECK: Final = ("", "the key that this store's digests are made with")
"""Under a source that no connector can have, so that no renaming touches it."""


class SqliteStore(Store):
    """``Store`` on one SQLite file. ``failure`` says why the last write did not come about, None when it did."""

    def __init__(self, path: Path, *, clock: Clock, digests: letters.Digests, connect: Connect) -> None:
        self._path, self._clock, self._digests, self._connect = path, clock, digests, connect
        self._writer = Writer(self._open_connection, name="store")
        self._abreast = Abreast(self._writer, whole=self._apply, put=self._put)
        self._checkpoints = Checkpoints(self._open_beside, self._checkpoint)
        self._readers: Readers
        self.outbox: SqliteOutbox
        self._position, self._synced = Seq(0), Seq(0)
        self._swayed = False  # whether an extension had a say in what may not be on the disk yet
        self.failure: str | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path,
        *,
        clock: Clock,
        journal_id: str,
        digest: letters.Digests,
        connect: Connect = sqlite3.connect,
    ) -> AsyncIterator[Self]:
        """Open or make the store at ``path`` that belongs to the journal ``journal_id``.

        ``digest`` names an occurrence (source, id). Raises ``Damaged`` (no database, another journal's, another key's),
        ``NotDurable`` (the disk) and ``SchemaUnknown``.
        """
        store = cls(path, clock=clock, digests=digest, connect=connect)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(store._writer)
            with opening("store", path):
                await store._writer.run(partial(belong, journal_id, digest(*_KEY_CHECK)))
                await stack.enter_async_context(store._checkpoints)
                store._readers = await stack.enter_async_context(Readers.open(path, what="store"))
            store.membership = SqliteMembership(store._readers, store._one)
            store.directory = SqliteDirectory(store._readers)
            store.outbox = SqliteOutbox(store._readers, store._write)
            store.forgetting = SqliteForgetting(store._readers, store._write, clock=clock, digests=digest)
            # Opening checkpointed and synced all of the write-ahead log.
            store._synced = store._position
            yield store

    @property
    @override
    def position(self) -> Seq:
        return self._position

    @property
    def synced(self) -> Seq:
        """The last position that is known to be on the disk."""
        return self._synced

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    # ---- writing -----------------------------------------------------------------------------------------------------

    @override
    async def apply(self, wanted: Wanted, decide: Decide) -> Changes:
        """As promised; after ``NotDurable`` read ``position`` again before the batch is repeated.

        Raises ``NotDurable`` (the disk), ``Damaged``, ValueError on changes that contradict what is stored, and what ``decide``
        raises; nothing of the batch is written then.
        """
        changes = await self._mapped(self._abreast.apply(wanted, decide))
        self._checkpoints.grown(len(changes.profiles) + len(changes.seen))
        self.outbox.wrote(changes.outgoing)
        return changes

    def _apply(self, wanted: Wanted, decide: Decide, connection: sqlite3.Connection) -> Changes:
        with transaction(connection):
            found = look_up(connection, wanted)
            changes = decide(found.known)
            at_once = not self._names(changes)
            if at_once:
                write(connection, changes, found, now=self._clock.now())
        if at_once:
            self._moved(changes)
        else:
            # How hard it syncs cannot be changed within a transaction; nobody else writes, so ``found`` still holds.
            self._put(connection, changes, found)
        return changes

    def _put(self, connection: sqlite3.Connection, changes: Changes, found: Found) -> None:
        """What was decided, in a transaction of its own."""
        names = self._names(changes)
        with synced_commits(connection, _PLAN) if names else nullcontext(), transaction(connection):
            write(connection, changes, found, now=self._clock.now())
        self._swayed = self._swayed and not names
        self._moved(changes)

    def _names(self, changes: Changes) -> bool:
        """Whether it names or joins people while an extension had a say in what may not be on the disk yet."""
        self._swayed |= changes.swayed
        return self._swayed and bool(changes.owners or changes.merges)

    def _moved(self, changes: Changes) -> None:
        if changes.position is not None:
            self._position = max(self._position, changes.position)

    @override
    async def derive(self, more: Derive, *, after: ProfileKey, limit: int) -> ProfileKey | None:
        last = await self._write(partial(deriving.derive, more=more, after=after, limit=limit))
        self._checkpoints.grown(limit)
        return last

    async def _one(self, sql: str, parameters: Sequence[Any]) -> int:
        return await self._write(lambda connection: connection.execute(sql, parameters).rowcount)

    @override
    async def note(self, name: str, value: str) -> None:
        await self._one(_SQL["note"], (_NOTE + name, value))

    @override
    async def noted(self, name: str) -> str | None:
        rows = await self._readers.rows(_SQL["meta"], (_NOTE + name,))
        return rows[0][0] if rows else None

    @override
    async def sync(self) -> Seq:
        """A complete checkpoint. While a long read holds it up, what was safe before is returned.

        Not a FULL commit: that syncs the log once more, but says nothing about pages that an earlier, failed and unnoticed
        sync of it gave up. Raises as ``apply`` does, also where the writer that failed cannot be opened again.
        """
        await self._write(position_of)
        await self._mapped(self._checkpoints.run(self._checkpoint))
        return self._synced

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        """On the thread beside the writer's: what was committed before it is on the disk when all of it went over."""
        position = position_of(connection)
        busy, pages, done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if not busy and pages == done:
            self._synced = max(self._synced, position)

    @override
    async def revive(self, which: DeadLetterFilter, *, now: Micros) -> int:
        return await self._write(
            lambda connection: letters.revive(connection, which, now=from_micros(now), due=now, digests=self._digests)
        )

    @override
    async def discard(self, which: DeadLetterFilter, *, now: Micros) -> int:
        return await self._write(
            lambda connection: letters.discard(connection, which, now=from_micros(now), digests=self._digests)
        )

    @override
    async def expire(self, *, dead_before: Micros, seen_before: Micros) -> int:
        expired, now = 0, self._clock.now()
        while (forgotten := await self._write(partial(_forget_seen, seen_before))) is not None:
            expired += forgotten
        while went := await self._write(partial(letters.expire, before=dead_before, now=now, digests=self._digests)):
            expired += went
        return expired

    @override
    async def audit(self, row: Audit) -> None:
        await self._one(_SQL["audit"], msgspec.structs.astuple(row))

    async def _write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        async with self._abreast.alone():
            return await self._mapped(self._writer.run(fn))

    async def _mapped(self, work: Awaitable[T]) -> T:
        try:
            result = await work
        except sqlite3.OperationalError as error:
            self.failure = why(error)
            raise not_durable("store", error) from error
        except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError) as error:
            # The fault of what was to be written, not of the disk: trying again changes nothing.
            raise ValueError(f"these changes do not fit the store: {why(error)}") from error
        except sqlite3.Error as error:
            self.failure = why(error)
            raise Damaged(f"the store is damaged: {why(error)}; look closer with: cdmctl verify") from error
        self.failure = None
        return result

    # ---- reading -----------------------------------------------------------------------------------------------------

    @override
    async def seen(self, digests: Sequence[Digest]) -> dict[Digest, Seen]:
        return await looking.seen(self._readers, digests)

    @override
    async def known(self, identifiers: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        return await looking.known(self._readers, identifiers)

    @override
    async def due(self, now: Micros, *, limit: int, without: Collection[Seq] = ()) -> list[Parked]:
        return await looking.due(self._readers, now, limit=limit, without=without)

    @override
    async def next_due(self) -> Micros | None:
        ((due,),) = await self._readers.rows(_SQL["next_due"])
        return None if due is None else Micros(due)

    @override
    async def parked(self, *, limit: int) -> list[Parked]:
        return [read_parked(row) for row in await self._readers.rows(_SQL["parked"], (limit,))]

    @override
    async def profile(self, kind: str, value: str, *, activities: int) -> ProfileFound | None:
        return await looking.profile(self._readers, kind, value, activities=activities)

    @override
    async def trace(self, id: str, *, source: str | None = None) -> list[Trace]:
        return await looking.trace(self._readers, id, source=source, digests=self._digests)

    @override
    async def dead_letters(self, which: DeadLetterFilter) -> list[DeadLetter]:
        return [read_letter(row) for row in await self._readers.rows(_SQL["dead_letters"], letters.parameters(which))]

    @override
    async def counts(self) -> dict[tuple[str, str], int]:
        return {(connector, name): value for connector, name, value in await self._readers.rows(_SQL["counts"])}

    @override
    async def totals(self) -> StoreTotals:
        ((size,),) = await self._readers.rows(_SQL["bytes"])
        return StoreTotals(**dict(await self._readers.rows(_SQL["totals"])), bytes=size)

    @override
    async def audits(self, *, limit: int) -> list[Audit]:
        return [read_audit(row) for row in await self._readers.rows(_SQL["audits"], (limit,))]

    # ---- whole or damaged --------------------------------------------------------------------------------------------

    @override
    async def verify(self) -> list[str]:
        return await anyio.to_thread.run_sync(verify_store, self._path)

    @override
    async def backup(self, target: Path) -> None:
        await anyio.to_thread.run_sync(copy_database, self._path, target)

    # ---- opening -----------------------------------------------------------------------------------------------------

    def _open_connection(self) -> sqlite3.Connection:
        """On the writer's thread, at the start and after every failure: the position must not have gone back."""
        connection = connect_writer(self._path, _PLAN, connect=self._connect)
        try:
            stored = position_of(connection)
            known, self._position = self._position, max(stored, self._position)
            check_position(stored, known=known)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_beside(self) -> sqlite3.Connection:
        return connect_beside(self._path, _PLAN, connect=self._connect)


def _forget_seen(before: Micros, connection: sqlite3.Connection) -> int | None:
    with transaction(connection):
        return seen.forget_some(connection, before)
