"""The store in PostgreSQL as tables that are copied whole (``cdmd.store.bulk``)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Self

import msgspec
import psycopg
from psycopg.rows import tuple_row
from typing_extensions import override

from cdmd.errors import CdmdError
from cdmd.store.bulk import META, Bulk, Table, check_schema
from cdmd.store.moves import MOVE
from cdmd.store.postgres.connecting import Connection, connect, migrate, why
from cdmd.store.postgres.tables import PostgresTables
from cdmd.store.sql import load_migrations, load_queries
from cdmd.store.tables import Row

_SQL: Final = load_queries("postgres/moving")
_PACK: Final = msgspec.msgpack.Encoder().encode
_AT_ONCE: Final = 500
NUMBERED: Final[Mapping[str, tuple[str, str]]] = {"profile_numbers": ("profiles", "id")}
"""Sequences that belong to no column, each with the table and the column that it gives numbers to."""


class PostgresBulk(Bulk):
    """On one connection."""

    broken = psycopg.Error

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def read(cls, url: str, password: str | None) -> Self:
        """One that is not written. Raises ``CdmdError``, also where its schema is an older one."""
        bulk = cls(_connected(url, password, read_only=True))
        try:
            if bulk.there():
                ((version,),) = bulk._rows("schema")
                check_schema(f"the store at {url}", version, load_migrations("postgres"))
        except BaseException:
            bulk.close()
            raise
        return bulk

    @classmethod
    def write(cls, url: str, password: str | None) -> Self:
        """One that is filled, or that is told that it was moved; its tables are made. Raises ``CdmdError``."""
        connection = _connected(url, password)
        try:
            migrate(connection, load_migrations("postgres"))
        except psycopg.Error as error:
            connection.close()
            raise CdmdError(f"the tables of a store cannot be made at {url}: {why(error)}") from error
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    def there(self) -> bool:
        """Whether there is any store."""
        ((there,),) = self._rows("there")
        return bool(there)

    @override
    def why(self, error: Exception) -> str:
        return why(error) if isinstance(error, psycopg.Error) else str(error)

    @override
    def close(self) -> None:
        self._connection.close()

    @override
    def tables(self) -> dict[str, Table]:
        return {name: _table(self._rows("columns", (f'"{name}"',))) for (name,) in self._rows("tables")}

    @override
    def count(self, name: str) -> int:
        ((count,),) = self._rows("count", table=name)
        return int(count)

    @override
    def size(self) -> int:
        ((size,),) = self._rows("size")
        return int(size)

    @override
    def each(self, name: str, table: Table, *, after: Row | None = None) -> Iterator[Row]:
        behind = "true" if after is None else f"({_names(table.key)}) > ({', '.join(['%b'] * len(table.key))})"
        text = _text("each", name, columns=_names(table.columns), key=_names(table.key), behind=behind)
        with (
            self._connection.transaction(),
            self._connection.cursor("moving", binary=True, row_factory=tuple_row) as cursor,
        ):
            cursor.itersize = _AT_ONCE
            yield from cursor.execute(text, after or None)

    @override
    def meta(self) -> dict[str, str]:
        return dict(self._rows("meta")) if self.there() else {}

    @override
    def users(self) -> list[str]:
        return [name for (name,) in self._rows("users")] if self.there() else []

    @override
    def numbers(self) -> dict[str, int]:
        return {table: self._number(sequence) for sequence, table, _ in self.sequences()}

    def sequences(self) -> list[tuple[str, str, str]]:
        """All sequences, each with the table and the column that it is for. Raises ``CdmdError`` where that is not known."""
        found = list[tuple[str, str, str]]()
        for sequence, table, column in self._rows("sequences"):
            if table is None and sequence not in NUMBERED:
                raise CdmdError(f"this cdmd does not know what the sequence {sequence} numbers")
            found.append((sequence, *NUMBERED[sequence]) if table is None else (sequence, table, column))
        return found

    def _number(self, sequence: str) -> int:
        ((number,),) = self._rows("number", table=sequence)
        return int(number)

    @override
    def say(self, move: str | None) -> None:
        with self._connection.transaction():
            if move is not None:
                self._run("say", (MOVE, move))
            else:
                self._run("unsay", (MOVE,))
                self._run("no_progress_table")
        if move is None:
            self._run("analyze")

    @override
    def begin(self, seen: Iterable[str], move: str) -> None:
        with self._connection.transaction():
            tables, there = PostgresTables(self._connection), self.tables()
            for name in seen:
                if name not in there:
                    tables.add_seen(name)
            self._run("progress_table")
            for name in {*self.tables()} - {"migrations"}:
                self._run("empty", table=name)
            self._run("say", (MOVE, move))

    @override
    def progress(self) -> dict[str, Row]:
        return {name: tuple(msgspec.msgpack.decode(last)) for name, last in self._rows("progress")}

    @override
    def put(self, name: str, table: Table, rows: Sequence[Row], *, last: Row) -> None:
        with self._connection.transaction():
            with self._connection.cursor().copy(_text("put", name, columns=_names(table.columns))) as copy:
                for row in rows:
                    copy.write_row(row)
            self._run("reached", (name, _PACK(last)))

    @override
    def empty(self, name: str) -> None:
        with self._connection.transaction():
            if name == META:
                self._run("empty_meta", (MOVE,))
            else:
                self._run("empty", table=name)
            self._run("restart", (name,))

    @override
    def give_on(self, numbers: Mapping[str, int]) -> None:
        with self._connection.transaction():
            for sequence, table, column in self.sequences():
                ((there,),) = self._connection.execute(_text("greatest", table, columns=f'"{column}"')).fetchall()
                self._run("set_number", (f'"{sequence}"', max(there, numbers.get(table, 0))))

    def _rows(self, name: str, said: Sequence[Any] = (), *, table: str = "") -> list[Row]:
        return self._connection.execute(_text(name, table), said or None, binary=True).fetchall()

    def _run(self, name: str, said: Sequence[Any] = (), *, table: str = "") -> None:
        self._connection.execute(_text(name, table), said or None)


def _connected(url: str, password: str | None, *, read_only: bool = False) -> Connection:
    try:
        return connect(url, password=password, read_only=read_only)
    except psycopg.Error as error:
        raise CdmdError(f"the store at {url} cannot be reached: {why(error)}") from error


def _table(columns: Sequence[Row]) -> Table:
    key = sorted((place, name) for name, place in columns if place)
    return Table(tuple(name for name, _ in columns), tuple(name for _, name in key))


def _names(columns: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


def _text(name: str, table: str, **parts: str) -> bytes:
    text = _SQL[name].replace("{table}", f'"{table}"')
    for part, value in parts.items():
        text = text.replace(f"{{{part}}}", value)
    return text.encode()
