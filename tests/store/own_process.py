"""The store's writer in a process of its own, for the contract suites and for tests of it."""

import os
import socket
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from typing_extensions import override

from cdmd.batches.crossing import DecisionCrossing, Decisions
from cdmd.contracts import Clock
from cdmd.store.database import Connect
from cdmd.store.journal_process import JournalServed
from cdmd.store.journal_remote import OwnJournal
from cdmd.store.process import StoreProcess, started
from cdmd.store.remote import Own
from cdmd.store.served import CLOSE, Served
from cdmd.store.store import SqliteStore
from cdmd.testing import ManualClock
from tests.store import deciding
from tests.store.contract_store import DIGESTER

OWN = Own("cdmd.batches.store_process", DecisionCrossing())


class Kept(StoreProcess):
    """One that serves a store after the other."""

    @override
    def end(self) -> None:
        self.tell(CLOSE)


def kept() -> Kept:
    """A real process."""
    process = started(OWN.module, ())
    process.__class__ = Kept
    assert isinstance(process, Kept)
    return process


class InThread:
    """Where a process should be: the same over the same socket, in a thread of this one."""

    pid = os.getpid()

    def __init__(self, link: socket.socket) -> None:
        self.left = threading.Event()
        self._link = link
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with self._link:
            Served(self._link, Decisions(), self.left.set).run()

    def wait(self, timeout: float | None = None) -> int:
        self._thread.join(timeout)
        return 0

    def kill(self) -> None:
        raise AssertionError("it ends by itself")


def in_thread(_: str, __: Sequence[int]) -> StoreProcess:
    """As ``cdmd.store.process.started``, but without a process."""
    link, there = socket.socketpair()
    return StoreProcess(link, InThread(there))


def reopening(path: Path, clock: Clock, own: Own) -> Callable[[], AbstractAsyncContextManager[SqliteStore]]:
    """Opens the store of the contract suites there."""

    def opening() -> AbstractAsyncContextManager[SqliteStore]:
        return SqliteStore.open(path, clock=clock, journal_id="one", digest=DIGESTER.occurrence, own=own)

    return opening


class JournalInThread:
    """The same for the journal's process."""

    pid = os.getpid()

    def __init__(self, link: socket.socket, connect: Connect) -> None:
        self._link, self._connect = link, connect
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with self._link:
            JournalServed(self._link, lambda: None, connect=self._connect).run()

    def wait(self, timeout: float | None = None) -> int:
        self._thread.join(timeout)
        return 0

    def kill(self) -> None:
        raise AssertionError("it ends by itself")


def journal_in_thread(connect: Connect = sqlite3.connect) -> OwnJournal:
    """Everything but the process: what is done at its other end can be seen, and ``connect`` can fail."""

    def start(module: str, keep: Sequence[int]) -> tuple[socket.socket, JournalInThread]:
        link, there = socket.socketpair()
        return link, JournalInThread(there, connect)

    return OwnJournal(start=start)


@asynccontextmanager
async def store_there(folder: Path, own: Own = OWN) -> AsyncIterator[SqliteStore]:
    """``tests.store.deciding.store_in`` with a process of its own."""
    async with SqliteStore.open(
        folder / "store.db", clock=ManualClock(), journal_id="journal", digest=deciding.DIGESTER.occurrence, own=own
    ) as store:
        yield store
