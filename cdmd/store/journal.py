"""The journal in SQLite: what arrived, in order, with the connectors' own state and their door's counters beside it.

One transaction with ``synchronous=FULL`` for all that queued while the last one ran, in as few statements as can be: after each
of them the writer waits for the interpreter, which the loop has. Not here: the queue in front of it
(intake) and what becomes of an entry (the store).
"""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import anyio
import anyio.to_thread
from typing_extensions import override

from cdmd.contracts import Append, Clock, Holding, Journal, JournalStatistics, Revise
from cdmd.errors import CdmdError, Damaged
from cdmd.models import Entry, Journaled, Micros, Seq, encode_entry, to_micros
from cdmd.store.appending import Appender, Commit, forget, identify, prune
from cdmd.store.blocks import pack, reach, unpack_after
from cdmd.store.chunks import Row
from cdmd.store.copying import copy_database
from cdmd.store.database import Connect, Readers, emptied, inspect, not_durable, opening, why
from cdmd.store.journal_checking import examine_since, verify_journal
from cdmd.store.journal_remote import OwnJournal, OwnWriter
from cdmd.store.mark import Mark, Marker
from cdmd.store.revising import exchange, revised
from cdmd.store.sql import load_queries
from cdmd.store.tail import Tail
from cdmd.store.writer import Writer

_SQL: Final = load_queries("journal")
_PAGE: Final = 500
_REVISED: Final = 5_000
_AT_ONCE_BYTES: Final = 65_536
"""A commit up to this is packed before the writer gets it: to touch each entry from another thread costs the loop more."""

_READ_BYTES: Final = 8 * 2**20
"""Encoded bytes read at once: as large as a commit may become twice over, however large each entry is."""


class SqliteJournal(Journal):
    """``Journal`` on one SQLite file. Its writer is a thread, or a process of its own."""

    def __init__(
        self, path: Path, *, clock: Clock, mark_path: Path, tail: Tail, connect: Connect, own: OwnJournal | None = None
    ) -> None:
        self._path, self._clock, self._mark_path, self._tail = path, clock, mark_path, tail
        self._appender = Appender(path, connect=connect)
        self._writer: Writer[sqlite3.Connection] | OwnWriter
        if own is None:
            self._writer = Writer(lambda: self._appender.open(self._head), name="journal")
        else:
            self._writer = OwnWriter(own, path, lambda: self._head)
        self._readers: Readers
        self._id = ""
        self._head = Seq(0)  # what the loop knows of
        self._begun = Seq(0)  # what was on its way last, if nothing before it fails
        self._marker = Marker(mark_path)
        self._failure: str | None = None
        self._grown = anyio.Event()
        self._pruning = anyio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path,
        *,
        clock: Clock,
        mark_path: Path,
        new_id: Callable[[], str],
        tail_events: int = 4_000,
        tail_bytes: int = 32 * 2**20,
        connect: Connect = sqlite3.connect,
        own: OwnJournal | None = None,
    ) -> AsyncIterator[Self]:
        """Open or make the journal at ``path``; ``new_id`` names a new one, the tail cache is bounded as given.

        ``own`` has it written by a process of its own.

        Raises ``Damaged`` (no database, or the mark contradicts it), ``NotDurable`` (the disk) and ``SchemaUnknown``.
        """
        tail = Tail(max_events=tail_events, max_bytes=tail_bytes)
        journal = cls(path, clock=clock, mark_path=mark_path, tail=tail, connect=connect, own=own)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(journal._writer)
            with opening("journal", path):
                await journal._writer.run(partial(identify, new_id()), then=journal._adopt)
                journal._readers = await stack.enter_async_context(Readers.open(path, what="journal"))
            await journal._marker.check(lambda: Mark(journal._id, journal._head))
            await journal.write_mark()
            yield journal
            await journal.write_mark()

    @property
    @override
    def id(self) -> str:
        return self._id

    @property
    @override
    def head(self) -> Seq:
        return self._head

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    @property
    @override
    def failure(self) -> str | None:
        """Why the last write did not come about; None when it did."""
        return self._failure

    # ---- writing -----------------------------------------------------------------------------------------------------

    @override
    def append(self, appends: Sequence[Append]) -> Coroutine[Any, Any, Seq]:
        """As promised; the commit is on its way when this returns, whenever it is awaited."""
        entries = [entry for append in appends for entry in append.entries]
        encoded = [body for append in appends for body in append.encoded or map(encode_entry, append.entries)]
        first = Seq(self._begun + 1)
        self._begun = Seq(self._begun + len(encoded))
        commit = Commit(appends, encoded, first, to_micros(self._clock.now()))
        then = partial(self._take, entries, commit)
        if isinstance(self._writer, OwnWriter):
            return self._appended(self._writer.commit(commit, then=then))
        if encoded and sum(map(len, encoded)) <= _AT_ONCE_BYTES:
            commit = commit._replace(block=pack(first, encoded, written=commit.written))
        return self._appended(self._writer.start(partial(self._commit, commit), then=then))

    async def _appended(self, commit: Awaitable[Seq]) -> Seq:
        try:
            return await commit
        except (sqlite3.Error, Damaged) as error:
            self._failure = why(error)
            raise not_durable("journal", error) from error

    def _commit(self, commit: Commit, connection: sqlite3.Connection) -> Seq:
        return self._appender.commit(commit, connection)

    def _take(self, entries: Sequence[Entry], commit: Commit, first: Seq) -> None:
        self._failure = None
        # Entries of a commit that was told to have failed and had not lie before ``first``: they are there to be read, too.
        head = Seq(first + len(entries) - 1)
        if first != commit.first:
            self._begun = head
        if entries:
            self._tail.extend(first, entries, [len(body) for body in commit.encoded])
        if head > self._head:
            self._head = head
            self._grown.set()
            self._grown = anyio.Event()

    @override
    async def forget(self, connector: str) -> int:
        return await self._write(partial(forget, connector))

    @override
    async def prune(self, *, before: Micros, upto: Seq) -> int:
        pruned = 0
        async with self._pruning:
            while count := await self._write(partial(prune, before, upto)):
                pruned += count
        return pruned

    @override
    async def revise(self, revise: Revise, *, holding: Holding, after: Seq) -> tuple[Seq, int]:
        async with self._pruning:
            rows = await self._blocks(after, limit=_REVISED)
            found = await anyio.to_thread.run_sync(revised, rows, revise, holding)
            if found.blocks:
                await self._write(partial(exchange, found.blocks))
                self._tail.clear()
        return Seq(rows[-1][0]) if rows else after, found.entries

    @override
    async def settled(self) -> bool:
        return bool(await self._write(emptied))

    async def _write(self, fn: Callable[[sqlite3.Connection], int]) -> int:
        try:
            return await self._writer.run(fn)
        except (sqlite3.Error, Damaged) as error:
            self._failure = why(error)
            raise not_durable("journal", error) from error

    @asynccontextmanager
    @override
    async def unpruned(self) -> AsyncIterator[None]:
        """Nothing is pruned inside (a backup of store and journal must fit together)."""
        async with self._pruning:
            yield

    # ---- reading -----------------------------------------------------------------------------------------------------

    @override
    async def read(self, after: Seq, *, limit: int) -> list[Journaled]:
        if after >= self._head:
            return []
        cached = self._tail.read(after, limit)
        if cached is not None:
            return cached
        rows = await self._blocks(after, limit=limit)
        return await anyio.to_thread.run_sync(unpack_after, rows, after, limit)

    async def _blocks(self, after: Seq, *, limit: int) -> list[Row]:
        sizes = await self._readers.rows(_SQL["sizes"], (after, limit))
        upto = reach([(last - max(first - 1, after), last, size) for last, first, size in sizes], limit=limit, most=_READ_BYTES)
        return await self._readers.rows(_SQL["range"], (after, upto))

    @override
    async def wait(self, after: Seq) -> None:
        while self._head <= after:
            await self._grown.wait()

    @override
    async def get(self, connector: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        return dict(await self._readers.rows_in(_SQL["get_state"], list(keys), before=[connector]))

    @override
    async def scan(self, connector: str, prefix: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
        start = prefix
        while rows := await self._readers.rows(_SQL["scan_state"], (connector, start, _PAGE)):
            for key, value in rows:
                if not key.startswith(prefix):
                    return
                yield key, value
            start = rows[-1][0] + b"\0"

    @override
    async def owners(self) -> list[str]:
        return [name for (name,) in await self._readers.rows(_SQL["owners"])]

    @override
    async def counts(self) -> dict[tuple[str, str], int]:
        return {(connector, name): value for connector, name, value in await self._readers.rows(_SQL["counts"])}

    @override
    async def statistics(self) -> JournalStatistics:
        try:
            first = await self._readers.rows(_SQL["first"])
            ((size,),) = await self._readers.rows(_SQL["bytes"])
        except CdmdError as error:
            return JournalStatistics(first=self._head, head=self._head, bytes=0, failure=self._failure or str(error))
        kept = Seq(first[0][0]) if first else Seq(self._head + 1)
        process = self._writer.pid if isinstance(self._writer, OwnWriter) else None
        return JournalStatistics(first=kept, head=self._head, bytes=size, failure=self._failure, process=process)

    # ---- whole or damaged --------------------------------------------------------------------------------------------

    @override
    async def check(self, after: Seq) -> None:
        """Raise ``Damaged`` unless every entry after ``after`` is there and as it was written (for the start)."""
        faults = await anyio.to_thread.run_sync(inspect, self._path, partial(examine_since, after))
        if faults:
            raise Damaged(f"the journal is damaged: {faults[0]}; put a backup in place with: cdmd restore FILE")

    @override
    async def verify(self) -> list[str]:
        return await anyio.to_thread.run_sync(verify_journal, self._path, self._mark_path)

    @override
    async def backup(self, target: Path) -> None:
        await anyio.to_thread.run_sync(copy_database, self._path, target)

    @override
    async def write_mark(self) -> None:
        """Write the high-water mark beside the databases. Raises ``NotDurable``."""
        await self._marker.write(Mark(self._id, self._head))

    # ---- opening -----------------------------------------------------------------------------------------------------

    def _adopt(self, found: tuple[str, Seq]) -> None:
        self._id, self._head = found
        self._begun = self._head
