"""Remembers an id before its commit (on a slow disk), so that a repeat in flight is acknowledged at once.

A repeat of what the journal refused is acknowledged too, for ever.
"""

import threading
from typing import Any

from cdmd.intake.recent import Flight, Name, Recent
from cdmd.store.journal import SqliteJournal

_MOMENT = threading.Event()
_depart, _commit = Recent.depart, SqliteJournal._commit


def _remembering(self: Recent, name: Name, content: int, flight: Flight, *, brief: bool = False) -> Flight | bool:
    met = _depart(self, name, content, flight, brief=brief)
    self._young[name] = content
    return met


def _slowly(self: SqliteJournal, *arguments: Any) -> Any:
    _MOMENT.wait(0.03)
    return _commit(self, *arguments)


Recent.depart = _remembering  # type: ignore[method-assign]
SqliteJournal._commit = _slowly  # type: ignore[method-assign]
