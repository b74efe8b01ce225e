"""A copy of the journal as a file, taken while it runs: the same that SQLite's journal makes of itself."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from anyio.to_thread import run_sync

from cdmd.cluster.beside import Beside, Checkpoint
from cdmd.cluster.entries import Entries
from cdmd.models import Seq
from cdmd.store.journal_copy import JournalCopy

_PAGE: Final = 500


async def copy_journal(entries: Entries, beside: Beside, target: Path, *, place: Callable[[], Checkpoint]) -> None:
    """Write the state as it is, then the entries up to a moment that is not before; nothing is pruned meanwhile.

    So the copy's state is never ahead of its entries. Raises ``CdmdError``; then there is no file.
    """
    copy = await run_sync(JournalCopy.begin, target)
    try:
        for name in await beside.owners():
            async for rows in _pages(beside, name):
                await run_sync(copy.state, name, rows)
        counts, reached = beside.counts, place()
        async for found in entries.behind(Seq(0), end=reached.entries):
            await run_sync(copy.blocks, [found.piece.block])
        await run_sync(partial(copy.finish, journal_id=reached.journal_id, head=reached.head, counts=counts))
    except BaseException:
        with anyio.CancelScope(shield=True):
            await run_sync(copy.drop)
        raise


async def _pages(beside: Beside, connector: str) -> AsyncIterator[list[tuple[bytes, bytes]]]:
    rows = list[tuple[bytes, bytes]]()
    async for row in beside.scan(connector, b"", page=_PAGE):
        rows.append(row)
        if len(rows) == _PAGE:
            yield rows
            rows = []
    yield rows
