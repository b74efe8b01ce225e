"""Remembered occurrences: a table for each quarter of first sight: old ones go without a search, new ones stay small.

A new occurrence is looked for in every table there is: five or six for 400 days, where months would be fourteen. A table is
named by its first month. All functions run on the writer's thread within its transaction; readers ask all of them, as ``seen``.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from cdmd.models import Digest, Micros, Seen, Seq, to_micros
from cdmd.store.tables import Tables

_DECEMBER: Final = 12
_QUARTER: Final = 3
SLICE: Final = 2_000
"""Occurrences that are forgotten in one transaction: some ten milliseconds."""


def named(tables: Tables) -> list[str]:
    """The tables there are, newest first."""
    return [name for (name,) in tables.rows("seen.tables")]


def find(tables: Tables, digests: Sequence[Digest]) -> tuple[dict[Digest, Seen], dict[Digest, str]]:
    """Which of ``digests`` are remembered, and in which table."""
    found: dict[Digest, Seen] = {}
    where: dict[Digest, str] = {}
    for digest, seq, verdict, content, table in tables.occurrences(digests):
        found[digest], where[digest] = Seen(Seq(seq), verdict, content), table
    return found, where


def remember(tables: Tables, changed: Mapping[Digest, Seen], *, where: Mapping[Digest, str], now: datetime) -> None:
    """Write ``changed``: a remembered one in its own table (``where``), a new one in this quarter's."""
    fresh = sorted(_row(digest, seen) for digest, seen in changed.items() if digest not in where)
    if fresh:
        tables.insert("seen.insert", fresh, table=_table_for(tables, now))
    again: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for digest, table in where.items():
        if (seen := changed.get(digest)) is not None:
            again[table].append((seen.seq, int(seen.verdict), seen.content, digest))
    for table, rows in again.items():
        tables.run_many("seen.update", rows, table=table)


def forget_some(tables: Tables, moment: Micros) -> int | None:
    """Forget up to ``SLICE`` occurrences of a table that ended before ``moment``; None when there are no more.

    A table goes slice by slice, because all of it at once holds up the writer for seconds; one that remembers an event that
    is kept stays from there on.
    """
    there = named(tables)
    for table in reversed(there):
        if _end(table) > moment:
            break
        rows = tables.rows("seen.first", (SLICE,), table=table)
        if not rows:
            tables.drop_seen(table)
            return 0
        if not _holds_kept(tables, [seq for _, seq in rows]):
            tables.run("seen.forget", (rows[-1][0],), table=table)
            return len(rows)
    return None


def _holds_kept(tables: Tables, seqs: Sequence[int]) -> bool:
    """Whether one of these events is kept, applied, waiting or dead: its redelivery must be known for as long."""
    ((kept,),) = tables.rows("seen.holds_kept", {"seqs": msgspec.json.encode(seqs).decode()})
    return bool(kept)


def _row(digest: Digest, seen: Seen) -> tuple[Any, ...]:
    return digest, seen.seq, int(seen.verdict), seen.content


def _table_for(tables: Tables, now: datetime) -> str:
    """This quarter's table. Never one before the newest: a clock that is set back must not make digests expire early."""
    moment = now.astimezone(UTC)
    existing, table = named(tables), f"seen_{moment.year:04}{moment.month - (moment.month - 1) % _QUARTER:02}"
    if existing and existing[0] >= table:
        return existing[0]
    tables.add_seen(table)
    return table


def _end(table: str) -> Micros:
    year, month = int(table[5:9]), int(table[9:11]) + _QUARTER
    following = (year, month) if month <= _DECEMBER else (year + 1, month - _DECEMBER)
    return to_micros(datetime(*following, 1, tzinfo=UTC))
