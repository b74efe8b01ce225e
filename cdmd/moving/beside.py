"""What a state directory holds beside journal and store, and whether it may be moved into. It blocks.

Not moved: what somebody has asked to be written there (``exports``), backups and what was put aside, and what is made anew.
"""

import os
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

from cdmd.errors import CdmdError
from cdmd.moving.places import TOKEN, Installation
from cdmd.moving.stores import Difference
from cdmd.store.bulk import Tally, tally
from cdmd.store.copying import copy_database
from cdmd.store.journal_bulk import FileJournal
from cdmd.store.mark import sync_directory
from cdmd.store.moves import JOURNAL_MOVE, JOURNAL_OWNER, MOVE, Move, decode_move
from cdmd.store.sqlite_bulk import SqliteBulk


def check_target(source: Installation, target: Installation, move: Move) -> None:
    """What the target's directory has is only put aside where it was moved away from there. Raises ``CdmdError``."""
    mine, own = target.directory, source.directory
    found = [
        (mine.store, own.store if source.store.url is None else None, _store_said),
        (mine.journal, own.journal if source.journal.url is None else None, _journal_said),
    ]
    there = [(path, said) for path, of_source, said in found if path.exists() and not _same(path, of_source)]
    for path, said in there:
        text = said(path)
        if text is None or not (former := decode_move(text)).gone or former.journal_id != move.journal_id:
            raise CdmdError(f"{path} is there already, and was not moved away from there: choose another daemon.state_dir")
    if source.root != target.root and mine.feeds.exists() and not there:
        raise CdmdError(f"{mine.feeds} is there already: choose another daemon.state_dir")


def _same(path: Path, other: Path | None) -> bool:
    return other is not None and other.exists() and path.samefile(other)


def _store_said(path: Path) -> str | None:
    store = SqliteBulk.read(path)
    try:
        return store.meta().get(MOVE)
    finally:
        store.close()


def _journal_said(path: Path) -> bytes | None:
    journal = FileJournal.read(path)
    try:
        return journal.values(JOURNAL_OWNER, [JOURNAL_MOVE]).get(JOURNAL_MOVE)
    finally:
        journal.close()


def take_along(source: Installation, target: Installation) -> None:
    """The digest key and the token go with it. Raises ``CdmdError`` where there is another one, and OSError."""
    for path, other in (
        (source.directory.key, target.directory.key),
        (source.root / TOKEN, target.root / TOKEN),
    ):
        if not path.exists():
            continue
        if not other.exists():
            _copy(path, other)
        elif other.read_bytes() != path.read_bytes():
            raise CdmdError(
                f"{other} is another one than {path}, which belongs to what is moved: choose another daemon.state_dir"
            )


def _copy(path: Path, other: Path) -> None:
    """There whole or not at all: half of one would be taken for another one."""
    fresh = other.with_name(f"{other.name}.new")
    shutil.copy2(path, fresh)
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(other)
    sync_directory(other.parent)


def copy_feeds(source: Path, target: Path) -> dict[str, Tally]:
    """The connectors' big tables; what each table comes to. Raises ``CdmdError`` where the copy is another one."""
    if not source.exists():
        return {}
    target.unlink(missing_ok=True)
    copy_database(source, target)
    mine, theirs = _tallies(source), _tallies(target)
    if mine != theirs:
        different = [Difference(f"feeds: {name}", mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]]
        raise CdmdError(f"what arrived is not what was sent: {'; '.join(map(str, different))}")
    return mine


def fetch_feeds(source: Installation, target: Path) -> dict[str, Tally]:
    """The same where they lie with the store, as the file that they are brought there from. Raises ``CdmdError``."""
    postgres: Any = import_module("cdmd.store.postgres.feeds")  # an extra
    found = postgres.write_file(source.store.url, source.password, target)
    return _tallies(target) if found else {}


def _tallies(path: Path) -> dict[str, Tally]:
    feeds = SqliteBulk.read(path, "feeds")
    try:
        return {name: tally(feeds.each(name, table)) for name, table in feeds.tables().items()}
    finally:
        feeds.close()
