"""``verify`` for the store: SQLite's own check, every row's checksum, whose identifiers are, and the running totals.

It reads everything and blocks: for a thread or a command, on a connection of its own.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cdmd.errors import Damaged
from cdmd.models import ProfileState
from cdmd.store.batches import owners_of
from cdmd.store.database import check_integrity, inspect
from cdmd.store.rows import faults_of, read_activity, read_letter, read_merge, read_parked, read_profile, read_queued, row_sum
from cdmd.store.sqlite_tables import SqliteTables
from cdmd.store.tables import Tables

_PAGE: Final = 1_000
_READ: Final = {
    "all_activities": read_activity,
    "all_merges": read_merge,
    "all_dead_letters": read_letter,
    "all_parked": read_parked,
}


def verify_store(path: Path) -> list[str]:
    """Every damage found in the store at ``path``, one sentence each."""
    return [f"store: {line}" for line in inspect(path, _examine)]


def _examine(connection: sqlite3.Connection) -> list[str]:
    return check_integrity(connection) + examine_tables(SqliteTables(connection))


def examine_tables(tables: Tables) -> list[str]:
    """What does not match its checksum, what is not found, and what was counted wrongly."""
    ((lost,),) = tables.rows("lost_owners")
    faults = _examine_profiles(tables, lost=lost)
    for name, read in _READ.items():
        faults += faults_of(tables.each(name), read)
    faults += faults_of(tables.each("all_identifiers"), _read_identifier)
    faults += faults_of(tables.each("outbox.all_outbox"), read_queued)
    if lost:
        faults.append(f"{lost} identifiers belong to profiles that are not there")
    ((loose,),) = tables.rows("loose_activities")
    if loose:
        faults.append(f"{loose} activities are not found from their profiles")
    for name, kept, really in tables.rows("miscounted_members"):
        faults.append(f"the audience {name} should have {kept} members, but there are {really}")
    for name, kept, really in tables.rows("outbox.miscounted_targets"):
        faults.append(f"{kept} deliveries should wait for the target {name}, but there are {really}")
    return faults + _examine_totals(tables)


def _examine_profiles(tables: Tables, *, lost: int) -> list[str]:
    """Their checksums, and whether the identifiers that the living ones list are their own, or those of one merged into them.

    ``lost``: how many identifiers are those of nobody who is there.
    """
    faults, strange, own, after = list[str](), 0, 0, 0
    while rows := tables.rows("profiles_after", (after, _PAGE)):
        states: list[tuple[int, ProfileState]] = []
        faults += faults_of(rows, lambda row, found=states: found.append((row[0], read_profile(row))))  # type: ignore[misc]
        living = [(key, state) for key, state in states if state.merged_into is None]
        listed = {((one.kind, one.value), key): {key, *state.members} for key, state in living for one in state.identifiers}
        owners = owners_of(tables, [pair for pair, _ in listed])
        theirs = sum(owners.get(pair) in keys for (pair, _), keys in listed.items())
        strange, own, after = strange + len(listed) - theirs, own + theirs, rows[-1][0]
    ((there,),) = tables.rows("count_identifiers")
    if there > own + lost and not faults:  # what cannot be read may well list them
        faults.append(f"{there - own - lost} identifiers belong to profiles that do not list them")
    if strange:
        faults.append(f"{strange} identifiers that profiles list belong to others or to nobody")
    return faults


def _read_identifier(row: Sequence[Any]) -> None:
    *columns, kept = row
    if row_sum(columns) != kept:
        raise Damaged(f"an identifier of profile {row[2]} does not match its checksum")


def _examine_totals(tables: Tables) -> list[str]:
    kept: dict[str, int] = dict(tables.rows("totals"))
    real = dict(zip(("activities", "dead_letters", "parked", "parked_bytes"), *tables.rows("real_totals"), strict=True))
    return [f"{name} should be {kept[name]}, but there are {count}" for name, count in real.items() if kept[name] != count]
