"""Big tables of connectors in SQLite: generations of blocks beside the journal, each current once the journal says so.

``synchronous=FULL``: a generation is on the disk before the journal names it. Not here: which one is current (the connector's
state in the journal) and what is in a block.
"""

import hashlib
import sqlite3
import struct
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

import anyio.to_thread
from typing_extensions import override

from cdmd.contracts import Feeds
from cdmd.errors import Damaged
from cdmd.store.chunks import Row
from cdmd.store.database import (
    Connect,
    Plan,
    Readers,
    check_integrity,
    connect_writer,
    emptied,
    inspect,
    not_durable,
    opening,
    transaction,
)
from cdmd.store.sql import load_migrations, load_queries
from cdmd.store.writer import Writer

T = TypeVar("T")
MOST_BLOCKS: Final = 2**24
_SQL: Final = load_queries("feeds")
_PLAN: Final = Plan(
    name="feeds", migrations=load_migrations("feeds"), synchronous="FULL", autocheckpoint=4_000, cache_kib=4_096
)
_DROPPED_AT_ONCE: Final = 256
_READ_AT_ONCE: Final = 64
_MEND: Final = "put a backup in place with: cdmd restore FILE"


class SqliteFeeds(Feeds):
    """``Feeds`` on one SQLite file."""

    def __init__(self, path: Path, *, connect: Connect) -> None:
        self._path = path
        self._writer = Writer(lambda: connect_writer(path, _PLAN, connect=connect), name="feeds")
        self._readers: Readers
        self._removing = anyio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, *, connect: Connect = sqlite3.connect) -> AsyncIterator[Self]:
        """Open or make the database at ``path``. Raises ``Damaged``, ``NotDurable`` and ``SchemaUnknown``."""
        feeds = cls(path, connect=connect)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(feeds._writer)
            with opening("feeds", path):
                await feeds._writer.run(lambda connection: connection.execute(_SQL["all"]).fetchall())
                feeds._readers = await stack.enter_async_context(Readers.open(path, what="feeds", count=1))
            yield feeds

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    # ---- writing -----------------------------------------------------------------------------------------------------

    @override
    def fenced(self, fence: int) -> Self:
        return self

    @override
    async def hold(self, connectors: Collection[str]) -> None:
        """There are no others."""

    @override
    async def begin(self, connector: str, table: str, *, keep: int | None) -> int:
        await self.tidy(connector, table, keep=keep)
        return await self._write(partial(_begin, connector, table))

    @override
    async def tidy(self, connector: str, table: str, *, keep: int | None) -> None:
        async with self._removing:
            for (generation,) in await self._readers.rows(_SQL["others"], (connector, table, keep)):
                await self._remove(generation)

    @override
    async def put(self, generation: int, first: int, blocks: Sequence[bytes]) -> None:
        await self._write(partial(_put, generation * MOST_BLOCKS + first, blocks))

    @override
    async def finish(self, generation: int) -> int:
        first = generation * MOST_BLOCKS
        return await self._write(partial(_finish, {"generation": generation, "first": first, "end": first + MOST_BLOCKS}))

    @override
    async def rename(self, connector: str, name: str) -> None:
        await self._write(lambda connection: connection.execute(_SQL["rename"], (name, connector)).rowcount)

    @override
    async def forget(self, connector: str) -> int:
        async with self._removing:
            generations = await self._readers.rows(_SQL["of_connector"], (connector,))
            for (generation,) in generations:
                await self._remove(generation)
        return len(generations)

    @override
    async def settled(self) -> bool:
        return await self._write(emptied)

    async def _remove(self, generation: int) -> None:
        """A few blocks at a time, so that no writing waits long behind it."""
        while await self._write(partial(_drop_some, generation)):
            pass

    async def _write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._writer.run(fn)
        except sqlite3.Error as error:
            raise not_durable("feeds", error) from error

    @asynccontextmanager
    async def unremoved(self) -> AsyncIterator[None]:
        """Nothing is removed inside (a backup's journal must find the generations that it names)."""
        async with self._removing:
            yield

    # ---- reading -----------------------------------------------------------------------------------------------------

    @override
    async def size(self, generation: int) -> int | None:
        rows = await self._readers.rows(_SQL["size"], (generation,))
        return rows[0][0] if rows else None

    @override
    async def get(self, generation: int, numbers: Sequence[int]) -> list[bytes]:
        ids = [generation * MOST_BLOCKS + number for number in numbers]
        found = {row[0]: row for row in await self._readers.rows_in(_SQL["get"], ids)}
        return await anyio.to_thread.run_sync(checked, found, ids)

    @override
    async def verify(self) -> list[str]:
        return await anyio.to_thread.run_sync(verify_feeds, self._path)


def verify_feeds(path: Path) -> list[str]:
    """Every damage found in the feeds at ``path``, one sentence each. It blocks: for a thread or a command."""
    return [f"feeds: {line}" for line in inspect(path, _examine)]


def _examine(connection: sqlite3.Connection) -> list[str]:
    faults = check_integrity(connection)
    for generation, connector, name, blocks in connection.execute(_SQL["all"]).fetchall():
        if blocks is None:
            continue  # it was interrupted, or is being written or removed
        first = generation * MOST_BLOCKS
        rows = connection.execute(_SQL["range"], (first, first + MOST_BLOCKS))
        whole = [number == first + place and sum_of(number, body) == kept for place, (number, kept, body) in enumerate(rows)]
        if len(whole) != blocks or not all(whole):
            faults.append(f"the table {name} of {connector} is not as it was written")
    ((lost,),) = connection.execute(_SQL["lost"])
    return [*faults, f"{lost} blocks belong to no table"] if lost else faults


def _begin(connector: str, table: str, connection: sqlite3.Connection) -> int:
    return connection.execute(_SQL["begin"], (connector, table)).lastrowid or 0


def _put(first: int, blocks: Sequence[bytes], connection: sqlite3.Connection) -> None:
    rows = [(number, sum_of(number, body), body) for number, body in enumerate(blocks, first)]
    with transaction(connection):
        connection.executemany(_SQL["put"], rows)


def _finish(about: dict[str, int], connection: sqlite3.Connection) -> int:
    with transaction(connection):
        connection.execute(_SQL["finish"], about)
        ((blocks,),) = connection.execute(_SQL["size"], (about["generation"],))
    return int(blocks)


def _drop_some(generation: int, connection: sqlite3.Connection) -> int:
    """How many blocks went; the generation itself goes with the last ones, so that an interruption leaves none behind.

    From the first ones on it counts as interrupted: what is left of it is no damage.
    """
    first = generation * MOST_BLOCKS
    with transaction(connection):
        connection.execute(_SQL["unfinish"], (generation,))
        went = connection.execute(_SQL["drop_blocks"], (first, first + MOST_BLOCKS, _DROPPED_AT_ONCE)).rowcount
        if not went:
            connection.execute(_SQL["drop"], (generation,))
    return went


class FeedsFile:
    """A file of feeds that nobody has open, read or made whole at once. It blocks."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def read(cls, path: Path) -> Iterator[Self]:
        """One that is there. Raises ``CdmdError``."""
        with opening("feeds", path), closing(connect_writer(path, _PLAN, connect=sqlite3.connect)) as connection:
            yield cls(connection)

    @classmethod
    @contextmanager
    def make(cls, path: Path) -> Iterator[Self]:
        """A new one, in place of what is there. Raises ``CdmdError``."""
        path.unlink(missing_ok=True)
        with cls.read(path) as made:
            yield made

    def generations(self) -> list[tuple[int, str, str, int | None]]:
        """All of them, by number: connector, table, and how many blocks one has that is finished."""
        return self._connection.execute(_SQL["all"]).fetchall()

    def blocks(self, generation: int) -> Iterator[list[Row]]:
        """A generation's, some at a time. Raises ``Damaged``."""
        first = generation * MOST_BLOCKS
        cursor = self._connection.execute(_SQL["range"], (first, first + MOST_BLOCKS))
        while rows := cursor.fetchmany(_READ_AT_ONCE):
            checked({row[0]: row for row in rows}, [row[0] for row in rows])
            yield rows

    def put(self, generation: int, connector: str, name: str, blocks: int, rows: Iterable[Row]) -> None:
        """Add a finished one."""
        with transaction(self._connection):
            self._connection.execute(_SQL["bring"], (generation, connector, name, blocks))
            self._connection.executemany(_SQL["put"], rows)


def checked(found: Mapping[int, Row], ids: Sequence[int]) -> list[bytes]:
    """The blocks of these numbers, of rows by number. Raises ``Damaged`` where one is missing or not as it was written."""
    for wanted in ids:
        row = found.get(wanted)
        if row is None or sum_of(wanted, row[2]) != row[1]:
            raise Damaged(f"a connector's table is damaged: block {wanted % MOST_BLOCKS} is not as it was written; {_MEND}")
    return [found[wanted][2] for wanted in ids]


def sum_of(number: int, body: bytes) -> bytes:
    """What is kept beside a block to tell that it is as it was written, and in its place."""
    digest = hashlib.blake2b(struct.pack(">q", number), digest_size=16)
    digest.update(body)
    return digest.digest()
