"""Acknowledges before the commit (on a slow disk, so that what lies between is long enough to be hit)."""

import threading
from typing import Any

from cdmd.intake.queue import JournalQueue
from cdmd.models import Seq
from cdmd.store.journal import SqliteJournal

_MOMENT = threading.Event()
_begin, _commit = JournalQueue._begin, SqliteJournal._commit


def _sabotaged(self: JournalQueue) -> None:
    _begin(self)
    for waiting in self._begun[0] if self._begun is not None else ():
        waiting.acknowledge(Seq(1), None)


def _slowly(self: SqliteJournal, *arguments: Any) -> Any:
    _MOMENT.wait(0.005)
    return _commit(self, *arguments)


JournalQueue._begin = _sabotaged  # type: ignore[method-assign]
SqliteJournal._commit = _slowly  # type: ignore[method-assign]
