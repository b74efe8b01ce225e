"""Big tables of connectors in the database that several machines share, so that a connector goes on with them on another one.

As ``SqliteFeeds``, with its numbers and sums, so that a generation may come from a file or go into one. A transaction begins
with the token of the one that fetches for the connector (``Duties``), or that leads where fetching is not divided: whoever was
followed by another one writes nothing, however late it wakes up.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from copy import copy
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

import anyio.to_thread
import psycopg
from typing_extensions import override

from cdmd.contracts import Feeds
from cdmd.errors import Damaged, Followed, NotDurable
from cdmd.store.feeds import MOST_BLOCKS, FeedsFile, checked, sum_of
from cdmd.store.postgres.connecting import Connection, connect, in_our_words, one_moment, why
from cdmd.store.postgres.store import thread
from cdmd.store.postgres.tables import PostgresReading, PostgresTables
from cdmd.store.tables import Row, Tables

T = TypeVar("T")
_SILENT: Final = "SELECT set_config('idle_in_transaction_session_timeout', '10s', false)"
"""Who stands still in the midst of a transaction keeps whoever goes on with the connector waiting no longer than that."""
_LEFT: Final = "another node works with the tables of {0} by now; this one writes nothing there any more"


class PostgresFeeds(Feeds):
    """``Feeds`` in the store's database. ``tenure`` is the token of the one that leads; others have those of their duties."""

    def __init__(self, url: str, password: str | None, *, tenure: int | None) -> None:
        self._connect = partial(connect, url, password=password)
        self._tenure, self._fence = tenure, 0
        self._writer = thread(lambda: PostgresTables(self._impatient()), "feeds")
        self._readers = [thread(lambda: PostgresTables(self._connect(read_only=True)), "feeds-reader")]
        self._reading = PostgresReading(self._readers)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, password: str | None = None, *, tenure: int | None, file: Path) -> AsyncIterator[Self]:
        """Beside an open store. What a ``file`` of this machine has that is not there is brought, and the file removed."""
        feeds = cls(url, password, tenure=tenure)
        async with AsyncExitStack() as stack:
            for one in (feeds._writer, *feeds._readers):
                await stack.enter_async_context(one)
            if await anyio.to_thread.run_sync(file.exists):
                await feeds._mapped(feeds._writer.run(partial(_bring, file)))
                await anyio.to_thread.run_sync(_remove_file, file)
            yield feeds

    def _impatient(self) -> Connection:
        connection = self._connect()
        connection.execute(_SILENT)
        return connection

    @override
    def fenced(self, fence: int) -> Self:
        other = copy(self)
        other._fence = fence  # noqa: SLF001 - of this class
        return other

    # ---- writing -----------------------------------------------------------------------------------------------------

    @override
    async def hold(self, connectors: Collection[str]) -> None:
        for connector in connectors:
            await self._of(connector, lambda _: None)

    @override
    async def begin(self, connector: str, table: str, *, keep: int | None) -> int:
        await self.tidy(connector, table, keep=keep)
        rows = await self._of(connector, lambda tables: tables.rows("feeds.begin", (connector, table)))
        return int(rows[0][0])

    @override
    async def tidy(self, connector: str, table: str, *, keep: int | None) -> None:
        def tidy(tables: Tables) -> None:
            for (generation,) in tables.rows("feeds.others", (connector, table, keep)):
                _drop(generation, tables)

        await self._of(connector, tidy)

    @override
    async def put(self, generation: int, first: int, blocks: Sequence[bytes]) -> None:
        ids = range(generation * MOST_BLOCKS + first, generation * MOST_BLOCKS + first + len(blocks))
        rows = [(number, sum_of(number, body), body) for number, body in zip(ids, blocks, strict=True)]
        await self._in(generation, lambda tables: tables.insert("feeds.put", rows))

    @override
    async def finish(self, generation: int) -> int:
        first = generation * MOST_BLOCKS
        said = {"generation": generation, "first": first, "end": first + MOST_BLOCKS}
        rows = await self._in(generation, lambda tables: tables.rows("feeds.finish", said))
        return int(rows[0][0])

    @override
    async def rename(self, connector: str, name: str) -> None:
        await self._of(name, lambda tables: tables.run("feeds.rename", (name, connector)))

    @override
    async def forget(self, connector: str) -> int:
        def forget(tables: Tables) -> int:
            generations = tables.rows("feeds.of_connector", (connector,))
            for (generation,) in generations:
                _drop(generation, tables)
            return len(generations)

        return await self._of(connector, forget)

    @override
    async def settled(self) -> bool:
        """What was removed goes with the store's own dead rows."""
        return True

    async def _of(self, connector: str, fn: Callable[[Tables], T]) -> T:
        """In a transaction, as whoever works with that connector. Raises ``NotDurable`` where another one does."""

        def run(tables: PostgresTables) -> T:
            with tables.transaction():
                self._hold(connector, tables)
                return fn(tables)

        return await self._mapped(self._writer.run(run))

    async def _in(self, generation: int, fn: Callable[[Tables], T]) -> T:
        """The same, as whoever works with the connector that the generation is of."""

        def run(tables: PostgresTables) -> T:
            with tables.transaction():
                owners = tables.rows("feeds.owner", (generation,))
                if not owners:
                    raise NotDurable("the table was removed while it was written; it is written again")
                self._hold(owners[0][0], tables)
                return fn(tables)

        return await self._mapped(self._writer.run(run))

    def _hold(self, connector: str, tables: Tables) -> None:
        if self._fence:
            if not tables.rows("feeds.hold_duty", (connector, self._fence)):
                raise Followed({connector: self._fence + 1})
        elif self._tenure is not None and not tables.rows("feeds.hold", (connector, self._tenure)):
            raise NotDurable(_LEFT.format(connector))

    async def _mapped(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except psycopg.Error as error:
            raise in_our_words(error, "written") from error

    # ---- reading -----------------------------------------------------------------------------------------------------

    @override
    async def size(self, generation: int) -> int | None:
        rows = await self._reading.rows("feeds.size", (generation,))
        return rows[0][0] if rows else None

    @override
    async def get(self, generation: int, numbers: Sequence[int]) -> list[bytes]:
        ids = [generation * MOST_BLOCKS + number for number in numbers]
        found = {row[0]: row for row in await self._reading.rows_in("feeds.get", ids)}
        return await anyio.to_thread.run_sync(checked, found, ids)

    @override
    async def verify(self) -> list[str]:
        return await anyio.to_thread.run_sync(self._examine)

    def _examine(self) -> list[str]:
        try:
            with closing(self._connect(read_only=True)) as connection, one_moment(connection):
                tables, faults = PostgresTables(connection), list[str]()
                for generation, connector, name, blocks in tables.rows("feeds.all"):
                    try:
                        whole = blocks is None or len(list(_sound(tables, generation))) == blocks
                    except Damaged:
                        whole = False
                    if not whole:
                        faults.append(f"feeds: the table {name} of {connector} is not as it was written")
                return faults
        except psycopg.Error as error:
            return [f"feeds: they cannot be read: {why(error)}"]


def write_file(url: str, password: str | None, path: Path) -> int:
    """Write all finished generations into a new file of ``SqliteFeeds``; how many there were. It blocks.

    Raises ``CdmdError``; ``Damaged`` where a block is not as it was written.
    """
    with _reading(url, password) as tables, FeedsFile.make(path) as file:
        finished = [row for row in tables.rows("feeds.all") if row[-1] is not None]
        for generation, connector, name, blocks in finished:
            file.put(generation, connector, name, blocks, _sound(tables, generation))
    return len(finished)


@contextmanager
def _reading(url: str, password: str | None) -> Iterator[PostgresTables]:
    try:
        with closing(connect(url, password=password, read_only=True)) as connection:
            yield PostgresTables(connection)
    except psycopg.Error as error:
        raise in_our_words(error, "read") from error


def _sound(tables: Tables, generation: int) -> Iterator[Row]:
    """The blocks of a generation in order, a few at a time. Raises ``Damaged``."""
    after, end = generation * MOST_BLOCKS, (generation + 1) * MOST_BLOCKS
    while rows := tables.rows("feeds.some", (after, end)):
        checked({row[0]: row for row in rows}, range(after, after + len(rows)))
        yield from rows
        after += len(rows)


def _bring(path: Path, tables: Tables) -> None:
    """What a file has and the database has not, a generation in a transaction."""
    with FeedsFile.read(path) as file:
        last = 0
        for generation, connector, name, blocks in file.generations():
            last = generation
            if blocks is None:
                continue
            with tables.transaction():
                if tables.run("feeds.bring", (generation, connector, name, blocks)):
                    for rows in file.blocks(generation):
                        tables.insert("feeds.put", rows)
        tables.rows("feeds.give_on", (last,))


def _remove_file(path: Path) -> None:
    for one in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        one.unlink(missing_ok=True)


def _drop(generation: int, tables: Tables) -> None:
    tables.run("feeds.drop_blocks", (generation * MOST_BLOCKS, (generation + 1) * MOST_BLOCKS))
    tables.run("feeds.drop", (generation,))
