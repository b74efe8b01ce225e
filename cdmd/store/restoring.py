"""Backup and restore of all databases in one file.

The format is a tar of ``store.db``, ``journal.db``, ``feeds.db`` and, last, ``manifest.json`` with their versions, ids,
positions and SHA-256. The store is copied first, then the journal, then the feeds, with pruning held: so the journal reaches at
least as far as the store, and the feeds have every table that the journal names. An older version's backup may have no feeds.
The digest key is not in it; it is exported apart.
"""

import errno
import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import anyio
import anyio.to_thread
import msgspec

from cdmd.contracts import Clock, Feeds, Journal
from cdmd.errors import CdmdError, Damaged
from cdmd.models import LANE, Seq, show_time
from cdmd.store.checking import verify_store
from cdmd.store.copying import copy_database
from cdmd.store.feeds import SqliteFeeds, verify_feeds
from cdmd.store.files import SCRATCH, StateDirectory
from cdmd.store.journal_checking import verify_journal
from cdmd.store.mark import Mark, read_mark, sync_directory, write_mark
from cdmd.store.sql import load_queries
from cdmd.store.store import SqliteStore
from cdmd.store.stored import StoredStore

_FORMAT: Final = 1
_MANIFEST: Final = "manifest.json"
_NAMES: Final = ("store.db", "journal.db", "feeds.db")
_OPTIONAL: Final = "feeds.db"
_ASIDE: Final = "before-restore-"
_CHUNK: Final = 2**20
_ROOM: Final = "make room or name a file on another disk, and try again"
_ALLOWED: Final = "name a file where the daemon's user may write (the service's own unit may forbid a folder, too)"
_ADVICE: Final = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _ALLOWED),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), "make its folder first"),
    errno.EEXIST: "a backup never takes the place of another file: name a new one",
    errno.EISDIR: "name a file, not a folder",
    errno.ENAMETOOLONG: "name it shorter",
}
_JOURNAL: Final = load_queries("journal")
_STORE: Final = load_queries("store")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself. ``checksums`` are SHA-256 in hex by member; ``position`` is the store's."""

    format: int
    version: str
    created: str
    journal_id: str
    head: Seq
    position: Seq
    checksums: Mapping[str, str]


async def backup(journal: Journal, store: StoredStore, feeds: Feeds, target: Path, *, clock: Clock, version: str) -> Manifest:
    """A backup of all three at ``target`` (0600, must not exist), taken while they run. ``version`` is the program's.

    Raises ``CdmdError``; then there is no file. A store on a server is copied with the server's own tools.
    """
    if not isinstance(store, SqliteStore) or not isinstance(feeds, SqliteFeeds):
        raise CdmdError("the store is a database on a server: back it up there, with pg_dump or pg_basebackup")
    run = anyio.to_thread.run_sync
    try:
        folder = Path(await run(partial(tempfile.mkdtemp, dir=store.path.parent, prefix=SCRATCH)))
        try:
            async with journal.unpruned(), feeds.unremoved():
                await run(copy_database, store.path, folder / "store.db")
                await journal.backup(folder / "journal.db")
                await run(copy_database, feeds.path, folder / "feeds.db")
            return await run(partial(_pack, folder, target, created=show_time(clock.now()), version=version))
        finally:
            with anyio.CancelScope(shield=True):
                await run(shutil.rmtree, folder)
    except (OSError, CdmdError) as error:
        raise CdmdError(f"the backup {target} could not be written: {_why(error)}") from error


def _why(error: OSError | CdmdError) -> str:
    """The reason, and what to do about it."""
    if not isinstance(error, OSError):
        return f"{error}; nothing of it is left; try again, and look through the databases with: cdmctl verify"
    advice = _ADVICE.get(error.errno or 0, "look into the system's log, or name a file on another disk")
    return f"{error.strerror}; nothing of it is left; {advice}"


def kept_state(directory: StateDirectory, owner: str) -> dict[bytes, bytes] | None:
    """What the journal of ``directory`` keeps beside its entries for ``owner``; None where it is lost or cannot be read.

    After a restore that was cut off it is the journal that this put aside. It blocks; raises as ``StateDirectory.held``.
    """
    with directory.held():
        journal = _last_journal(directory)
    if journal is None:
        new = not (directory.mark.exists() or directory.store.exists() or _asides(directory.root))
        return {} if new else None
    try:
        return dict(_rows(journal, _JOURNAL["scan_state"], (owner, b"", -1)))
    except sqlite3.Error:
        return None


def _last_journal(directory: StateDirectory) -> Path | None:
    """The journal that was last in use, whole: where it lies aside without its log, that follows it.

    One that lies aside was the last only while the mark says so, which is written when a restore has come to its end.
    """
    if directory.journal.exists():
        return directory.journal
    for aside in reversed(_asides(directory.root)):
        if _is_marked(aside / directory.journal.name, directory.mark):
            _set_aside(directory.journal, aside)
            return aside / directory.journal.name
    return None


def _is_marked(journal: Path, mark: Path) -> bool:
    try:
        found = read_mark(mark)
        return found is not None and _rows(journal, _JOURNAL["id"]) == [(found.journal_id,)]
    except (Damaged, sqlite3.Error):
        return False


def _rows(path: Path, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.close()


def restore(
    file: Path,
    directory: StateDirectory,
    *,
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    state: Mapping[tuple[str, bytes], bytes] = {},
) -> Manifest:
    """Put the backup ``file`` in place of what ``directory`` holds, which is kept beside it under a new name; it blocks.

    ``state`` by (owner, key) is laid over what the backup's journal keeps beside its entries, before anything is in place.

    The journal gets the identity ``new_id``: numbers that were given out after the backup are given out again, for other
    events, and what is computed from both (public ids) must not be the same again.
    Raises ``InUse`` while a daemon uses the directory, ``Damaged`` where the backup is not whole: then nothing was changed.
    """
    with directory.held(), tempfile.TemporaryDirectory(dir=directory.root, prefix=SCRATCH) as folder:
        fresh = Path(folder)
        try:
            manifest = _unpack(file, fresh)
        except (tarfile.TarError, EOFError, OSError, msgspec.DecodeError) as error:
            raise Damaged(f"the backup {file} cannot be read: {error}") from error
        faults = verify_store(fresh / "store.db") + verify_journal(fresh / "journal.db", fresh / "mark")
        if (fresh / _OPTIONAL).exists():
            faults += verify_feeds(fresh / _OPTIONAL)
        if faults:
            raise Damaged(f"the backup {file} is damaged: {faults[0]}")
        journal_id = new_id()
        for name in ("store.db", "journal.db"):
            _rename(fresh / name, journal_id)
        _lay_over(fresh / "journal.db", state)
        _swap(fresh, directory)
        write_mark(directory.mark, Mark(journal_id, manifest.head))
    return manifest


def _rename(path: Path, journal_id: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(_JOURNAL["rename"], (journal_id,))
    finally:
        connection.close()


def _lay_over(path: Path, state: Mapping[tuple[str, bytes], bytes]) -> None:
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.executemany(_JOURNAL["put_state"], [(*key, value) for key, value in state.items()])
    finally:
        connection.close()


def _pack(folder: Path, target: Path, *, created: str, version: str) -> Manifest:
    manifest = _describe(folder, created=created, version=version)
    _write_file(target, folder, manifest)
    return manifest


def _describe(folder: Path, *, created: str, version: str) -> Manifest:
    return Manifest(
        format=_FORMAT,
        version=version,
        created=created,
        journal_id=_ask(folder / "journal.db", _JOURNAL["id"]),
        head=_ask(folder / "journal.db", _JOURNAL["head"]) or Seq(0),
        position=_ask(folder / "store.db", _STORE["position"], LANE),
        checksums={name: _sha256(folder / name) for name in _NAMES},
    )


def _write_file(target: Path, folder: Path, manifest: Manifest) -> None:
    handle = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            _write_tar(file, folder, manifest)
        sync_directory(target.parent)
    except OSError:
        target.unlink()
        raise


def _write_tar(file: IO[bytes], folder: Path, manifest: Manifest) -> None:
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in _NAMES:
            with (folder / name).open("rb") as member:
                tar.addfile(_info(name, (folder / name).stat().st_size), member)
        said = msgspec.json.encode(manifest)
        tar.addfile(_info(_MANIFEST, len(said)), io.BytesIO(said))
    file.flush()
    os.fsync(file.fileno())


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info


def _ask(path: Path, sql: str, *parameters: int) -> Any:
    connection = sqlite3.connect(path)
    try:
        row = connection.execute(sql, parameters).fetchone()
    finally:
        connection.close()
    return row and row[0]


def _unpack(file: Path, folder: Path) -> Manifest:
    """Only the members known by name are taken, under our own names."""
    with tarfile.open(file, mode="r:") as tar:
        members = {info.name: info for info in tar if info.isreg()}
        missing = [name for name in (*_NAMES, _MANIFEST) if name not in members and name != _OPTIONAL]
        if missing:
            raise Damaged(f"the backup {file} is not whole: {missing[0]} is missing")
        manifest = msgspec.json.decode(_member(tar, members[_MANIFEST]).read(_CHUNK), type=Manifest)
        if manifest.format != _FORMAT:
            raise Damaged(f"the backup {file} has format {manifest.format}, this cdmd knows {_FORMAT}")
        if _OPTIONAL in manifest.checksums and _OPTIONAL not in members:
            raise Damaged(f"the backup {file} is not whole: {_OPTIONAL} is missing")
        present = [name for name in _NAMES if name in members]
        for name in present:
            _extract(_member(tar, members[name]), folder / name)
    changed = [name for name in present if _sha256(folder / name) != manifest.checksums.get(name)]
    if changed:
        raise Damaged(f"the backup {file} is damaged: {changed[0]} does not match its checksum")
    return manifest


def _member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(info)
    assert file is not None, "only regular files are taken"  # noqa: S101 - for the type checker
    return file


def _extract(source: IO[bytes], target: Path) -> None:
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        shutil.copyfileobj(source, file, _CHUNK)
        file.flush()
        os.fsync(file.fileno())


def _swap(fresh: Path, directory: StateDirectory) -> None:
    """Everything old goes aside before anything new comes in, so that a crash between leaves no mixture that starts.

    A lone journal or store is refused at the next start: the mark or the journal's id contradicts it.
    """
    aside = _new_aside(directory.root)
    aside.mkdir(mode=0o700)
    for path in (directory.journal, directory.store, directory.feeds):
        _set_aside(path, aside)
    if directory.mark.exists():
        shutil.copy2(directory.mark, aside / directory.mark.name)
    sync_directory(aside)
    for path in (directory.feeds, directory.store, directory.journal):
        if (fresh / path.name).exists():
            (fresh / path.name).rename(path)
    sync_directory(directory.root)


def _set_aside(database: Path, aside: Path) -> None:
    """Its log goes after it: so one that is in its place is whole, and where the log of one is that is not, is known."""
    for suffix in ("", "-wal", "-shm"):
        old = database.with_name(database.name + suffix)
        if old.exists():
            old.rename(aside / old.name)


def _asides(root: Path) -> list[Path]:
    """What restores put aside, the oldest first."""
    numbered = {path: path.name.removeprefix(_ASIDE) for path in root.glob(f"{_ASIDE}*")}
    return sorted((path for path, number in numbered.items() if number.isdecimal()), key=lambda path: int(numbered[path]))


def _new_aside(root: Path) -> Path:
    last = max((int(path.name.removeprefix(_ASIDE)) for path in _asides(root)), default=0)
    return root / f"{_ASIDE}{last + 1}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
