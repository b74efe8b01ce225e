"""The high-water mark: a small file outside the databases that says how far the journal was once known to reach.

SQLite takes a damaged write-ahead log for a shorter one and says nothing; against the mark it shows. Sequence numbers are
consecutive, so the head is the running count of entries as well.
"""

import os
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread
import msgspec

from cdmd.errors import Damaged, NotDurable
from cdmd.models import Seq


class Mark(msgspec.Struct, frozen=True):
    """The journal's identity and its head when the mark was written."""

    journal_id: str
    head: Seq


class Marker:
    """Keeps the mark in the file ``path`` for a journal that is used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: Mark | None = None

    async def check(self, now: Callable[[], Mark]) -> None:
        """Raise ``Damaged`` where the journal is another one or shorter than the mark in the file says.

        ``now`` is asked when that has been read: meanwhile both may go on.
        """
        found = await anyio.to_thread.run_sync(read_mark, self._path)
        mark = now()
        check_mark(found, journal_id=mark.journal_id, head=mark.head, path=self._path)

    async def write(self, mark: Mark) -> None:
        """Put it into the file, if it is not there already. Raises ``NotDurable``."""
        if mark == self._written:
            return
        try:
            await anyio.to_thread.run_sync(write_mark, self._path, mark)
        except OSError as error:
            raise NotDurable(f"the mark {self._path} cannot be written: {error.strerror}") from error
        self._written = mark


def read_mark(path: Path) -> Mark | None:
    """The mark, or None where there is none yet. Raises ``Damaged`` on a file that is no mark."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Mark)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Damaged(
            f"{path} cannot be understood: {error}; check with: cdmd verify, then remove the file to go on"
        ) from error


def write_mark(path: Path, mark: Mark) -> None:
    """Put the mark in place as a whole and synced. Raises OSError."""
    fresh = path.with_name(path.name + ".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.encode(mark))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make names that were just created or renamed in ``path`` last. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_mark(mark: Mark | None, *, journal_id: str, head: Seq, path: Path) -> None:
    """Raise ``Damaged`` where the journal is another one or shorter than the mark says."""
    if mark is None:
        return
    mend = f"put a backup in place with: cdmd restore FILE; or, to go on with what is left, remove {path}"
    if mark.journal_id != journal_id:
        raise Damaged(f"the journal is not the one that {path} was written for (it was replaced or made anew); {mend}")
    if head < mark.head:
        raise Damaged(f"the journal ends at {head}, but it once reached {mark.head}: acknowledged events are missing; {mend}")
