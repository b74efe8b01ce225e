"""What a batch changes about audiences: who entered and left, when profiles are due. Functions for the writer's thread."""

import sqlite3
from collections import Counter
from typing import Final

from cdmd.models import Changes, Notice
from cdmd.store.chunks import insert_many
from cdmd.store.sql import load_queries

NOTICES: Final = 100_000
"""How many of the last times that somebody entered or left are kept."""

_SQL: Final = load_queries("store")


def write_audiences(connection: sqlite3.Connection, changes: Changes) -> None:
    """Due moments, memberships with their numbers, notices and failures, in the order of their tables."""
    if changes.due:
        gone = sorted((at, key) for key, at in changes.due.items() if at is not None)
        connection.executemany(_SQL["not_due"], gone)
        fresh = [(changes.profiles[key].due, key) for key in changes.due if changes.profiles[key].due is not None]
        insert_many(connection, "INSERT INTO due (at, profile)", sorted(fresh), tail="ON CONFLICT DO NOTHING")
    if changes.notices or changes.failures:
        ids = _ids(connection, {one.audience for one in changes.notices} | changes.failures.keys())
        _move(connection, changes.notices, ids)
        failed = [(one.missing, one.failed, one.fault, ids[name]) for name, one in changes.failures.items()]
        connection.executemany(_SQL["audience_failed"], failed)


def _ids(connection: sqlite3.Connection, names: set[str]) -> dict[str, int]:
    known = dict(connection.execute(_SQL["audience_ids"]))
    if missing := sorted(names - known.keys()):
        connection.executemany(_SQL["add_audience"], [(name,) for name in missing])
        known = dict(connection.execute(_SQL["audience_ids"]))
    return known


def _move(connection: sqlite3.Connection, notices: list[Notice], ids: dict[str, int]) -> None:
    """Who is in after all of them; the numbers move with the rows, so that a repeat moves neither."""
    last = {(ids[one.audience], one.profile): one for one in notices}
    left = sorted(place for place, one in last.items() if not one.entered)
    entered = sorted((*place, one.at) for place, one in last.items() if one.entered)
    moved: Counter[int] = Counter()
    for audience, profile in left:
        moved[audience] -= connection.execute(_SQL["leave"], (audience, profile)).rowcount
    for audience in {row[0] for row in entered}:
        before = connection.total_changes
        fresh = [row for row in entered if row[0] == audience]
        insert_many(connection, "INSERT INTO members (audience, profile, since)", fresh, tail="ON CONFLICT DO NOTHING")
        moved[audience] += connection.total_changes - before
    connection.executemany(_SQL["audience_moved"], [(number, audience) for audience, number in moved.items() if number])
    columns = "INSERT INTO notices (id, audience, profile, public, entered, at, reason)"
    rows = [(one.id, one.audience, one.profile, one.public, one.entered, one.at, one.reason) for one in notices]
    insert_many(connection, columns, rows)
    if rows:
        connection.execute(_SQL["forget_notices"], (NOTICES,))
