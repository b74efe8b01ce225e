"""The store in SQLite: one file, one writer, and checkpoints beside it.

``synchronous=NORMAL``: what a power cut takes back is applied again from the journal; FULL only where that could name people
otherwise. Not here: what is the same in every database (``stored``).
"""

import sqlite3
from collections.abc import AsyncIterator, Awaitable
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Final, Self, TypeVar, cast

import anyio
import anyio.to_thread
from typing_extensions import override

from cdmd.contracts import Clock, Decide, Derive
from cdmd.errors import Damaged
from cdmd.models import Changes, ProfileKey, Seq, Wanted
from cdmd.store import applying, letters
from cdmd.store.applying import PLAN, SqliteWriterTables, Sway, WriterTables
from cdmd.store.batches import Found
from cdmd.store.checking import verify_store
from cdmd.store.checkpoints import Checkpoints
from cdmd.store.copying import copy_database
from cdmd.store.database import Connect, Readers, connect_beside, not_durable, opening, why
from cdmd.store.remote import Own, OwnProcess, RemoteTables
from cdmd.store.served import Written
from cdmd.store.sqlite_tables import SqliteReading, SqliteTables
from cdmd.store.standing import belong, check_position, position_of
from cdmd.store.stored import KEY_CHECK, StoredStore
from cdmd.store.tables import Tables
from cdmd.store.writer import Writer

T = TypeVar("T")
_MISFITS: Final = (
    *(sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError),
    OverflowError,  # a number that no column holds
)
_USABLE: Final = attrgetter("usable")


class SqliteStore(StoredStore):
    """``Store`` on one SQLite file."""

    def __init__(self, path: Path, *, clock: Clock, digests: letters.Digests, connect: Connect, own: Own | None = None) -> None:
        self._path, self._connect, self._sway = path, connect, Sway()
        self.process = None if own is None else OwnProcess(own, path)
        writer: Writer[WriterTables] = Writer(self._open_tables, name="store", usable=_USABLE)
        super().__init__(writer, clock=clock, digests=digests)
        self._checkpoints = Checkpoints(self._open_beside, self._checkpoint)
        self._synced = Seq(0)

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
        own: Own | None = None,
    ) -> AsyncIterator[Self]:
        """Open or make the store at ``path`` that belongs to the journal ``journal_id``.

        ``digest`` names an occurrence (source, id); ``own`` has it written in a process of its own.
        Raises ``Damaged`` (no database, another journal's, another key's),
        ``NotDurable`` (the disk) and ``SchemaUnknown``.
        """
        store = cls(path, clock=clock, digests=digest, connect=connect, own=own)
        async with AsyncExitStack() as stack:
            if store.process is not None:
                stack.push_async_callback(_end, store.process)
            await stack.enter_async_context(store._writer)
            with opening("store", path):
                store.form = await store._writer.run(partial(_belong, journal_id, digest(*KEY_CHECK)))
                await stack.enter_async_context(store._checkpoints)
                readers = await stack.enter_async_context(Readers.open(path, what="store"))
            store._ask(SqliteReading(readers), settle=store._settled)
            # Opening checkpointed and synced all of the write-ahead log.
            store._synced = store._position
            yield store

    @property
    @override
    def synced(self) -> Seq:
        return self._synced

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    # ---- writing -----------------------------------------------------------------------------------------------------

    @override
    def _apply(self, wanted: Wanted, decide: Decide, tables: Tables) -> Changes:
        changes = applying.apply(wanted, decide, cast("WriterTables", tables), now=self._clock.now)
        self._moved(changes.position)
        return changes

    @override
    def _put(self, tables: Tables, changes: Changes, found: Found) -> None:
        applying.put(cast("WriterTables", tables), changes, found, now=self._clock.now)
        self._moved(changes.position)

    @override
    async def apply(self, wanted: Wanted, decide: Decide) -> Changes:
        if self.process is not None and self.process.crossing.takes(decide):
            return await self._sent(decide)
        changes = await super().apply(wanted, decide)
        self._checkpoints.grown(len(changes.profiles) + len(changes.newcomers) + len(changes.seen))
        return changes

    async def _sent(self, decide: Decide) -> Changes:
        """Decided and written in the process; of the changes only the position and the counts come back."""
        written = await self._mapped(self._abreast.send(partial(self._send, decide)))
        self._checkpoints.grown(written.grown)
        if written.targets:
            self.outbox.written(set(written.targets))
        counts = {(connector, name): number for connector, one in written.counts.items() for name, number in one.items()}
        return Changes(position=written.position, counts=counts)

    def _send(self, decide: Decide, tables: Tables, number: int, upon: int) -> "Future[Written]":
        future = cast("RemoteTables", tables).decide(decide, number=number, upon=upon, now=self._clock.now())
        future.add_done_callback(self._came)
        return future

    def _came(self, outcome: "Future[Written]") -> None:
        if outcome.exception() is None:
            self._moved(outcome.result().position)

    @override
    async def derive(self, more: Derive, *, after: ProfileKey, limit: int) -> ProfileKey | None:
        last = await super().derive(more, after=after, limit=limit)
        self._checkpoints.grown(limit)
        return last

    async def _settled(self) -> bool:
        """What was removed was overwritten where it lay (``secure_delete``); what is left is the write-ahead log."""
        return await self._write(_emptied)

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
        position = position_of(SqliteTables(connection))
        busy, pages, done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if not busy and pages == done:
            self._synced = max(self._synced, position)

    @override
    async def _mapped(self, work: Awaitable[T]) -> T:
        try:
            result = await work
        except sqlite3.OperationalError as error:
            self.failure = why(error)
            raise not_durable("store", error) from error
        except _MISFITS as error:
            # The fault of what was to be written, not of the disk: trying again changes nothing.
            raise ValueError(f"these changes do not fit the store: {why(error)}") from error
        except sqlite3.Error as error:
            self.failure = why(error)
            raise Damaged(f"the store is damaged: {why(error)}; look closer with: cdmctl verify") from error
        self.failure = None
        return result

    # ---- whole or damaged --------------------------------------------------------------------------------------------

    @override
    async def verify(self) -> list[str]:
        return await anyio.to_thread.run_sync(verify_store, self._path)

    async def backup(self, target: Path) -> None:
        """A consistent copy at ``target``, taken while it runs."""
        await anyio.to_thread.run_sync(copy_database, self._path, target)

    # ---- opening -----------------------------------------------------------------------------------------------------

    def _open_tables(self) -> WriterTables:
        """On the writer's thread, at the start and after every failure: the position must not have gone back."""
        tables = self._tables_here() if self.process is None else self.process.open()
        try:
            stored = position_of(tables)
            known, self._position = self._position, max(stored, self._position)
            check_position(stored, known=known)
        except BaseException:
            tables.close()
            raise
        return tables

    def _tables_here(self) -> WriterTables:
        return SqliteWriterTables.open(self._path, self._sway, connect=self._connect)

    def _open_beside(self) -> sqlite3.Connection:
        return connect_beside(self._path, PLAN, connect=self._connect)


async def _end(process: OwnProcess) -> None:
    """Also where what used the store was cancelled."""
    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(process.end)


def _emptied(tables: Tables) -> bool:
    return cast("WriterTables", tables).emptied()


def _belong(journal_id: str, key_check: bytes, tables: Tables) -> str:
    with tables.transaction():
        return belong(journal_id, key_check, tables)
