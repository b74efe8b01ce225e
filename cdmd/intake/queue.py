"""The bounded queue before the journal, and the committer that empties it: one group commit after the other, no timers.

What queued while the previous commit ran is committed next, connector by connector in turn, so that one that floods cannot
starve the others. ``submit`` returns when its append is durable; ``put`` is for what need not wait for a place.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from itertools import compress
from typing import Final, Protocol

import anyio
import msgspec

from cdmd.contracts import Append, Journal
from cdmd.errors import CdmdError, Followed, NotDurable, Overloaded
from cdmd.models import Seq

COMMIT_EVENTS: Final = 2_000
COMMIT_BYTES: Final = 4 * 2**20
_NONE: Final = (0, 0)


class QueueStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Places taken and places there are."""

    events: int
    max_events: int
    bytes: int
    max_bytes: int


class Settle(Protocol):
    """Told once what became of an append: its first sequence number, or why it is not durable."""

    def __call__(self, first: Seq | None, error: Overloaded | None) -> None:
        """Exactly one of both is given; must not raise."""
        ...


class Waiting(Protocol):
    """What waits for a commit: appended as it is when it leaves, settled when the commit has ended, then acknowledged."""

    connector: str

    @property
    def events(self) -> int:
        """Places that it takes."""
        ...

    @property
    def bytes(self) -> int:
        """Bytes that it takes."""
        ...

    def leave(self) -> Append:
        """It goes into a commit now."""
        ...

    def settle(self, first: Seq | None, error: Overloaded | None) -> None:
        """Keep the books about the outcome; must not raise."""
        ...

    def acknowledge(self, first: Seq | None, error: Overloaded | None) -> None:
        """Tell who waits for it; must not raise: one that has gone must not break the chain."""
        ...


class _Single:
    """One append, and the future that its ``submit`` waits for."""

    __slots__ = ("_append", "_leaving", "bytes", "connector", "done", "events", "settle")

    def __init__(self, append: Append, settle: Settle, leaving: Callable[[], None]) -> None:
        self._append, self.settle, self.connector, self._leaving = append, settle, append.connector, leaving
        self.events, self.bytes = len(append.entries), size_of(append.encoded, append.state)
        self.done: asyncio.Future[Seq] = asyncio.get_running_loop().create_future()

    def leave(self) -> Append:
        self._leaving()
        return self._append

    def acknowledge(self, first: Seq | None, error: Overloaded | None) -> None:
        if self.done.done():
            return
        if first is not None:
            self.done.set_result(first)
        elif isinstance(error, Followed):
            self.done.set_exception(Followed(error.tokens))
        else:
            self.done.set_exception(NotDurable(str(error), retry_after=error.retry_after if error else 1))


class JournalQueue:
    """Appends on their way to the journal, bounded in events and bytes.

    ``blocked`` gives the reason why nothing may be acknowledged now (disk reserve), or None; ``committed`` is awaited after a
    successful commit when none is under way, and ``alone`` says whether the next one has to wait for that. One connector never
    takes more than half of the places, so that the others always find one.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        max_events: int,
        max_bytes: int,
        blocked: Callable[[], str | None],
        committed: Callable[[], Awaitable[None]],
        alone: Callable[[], bool],
    ) -> None:
        self._journal, self._blocked, self._committed, self._alone = journal, blocked, committed, alone
        self._max_events, self._max_bytes = max_events, max_bytes
        self._lanes: dict[str, deque[Waiting]] = {}
        self._taken: dict[str, tuple[int, int]] = {}
        self._events = self._bytes = 0
        self._idle = False
        self._begun: tuple[list[Waiting], list[Append], Awaitable[Seq]] | None = None
        self._filled = asyncio.Event()
        self._room = asyncio.Event()

    def statistics(self) -> QueueStatistics:
        """Places taken (waiting or being committed) and places there are."""
        return QueueStatistics(events=self._events, max_events=self._max_events, bytes=self._bytes, max_bytes=self._max_bytes)

    async def submit(
        self, append: Append, *, patience: float | None, settle: Settle, leaving: Callable[[], None] = lambda: None
    ) -> Seq:
        """Queue ``append`` and return its first sequence number when it is durable.

        Waits at most ``patience`` seconds for a place (None: for ever), then raises ``Overloaded``; raises ``NotDurable`` when
        the disk cannot take it. ``settle`` is told the outcome even when the caller has been cancelled meanwhile;
        ``leaving`` is called when it goes into a commit: until then its entries may be exchanged for others.
        """
        waiting = _Single(append, settle, leaving)
        try:
            if reason := self._blocked():
                raise NotDurable(reason, retry_after=5)
            if not self._place(waiting.connector, waiting.events, waiting.bytes):
                await self._wait_for_room(waiting, patience)
        except Overloaded as error:
            settle(None, error)
            raise
        except asyncio.CancelledError:
            settle(None, Overloaded("given up before there was a place"))
            raise
        self.put(waiting)
        return await waiting.done

    def book(self, connector: str, events: int, size: int) -> bool:
        """Take a place for the connector's ``events`` of ``size`` bytes, for what is then ``put``, or what is and has grown."""
        return self._blocked() is None and self._place(connector, events, size)

    def put(self, waiting: Waiting) -> None:
        """Queue what has a place."""
        self._lanes.setdefault(waiting.connector, deque()).append(waiting)
        if self._idle:
            self._begin()
            self._filled.set()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Commit until cancelled. A commit that has begun is finished first."""
        task_status.started()
        try:
            while True:
                if self._begun is None and not self._lanes:
                    self._idle = True
                    await self._filled.wait()
                self._begin()
                with anyio.CancelScope(shield=True):
                    await self._commit()
        finally:
            self._idle = False
            with anyio.CancelScope(shield=True):
                await self._commit(last=True)

    async def flush(self) -> None:
        """Return when nothing is queued (``run`` must be running)."""
        while self._events:
            self._room.clear()
            await self._room.wait()

    def _place(self, connector: str, events: int, size: int) -> bool:
        taken, held = self._taken.get(connector, _NONE)
        if self._events and not (
            self._events + events <= self._max_events
            and self._bytes + size <= self._max_bytes
            and (taken == 0 or (taken + events) * 2 <= self._max_events)
            and (held == 0 or (held + size) * 2 <= self._max_bytes)
        ):
            return False
        self._taken[connector] = taken + events, held + size
        self._events += events
        self._bytes += size
        return True

    async def _wait_for_room(self, waiting: Waiting, patience: float | None) -> None:
        with anyio.move_on_after(patience):
            while not self._place(waiting.connector, waiting.events, waiting.bytes):
                self._room.clear()
                await self._room.wait()
            return
        raise Overloaded("the queue before the journal is full")

    def _begin(self) -> None:
        """Start a commit of what is queued, unless one has begun.

        The first append after a rest does not wait for its turn in the loop: while it is being committed those behind it are
        decided, instead of all of them first and then the disk (tests/bench/intake.py).
        """
        self._idle = False
        self._filled.clear()
        if self._begun is None:
            batch = self._take()
            appends = [waiting.leave() for waiting in batch]
            self._begun = batch, appends, self._journal.append(appends)

    def _take(self) -> list[Waiting]:
        """One round after the other over the connectors until the commit is large enough."""
        batch: list[Waiting] = []
        events = size = 0
        while self._lanes and events < COMMIT_EVENTS and size < COMMIT_BYTES:
            for connector in list(self._lanes):
                waiting = self._lanes[connector].popleft()
                if not self._lanes[connector]:
                    del self._lanes[connector]
                batch.append(waiting)
                events += waiting.events
                size += waiting.bytes
        return batch

    async def _commit(self, *, last: bool = False) -> None:
        """See what has begun to its end, with the next one under way before that is told: the disk does not wait for it."""
        if self._begun is None:
            return
        (batch, appends, appended), self._begun = self._begun, None
        first, batch = await self._durable(batch, appends, appended)
        if not batch:
            return
        if self._lanes and not last and not self._alone():
            self._begin()
        self._release(batch)
        for waiting in batch:
            waiting.settle(first, None)
            waiting.acknowledge(first, None)
            first = Seq(first + waiting.events)
        if self._begun is None:
            # What it could not do now it does after a later commit; it must never end the committing.
            with suppress(CdmdError):
                await self._committed()

    async def _durable(
        self, batch: list[Waiting], appends: list[Append], appended: Awaitable[Seq]
    ) -> tuple[Seq, list[Waiting]]:
        """What of it is durable, from which number on. The others are told why; one at fault takes nobody with it."""
        while batch:
            try:
                return await appended, batch
            except NotDurable as error:
                faults = [isinstance(error, Followed) and error.refuses(one.connector, one.fence) for one in appends]
                stay = [not fault and any(faults) for fault in faults]
                self._fail([one for one, stays in zip(batch, stay, strict=True) if not stays], error)
                batch, appends = list(compress(batch, stay)), list(compress(appends, stay))
                if batch:
                    appended = self._journal.append(appends)
        return Seq(0), batch

    def _fail(self, batch: Sequence[Waiting], error: NotDurable) -> None:
        self._release(batch)
        for waiting in batch:
            waiting.settle(None, error)
            waiting.acknowledge(None, error)

    def _release(self, batch: Sequence[Waiting]) -> None:
        for waiting in batch:
            connector = waiting.connector
            events, size = self._taken.pop(connector, _NONE)
            if events > waiting.events or size > waiting.bytes:
                self._taken[connector] = (events - waiting.events, size - waiting.bytes)
            self._events -= waiting.events
            self._bytes -= waiting.bytes
        self._room.set()


def size_of(encoded: Sequence[bytes], state: Mapping[bytes, bytes | None]) -> int:
    """Bytes that an append of these takes in the queue."""
    size = sum(map(len, encoded))
    return size + sum(len(key) + len(value or b"") for key, value in state.items()) if state else size
