"""The journal's writer in a process of its own, spoken to by the loop itself: no thread stands between a commit and its answer.

The process is started when it is needed and again where it ended: what was under way then is not known to be written, as after
any failure of the disk. Not here: what is done over there (``journal_process``).
"""

import asyncio
import pickle
import socket
import sqlite3
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

import anyio
import anyio.abc
import anyio.to_thread

from cdmd.contracts import Append
from cdmd.errors import NotDurable
from cdmd.models import Seq
from cdmd.store.appending import Commit
from cdmd.store.frames import HEAD
from cdmd.store.journal_process import COMMIT, DONE, END, OPEN, RUN, opening
from cdmd.store.process import Child, ended, launched
from cdmd.store.writer import tell

T = TypeVar("T")
_MODULE: Final = "cdmd.store.journal_process"
_READ: Final = 65_536
_ENDS_WITHIN: Final = 30.0
"""Seconds that the process may take to end by itself: it finishes what it does."""

_GOES_WITHIN: Final = 2.0
"""Seconds for one that cannot be heard any more, which is about to be gone."""


class OwnJournal(NamedTuple):
    """A process for the journal: ``keep`` are descriptors that it holds open, the state directory's lock among them."""

    keep: Sequence[int] = ()
    start: Callable[[str, Sequence[int]], tuple[socket.socket, Child]] = launched


class _Sent(NamedTuple):
    """What was asked for and not answered."""

    future: "asyncio.Future[Any]"
    then: Callable[[Any], None] | None


class OwnWriter:
    """As ``Writer``, over there: one job after the other, answered in order. For the loop's thread.

    ``acknowledged`` says how far the database must reach when a process opens it.
    """

    def __init__(self, own: OwnJournal, path: Path, acknowledged: Callable[[], Seq]) -> None:
        self._own, self._path, self._acknowledged = own, path, acknowledged
        self._sent, self._unsent, self._heard = deque[_Sent](), deque[memoryview](), bytearray()
        self._link: socket.socket | None = None
        self._child: Child | None = None
        self._wanted, self._gone, self._over = anyio.Event(), anyio.Event(), anyio.Event()
        self._closed = False
        self._tasks: anyio.abc.TaskGroup

    @property
    def pid(self) -> int | None:
        """The process's number; None where there is none."""
        return None if self._child is None else self._child.pid

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._keep, name="journal's own process")
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            if self._link is not None or self._sent:
                self._send(END)
            self._closed = True
            self._wanted.set()
            with anyio.move_on_after(_ENDS_WITHIN):
                await self._over.wait()
            if self._child is not None:
                self._child.kill()
            await self._over.wait()
        await self._tasks.__aexit__(None, None, None)

    async def run(self, fn: Callable[[sqlite3.Connection], T], *, then: Callable[[T], None] | None = None) -> T:
        """``fn(connection)`` over there, its result or exception here. ``fn`` and what it is made of must be pickled."""
        found: T = await self._ask(RUN, fn, then)
        return found

    def commit(self, commit: Commit, *, then: Callable[[Seq], None]) -> "asyncio.Future[Seq]":
        """Put it into the journal; on its way when this returns. ``then`` is called though nobody waits any more."""
        beside = [_bare(append) for append in commit.appends if append.state or append.counts]
        return self._ask(COMMIT, commit._replace(appends=beside, block=None), then)

    def _ask(self, kind: bytes, said: object, then: Callable[[Any], None] | None) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closed:
            future.set_exception(NotDurable("the journal is closed"))
            return future
        content = pickle.dumps(said, pickle.HIGHEST_PROTOCOL)
        self._sent.append(_Sent(future, then))
        self._send(kind, content)
        return future

    def _send(self, kind: bytes, content: bytes = b"") -> None:
        self._unsent.append(memoryview(HEAD.pack(kind, len(content)) + content))
        if self._link is None:
            self._wanted.set()
        elif len(self._unsent) == 1:
            self._push(self._link)

    def _push(self, link: socket.socket) -> None:
        """Send as much as it takes, and the rest when it takes more."""
        if not self._pushed(link):
            self._loop.add_writer(link, self._writable, link)

    def _writable(self, link: socket.socket) -> None:
        if self._pushed(link):
            self._loop.remove_writer(link)

    def _pushed(self, link: socket.socket) -> bool:
        """Whether nothing is left to be done; that nobody is there shows where answers are read."""
        while self._unsent:
            try:
                count = link.send(self._unsent[0])
            except BlockingIOError:
                return False
            except OSError:
                return True
            self._unsent[0] = self._unsent[0][count:]
            if not self._unsent[0]:
                self._unsent.popleft()
        return True

    def _readable(self, link: socket.socket) -> None:
        try:
            data = link.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(link)
            self._gone.set()
            return
        self._heard += data
        while len(self._heard) >= HEAD.size:
            kind, length = HEAD.unpack_from(self._heard)
            if len(self._heard) < HEAD.size + length:
                return
            content = bytes(self._heard[HEAD.size : HEAD.size + length])
            del self._heard[: HEAD.size + length]
            self._came(kind, content)

    def _came(self, kind: bytes, content: bytes) -> None:
        future, then = self._sent.popleft()
        said: Any = pickle.loads(content)  # noqa: S301 - of the process that we started
        if kind == DONE:
            tell(future, then, said, None)
        else:
            tell(future, None, None, said)

    # ---- one process after the other ---------------------------------------------------------------------------------

    async def _keep(self) -> None:
        with anyio.CancelScope(shield=True):
            try:
                while not self._closed:
                    await self._wanted.wait()
                    if self._unsent:
                        await self._one()
                    self._wanted = anyio.Event()
            finally:
                self._over.set()

    async def _one(self) -> None:
        """From its start to its end."""
        try:
            link, child = await anyio.to_thread.run_sync(self._own.start, _MODULE, self._own.keep)
        except OSError as error:
            self._give_up(f"the journal's own process cannot be started: {error.strerror}")
            return
        self._child = child
        with link:
            link.setblocking(False)
            said = opening(self._path, self._acknowledged())
            self._unsent.appendleft(memoryview(HEAD.pack(OPEN, len(said)) + said))
            self._link, self._gone = link, anyio.Event()
            self._loop.add_reader(link, self._readable, link)
            self._push(link)
            await self._gone.wait()
            self._loop.remove_writer(link)
            self._link = None
        how = await anyio.to_thread.run_sync(_reaped, child)
        self._child = None
        self._give_up(f"the journal's own process {ended(how)}")

    def _give_up(self, why: str) -> None:
        """Nothing that was asked for is answered any more."""
        self._unsent.clear()
        self._heard.clear()
        sent, self._sent = self._sent, deque()
        for one in sent:
            if not one.future.done():
                one.future.set_exception(sqlite3.OperationalError(why))


def _reaped(child: Child) -> int:
    """How it ended; one that only cannot be heard is ended."""
    with suppress(subprocess.TimeoutExpired):
        return child.wait(_GOES_WITHIN)
    child.kill()
    return child.wait()


def _bare(append: Append) -> Append:
    return Append(connector=append.connector, state=append.state, counts=append.counts)
