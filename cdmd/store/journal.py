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
from typing import Any, Final, NamedTuple, Self

import anyio
import anyio.to_thread
from typing_extensions import override

from cdmd.contracts import Append, Clock, Holding, Journal, JournalStatistics, Revise
from cdmd.errors import CdmdError, Damaged
from cdmd.models import Entry, Journaled, Micros, Seq, encode_entry, to_micros
from cdmd.store.beside import counts_of, put_beside
from cdmd.store.blocks import Block, examine_run, pack, reach, unpack_after
from cdmd.store.chunks import Row
from cdmd.store.copying import copy_database
from cdmd.store.database import (
    Connect,
    Plan,
    Readers,
    connect_writer,
    emptied,
    inspect,
    not_durable,
    opening,
    transaction,
    why,
)
from cdmd.store.journal_checking import examine_since, head_of, verify_journal
from cdmd.store.mark import Mark, Marker
from cdmd.store.revising import exchange, revised
from cdmd.store.sql import load_migrations, load_queries
from cdmd.store.tail import Tail
from cdmd.store.writer import Writer

_SQL: Final = load_queries("journal")
_PLAN: Final = Plan(
    name="journal", migrations=load_migrations("journal"), synchronous="FULL", autocheckpoint=1_000, cache_kib=4_096
)
_TAIL_BLOCKS: Final = 64
_PRUNE_BLOCKS: Final = 16
_PAGE: Final = 500
_REVISED: Final = 5_000
_AT_ONCE_BYTES: Final = 65_536
"""A commit up to this is packed before the writer gets it: to touch each entry from another thread costs the loop more."""

_READ_BYTES: Final = 8 * 2**20
"""Encoded bytes read at once: as large as a commit may become twice over, however large each entry is."""


class _Commit(NamedTuple):
    """What goes into the journal together, from ``first`` on if nothing before it fails; ``block`` is it packed, if it is."""

    appends: Sequence[Append]
    entries: Sequence[Entry]
    encoded: Sequence[bytes]
    first: Seq
    block: Block | None


class SqliteJournal(Journal):
    """``Journal`` on one SQLite file."""

    def __init__(self, path: Path, *, clock: Clock, mark_path: Path, tail: Tail, connect: Connect) -> None:
        self._path, self._clock, self._mark_path, self._tail, self._connect = path, clock, mark_path, tail, connect
        self._writer = Writer(self._open_connection, name="journal")
        self._readers: Readers
        self._id = ""
        self._head = self._written = Seq(0)  # what the loop knows of, and what the writer's thread has committed
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
    ) -> AsyncIterator[Self]:
        """Open or make the journal at ``path``; ``new_id`` names a new one, the tail cache is bounded as given.

        Raises ``Damaged`` (no database, or the mark contradicts it), ``NotDurable`` (the disk) and ``SchemaUnknown``.
        """
        tail = Tail(max_events=tail_events, max_bytes=tail_bytes)
        journal = cls(path, clock=clock, mark_path=mark_path, tail=tail, connect=connect)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(journal._writer)
            with opening("journal", path):
                await journal._writer.run(partial(_identify, new_id), then=journal._adopt)
                journal._readers = await stack.enter_async_context(Readers.open(path, what="journal"))
            await journal._marker.check(Mark(journal._id, journal._head))
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
        block = self._packed(first, encoded) if sum(map(len, encoded)) <= _AT_ONCE_BYTES else None
        commit = _Commit(appends, entries, encoded, first, block)
        return self._appended(self._writer.start(partial(self._commit, commit), then=partial(self._take, commit)))

    def _packed(self, first: Seq, encoded: Sequence[bytes]) -> Block | None:
        return pack(first, encoded, written=to_micros(self._clock.now())) if encoded else None

    async def _appended(self, commit: Awaitable[Seq]) -> Seq:
        try:
            return await commit
        except (sqlite3.Error, Damaged) as error:
            self._failure = why(error)
            raise not_durable("journal", error) from error

    def _commit(self, commit: _Commit, connection: sqlite3.Connection) -> Seq:
        appends, _, encoded, expected, block = commit
        first = Seq(self._written + 1)
        if block is None or first != expected:
            block = self._packed(first, encoded)
        if block is not None and not any(append.state for append in appends):
            # For a single ``execute`` the interpreter is let go of once more, to ask for the row's number.
            connection.executemany(_SQL["append_at_once"], ((*block, counts_of(appends) or "[]"),))
        else:
            with transaction(connection):
                if block is not None:
                    connection.execute(_SQL["append"], block)
                put_beside(connection, appends)
        self._written = Seq(first + len(encoded) - 1)
        return first

    def _take(self, commit: _Commit, first: Seq) -> None:
        self._failure = None
        # Entries of a commit that was told to have failed and had not lie before ``first``: they are there to be read, too.
        head = Seq(first + len(commit.entries) - 1)
        if first != commit.first:
            self._begun = head
        if commit.entries:
            self._tail.extend(first, commit.entries, [len(body) for body in commit.encoded])
        if head > self._head:
            self._head = head
            self._grown.set()
            self._grown = anyio.Event()

    @override
    async def forget(self, connector: str) -> int:
        return await self._write(lambda connection: connection.execute(_SQL["forget"], (connector,)).rowcount)

    @override
    async def prune(self, *, before: Micros, upto: Seq) -> int:
        pruned = 0
        async with self._pruning:
            while count := await self._write(partial(_prune, before, upto)):
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
        return JournalStatistics(first=kept, head=self._head, bytes=size, failure=self._failure)

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

    def _open_connection(self) -> sqlite3.Connection:
        """On the writer's thread, at the start and after every failure: what was acknowledged must be there."""
        connection = connect_writer(self._path, _PLAN, connect=self._connect)
        try:
            connection.executescript(_SQL["appended"])
            _check_tail(connection, acknowledged=self._head)
            self._written = head_of(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _adopt(self, found: tuple[str, Seq]) -> None:
        self._id, self._head = found
        self._begun = self._head


def _check_tail(connection: sqlite3.Connection, *, acknowledged: Seq) -> None:
    head = head_of(connection)
    if head < acknowledged:
        raise Damaged(f"the journal ends at {head}, but {acknowledged} was acknowledged")
    rows = connection.execute(_SQL["tail"], (_TAIL_BLOCKS,)).fetchall()
    faults = examine_run(rows[::-1], before=None)
    if faults:
        raise Damaged(f"the journal is damaged: {faults[0]}; put a backup in place with: cdmd restore FILE")


def _identify(new_id: Callable[[], str], connection: sqlite3.Connection) -> tuple[str, Seq]:
    with transaction(connection):
        row = connection.execute(_SQL["id"]).fetchone()
        if row is None:
            row = (new_id(),)
            connection.execute(_SQL["set_id"], row)
    return row[0], head_of(connection)


def _prune(before: Micros, upto: Seq, connection: sqlite3.Connection) -> int:
    """A few blocks at a time, so that no append waits long behind it."""
    with transaction(connection):
        rows = connection.execute(_SQL["prunable"], {"before": before, "upto": upto, "limit": _PRUNE_BLOCKS}).fetchall()
        if rows:
            connection.execute(_SQL["prune"], (rows[-1][0],))
    return sum(last - first + 1 for last, first in rows)
