"""Remembered occurrences: a table for each quarter of first sight: old ones go without a search, new ones stay small.

A new occurrence is looked for in every table there is: five or six for 400 days, where months would be fourteen. A table is
named by its first month. All functions run on the writer's thread within its transaction; readers use the view ``seen``.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from cdmd.models import Digest, Micros, Seen, Seq, to_micros
from cdmd.store.chunks import gather, insert_many
from cdmd.store.sql import load_queries

_SQL: Final = load_queries("seen")
_FOUND: Final = msgspec.json.Decoder(list[tuple[str, int, int, int]])
_DECEMBER: Final = 12
_QUARTER: Final = 3
SLICE: Final = 2_000
"""Occurrences that are forgotten in one transaction: some ten milliseconds."""


def tables(connection: sqlite3.Connection) -> list[str]:
    """The tables there are, newest first."""
    return [name for (name,) in connection.execute(_SQL["tables"])]


def find(
    connection: sqlite3.Connection, digests: Sequence[Digest], *, among: Sequence[str]
) -> tuple[dict[Digest, Seen], dict[Digest, str]]:
    """Which of ``digests`` are remembered, and in which of the tables ``among`` (newest first)."""
    found: dict[Digest, Seen] = {}
    where: dict[Digest, str] = {}
    left: list[Digest] = sorted(digests)
    for table in among:
        for shown, seq, verdict, content in gather(connection, _SQL["find"].format(table=table), left, _FOUND):
            digest = Digest(bytes.fromhex(shown))
            found[digest], where[digest] = Seen(Seq(seq), verdict, content), table
        if where:
            left = [digest for digest in left if digest not in where]
    return found, where


def remember(
    connection: sqlite3.Connection, changed: Mapping[Digest, Seen], *, where: Mapping[Digest, str], now: datetime
) -> None:
    """Write ``changed``: a remembered one in its own table (``where``), a new one in this quarter's."""
    fresh = sorted(_row(digest, seen) for digest, seen in changed.items() if digest not in where)
    if fresh:
        insert_many(connection, _SQL["insert"].format(table=_table_for(connection, now)), fresh)
    for digest, seen in changed.items():
        if digest in where:
            connection.execute(
                _SQL["update"].format(table=where[digest]),
                (seen.seq, int(seen.verdict), seen.content, digest),
            )


def forget_some(connection: sqlite3.Connection, moment: Micros) -> int | None:
    """Forget up to ``SLICE`` occurrences of a table that ended before ``moment``; None when there are no more.

    A table goes slice by slice, because all of it at once holds up the writer for seconds; one that remembers an event that
    is kept stays from there on.
    """
    there = tables(connection)
    for table in reversed(there):
        if _end(table) > moment:
            break
        rows = connection.execute(_SQL["first"].format(table=table), (SLICE,)).fetchall()
        if not rows:
            _drop(connection, table, there)
            return 0
        if not _holds_kept(connection, [seq for _, seq in rows]):
            connection.execute(_SQL["forget"].format(table=table), (rows[-1][0],))
            return len(rows)
    return None


def _drop(connection: sqlite3.Connection, table: str, there: Sequence[str]) -> None:
    """Drop an empty table; the view is made anew without it."""
    connection.execute(_SQL["drop_view"])
    connection.execute(_SQL["drop"].format(table=table))
    _show(connection, [one for one in there if one != table])


def _holds_kept(connection: sqlite3.Connection, seqs: Sequence[int]) -> bool:
    """Whether one of these events is kept, applied, waiting or dead: its redelivery must be known for as long."""
    ((kept,),) = connection.execute(_SQL["holds_kept"], {"seqs": msgspec.json.encode(seqs).decode()})
    return bool(kept)


def _row(digest: Digest, seen: Seen) -> tuple[Any, ...]:
    return digest, seen.seq, int(seen.verdict), seen.content


def _table_for(connection: sqlite3.Connection, now: datetime) -> str:
    """This quarter's table. Never one before the newest: a clock that is set back must not make digests expire early."""
    moment = now.astimezone(UTC)
    existing, table = tables(connection), f"seen_{moment.year:04}{moment.month - (moment.month - 1) % _QUARTER:02}"
    if existing and existing[0] >= table:
        return existing[0]
    connection.execute(_SQL["create"].format(table=table))
    _show(connection, [table, *existing])
    return table


def _show(connection: sqlite3.Connection, tables: Sequence[str]) -> None:
    parts = [_SQL["part"].format(table=table) for table in tables] or [_SQL["empty"]]
    connection.execute(_SQL["drop_view"])
    connection.execute(_SQL["create_view"].format(parts=" UNION ALL ".join(parts)))


def _end(table: str) -> Micros:
    year, month = int(table[5:9]), int(table[9:11]) + _QUARTER
    following = (year, month) if month <= _DECEMBER else (year + 1, month - _DECEMBER)
    return to_micros(datetime(*following, 1, tzinfo=UTC))
