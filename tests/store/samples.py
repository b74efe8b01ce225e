"""Entries, a clock that stands still until it is moved, and a connect that fails on demand."""

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cdmd.contracts import Append
from cdmd.models import Entry, Event, encode_entry

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class HandClock:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.moment = START

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return (self.moment - START).total_seconds()

    async def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def event(number: int, *, source: str = "shop", kind: str = "order.paid", **fields: Any) -> Event:
    return Event(
        id=f"evt-{number}",
        source=source,
        type=kind,
        time=START,
        received=START,
        identifiers={"email": f"user{number}@example.com"},
        data={"total": number, "padding": "x" * 100},
        **fields,
    )


def entry(number: int) -> Entry:
    return Entry(event(number))


def append_of(
    *numbers: int,
    connector: str = "shop",
    state: Mapping[bytes, bytes | None] | None = None,
    counts: Mapping[str, int] | None = None,
) -> Append:
    entries = [entry(number) for number in numbers]
    encoded = [encode_entry(one) for one in entries]
    return Append(connector=connector, entries=entries, encoded=encoded, state=state or {}, counts=counts or {})


_IN_ONE = ("BEGIN", "INSERT INTO blocks", "COMMIT")


class Disk:
    """Stands where ``sqlite3.connect`` stands; what is set on it happens to every connection, new and old."""

    def __init__(self) -> None:
        self.full = False
        self.fail_on: str | None = None
        self.failure: Exception = sqlite3.OperationalError("disk I/O error")
        self.opened = 0
        self.impatient = False
        self.commits: list[int] = []
        """How hard each commit was synced: 1 (NORMAL) or 2 (FULL)."""

    def connect(self, path: Any, **options: Any) -> sqlite3.Connection:
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                return super().execute(self.happened(sql), *parameters)

            def executemany(self, sql: str, parameters: Any) -> sqlite3.Cursor:
                return super().executemany(self.happened(sql), parameters)

            def happened(self, sql: str) -> str:
                """What is set on the disk, to this statement."""
                alone = sql.startswith("INSERT INTO appended")  # one statement that is a transaction of its own
                if disk.fail_on is not None and (sql.startswith(disk.fail_on) or (alone and disk.fail_on in _IN_ONE)):
                    raise disk.failure
                if disk.impatient and sql.startswith("PRAGMA busy_timeout"):
                    return "PRAGMA busy_timeout = 1"
                if alone or sql.startswith("BEGIN"):
                    (pages,) = super().execute("PRAGMA page_count").fetchone()
                    super().execute(f"PRAGMA max_page_count = {pages + 1 if disk.full else 2**31 - 2}").fetchone()
                if alone or sql == "COMMIT":
                    disk.commits += super().execute("PRAGMA synchronous").fetchone()
                return sql

        self.opened += 1
        return sqlite3.connect(path, factory=Connection, **options)
