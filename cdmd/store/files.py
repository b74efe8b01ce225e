"""The state directory: private, used by one daemon at a time, and where each file in it lies."""

import fcntl
import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import anyio.to_thread

from cdmd.errors import CdmdError, InUse

SCRATCH: Final = "scratch-"
"""How folders are named that a backup or restore works in; what a kill left of them goes with the next start."""
_BETWEEN_LOOKS: Final = 0.02
_LOOKS: Final = 500
"""Ten seconds: the store's own process ends at once, but for a write that the disk has not answered yet."""


class StateDirectory(NamedTuple):
    """The paths below one state directory. ``handles`` are open where it is held: of the lock."""

    root: Path
    handles: tuple[int, ...] = ()

    @property
    def journal(self) -> Path:
        """The journal's database."""
        return self.root / "journal.db"

    @property
    def store(self) -> Path:
        """The store's database."""
        return self.root / "store.db"

    @property
    def elsewhere(self) -> Path:
        """Is there where the store is a database on a server, so that nobody begins an empty one here by mistake."""
        return self.root / "store.elsewhere"

    def say_elsewhere(self) -> None:
        """Put that there. Raises OSError."""
        self.elsewhere.write_text("The store of this directory is a database on a server: the one that store.url names.\n")

    @property
    def feeds(self) -> Path:
        """The big tables of connectors."""
        return self.root / "feeds.db"

    @property
    def mark(self) -> Path:
        """The high-water mark of the journal."""
        return self.root / "mark"

    @property
    def key(self) -> Path:
        """The digest key. It is no part of a backup."""
        return self.root / "keys" / "digest.key"

    @property
    def scratch(self) -> Path:
        """Where connectors have a folder each for what is needed only while they run."""
        return self.root / f"{SCRATCH}connectors"

    @property
    def rehearsal(self) -> Path:
        """Where the history is resolved anew."""
        return self.root / f"{SCRATCH}rehearsal"

    @property
    def moving(self) -> Path:
        """Where what is moved here from elsewhere grows until it is whole; no scratch: a kill must leave it."""
        return self.root / "migrating"

    @property
    def lock(self) -> Path:
        """Locked while a daemon or a restore uses the directory; holds its process id."""
        return self.root / "lock"

    @property
    def private(self) -> tuple[Path, ...]:
        """The files that nobody touches but the daemon itself."""
        return (self.journal, self.store, self.elsewhere, self.feeds, self.mark, self.key, self.lock)

    @contextmanager
    def held(self) -> Iterator["StateDirectory"]:
        """Make the directory (0700) where it is missing and keep everybody else out; it blocks briefly.

        Raises ``InUse`` where somebody is in, ``CdmdError`` where it cannot be made.
        """
        handle = self._take()
        try:
            yield self._replace(handles=(handle,))
        finally:
            os.close(handle)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator["StateDirectory"]:
        """``held`` for a coroutine."""
        handle = await anyio.to_thread.run_sync(self._take)
        try:
            yield self._replace(handles=(handle,))
        finally:
            os.close(handle)

    def _take(self) -> int:
        try:
            for folder in (self.root, self.key.parent):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.chmod(0o700)
            handle = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CdmdError(f"the state directory {self.root} cannot be used: {error.strerror}") from error
        try:
            _lock(handle, self.root)
        except OSError as error:
            os.close(handle)
            raise CdmdError(f"the state directory {self.root} cannot be used: {error.strerror}") from error
        except InUse:
            os.close(handle)
            raise
        for scratch in self.root.glob(f"{SCRATCH}*"):
            shutil.rmtree(scratch)
        return handle


def _lock(handle: int, root: Path) -> None:
    """Where whoever holds it is gone, the store's own process, which holds it too, is about to follow: it is waited for."""
    looks = 0
    while not _locked(handle):
        other = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
        if looks >= _LOOKS or _lives(other):
            raise InUse(
                f"the state directory {root} is used by another cdmd (process {other}); stop it first or choose another"
            )
        looks += 1
        threading.Event().wait(_BETWEEN_LOOKS)
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _lives(process: str) -> bool:
    """Whether there is such a process; one that nobody knows the number of is taken to live."""
    return not process.isdecimal() or Path(f"/proc/{process}").exists()
