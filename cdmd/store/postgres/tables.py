"""The tables in PostgreSQL (``cdmd.store.tables``): many values go as arrays, so that a statement is one for a whole batch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Final, Protocol

import psycopg
from psycopg.rows import tuple_row
from typing_extensions import override

from cdmd.models import Digest, ProfileKey, Seq
from cdmd.store.postgres.connecting import Broken, Connection, in_our_words
from cdmd.store.sql import load_families
from cdmd.store.tables import Reading, Row, Said, Tables
from cdmd.store.writer import Writer

_SQL: Final = {
    name: text.encode()
    for name, text in load_families("store", "outbox", "seen", "lanes", "duties", "errands", "feeds", folder="postgres").items()
}


class Fencing(Protocol):
    """What stands before each transaction, and is told when it is on the disk."""

    def begin(self, tables: Tables) -> None:
        """Its first statements. Raises ``NotDurable`` where nothing may be written."""
        ...

    def committed(self) -> None:
        """That transaction is on the disk."""
        ...


class PostgresTables(Tables):
    """On one connection; ``fence`` stands before each transaction, where there is one."""

    alone: ClassVar[bool] = False

    def __init__(self, connection: Connection, *, fence: Fencing | None = None) -> None:
        self._connection, self._fence = connection, fence

    @override
    def close(self) -> None:
        self._connection.close()

    @override
    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            if self._fence is not None:
                self._fence.begin(self)
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(Broken):
                self._connection.execute("ROLLBACK")
            raise
        if self._fence is not None:
            self._fence.committed()

    @override
    def rows(self, name: str, said: Said = (), *, table: str = "") -> list[Row]:
        return self._connection.execute(_text(name, table), said, binary=True).fetchall()

    @override
    def rows_in(self, name: str, values: Sequence[Any], *, before: Sequence[Any] = ()) -> list[Row]:
        return self.rows(name, [*before, list(values)]) if values else []

    @override
    def each(self, name: str) -> Iterator[Row]:
        with self._connection.transaction(), self._connection.cursor(name, binary=True, row_factory=tuple_row) as cursor:
            yield from cursor.execute(_SQL[name])

    @override
    def run(self, name: str, said: Said = (), *, table: str = "") -> int:
        return self._connection.execute(_text(name, table), said).rowcount

    @override
    def run_in(self, name: str, values: Sequence[Any], *, before: Sequence[Any] = ()) -> int:
        return self.run(name, [*before, list(values)]) if values else 0

    @override
    def run_many(self, name: str, rows: Sequence[Sequence[Any]], *, table: str = "") -> int:
        if not rows:
            return 0
        with self._connection.cursor() as cursor:
            cursor.executemany(_text(name, table), rows)
            return cursor.rowcount

    @override
    def insert(self, name: str, rows: Sequence[Sequence[Any]], *, table: str = "") -> int:
        return self.run(name, [list(column) for column in zip(*rows, strict=True)], table=table) if rows else 0

    @override
    def owners(self, kind: int, values: Sequence[str]) -> Iterable[tuple[str, ProfileKey]]:
        return ((value, ProfileKey(key)) for value, key in self.rows_in("owners", values, before=[kind]))

    @override
    def people(self, keys: Sequence[ProfileKey]) -> Iterable[tuple[Row, Seq | None]]:
        return ((row[:-1], row[-1]) for row in self.rows_in("people", keys))

    @override
    def occurrences(self, digests: Sequence[Digest]) -> Iterable[tuple[Digest, int, int, int, str]]:
        return ((Digest(digest), *rest) for digest, *rest in self.rows_in("seen.find", digests))

    @override
    def add_seen(self, table: str) -> None:
        self.run("seen.create", table=table)

    @override
    def drop_seen(self, table: str) -> None:
        self.run("seen.drop", table=table)


class PostgresReading(Reading):
    """Over threads with connections of their own, each statement on the next of them."""

    def __init__(self, threads: Sequence[Writer[PostgresTables]]) -> None:
        self._threads, self._next = threads, 0

    @override
    async def rows(self, name: str, said: Said = ()) -> list[Row]:
        return await self._asked(lambda tables: tables.rows(name, said))

    @override
    async def rows_in(self, name: str, values: Sequence[Any], *, before: Sequence[Any] = ()) -> list[Row]:
        return await self._asked(lambda tables: tables.rows_in(name, values, before=before))

    async def _asked(self, ask: Callable[[PostgresTables], list[Row]]) -> list[Row]:
        """Twice where the first connection was found broken: a server that was restarted meanwhile is there."""
        self._next = (self._next + 1) % len(self._threads)
        thread = self._threads[self._next]
        try:
            try:
                return await thread.run(ask)
            except psycopg.OperationalError:
                return await thread.run(ask)
        except psycopg.Error as error:
            raise in_our_words(error, "read") from error


def _text(name: str, table: str) -> bytes:
    return _SQL[name].replace(b"{table}", table.encode())
