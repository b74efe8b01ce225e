"""A journal's file as what is copied whole into another journal or from one: blocks, state and counters as they are.

It blocks: for a thread. Not here: when what is copied (``cdmd.moving``), and a journal that is used (``journal``).
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from cdmd.contracts import Append
from cdmd.models import Seq
from cdmd.store.beside import put_beside
from cdmd.store.blocks import Block, reach
from cdmd.store.chunks import Row, select_in
from cdmd.store.database import Plan, connect_writer, opening, transaction, why
from cdmd.store.journal_checking import head_of
from cdmd.store.moves import JOURNAL_OWNER
from cdmd.store.sql import load_migrations, load_queries
from cdmd.store.sqlite_bulk import connect_reader

_SQL: Final = load_queries("journal")
_PAGE: Final = 500
_BLOCKS: Final = 64
_BYTES: Final = 4 * 2**20


class FileJournal:
    """On one connection. What the database refuses is raised as ``broken``."""

    broken = sqlite3.Error

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def read(cls, path: Path) -> Self:
        """One that nobody writes, and that is not written. Raises ``CdmdError``, also where its schema is an older one."""
        return cls(connect_reader(path, "journal"))

    @classmethod
    def write(cls, path: Path) -> Self:
        """One that is filled, or that is told that it was moved. Raises ``CdmdError``."""
        plan = Plan(name="journal", migrations=load_migrations("journal"), synchronous="FULL", autocheckpoint=4_000)
        with opening("journal", path):
            return cls(connect_writer(path, plan, connect=sqlite3.connect))

    def why(self, error: Exception) -> str:
        """The reason of a ``broken``."""
        return why(error)

    def close(self) -> None:
        """Give the connection up."""
        self._connection.close()

    @property
    def id(self) -> str:
        """Whose it is; empty for a new one."""
        row = self._connection.execute(_SQL["id"]).fetchone()
        return row[0] if row else ""

    @property
    def head(self) -> Seq:
        """The last number that was ever given."""
        return head_of(self._connection)

    @property
    def first(self) -> Seq:
        """The first entry that is kept, or the next one."""
        row = self._connection.execute(_SQL["first"]).fetchone()
        return Seq(row[0]) if row else Seq(self.head + 1)

    def size(self) -> int:
        """Bytes that all of it takes."""
        ((size,),) = self._connection.execute(_SQL["bytes"])
        return int(size)

    def blocks(self, after: Seq) -> list[Block]:
        """Some blocks behind ``after``, in order; empty where there are no more."""
        sizes = self._connection.execute(_SQL["sizes"], (after, _BLOCKS)).fetchall()
        upto = reach([(1, last, size) for last, _, size in sizes], limit=_BLOCKS, most=_BYTES)
        return [Block(*row) for row in self._connection.execute(_SQL["range"], (after, upto))]

    def owners(self) -> list[str]:
        """Whose state there is."""
        return [name for (name,) in self._connection.execute(_SQL["owners"])]

    def pages(self, owner: str) -> Iterator[list[tuple[bytes, bytes]]]:
        """An owner's state in key order."""
        start = b""
        while rows := self._connection.execute(_SQL["scan_state"], (owner, start, _PAGE)).fetchall():
            yield rows
            start = rows[-1][0] + b"\0"

    def values(self, owner: str, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """An owner's state at those keys."""
        return dict(select_in(self._connection, _SQL["get_state"], keys, before=[owner]))

    def counts(self) -> dict[tuple[str, str], int]:
        """What the door had counted."""
        rows: Iterable[Row] = self._connection.execute(_SQL["counts"])
        return {(connector, name): value for connector, name, value in rows}

    # ---- filling -----------------------------------------------------------------------------------------------------

    def begin_at(self, journal_id: str, first: Seq) -> None:
        """Hold nothing any more but what it says of itself, and begin with entry ``first``."""
        with transaction(self._connection):
            self._connection.execute(_SQL["empty_blocks"])
            self._connection.execute(_SQL["empty_counts"])
            for owner in self.owners():
                if owner != JOURNAL_OWNER:
                    self._connection.execute(_SQL["forget"], (owner,))
            self._connection.execute(_SQL["forget_id"])
            self._connection.execute(_SQL["set_id"], (journal_id,))
            self._connection.execute(_SQL["forget_head"])
            self._connection.execute(_SQL["set_head"], (first - 1,))

    def put(self, blocks: Sequence[Block]) -> None:
        """Add blocks, in order."""
        with transaction(self._connection):
            self._connection.executemany(_SQL["append"], blocks)

    def put_beside(self, owner: str, state: Mapping[bytes, bytes | None], counts: Mapping[str, int]) -> None:
        """Change an owner's state, and add to its counters."""
        with transaction(self._connection):
            put_beside(self._connection, [Append(connector=owner, state=state, counts=counts)])
