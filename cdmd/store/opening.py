"""Journal, store and feeds of one state directory, opened together and checked against each other before anything listens.

The store lies in the directory too, or in a database on a server. It never moves by itself: where it is not where it was,
nothing is started.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio.to_thread

from cdmd.contracts import Append, Clock, Feeds, Journal
from cdmd.errors import CdmdError, Damaged, NotDurable
from cdmd.models import Seq
from cdmd.store.feeds import SqliteFeeds
from cdmd.store.files import StateDirectory
from cdmd.store.journal import SqliteJournal
from cdmd.store.journal_remote import OwnJournal
from cdmd.store.keys import Digester, load_key
from cdmd.store.moves import JOURNAL_MOVE, JOURNAL_OWNER, MOVED_WHOLE, refuse_moved
from cdmd.store.remote import Own
from cdmd.store.store import SqliteStore
from cdmd.store.stored import KEY_CHECK, StoredStore

_KEY: Final = b"check"
_PATIENCE: Final = 60.0
"""Seconds. Longer than a fifth of what systemd's unit counts starts in, so that it never gives up."""
_PAUSE: Final = 1.0


_NO_TABLE: Final = "42P01"
"""Nobody has led yet (https://www.postgresql.org/docs/15/errcodes-appendix.html)."""


class Server(NamedTuple):
    """Where the store is, if not in the state directory: a database, and the password of its user.

    ``lanes``: into how many it is divided, where several daemons write it; ``name``, ``roles`` and ``settings`` (their digest)
    are this one's.
    """

    url: str
    password: str | None
    lanes: int = 1
    name: str = ""
    roles: Sequence[str] = ()
    settings: str = ""


class Apart(NamedTuple):
    """What is written by a process of its own, where it lies in the directory: the store by this one; whether the journal."""

    store: Own | None = None
    journal: bool = False


class Opened(NamedTuple):
    """What a daemon keeps its data in."""

    journal: Journal
    store: StoredStore
    digester: Digester
    feeds: Feeds


@asynccontextmanager
async def open_state(
    directory: StateDirectory,
    *,
    clock: Clock,
    new_id: Callable[[], str],
    random: Callable[[int], bytes],
    named: Callable[[str], str] = str,
    shared: Callable[[Path], AbstractAsyncContextManager[Journal]] | None = None,
    server: Server | None = None,
    apart: Apart = Apart(),  # noqa: B008 - it holds nothing
) -> AsyncIterator[Opened]:
    """Open the databases of a directory that is held (``StateDirectory.held``).

    ``new_id`` names a new journal, ``random`` makes a new key, ``named`` gives the name that a source's digests are made by,
    ``shared`` opens a journal that lies elsewhere, with its mark in the file that it is given; ``server`` has the store, if not
    the directory, ``apart`` has them written by processes of their own.
    Raises ``Damaged``, ``NotDurable``, ``SchemaUnknown``, and ``CdmdError`` where one was elsewhere before.
    """
    await anyio.to_thread.run_sync(check_place, directory, server)
    await anyio.to_thread.run_sync(partial(check_journal, directory, shared=shared is not None))
    digester = Digester(await anyio.to_thread.run_sync(lambda: _key(directory, random)), named=named)
    async with (
        SqliteJournal.open(
            directory.journal,
            clock=clock,
            mark_path=directory.mark,
            new_id=new_id,
            own=OwnJournal(directory.handles) if apart.journal else None,
        )
        if shared is None
        else shared(directory.mark)
    ) as journal:
        refuse_moved("journal", (await journal.get(JOURNAL_OWNER, [JOURNAL_MOVE])).get(JOURNAL_MOVE))
        if shared is not None:
            await _same_key(journal, digester, directory, clock)
        tenure = getattr(journal, "tenure", None)
        opening = partial(_store, directory, server, apart.store, tenure=tenure, head=journal.head)
        async with (
            opening(clock=clock, journal_id=journal.id, digest=digester.occurrence) as store,
            _feeds(directory, None if shared is None else server, tenure) as feeds,
        ):
            digester.form = store.form
            check_together(first=(await journal.statistics()).first, head=journal.head, position=store.position)
            if server is not None:
                await anyio.to_thread.run_sync(directory.say_elsewhere)
            await journal.check(store.synced)
            yield Opened(journal, store, digester, feeds)


def _store(
    directory: StateDirectory, server: Server | None, own: Own | None, *, tenure: int | None, head: Seq, **opening: Any
) -> AbstractAsyncContextManager[StoredStore]:
    if server is None:
        return SqliteStore.open(directory.store, own=own and own._replace(keep=directory.handles), **opening)
    # The driver is an extra: only who names a server needs it.
    if server.lanes > 1:
        among: Any = import_module("cdmd.store.postgres.shared")
        found: AbstractAsyncContextManager[StoredStore] = among.open_among(server, tenure=tenure, head=head, **opening)
        return found
    chosen: Any = import_module("cdmd.store.postgres.store")
    store: AbstractAsyncContextManager[StoredStore] = chosen.PostgresStore.open(server.url, server.password, **opening)
    return store


def _feeds(directory: StateDirectory, server: Server | None, tenure: int | None) -> AbstractAsyncContextManager[Feeds]:
    """Where neither journal nor store lies here, neither do the big tables of connectors."""
    if server is None:
        return SqliteFeeds.open(directory.feeds)
    chosen: Any = import_module("cdmd.store.postgres.feeds")
    feeds: AbstractAsyncContextManager[Feeds] = chosen.PostgresFeeds.open(
        server.url, server.password, tenure=tenure, file=directory.feeds
    )
    return feeds


def not_lost(server: Server) -> str | None:
    """Let those who are at work know that this node stands by; why the database cannot be used, None where it can.

    It was one of them before, may be, and was killed. It blocks. Raises ``ConfigInvalid`` for what is no address.
    """
    connecting: Any = import_module("cdmd.store.postgres.connecting")
    try:
        with connecting.connect(server.url, password=server.password) as connection:
            import_module("cdmd.store.postgres.tables").PostgresTables(connection).run("lanes.back", (server.name,))
    except connecting.Broken as error:
        return None if error.sqlstate == _NO_TABLE else str(connecting.why(error))
    return None


def check_place(directory: StateDirectory, server: Server | None) -> None:
    """Raise ``CdmdError`` where the store was in another place before, or is about to be put here. It blocks."""
    if (directory.moving / MOVED_WHOLE).exists():
        raise CdmdError(f"cdmd migrate did not finish putting in place what it moved to {directory.root}: run it again")
    if server is None and directory.elsewhere.exists():
        raise CdmdError(
            f"the store of {directory.root} is a database on a server, but store.url does not name one: name it again; "
            f"or remove {directory.elsewhere} to begin with an empty store"
        )
    if server is not None and directory.store.exists():
        raise CdmdError(
            f"{directory.store} holds what was stored so far and does not move to store.url by itself: move it with cdmd "
            "migrate, go on without store.url, or begin anew with another daemon.state_dir"
        )


def check_journal(directory: StateDirectory, *, shared: bool) -> None:
    """Raise where the journal is in another place than before, ahead of any empty one that would be made here. It blocks."""
    if shared and directory.journal.exists():
        raise CdmdError(
            f"{directory.root} has a journal of its own, and journal.url names another: move it with cdmd migrate, take the "
            "key away, or begin with an empty daemon.state_dir"
        )
    if not shared and directory.mark.exists() and not directory.journal.exists():
        raise Damaged(
            f"there is no {directory.journal}, but there was a journal when {directory.mark} was written: if it lies on "
            "servers, name them again as journal.url; else put a backup in place with: cdmd restore FILE; or, to begin with an "
            f"empty one, remove {directory.mark}"
        )


def _key(directory: StateDirectory, random: Callable[[int], bytes]) -> bytes:
    """A new one only where nothing is kept yet: another one would know nobody who was suppressed, and no event again."""
    if (directory.store.exists() or directory.elsewhere.exists()) and not directory.key.exists():
        raise Damaged(
            f"the digest key {directory.key} is missing, and what is kept here was written with it: put your copy of it there "
            "(it is in no backup)"
        )
    return load_key(directory.key, random=random)


async def _same_key(journal: Journal, digester: Digester, directory: StateDirectory, clock: Clock) -> None:
    """A journal that outlives a state directory is read with the key that it began with. Raises ``Damaged``.

    Who only follows it waits for the one that writes to say which one that is.
    """
    mine, until = digester.occurrence(*KEY_CHECK), clock.monotonic() + _PATIENCE
    while (kept := (await journal.get(JOURNAL_OWNER, [_KEY])).get(_KEY)) is None:
        try:
            await journal.append([Append(connector=JOURNAL_OWNER, state={_KEY: mine})])
        except NotDurable:
            if clock.monotonic() >= until:
                raise
            await clock.sleep(_PAUSE)
    if kept != mine:
        raise Damaged(
            f"the journal was written with another digest key than {directory.key}: put the copy that belongs to it there; "
            "with this one nobody who was suppressed would be known"
        )


def check_together(*, first: Seq, head: Seq, position: Seq) -> None:
    """Raise ``Damaged`` where events lie in neither of the two: the journal keeps ``first`` to ``head``."""
    mend = "put a backup in place with: cdmd restore FILE"
    if position > head:
        raise Damaged(f"the store has applied events up to {position}, but the journal ends at {head}; {mend}")
    if position + 1 < first:
        raise Damaged(f"the store ends at {position}, but the journal begins at {first}: events between are missing; {mend}")
