"""Journal, store and feeds of one state directory, opened together and checked against each other before anything listens."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread

from cdmd.contracts import Clock, Journal
from cdmd.errors import CdmdError, Damaged
from cdmd.models import Seq
from cdmd.store.feeds import SqliteFeeds
from cdmd.store.files import StateDirectory
from cdmd.store.journal import SqliteJournal
from cdmd.store.keys import Digester, load_key
from cdmd.store.store import SqliteStore


class Opened(NamedTuple):
    """What a daemon keeps its data in."""

    journal: Journal
    store: SqliteStore
    digester: Digester
    feeds: SqliteFeeds


@asynccontextmanager
async def open_state(
    directory: StateDirectory,
    *,
    clock: Clock,
    new_id: Callable[[], str],
    random: Callable[[int], bytes],
    named: Callable[[str], str] = str,
    shared: Callable[[Path], AbstractAsyncContextManager[Journal]] | None = None,
) -> AsyncIterator[Opened]:
    """Open the databases of a directory that is held (``StateDirectory.held``).

    ``new_id`` names a new journal, ``random`` makes a new key, ``named`` gives the name that a source's digests are made by,
    ``shared`` opens a journal that lies elsewhere, with its mark in the file that it is given.
    Raises ``Damaged``, ``NotDurable`` and ``SchemaUnknown``.
    """
    digester = Digester(await anyio.to_thread.run_sync(lambda: _key(directory, random)), named=named)
    if shared is not None and directory.journal.exists():
        raise CdmdError(
            f"{directory.root} has a journal of its own, and journal.url names another: take the key away, or begin with an "
            "empty daemon.state_dir"
        )
    async with (
        SqliteJournal.open(directory.journal, clock=clock, mark_path=directory.mark, new_id=new_id)
        if shared is None
        else shared(directory.mark)
    ) as journal:
        opened = SqliteStore.open(directory.store, clock=clock, journal_id=journal.id, digest=digester.occurrence)
        async with opened as store, SqliteFeeds.open(directory.feeds) as feeds:
            check_together(first=(await journal.statistics()).first, head=journal.head, position=store.position)
            await journal.check(store.synced)
            yield Opened(journal, store, digester, feeds)


def _key(directory: StateDirectory, random: Callable[[int], bytes]) -> bytes:
    """A new one only where nothing is kept yet: another one would know nobody who was suppressed, and no event again."""
    if directory.store.exists() and not directory.key.exists():
        raise Damaged(
            f"the digest key {directory.key} is missing, and what is kept here was written with it: put your copy of it there "
            "(it is in no backup)"
        )
    return load_key(directory.key, random=random)


def check_together(*, first: Seq, head: Seq, position: Seq) -> None:
    """Raise ``Damaged`` where events lie in neither of the two: the journal keeps ``first`` to ``head``."""
    mend = "put a backup in place with: cdmd restore FILE"
    if position > head:
        raise Damaged(f"the store has applied events up to {position}, but the journal ends at {head}; {mend}")
    if position + 1 < first:
        raise Damaged(f"the store ends at {position}, but the journal begins at {first}: events between are missing; {mend}")
