"""``verify`` for the store: SQLite's own check, every row's checksum, and the running totals against the rows.

It reads everything and blocks: for a thread or a command, on a connection of its own.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cdmd.errors import Damaged
from cdmd.store.database import check_integrity, inspect
from cdmd.store.rows import faults_of, read_activity, read_letter, read_merge, read_parked, read_profile, read_queued, row_sum
from cdmd.store.sql import load_queries

_SQL: Final = load_queries("store")
_OUTBOX: Final = load_queries("outbox")
_READ: Final = {
    "all_profiles": read_profile,
    "all_activities": read_activity,
    "all_merges": read_merge,
    "all_dead_letters": read_letter,
    "all_parked": read_parked,
}


def verify_store(path: Path) -> list[str]:
    """Every damage found in the store at ``path``, one sentence each."""
    return [f"store: {line}" for line in inspect(path, _examine)]


def _examine(connection: sqlite3.Connection) -> list[str]:
    faults = check_integrity(connection)
    for name, read in _READ.items():
        faults += faults_of(connection.execute(_SQL[name]), read)
    faults += faults_of(connection.execute(_SQL["all_identifiers"]), _read_identifier)
    faults += faults_of(connection.execute(_OUTBOX["all_outbox"]), read_queued)
    ((lost,),) = connection.execute(_SQL["lost_owners"])
    if lost:
        faults.append(f"{lost} identifiers belong to profiles that are not there")
    ((loose,),) = connection.execute(_SQL["loose_activities"])
    if loose:
        faults.append(f"{loose} activities are not found from their profiles")
    for name, kept, really in connection.execute(_SQL["miscounted_members"]):
        faults.append(f"the audience {name} should have {kept} members, but there are {really}")
    for name, kept, really in connection.execute(_OUTBOX["miscounted_targets"]):
        faults.append(f"{kept} deliveries should wait for the target {name}, but there are {really}")
    return faults + _examine_totals(connection)


def _read_identifier(row: Sequence[Any]) -> None:
    *columns, kept = row
    if row_sum(columns) != kept:
        raise Damaged(f"an identifier of profile {row[2]} does not match its checksum")


def _examine_totals(connection: sqlite3.Connection) -> list[str]:
    kept = dict(connection.execute(_SQL["totals"]))
    real = dict(
        zip(("activities", "dead_letters", "parked", "parked_bytes"), *connection.execute(_SQL["real_totals"]), strict=True)
    )
    return [f"{name} should be {kept[name]}, but there are {count}" for name, count in real.items() if kept[name] != count]
