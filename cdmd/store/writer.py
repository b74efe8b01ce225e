"""One thread for each database that is written: it owns the connection and runs one function per batch on it.

One await per statement costs ten to thirty times more. Not here: any database, and what is run.
"""

import asyncio
import concurrent.futures
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Generic, Protocol, Self, TypeVar

import anyio
import anyio.to_thread

from cdmd.errors import NotDurable

C_co = TypeVar("C_co", bound="Closing", covariant=True)
T = TypeVar("T")


class _Job(Generic[C_co, T]):
    """One function for the writer's thread, and where its result goes."""

    __slots__ = ("fn", "future", "loop", "sent", "then")

    def __init__(self, fn: Callable[[C_co], Any], then: Callable[[T], None] | None, *, sent: bool = False) -> None:
        self.fn, self.then, self.sent = fn, then, sent
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()

    def post(self, result: T | None, error: BaseException | None) -> None:
        """Hand the outcome to the loop; a loop that is gone has nobody left to hear it."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._deliver, result, error)

    def came(self, outcome: "concurrent.futures.Future[T]") -> None:
        """Hand over what came of something that was only sent."""
        error = outcome.exception()
        self.post(None if error is not None else outcome.result(), error)

    def _deliver(self, result: Any, error: BaseException | None) -> None:
        tell(self.future, self.then, result, error)


def tell(future: "asyncio.Future[Any]", then: Callable[[Any], None] | None, result: Any, error: BaseException | None) -> None:
    """Say what became of a job: to ``then`` where it succeeded, and to whoever waits for it. For the loop's thread.

    Never raises, so that nobody behind it is kept from his answer: what ``then`` raises belongs to the one who waits, and to
    the loop's own handler where nobody does any more.
    """
    if error is None and then is not None:
        try:
            then(result)
        except Exception as fault:  # noqa: BLE001 - as said above
            error = fault
            if future.done():
                future.get_loop().call_exception_handler({"message": "nobody waits for this any more", "exception": fault})
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _always(_: object) -> bool:
    return True


class Closing(Protocol):
    """A connection, or what stands on one."""

    def close(self) -> None:
        """Give it up."""
        ...


class Writer(Generic[C_co]):
    """A thread that owns a connection and runs one function after the other on it.

    ``open`` is called on that thread for the first connection, and again after every error of the kind ``broken``: what failed
    once is closed, and nothing runs before it was opened (and thereby checked) anew. ``patience``: how long (seconds) the end
    waits for what is under way; None where that ends by itself. One that is not ``usable`` any more is opened anew, too.
    """

    def __init__(
        self,
        open_connection: Callable[[], C_co],
        *,
        name: str,
        broken: type[Exception] = sqlite3.Error,
        patience: float | None = None,
        usable: Callable[[C_co], bool] = _always,
    ) -> None:
        self._open, self._name, self._broken, self._patience = open_connection, name, broken, patience
        self._usable = usable
        self._jobs: SimpleQueue[_Job[C_co, Any] | None] = SimpleQueue()
        self._connection: C_co | None = None
        self._thread = threading.Thread(target=self._serve, name=f"cdmd-{name}", daemon=True)
        self._closed = False

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        self._jobs.put(None)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._thread.join, self._patience)

    async def run(self, fn: Callable[[C_co], T], *, then: Callable[[T], None] | None = None) -> T:
        """``fn(connection)`` on the thread, its result or exception here.

        ``then`` is called with the result in the loop even when the one who waits was cancelled: ``fn`` ran all the same.
        """
        return await self.start(fn, then=then)

    def start(self, fn: Callable[[C_co], T], *, then: Callable[[T], None] | None = None) -> "asyncio.Future[T]":
        """The same, on its way when this returns; for the loop's own thread."""
        return self._put(_Job(fn, then))

    async def send(self, fn: "Callable[[C_co], concurrent.futures.Future[T]]") -> T:
        """The outcome of what ``fn(connection)`` only sends: the thread does what comes next meanwhile."""
        return await self._put(_Job(fn, None, sent=True))

    def _put(self, job: "_Job[C_co, T]") -> "asyncio.Future[T]":
        if self._closed:
            job.future.set_exception(NotDurable(f"the {self._name} is closed"))
        else:
            self._jobs.put(job)
        return job.future

    def _serve(self) -> None:
        while self._serve_one(self._jobs.get()):
            pass
        self._drop()

    def _serve_one(self, job: "_Job[C_co, Any] | None") -> bool:
        """Run it, and hold nothing of it while waiting for the next: what it held goes where it is in a cache, in the loop."""
        if job is None:
            return False
        try:
            result = job.fn(self._connected())
        except BaseException as error:  # noqa: BLE001 - it belongs to the one who asked, and the thread lives on
            if isinstance(error, self._broken):
                self._drop()
            job.post(None, error)
        else:
            if job.sent:
                result.add_done_callback(job.came)
            else:
                job.post(result, None)
        return True

    def _connected(self) -> C_co:
        if self._connection is not None and not self._usable(self._connection):
            self._drop()
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(self._broken):
                connection.close()
