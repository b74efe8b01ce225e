"""``verify`` for the journal: SQLite's own check, every block's checksum and number, and the mark outside the database.

It reads everything and blocks: for a thread or a command, on a connection of its own.
"""

import sqlite3
from functools import partial
from pathlib import Path
from typing import Final

from cdmd.errors import Damaged
from cdmd.models import Seq
from cdmd.store.blocks import Block, examine_run
from cdmd.store.database import check_integrity, inspect
from cdmd.store.mark import check_mark, read_mark
from cdmd.store.sql import load_queries

_SQL: Final = load_queries("journal")


def verify_journal(path: Path, mark_path: Path) -> list[str]:
    """Every damage found in the journal at ``path``, one sentence each."""
    return [f"journal: {line}" for line in inspect(path, partial(_examine_all, mark_path))]


def examine_since(after: Seq, connection: sqlite3.Connection) -> list[str]:
    """What is wrong behind ``after``."""
    faults: list[str] = []
    before: Seq | None = None
    for row in connection.execute(_SQL["since"], (after,)):
        faults += examine_run([row], before=before)
        before = Block(*row).last
    head = head_of(connection)
    if before is not None and before != head:
        faults.append(f"the entries between {before} and {head} are missing")
    return faults


def head_of(connection: sqlite3.Connection) -> Seq:
    """The greatest number that was ever given."""
    row = connection.execute(_SQL["head"]).fetchone()
    return Seq(row[0]) if row else Seq(0)


def _examine_all(mark_path: Path, connection: sqlite3.Connection) -> list[str]:
    """The mark is read first: it is written again and again behind what is appended meanwhile."""
    faults, mark = list[str](), None
    try:
        mark = read_mark(mark_path)
    except Damaged as error:
        faults.append(str(error))
    faults += [*check_integrity(connection), *examine_since(Seq(0), connection)]
    ((journal_id,),) = connection.execute(_SQL["id"])
    try:
        check_mark(mark, journal_id=journal_id, head=head_of(connection), path=mark_path)
    except Damaged as error:
        faults.append(str(error))
    return faults
