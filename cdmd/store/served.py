"""The store's writer in a process of its own, seen from inside: it owns the tables and does what it is sent, in order.

It ends at once when the daemon is gone, whatever it is doing: SQLite takes an unfinished transaction back. Not here: what a
decision goes by (``Deciding`` is handed in), and the daemon's side (``remote``).
"""

import os
import pickle
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple, Protocol

import msgspec

from cdmd.contracts import Decide
from cdmd.errors import NotDurable
from cdmd.models import Changes, Known, Seq, Wanted
from cdmd.store.applying import PLAN, SqliteWriterTables, Sway, apply
from cdmd.store.database import connect_writer
from cdmd.store.frames import receive, send, sendable

OPEN, CALL, RULES, BATCH, CLOSE, END = b"o", b"c", b"r", b"b", b"x", b"e"
DONE, FAILED = b"=", b"!"


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """A batch to be decided there: its number, the one that must have been written before it, when, and the decision."""

    number: int
    upon: int
    now: datetime
    decision: bytes


class Written(msgspec.Struct, frozen=True, array_like=True):
    """What came of a batch: the position and counts, how many rows grew, who is sent something, and what it says to its sender.

    ``seconds`` of the processor's time were used by the process so far.
    """

    position: Seq | None
    counts: dict[str, dict[str, int]]
    grown: int
    targets: list[str]
    answer: bytes
    seconds: float


class Failed(NamedTuple):
    """What went wrong; ``deciding``: in the decision itself."""

    error: Exception
    deciding: bool = False


_NOTHING: Final = pickle.dumps(None)
_BATCH: Final = msgspec.msgpack.Decoder(Batch)
_ENCODE: Final = msgspec.msgpack.Encoder().encode


class Deciding(Protocol):
    """How decisions are read that came over, and what is told of them."""

    def rules(self, content: bytes) -> None:
        """What all that follow go by."""
        ...

    def decision(self, content: bytes) -> tuple[Wanted, Decide]:
        """The next one."""
        ...

    def answer(self, decide: Decide) -> bytes:
        """What is told of one that was made."""
        ...


class Served:
    """Does what comes over ``link``; ``left`` is called, on a thread beside, when nobody is there any more, or can be heard."""

    def __init__(self, link: socket.socket, deciding: Deciding, left: Callable[[], None]) -> None:
        self._link, self._deciding, self._left = link, deciding, left
        self._tables: _Tables | None = None
        self._sway, self._written = Sway(), 0
        self._works: Mapping[bytes, Callable[[bytes], bytes]] = {OPEN: self._open, CALL: self._call, BATCH: self._batch}

    def run(self) -> None:
        """Until it is told to end."""
        jobs: SimpleQueue[tuple[bytes, bytes]] = SimpleQueue()
        threading.Thread(target=self._read, args=(jobs,), name="cdmd-reader", daemon=True).start()
        while (job := jobs.get())[0] != END:
            self._do(*job)
        self._close()

    def _read(self, jobs: "SimpleQueue[tuple[bytes, bytes]]") -> None:
        try:
            while (job := receive(self._link)) is not None:
                jobs.put(job)
        finally:
            self._left()
            jobs.put((END, b""))

    def _do(self, kind: bytes, content: bytes) -> None:
        if kind == CLOSE:
            self._close()
        elif kind == RULES:
            self._deciding.rules(content)
        else:
            answer = self._answered(self._works[kind], content)
            with suppress(OSError):  # the reader notices that, too, and ends the process
                send(self._link, *answer)

    def _answered(self, work: Callable[[bytes], bytes], content: bytes) -> tuple[bytes, bytes]:
        try:
            return DONE, work(content)
        except Exception as error:  # noqa: BLE001 - it belongs to the one who asked
            if isinstance(error, sqlite3.Error):
                self._close()
            return FAILED, _failure(error)

    def _open(self, content: bytes) -> bytes:
        self._close()
        self._written = 0
        self._tables = _Tables.opened(Path(os.fsdecode(content)), self._sway)
        return _NOTHING

    def _call(self, content: bytes) -> bytes:
        name, given, named = pickle.loads(content)  # noqa: S301 - of the daemon that started this process
        found = getattr(self._opened(), name)(*given, **named)
        return pickle.dumps(found if found is None or isinstance(found, int) else list(found))

    def _batch(self, content: bytes) -> bytes:
        batch = _BATCH.decode(content)
        if self._written < batch.upon:
            raise NotDurable("the store has not taken what came before; it is tried again after that")
        tables = self._opened()
        wanted, decide = self._deciding.decision(batch.decision)
        changes = apply(wanted, _told_apart(decide), tables, now=lambda: batch.now)
        self._written = batch.number
        counts: dict[str, dict[str, int]] = {}
        for (connector, name), number in changes.counts.items():
            counts.setdefault(connector, {})[name] = number
        sent = () if changes.outgoing is None else {one.target for one in changes.outgoing.deliveries}
        grown = len(changes.profiles) + len(changes.newcomers) + len(changes.seen)
        return _ENCODE(
            Written(changes.position, counts, grown, sorted(sent), self._deciding.answer(decide), time.process_time())
        )

    def _opened(self) -> "_Tables":
        if self._tables is None:
            raise sqlite3.OperationalError("its connection was given up after an error")
        return self._tables

    def _close(self) -> None:
        tables, self._tables = self._tables, None
        if tables is not None:
            with suppress(sqlite3.Error):
                tables.close()


class _Tables(SqliteWriterTables):
    """The tables with what a context manager does in single steps."""

    @classmethod
    def opened(cls, path: Path, sway: Sway) -> "_Tables":
        return cls(connect_writer(path, PLAN, connect=sqlite3.connect), sway)

    def begin(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        self.connection.execute("ROLLBACK")

    def harder(self) -> None:
        self.connection.execute("PRAGMA synchronous = FULL")

    def softer(self) -> None:
        self.connection.execute(f"PRAGMA synchronous = {PLAN.synchronous}")

    def calm(self) -> None:
        self._sway.pending = False


class _DecisionError(Exception):
    """Carries what a decision raised past those who would take it for their own."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


def _told_apart(decide: Decide) -> Decide:
    def told(known: Known) -> Changes:
        try:
            return decide(known)
        except Exception as error:
            raise _DecisionError(error) from error

    return told


def _failure(error: Exception) -> bytes:
    deciding, cause = isinstance(error, _DecisionError), error
    if isinstance(error, _DecisionError):
        cause = error.cause
    return pickle.dumps(Failed(sendable(cause), deciding=deciding))
