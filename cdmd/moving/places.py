"""Where an installation lies, as its configuration says, and how its parts are opened to be moved."""

import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from anyio.to_thread import run_sync

from cdmd.config.sharing import JournalSettings
from cdmd.config.storing import StoreSettings
from cdmd.contracts import Clock
from cdmd.errors import CdmdError, NotFound
from cdmd.moving.journals import FileEnd, JournalEnd, StreamEnd
from cdmd.store.bulk import Bulk
from cdmd.store.files import StateDirectory
from cdmd.store.journal_bulk import FileJournal
from cdmd.store.moves import MOVED_WHOLE
from cdmd.store.sqlite_bulk import SqliteBulk

_HOLDER: Final = "cdmd migrate"
T = TypeVar("T")
TOKEN: Final = "inbox.token"  # noqa: S105 - a file's name
"""The token of the webhook that is there without any configuration."""


class Files(NamedTuple):
    """What grows in a directory until it is whole."""

    folder: Path

    @property
    def store(self) -> Path:
        """The store."""
        return self.folder / "store.db"

    @property
    def journal(self) -> Path:
        """The journal."""
        return self.folder / "journal.db"

    @property
    def feeds(self) -> Path:
        """The connectors' big tables."""
        return self.folder / "feeds.db"

    @property
    def mark(self) -> Path:
        """The mark of a journal on servers while it is moved."""
        return self.folder / "mark"

    @property
    def whole(self) -> Path:
        """Is there once all is copied and compared: what is left is to put it where it belongs."""
        return self.folder / MOVED_WHOLE


class Installation(NamedTuple):
    """What a configuration names. The directory's path is resolved, so that another name of it is no other one."""

    directory: StateDirectory
    journal: JournalSettings
    store: StoreSettings

    @property
    def root(self) -> Path:
        """The state directory."""
        return self.directory.root

    @property
    def growing(self) -> Files:
        """What is being moved here."""
        return Files(self.directory.moving)

    @property
    def journal_place(self) -> str:
        """Where the journal lies, for a person."""
        return str(self.root / "journal.db") if self.journal.url is None else f"{self.journal.url} ({self.journal.name})"

    @property
    def store_place(self) -> str:
        """Where the store lies, for a person."""
        return str(self.root / "store.db") if self.store.url is None else self.store.url

    @property
    def password(self) -> str | None:
        """For the store's database."""
        return None if self.store.password is None else self.store.password.reveal().decode()


def read_store(one: Installation) -> Bulk:
    """The store as it is, to be read; it blocks. Raises ``CdmdError``, ``NotFound`` where there is none."""
    if one.store.url is not None:
        bulk: Bulk = _postgres().read(one.store.url, one.password)
        return bulk
    if not one.directory.store.exists():
        raise NotFound(f"there is no store in {one.root}")
    return SqliteBulk.read(one.directory.store)


def write_store(one: Installation, path: Path) -> Bulk:
    """The store to be written: where it lies on a server, else the file ``path``; it blocks. Raises ``CdmdError``."""
    return SqliteBulk.write(path) if one.store.url is None else _postgres().write(one.store.url, one.password)


@asynccontextmanager
async def opened(opening: Callable[[], Bulk]) -> AsyncIterator[Bulk]:
    """Open it in a thread, and close it."""
    bulk = await run_sync(opening)
    try:
        yield bulk
    finally:
        await run_sync(bulk.close)


async def asked(ask: Callable[..., T], *bulks: Bulk) -> T:
    """What ``ask`` answers of these, in a thread. Raises ``CdmdError`` where a database refuses."""
    try:
        return await run_sync(ask, *bulks)
    except tuple(bulk.broken for bulk in bulks) as error:
        said = next(bulk.why(error) for bulk in bulks if isinstance(error, bulk.broken))
        raise CdmdError(f"a store cannot be read or written: {said}") from error


def source_journal(one: Installation, *, clock: Clock, mark: Path) -> AbstractAsyncContextManager[JournalEnd]:
    """The journal as it is. Raises ``CdmdError``, ``InUse`` while a daemon writes it, ``NotFound`` where there is none."""
    if one.journal.url is not None:
        return _stream(one, journal_id="", clock=clock, mark=mark)
    return _file(partial(_read_file, one), journal_id="")


def target_journal(
    one: Installation, *, journal_id: str, clock: Clock, path: Path, mark: Path
) -> AbstractAsyncContextManager[JournalEnd]:
    """The journal to be written: where it lies on servers, else the file ``path``. Raises as ``source_journal``."""
    if one.journal.url is not None:
        return _stream(one, journal_id=journal_id, clock=clock, mark=mark)
    return _file(lambda: FileJournal.write(path), journal_id=journal_id)


async def look(one: Installation) -> Any:
    """What ``cdmd.cluster.bulk.look`` finds where the journal lies on servers."""
    cluster: Any = import_module("cdmd.cluster.bulk")
    return await cluster.look(import_module("cdmd.cluster.opening").place_of(one.journal, holder=None))


@asynccontextmanager
async def _file(opening: Callable[[], FileJournal], *, journal_id: str) -> AsyncIterator[JournalEnd]:
    journal = await run_sync(opening)
    try:
        yield FileEnd(journal, id=journal_id)
    finally:
        await run_sync(journal.close)


@asynccontextmanager
async def _stream(one: Installation, *, journal_id: str, clock: Clock, mark: Path) -> AsyncIterator[JournalEnd]:
    # The client is an extra: only who names servers needs it.
    cluster: Any = import_module("cdmd.cluster.bulk")
    place = import_module("cdmd.cluster.opening").place_of(
        one.journal, holder=f"{_HOLDER}:{socket.gethostname()}:{mark.parent}"
    )
    opening = cluster.JetStreamBulk.open_as(place, id=journal_id, writer=uuid.uuid4().hex, clock=clock, mark_path=mark)
    async with opening as journal:
        yield StreamEnd(journal)


def _read_file(one: Installation) -> FileJournal:
    if not one.directory.journal.exists():
        raise NotFound(f"there is no journal in {one.root}")
    return FileJournal.read(one.directory.journal)


def _postgres() -> Any:
    # The driver is an extra: only who names a server needs it.
    return import_module("cdmd.store.postgres.bulk").PostgresBulk
