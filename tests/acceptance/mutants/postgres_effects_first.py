"""Commits a batch's effects a moment before, and apart from, what says that they happened, in PostgreSQL."""

import threading
from typing import Any

from cdmd.models import Changes, Known, Wanted
from cdmd.store.postgres.store import PostgresStore
from cdmd.store.tables import Tables

_MOMENT = threading.Event()
_apply = PostgresStore._apply


def _sabotaged(self: PostgresStore, wanted: Wanted, decide: Any, tables: Tables) -> Changes:
    told: list[Changes] = []

    def effects(known: Known) -> Changes:
        changes: Changes = decide(known)
        told.append(Changes(position=changes.position, seen=changes.seen))
        changes.position, changes.seen = None, {}
        return changes

    _apply(self, wanted, effects, tables)
    _MOMENT.wait(0.01)
    return _apply(self, Wanted([], []), lambda _: told[0], tables)


PostgresStore._apply = _sabotaged  # type: ignore[method-assign]
