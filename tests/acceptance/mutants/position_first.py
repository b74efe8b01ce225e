"""Moves the store's position in a transaction of its own, a moment before that of the effects."""

import threading
from typing import Any

from cdmd.models import Changes, Known, Wanted
from cdmd.store.sqlite_tables import SqliteTables
from cdmd.store.store import SqliteStore

_MOMENT = threading.Event()
_apply = SqliteStore._apply


def _sabotaged(self: SqliteStore, wanted: Wanted, decide: Any, tables: SqliteTables) -> Changes:
    position = decide.position
    if position is not None:
        with tables.transaction():
            tables.connection.execute("UPDATE positions SET seq = ?", (position,))
        _MOMENT.wait(0.01)

    def decided(known: Known) -> Changes:
        changes: Changes = decide(known)
        return changes

    return _apply(self, wanted, decided, tables)


SqliteStore._apply = _sabotaged  # type: ignore[method-assign]
