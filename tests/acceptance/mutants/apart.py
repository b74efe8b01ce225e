"""Commits a batch's effects a moment before, and apart from, what says that they happened: of whichever store it is given."""

import threading
from typing import Any

from cdmd.models import Changes, Known, Wanted
from cdmd.store.stored import StoredStore
from cdmd.store.tables import Tables

_MOMENT = threading.Event()


def commit_apart(store: type[StoredStore]) -> None:
    """From now on the effects of a batch are written first, then the ids seen and the position."""
    apply = store._apply

    def sabotaged(self: StoredStore, wanted: Wanted, decide: Any, tables: Tables) -> Changes:
        told: list[Changes] = []

        def effects(known: Known) -> Changes:
            changes: Changes = decide(known)
            told.append(Changes(position=changes.position, seen=changes.seen))
            changes.position, changes.seen = None, {}
            return changes

        apply(self, wanted, effects, tables)
        _MOMENT.wait(0.01)
        return apply(self, Wanted([], []), lambda _: told[0], tables)

    store._apply = sabotaged  # type: ignore[method-assign]
