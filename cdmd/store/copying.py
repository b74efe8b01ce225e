"""A consistent copy of a database while it is used: SQLite's online backup. Not for: what a backup holds (``restoring``)."""

import os
import sqlite3
from pathlib import Path

from cdmd.errors import CdmdError
from cdmd.store.database import why


def copy_database(source: Path, target: Path) -> None:
    """SQLite's online backup of ``source`` into the new file ``target`` (0600); a blocking call for a thread.

    Raises ``CdmdError`` with the reason, also where there is such a file already; a copy that failed is removed.
    """
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise CdmdError(f"{target.name} could not be copied: {error.strerror}") from error
    try:
        _copy_into(source, target)
    except sqlite3.Error as error:
        target.unlink()
        raise CdmdError(f"{target.name} could not be copied: {why(error)}") from error


def _copy_into(source: Path, target: Path) -> None:
    origin, copy = sqlite3.connect(source), sqlite3.connect(target)
    try:
        origin.backup(copy)
        # A copy is one file: without this, opening it would need a log beside it.
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()
    finally:
        origin.close()
        copy.close()
