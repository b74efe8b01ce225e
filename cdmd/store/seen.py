"""Remembered occurrences: a table for each month of first sight, so that old months go at once and new ones stay small.

All functions run on the writer's thread within its transaction; readers use the view ``seen`` over all months.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from cdmd.models import Digest, Micros, Seen, to_micros
from cdmd.store.database import insert_many, select_in
from cdmd.store.sql import load_queries

_SQL: Final = load_queries("seen")
_DECEMBER: Final = 12


def months(connection: sqlite3.Connection) -> list[str]:
    """The tables there are, newest first."""
    return [name for (name,) in connection.execute(_SQL["months"])]


def find(
    connection: sqlite3.Connection, digests: Sequence[Digest], *, among: Sequence[str]
) -> tuple[dict[Digest, Seen], dict[Digest, str]]:
    """Which of ``digests`` are remembered, and in which of the tables ``among`` (newest first)."""
    found: dict[Digest, Seen] = {}
    where: dict[Digest, str] = {}
    left: list[Digest] = sorted(digests)
    for table in among:
        for digest, *rest in select_in(connection, _SQL["find"].format(table=table), left):
            found[digest], where[digest] = Seen(*rest), table
        if where:
            left = [digest for digest in left if digest not in where]
    return found, where


def remember(
    connection: sqlite3.Connection, changed: Mapping[Digest, Seen], *, where: Mapping[Digest, str], now: datetime
) -> None:
    """Write ``changed``: a remembered one in its own table (``where``), a new one in this month's."""
    fresh = sorted(_row(digest, seen) for digest, seen in changed.items() if digest not in where)
    if fresh:
        insert_many(connection, _SQL["insert"].format(table=_month_for(connection, now)), fresh)
    for digest, seen in changed.items():
        if digest in where:
            connection.execute(
                _SQL["update"].format(table=where[digest]),
                (seen.seq, int(seen.verdict), seen.content, digest),
            )


def forget_before(connection: sqlite3.Connection, moment: Micros) -> int:
    """Drop the months that ended before ``moment``; returns how many occurrences were forgotten."""
    forgotten, kept = 0, []
    for table in months(connection):
        if _end(table) > moment:
            kept.append(table)
            continue
        ((count,),) = connection.execute(_SQL["count"].format(table=table))
        connection.execute(_SQL["drop_view"])
        connection.execute(_SQL["drop"].format(table=table))
        forgotten += count
    _show(connection, kept)
    return forgotten


def _row(digest: Digest, seen: Seen) -> tuple[Any, ...]:
    return digest, seen.seq, int(seen.verdict), seen.content


def _month_for(connection: sqlite3.Connection, now: datetime) -> str:
    """This month's table. Never one before the newest: a clock that is set back must not make digests expire early."""
    existing, table = months(connection), f"seen_{now.astimezone(UTC):%Y%m}"
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
    year, month = int(table[5:9]), int(table[9:11])
    following = (year + 1, 1) if month == _DECEMBER else (year, month + 1)
    return to_micros(datetime(*following, 1, tzinfo=UTC))
