"""Prunes whatever is in the journal, applied or not."""

from cdmd.daemon import upkeep
from cdmd.models import Micros
from cdmd.store.journal import SqliteJournal

_prune = SqliteJournal.prune


async def _sabotaged(self: upkeep.Upkeep) -> None:
    await _prune(self._journal, before=Micros(2**62), upto=self._journal.head)


upkeep.PRUNE_EVERY = 0.002  # type: ignore[misc]
upkeep.Upkeep.prune = _sabotaged  # type: ignore[method-assign]
