"""What the journal's own process runs: it owns the database's writing connection and does what the daemon sends, in order.

It ends when it is told to, or when the daemon is gone: a commit that it has begun it finishes then, and nobody is told. Not
here: the daemon's side (``journal_remote``), and what a commit is (``appending``).
"""

import os
import pickle
import socket
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from cdmd.models import Seq
from cdmd.store.appending import Appender
from cdmd.store.beginning import begin
from cdmd.store.database import Connect
from cdmd.store.frames import receive, send, sendable

OPEN, COMMIT, RUN, END = b"o", b"c", b"r", b"e"
DONE, FAILED = b"=", b"!"
_NEVER: Final = "the journal's own process was not told which database it writes"


class JournalServed:
    """Does what comes over ``link``; ``left`` is called when nobody is there any more."""

    def __init__(self, link: socket.socket, left: Callable[[], None], *, connect: Connect = sqlite3.connect) -> None:
        self._link, self._left, self._connect = link, left, connect
        self._appender: Appender | None = None
        self._connection: sqlite3.Connection | None = None

    def run(self) -> None:
        """Until it is told to end, or nobody is there any more."""
        try:
            while (job := receive(self._link)) is not None:
                if job[0] == END:
                    return
                self._do(*job)
            self._left()
        finally:
            self._drop()

    def _do(self, kind: bytes, content: bytes) -> None:
        said: Any = pickle.loads(content)  # noqa: S301 - of the daemon that started this process
        if kind == OPEN:
            self._appender = Appender(said[0], connect=self._connect)
            self._appender.head = said[1]
            return
        answer = self._answered(said if kind == RUN else partial(self._commit, said))
        with suppress(OSError):  # there is nobody to hear it, which shows next
            send(self._link, *answer)

    def _answered(self, work: Callable[[sqlite3.Connection], Any]) -> tuple[bytes, bytes]:
        try:
            return DONE, pickle.dumps(work(self._opened()))
        except Exception as error:  # noqa: BLE001 - it belongs to the one who asked
            if isinstance(error, sqlite3.Error):
                self._drop()
            return FAILED, pickle.dumps(sendable(error))

    def _commit(self, said: Any, connection: sqlite3.Connection) -> Seq:
        assert self._appender is not None  # noqa: S101 - it opened the connection
        return self._appender.commit(said, connection)

    def _opened(self) -> sqlite3.Connection:
        """The connection, opened and thereby checked anew after every failure."""
        if self._connection is None:
            if self._appender is None:
                raise sqlite3.OperationalError(_NEVER)
            self._connection = self._appender.open(self._appender.head)
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def opening(path: Path, acknowledged: Seq) -> bytes:
    """What is said first: the database, and how far it must reach."""
    return pickle.dumps((path, acknowledged))


def main(link: int) -> None:
    """Serve the daemon at the other end of the descriptor ``link``."""
    begin("journal")
    with socket.socket(fileno=link) as daemon:
        # Without a daemon it leaves the database as a kill would: the next one opens it, and may wait for this one to be gone.
        JournalServed(daemon, partial(os._exit, 0)).run()
