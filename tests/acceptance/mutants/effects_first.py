"""Commits a batch's effects a moment before, and apart from, what says that they happened (the ids seen and the position)."""

import sqlite3
import threading
from typing import Any

from cdmd.models import Changes, Known, Wanted
from cdmd.store.store import SqliteStore

_MOMENT = threading.Event()
_apply = SqliteStore._apply


def _sabotaged(self: SqliteStore, wanted: Wanted, decide: Any, connection: sqlite3.Connection) -> Changes:
    told: list[Changes] = []

    def effects(known: Known) -> Changes:
        changes: Changes = decide(known)
        told.append(Changes(position=changes.position, seen=changes.seen))
        changes.position, changes.seen = None, {}
        return changes

    _apply(self, wanted, effects, connection)
    _MOMENT.wait(0.01)
    return _apply(self, Wanted([], []), lambda _: told[0], connection)


SqliteStore._apply = _sabotaged  # type: ignore[method-assign]
