"""The tables in SQLite (``cdmd.store.tables``): its statements, and how they are run: few calls that take many values."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Final

import msgspec
from typing_extensions import override

from cdmd.models import Digest, ProfileKey, Seq
from cdmd.store.chunks import gather, gather_bodies, in_chunks, insert_many, select_in
from cdmd.store.database import Readers, transaction
from cdmd.store.sql import load_families
from cdmd.store.tables import Reading, Row, Said, Tables

_SQL: Final = load_families("store", "outbox", "seen")
_OWNERS: Final = msgspec.json.Decoder(list[tuple[str, ProfileKey]])
_PEOPLE: Final = msgspec.json.Decoder(list[tuple[ProfileKey, str, str, int, Seq | None]])
_FOUND: Final = msgspec.json.Decoder(list[tuple[str, int, int, int]])


class SqliteTables(Tables):
    """On one connection."""

    alone: ClassVar[bool] = True

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    @override
    def close(self) -> None:
        self.connection.close()

    @override
    def transaction(self) -> AbstractContextManager[None]:
        return transaction(self.connection)

    @override
    def rows(self, name: str, said: Said = (), *, table: str = "") -> list[Row]:
        return self.connection.execute(_text(name, table), said).fetchall()

    @override
    def rows_in(self, name: str, values: Sequence[Any], *, before: Sequence[Any] = ()) -> list[Row]:
        return select_in(self.connection, _SQL[name], values, before=before)

    @override
    def each(self, name: str) -> Iterator[Row]:
        return self.connection.execute(_SQL[name])

    @override
    def run(self, name: str, said: Said = (), *, table: str = "") -> int:
        return self.connection.execute(_text(name, table), said).rowcount

    @override
    def run_in(self, name: str, values: Sequence[Any], *, before: Sequence[Any] = ()) -> int:
        said = [(_SQL[name].format(marks), [*before, *chunk]) for chunk, marks in in_chunks(values)]
        return sum(self.connection.execute(*one).rowcount for one in said)

    @override
    def run_many(self, name: str, rows: Sequence[Sequence[Any]], *, table: str = "") -> int:
        return self.connection.executemany(_text(name, table), rows).rowcount if rows else 0

    @override
    def insert(self, name: str, rows: Sequence[Sequence[Any]], *, table: str = "") -> int:
        head, _, tail = _text(name, table).partition("{rows}")
        return insert_many(self.connection, head, rows, tail=tail)

    @override
    def owners(self, kind: int, values: Sequence[str]) -> Iterable[tuple[str, ProfileKey]]:
        return gather(self.connection, _SQL["owners"].replace("?", str(kind)), values, _OWNERS)

    @override
    def people(self, keys: Sequence[ProfileKey]) -> Iterable[tuple[Row, Seq | None]]:
        rows, bodies = gather_bodies(self.connection, _SQL["gathered_profiles"], keys, _PEOPLE)
        begin = 0
        for key, public, kept, length, last in rows:
            end = begin + length
            yield (key, public, bytes.fromhex(kept), bodies[begin:end]), last
            begin = end

    @override
    def occurrences(self, digests: Sequence[Digest]) -> Iterable[tuple[Digest, int, int, int, str]]:
        """The newest table first, and no other for what is found."""
        left, found = sorted(digests), set[Digest]()
        for (table,) in self.rows("seen.tables") if left else ():
            for shown, seq, verdict, content in gather(self.connection, _text("seen.find", table), left, _FOUND):
                digest = Digest(bytes.fromhex(shown))
                found.add(digest)
                yield digest, seq, verdict, content, table
            if found:
                left = [digest for digest in left if digest not in found]

    @override
    def add_seen(self, table: str) -> None:
        self.run("seen.create", table=table)
        self._show_seen()

    @override
    def drop_seen(self, table: str) -> None:
        self.run("seen.drop_view")
        self.run("seen.drop", table=table)
        self._show_seen()

    def _show_seen(self) -> None:
        """The view over all of them, made anew."""
        parts = [_text("seen.part", table) for (table,) in self.rows("seen.tables")] or [_SQL["seen.empty"]]
        self.run("seen.drop_view")
        self.connection.execute(_SQL["seen.create_view"].replace("{parts}", " UNION ALL ".join(parts)))


class SqliteReading(Reading):
    """Over the readers' connections."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    @override
    async def rows(self, name: str, said: Said = ()) -> list[Row]:
        return await self._readers.rows(_SQL[name], said)

    @override
    async def rows_in(self, name: str, values: Sequence[Any], *, before: Sequence[Any] = ()) -> list[Row]:
        return await self._readers.rows_in(_SQL[name], values, before=before)


def _text(name: str, table: str) -> str:
    return _SQL[name].replace("{table}", table)
