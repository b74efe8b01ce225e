"""Prunes up to what is applied instead of what is synced; a power cut takes back the one, and then the other is needed."""

from cdmd.daemon import upkeep
from cdmd.models import Micros
from cdmd.store.journal import SqliteJournal

_prune = SqliteJournal.prune


async def _sabotaged(self: upkeep.Upkeep) -> None:
    await _prune(self._journal, before=Micros(2**62), upto=self._store.position)


upkeep.PRUNE_EVERY = 0.05  # type: ignore[misc]
upkeep.Upkeep.prune = _sabotaged  # type: ignore[method-assign]
