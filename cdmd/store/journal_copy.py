"""A journal of another kind written down as SQLite's: what a backup holds, wherever the journal lay.

It blocks: for a thread. Not for: a journal that is used (``journal``), or copying SQLite's own (``copying``).
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from cdmd.errors import CdmdError
from cdmd.models import Seq
from cdmd.store.blocks import Block
from cdmd.store.database import why
from cdmd.store.sql import load_migrations, load_queries

_SQL: Final = load_queries("journal")


class JournalCopy:
    """A new journal in the making, in one transaction; to be ended by ``finish`` or ``drop``."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path, self._connection = path, connection

    @classmethod
    def begin(cls, path: Path) -> Self:
        """At ``path`` (0600, must not exist). Raises ``CdmdError``."""
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise CdmdError(f"the backup {path} could not be written: {error.strerror}") from error
        copy = cls(path, sqlite3.connect(path, isolation_level=None, check_same_thread=False))
        try:
            with _foreseen(path):
                for migration in load_migrations("journal"):
                    copy._connection.executescript(f"{migration.script}\nPRAGMA user_version = {migration.number};")
                copy._connection.execute("BEGIN")
        except CdmdError:
            copy.drop()
            raise
        return copy

    def drop(self) -> None:
        """It comes to nothing."""
        self._connection.close()
        self._path.unlink()

    def blocks(self, rows: Sequence[Block]) -> None:
        """Add blocks, in order."""
        with _foreseen(self._path):
            self._connection.executemany(_SQL["append"], rows)

    def state(self, connector: str, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Add a connector's state."""
        with _foreseen(self._path):
            self._connection.executemany(_SQL["put_state"], [(connector, key, value) for key, value in rows])

    def finish(self, *, journal_id: str, head: Seq, counts: Mapping[tuple[str, str], int]) -> None:
        """Say whose it is, the last number that was given, and what the door had counted."""
        with _foreseen(self._path):
            self._connection.execute(_SQL["set_id"], (journal_id,))
            self._connection.executemany(_SQL["put_count"], [(*key, value) for key, value in counts.items()])
            self._connection.execute(_SQL["forget_head"])
            self._connection.execute(_SQL["set_head"], (head,))
            self._connection.execute("COMMIT")
            self._connection.close()


@contextmanager
def _foreseen(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise CdmdError(f"the backup {path} could not be written: {why(error)}") from error
