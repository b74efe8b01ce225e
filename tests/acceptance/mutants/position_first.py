"""Moves the store's position in a transaction of its own, a moment before that of the effects."""

import sqlite3
import threading
from typing import Any

from cdmd.models import Changes, Known, Wanted
from cdmd.store.database import transaction
from cdmd.store.store import SqliteStore

_MOMENT = threading.Event()
_apply = SqliteStore._apply


def _sabotaged(self: SqliteStore, wanted: Wanted, decide: Any, connection: sqlite3.Connection) -> Changes:
    position = decide._position
    if position is not None:
        with transaction(connection):
            connection.execute("UPDATE positions SET seq = ?", (position,))
        _MOMENT.wait(0.01)

    def decided(known: Known) -> Changes:
        changes: Changes = decide(known)
        return changes

    return _apply(self, wanted, decided, connection)


SqliteStore._apply = _sabotaged  # type: ignore[method-assign]
