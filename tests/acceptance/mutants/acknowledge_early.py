"""Acknowledges before the commit."""

from cdmd.intake.queue import JournalQueue, _Waiting
from cdmd.models import Seq

_commit = JournalQueue._commit


async def _sabotaged(self: JournalQueue, batch: list[_Waiting]) -> None:
    for waiting in batch:
        if not waiting.done.done():
            waiting.done.set_result(Seq(1))
    await _commit(self, batch)


JournalQueue._commit = _sabotaged  # type: ignore[method-assign]
