"""The end of a move, once all is copied and compared: every step may be done again after a kill. It blocks.

No file is deleted: what a directory had is put aside under a new name.
"""

import shutil
from pathlib import Path

import msgspec

from cdmd.errors import CdmdError
from cdmd.models import Seq
from cdmd.moving.places import Files, Installation
from cdmd.store.files import StateDirectory
from cdmd.store.mark import Mark, sync_directory, write_mark


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be put in place: whose, from where to where, and how far the journal reaches."""

    journal_id: str
    head: Seq
    source: tuple[str, str]
    target: tuple[str, str]


def read_whole(files: Files) -> Whole | None:
    """What an earlier run came to; None where none did. Raises ``CdmdError``."""
    try:
        return msgspec.json.decode(files.whole.read_bytes(), type=Whole)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise CdmdError(f"{files.whole} cannot be understood: remove it, and run the command again") from error


def write_whole(files: Files, whole: Whole) -> None:
    """From now on no daemon starts here before all is in place. Raises OSError."""
    fresh = files.whole.with_name("whole.new")
    fresh.write_bytes(msgspec.json.encode(whole))
    fresh.replace(files.whole)
    sync_directory(files.folder)


def put_in_place(target: Installation, whole: Whole, *, stores: bool, journals: bool) -> Path | None:
    """Let the directory hold what its configuration says and nothing else; where what it had lies now, if it had anything."""
    directory, files = target.directory, target.growing
    aside = _Aside(directory)
    if stores:
        _place(files.store, directory.store, aside, here=target.store.url is None)
        if target.store.url is None:
            directory.elsewhere.unlink(missing_ok=True)
        else:
            directory.say_elsewhere()
    if journals:
        _place(files.journal, directory.journal, aside, here=target.journal.url is None)
        write_mark(directory.mark, Mark(whole.journal_id, whole.head))
    if files.feeds.exists():
        _place(files.feeds, directory.feeds, aside, here=True)
    sync_directory(directory.root)
    files.whole.unlink(missing_ok=True)
    shutil.rmtree(files.folder)
    return aside.folder


class _Aside:
    """Where files go that others stand in for; made when the first one does."""

    def __init__(self, directory: StateDirectory) -> None:
        self._root = directory.root
        self.folder: Path | None = None

    def put(self, path: Path) -> None:
        for one in (path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-shm", "")):
            if one.exists():
                one.rename(self._made() / one.name)

    def _made(self) -> Path:
        if self.folder is None:
            number = 1
            while (self._root / f"moved-{number}").exists():
                number += 1
            self.folder = self._root / f"moved-{number}"
            self.folder.mkdir(mode=0o700)
        return self.folder


def _place(grown: Path, path: Path, aside: _Aside, *, here: bool) -> None:
    """``grown`` becomes ``path``, if it has not yet; nothing lies at ``path`` where it should not be ``here``."""
    if grown.exists():
        aside.put(path)
        grown.rename(path)
    elif not here:
        aside.put(path)
