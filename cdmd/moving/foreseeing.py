"""What a move would come to, told without moving or locking anything: also while the daemon runs."""

from collections.abc import Mapping
from functools import partial
from typing import Final

import msgspec
from anyio.to_thread import run_sync

from cdmd.errors import CdmdError
from cdmd.moving.beside import check_target
from cdmd.moving.journals import FileEnd, check_owner
from cdmd.moving.migration import Plan, check, identity
from cdmd.moving.places import Installation, asked, look, opened, read_store
from cdmd.moving.stores import claim, sizes
from cdmd.store.bulk import Bulk
from cdmd.store.journal_bulk import FileJournal
from cdmd.store.moves import Move

_ROWS_A_SECOND: Final = 20_000
_ENTRIES_A_SECOND: Final = 10_000
_MESSAGES_A_SECOND: Final = 500
"""Rounded down from tests.bench.cluster on two busy cores; a commit of the journal is a message on servers."""


class Foreseen(msgspec.Struct, frozen=True, kw_only=True):
    """Rows by part and table, bytes by part, about how many seconds, and why it would not be done (None: it would)."""

    parts: Mapping[str, Mapping[str, int]]
    bytes: Mapping[str, int]
    seconds: float
    refused: str | None


async def foresee(plan: Plan) -> Foreseen:
    """Raises ``BadArguments``, ``NotFound``, and ``CdmdError`` where what is to be moved cannot be looked at."""
    await run_sync(check, plan)
    parts, size, seconds = dict[str, Mapping[str, int]](), dict[str, int](), 0.0
    async with opened(partial(read_store, plan.source)) as store:
        move = plan.move(await asked(partial(identity, plan.source), store), gone=False)
        if plan.stores:
            parts["store"], size["store"] = await asked(_sizes, store)
            seconds += sum(parts["store"].values()) / _ROWS_A_SECOND
    if plan.journals:
        first, head, size["journal"] = await _journal(plan.source)
        parts["journal"] = {"entries": head - first + 1}
        servers = plan.source.journal.url is not None or plan.target.journal.url is not None
        seconds += (head - first + 1) / (_MESSAGES_A_SECOND if servers else _ENTRIES_A_SECOND)
    if plan.elsewhere and await run_sync(plan.source.directory.feeds.exists):
        size["feeds"] = (await run_sync(plan.source.directory.feeds.stat)).st_size
    return Foreseen(parts=parts, bytes=size, seconds=seconds, refused=await _refused(plan, move))


def _sizes(store: Bulk) -> tuple[dict[str, int], int]:
    return sizes(store), store.size()


async def _journal(source: Installation) -> tuple[int, int, int]:
    """The first and the last entry, about, and bytes."""
    if source.journal.url is not None:
        seen = await look(source)
        if seen is None:
            raise CdmdError(f"there is no journal at {source.journal_place}")
        return seen.first, seen.head, seen.bytes
    journal = await run_sync(FileJournal.read, source.directory.journal)
    try:
        _, first, head = await FileEnd(journal, id="").facts()
        return first, head, await run_sync(journal.size)
    finally:
        await run_sync(journal.close)


async def _refused(plan: Plan, move: Move) -> str | None:
    """What the target holds that would stop it, as far as that is seen without making anything there."""
    target = plan.target
    try:
        await run_sync(check_target, plan.source, target, move)
        if plan.stores and target.store.url is not None:
            async with opened(partial(read_store, target)) as store:
                await asked(lambda bulk: claim(bulk.meta(), move, where=target.store_place), store)
        if plan.journals and target.journal.url is not None:
            seen = await look(target)
            check_owner(seen.id if seen is not None else None, move, where=target.journal_place)
    except CdmdError as error:
        return str(error)
    return None
