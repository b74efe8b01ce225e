"""The journal's database as its writer has it: opened so that it is checked, and one commit after the other put into it.

For the writer's thread, or a process of its own (``journal_process``). Not here: who waits for a commit (``journal``).
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cdmd.contracts import Append
from cdmd.errors import Damaged
from cdmd.models import Micros, Seq
from cdmd.store.beside import counts_of, put_beside
from cdmd.store.blocks import Block, examine_run, pack
from cdmd.store.database import Connect, Plan, connect_writer, transaction
from cdmd.store.journal_checking import head_of
from cdmd.store.sql import load_migrations, load_queries

_SQL: Final = load_queries("journal")
_PLAN: Final = Plan(
    name="journal", migrations=load_migrations("journal"), synchronous="FULL", autocheckpoint=1_000, cache_kib=4_096
)
_TAIL_BLOCKS: Final = 64
_PRUNE_BLOCKS: Final = 16


class Commit(NamedTuple):
    """What goes into the journal together, from ``first`` on if nothing before it fails; ``block`` is it packed, if it is.

    ``appends`` are looked at for their state and counters only.
    """

    appends: Sequence[Append]
    encoded: Sequence[bytes]
    first: Seq
    written: Micros
    block: Block | None = None


class Appender:
    """Opens the database at ``path`` as often as it must be, and knows how far it has come."""

    def __init__(self, path: Path, *, connect: Connect) -> None:
        self._path, self._connect = path, connect
        self.head = Seq(0)
        """The last number that was committed."""

    def open(self, acknowledged: Seq) -> sqlite3.Connection:
        """At the start and after every failure: what was acknowledged must be there.

        Raises sqlite3.Error, ``SchemaUnknown`` and ``Damaged``.
        """
        connection = connect_writer(self._path, _PLAN, connect=self._connect)
        try:
            connection.executescript(_SQL["appended"])
            _check_tail(connection, acknowledged=acknowledged)
            self.head = head_of(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def commit(self, commit: Commit, connection: sqlite3.Connection) -> Seq:
        """Put it in, synced; the first number of it. Raises sqlite3.Error."""
        appends, encoded, expected, written, block = commit
        first = Seq(self.head + 1)
        if encoded and (block is None or first != expected):
            block = pack(first, encoded, written=written)
        if block is not None and not any(append.state for append in appends):
            # For a single ``execute`` the interpreter is let go of once more, to ask for the row's number.
            connection.executemany(_SQL["append_at_once"], ((*block, counts_of(appends) or "[]"),))
        else:
            with transaction(connection):
                if block is not None:
                    connection.execute(_SQL["append"], block)
                put_beside(connection, appends)
        self.head = Seq(first + len(encoded) - 1)
        return first


def _check_tail(connection: sqlite3.Connection, *, acknowledged: Seq) -> None:
    head = head_of(connection)
    if head < acknowledged:
        raise Damaged(f"the journal ends at {head}, but {acknowledged} was acknowledged")
    rows = connection.execute(_SQL["tail"], (_TAIL_BLOCKS,)).fetchall()
    faults = examine_run(rows[::-1], before=None)
    if faults:
        raise Damaged(f"the journal is damaged: {faults[0]}; put a backup in place with: cdmd restore FILE")


def identify(new_id: str, connection: sqlite3.Connection) -> tuple[str, Seq]:
    """The journal's name, ``new_id`` where it has none yet, and its head."""
    with transaction(connection):
        row = connection.execute(_SQL["id"]).fetchone()
        if row is None:
            row = (new_id,)
            connection.execute(_SQL["set_id"], row)
    return row[0], head_of(connection)


def forget(connector: str, connection: sqlite3.Connection) -> int:
    """Drop the connector's state."""
    return connection.execute(_SQL["forget"], (connector,)).rowcount


def prune(before: Micros, upto: Seq, connection: sqlite3.Connection) -> int:
    """A few blocks at a time, so that no append waits long behind it."""
    with transaction(connection):
        rows = connection.execute(_SQL["prunable"], {"before": before, "upto": upto, "limit": _PRUNE_BLOCKS}).fetchall()
        if rows:
            connection.execute(_SQL["prune"], (rows[-1][0],))
    return sum(last - first + 1 for last, first in rows)
