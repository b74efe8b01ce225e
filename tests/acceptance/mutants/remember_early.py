"""Remembers an id before its commit (on a slow disk), so that a repeat in flight is acknowledged at once.

A repeat of what the journal refused is acknowledged too, for ever.
"""

import asyncio
import threading
from collections.abc import Iterable
from typing import Any

from cdmd.intake.recent import Recent
from cdmd.models import Digest, Seq
from cdmd.store.journal import SqliteJournal

_MOMENT = threading.Event()
_depart, _commit = Recent.depart, SqliteJournal._commit


def _remembering(self: Recent, occurrences: Iterable[tuple[Digest, int]]) -> "asyncio.Future[Seq]":
    self._young.update(dict(list(occurrences)))
    return _depart(self, occurrences)


def _slowly(self: SqliteJournal, *arguments: Any) -> Any:
    _MOMENT.wait(0.03)
    return _commit(self, *arguments)


Recent.depart = _remembering  # type: ignore[method-assign]
SqliteJournal._commit = _slowly  # type: ignore[method-assign]
