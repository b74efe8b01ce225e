"""How a batch is written in SQLite: in one transaction, synced where what it says of people could be other after a power cut.

After a power cut the journal is applied again, and an extension may answer otherwise then. So what names or joins people is on
the disk before anybody can see it, where an extension had a say in what may not be there yet. Not here: the tables' details.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from typing_extensions import override

from cdmd.contracts import Decide
from cdmd.models import Changes, Wanted
from cdmd.store.batches import Found, look_up, write
from cdmd.store.database import Connect, Plan, connect_writer, emptied, synced_commits
from cdmd.store.sql import load_migrations
from cdmd.store.sqlite_tables import SqliteTables
from cdmd.store.tables import Tables

PLAN: Final = Plan(name="store", migrations=load_migrations("store"), synchronous="NORMAL", autocheckpoint=16_000)
"""Checkpoints go beside the writer; it begins its log anew itself where those never find it at rest."""


class Sway:
    """Whether an extension had a say in what may not be on the disk yet; it outlives a connection."""

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending = False


class WriterTables(Tables, Protocol):
    """The tables for the store's one writer."""

    @property
    def usable(self) -> bool:
        """False where they must be opened anew."""
        ...

    def sway(self, *, more: bool) -> bool:
        """What comes is swayed, too, or not; whether anything is that may not be on the disk yet."""
        ...

    def synced(self) -> AbstractContextManager[None]:
        """What is committed inside is on the disk, with all before it, before a reader sees it."""
        ...

    def emptied(self) -> bool:
        """Move everything out of the write-ahead log and cut it; False where somebody reads from it still."""
        ...


class SqliteWriterTables(SqliteTables, WriterTables):
    """On the connection that writes."""

    def __init__(self, connection: sqlite3.Connection, sway: Sway) -> None:
        super().__init__(connection)
        self._sway = sway

    @classmethod
    def open(cls, path: Path, sway: Sway, *, connect: Connect = sqlite3.connect) -> "SqliteWriterTables":
        """Raises as ``connect_writer``."""
        return cls(connect_writer(path, PLAN, connect=connect), sway)

    @property
    @override
    def usable(self) -> bool:
        return True

    @override
    def sway(self, *, more: bool) -> bool:
        self._sway.pending |= more
        return self._sway.pending

    @override
    @contextmanager
    def synced(self) -> Iterator[None]:
        with synced_commits(self.connection, PLAN):
            yield
        self._sway.pending = False

    @override
    def emptied(self) -> bool:
        return emptied(self.connection)


def apply(wanted: Wanted, decide: Decide, tables: WriterTables, *, now: Callable[[], datetime]) -> Changes:
    """All of a batch."""
    with tables.transaction():
        found = look_up(tables, wanted)
        changes = decide(found.known)
        at_once = not _names(tables, changes)
        if at_once:
            write(tables, changes, found, now=now())
    if not at_once:
        # How hard it syncs cannot be changed within a transaction; nobody else writes, so ``found`` still holds.
        put(tables, changes, found, now=now)
    return changes


def put(tables: WriterTables, changes: Changes, found: Found, *, now: Callable[[], datetime]) -> None:
    """What was decided, in a transaction of its own."""
    with tables.synced() if _names(tables, changes) else nullcontext(), tables.transaction():
        write(tables, changes, found, now=now())


def _names(tables: WriterTables, changes: Changes) -> bool:
    """Whether it names or joins people while an extension had a say in what may not be on the disk yet."""
    return tables.sway(more=changes.swayed) and bool(changes.owners or changes.newcomers or changes.merges)
