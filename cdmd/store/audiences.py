"""What a batch changes about audiences: who entered and left, when profiles are due. Functions for the writer's thread."""

from collections import Counter
from typing import Final

from cdmd.models import Changes, Notice
from cdmd.store.tables import Tables

NOTICES: Final = 100_000
"""How many of the last times that somebody entered or left are kept."""


def write_audiences(tables: Tables, changes: Changes) -> None:
    """Due moments, memberships with their numbers, notices and failures, in the order of their tables."""
    if changes.due:
        gone = sorted((was, key) for key, (was, _) in changes.due.items() if was is not None)
        tables.run_many("not_due", gone)
        tables.insert("put_due", sorted((due, key) for key, (_, due) in changes.due.items() if due is not None))
    if changes.notices or changes.failures:
        ids = _ids(tables, {one.audience for one in changes.notices} | changes.failures.keys())
        _move(tables, changes.notices, ids)
        failed = [(one.missing, one.failed, one.fault, ids[name]) for name, one in sorted(changes.failures.items())]
        tables.run_many("audience_failed", failed)


def _ids(tables: Tables, names: set[str]) -> dict[str, int]:
    known: dict[str, int] = dict(tables.rows("audience_ids"))
    if missing := sorted(names - known.keys()):
        tables.run_many("add_audience", [(name,) for name in missing])
        known = dict(tables.rows("audience_ids"))
    return known


def _move(tables: Tables, notices: list[Notice], ids: dict[str, int]) -> None:
    """Who is in after all of them; the numbers move with the rows, so that a repeat moves neither."""
    last = {(ids[one.audience], one.profile): one for one in notices}
    left = sorted(place for place, one in last.items() if not one.entered)
    entered = sorted((*place, one.at) for place, one in last.items() if one.entered)
    moved: Counter[int] = Counter()
    for audience, profile in left:
        moved[audience] -= tables.run("leave", (audience, profile))
    for audience in sorted({row[0] for row in entered}):
        fresh = [row for row in entered if row[0] == audience]
        moved[audience] += tables.insert("put_members", fresh)
    tables.run_many("audience_moved", [(number, audience) for audience, number in sorted(moved.items()) if number])
    rows = [(one.id, one.audience, one.profile, one.public, int(one.entered), one.at, one.reason) for one in notices]
    tables.insert("put_notices", rows)
    if rows:
        tables.run("forget_notices", (NOTICES,))
