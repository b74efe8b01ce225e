"""The store in SQLite as tables that are copied whole (``bulk``)."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec
from typing_extensions import override

from cdmd.store.bulk import META, Bulk, Table, check_schema
from cdmd.store.database import Plan, connect_writer, opening, transaction, why
from cdmd.store.moves import MOVE
from cdmd.store.sql import load_migrations, load_queries
from cdmd.store.sqlite_tables import SqliteTables
from cdmd.store.tables import Row

_SQL: Final = load_queries("moving")
_PACK: Final = msgspec.msgpack.Encoder().encode


class SqliteBulk(Bulk):
    """On one connection."""

    broken = sqlite3.Error

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def read(cls, path: Path, database: str = "store") -> Self:
        """One that nobody writes, and that is not written. Raises ``CdmdError``, also where its schema is an older one."""
        return cls(connect_reader(path, database))

    @classmethod
    def write(cls, path: Path) -> Self:
        """One that is filled, or that is told that it was moved. Raises ``CdmdError``."""
        plan = Plan(name="store", migrations=load_migrations("store"), synchronous="FULL", autocheckpoint=16_000)
        with opening("store", path):
            return cls(connect_writer(path, plan, connect=sqlite3.connect))

    @override
    def why(self, error: Exception) -> str:
        return why(error)

    @override
    def close(self) -> None:
        self._connection.close()

    @override
    def tables(self) -> dict[str, Table]:
        names = [name for (name,) in self._connection.execute(_SQL["tables"]).fetchall()]
        return {name: _table(self._connection.execute(_SQL["columns"], (name,)).fetchall()) for name in names}

    @override
    def count(self, name: str) -> int:
        ((count,),) = self._connection.execute(_text("count", name))
        return int(count)

    @override
    def size(self) -> int:
        ((size,),) = self._connection.execute(_SQL["size"])
        return int(size)

    @override
    def each(self, name: str, table: Table, *, after: Row | None = None) -> Iterator[Row]:
        behind = "true" if after is None else f"({_names(table.key)}) > ({', '.join('?' * len(table.key))})"
        text = _text("each", name, columns=_names(table.columns), key=_names(table.key), behind=behind)
        return self._connection.execute(text, after or ())

    @override
    def meta(self) -> dict[str, str]:
        return dict(self._connection.execute(_SQL["meta"]).fetchall())

    @override
    def users(self) -> list[str]:
        return []

    @override
    def numbers(self) -> dict[str, int]:
        return dict(self._connection.execute(_SQL["numbers"]).fetchall())

    @override
    def say(self, move: str | None) -> None:
        with transaction(self._connection):
            if move is not None:
                self._connection.execute(_SQL["say"], (MOVE, move))
            else:
                self._connection.execute(_SQL["unsay"], (MOVE,))
                self._connection.execute(_SQL["no_progress_table"])

    @override
    def begin(self, seen: Iterable[str], move: str) -> None:
        with transaction(self._connection):
            tables, there = SqliteTables(self._connection), self.tables()
            for name in seen:
                if name not in there:
                    tables.add_seen(name)
            self._connection.execute(_SQL["progress_table"])
            for name in self.tables():
                self._connection.execute(_text("empty", name))
            self._connection.execute(_SQL["say"], (MOVE, move))

    @override
    def progress(self) -> dict[str, Row]:
        rows = self._connection.execute(_SQL["progress"]).fetchall()
        return {name: tuple(msgspec.msgpack.decode(last)) for name, last in rows}

    @override
    def put(self, name: str, table: Table, rows: Sequence[Row], *, last: Row) -> None:
        marks = ", ".join("?" * len(table.columns))
        with transaction(self._connection):
            self._connection.executemany(_text("put", name, columns=_names(table.columns), marks=marks), rows)
            self._connection.execute(_SQL["reached"], (name, _PACK(last)))

    @override
    def empty(self, name: str) -> None:
        with transaction(self._connection):
            if name == META:
                self._connection.execute(_SQL["empty_meta"], (MOVE,))
            else:
                self._connection.execute(_text("empty", name))
            self._connection.execute(_SQL["restart"], (name,))

    @override
    def give_on(self, numbers: Mapping[str, int]) -> None:
        """Tables that do not remember the greatest number go on behind the greatest that is there."""
        with transaction(self._connection):
            there = self.numbers()
            for (name,) in self._connection.execute(_SQL["numbered"]).fetchall():
                self._connection.execute(_SQL["forget_number"], (name,))
                self._connection.execute(_SQL["set_number"], (name, max(there.get(name, 0), numbers.get(name, 0))))


def connect_reader(path: Path, database: str) -> sqlite3.Connection:
    """To a database that is moved as it is. Raises ``CdmdError``, also where its schema is not today's."""
    with opening(database, path):
        connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA query_only = ON")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            check_schema(str(path), version, load_migrations(database))
        except BaseException:
            connection.close()
            raise
    return connection


def _table(columns: Sequence[tuple[str, int]]) -> Table:
    key = sorted((place, name) for name, place in columns if place)
    return Table(tuple(name for name, _ in columns), tuple(name for _, name in key))


def _names(columns: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


def _text(name: str, table: str, **parts: str) -> str:
    text = _SQL[name].replace("{table}", f'"{table}"')
    for part, value in parts.items():
        text = text.replace(f"{{{part}}}", value)
    return text
