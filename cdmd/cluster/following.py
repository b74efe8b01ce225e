"""``Journal`` for a daemon that applies what another one writes: it reads, and asks that one to append what it fetches itself.

It reads on behind the end, whole commits only, as they come. Connectors' state is read anew whenever it is asked for: whoever
writes changes it meanwhile. Not here: whose turn it is to write (``holding``).
"""

from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, NoReturn, Self

import anyio
import anyio.to_thread
from typing_extensions import override

from cdmd.cluster.beside import Beside, Checkpoint
from cdmd.cluster.commits import Commits
from cdmd.cluster.connection import Link
from cdmd.cluster.entries import Counted, Entries, decode_piece
from cdmd.cluster.forwarding import Asking
from cdmd.cluster.place import Place, Streams
from cdmd.contracts import Append, Clock, Holding, Journal, JournalStatistics, Revise
from cdmd.errors import CdmdError, Damaged, NotDurable
from cdmd.models import Journaled, Micros, Seq
from cdmd.store.blocks import Block, unpack, unpack_after
from cdmd.store.tail import Tail

_LOOK: Final = 0.02
"""Seconds between two looks at a stream in which there was nothing new."""
_FAILED: Final = 0.5
_REFRESH: Final = 30.0
"""Seconds between two looks at where the entries begin: what is pruned is asked for by nobody who is up to date."""


_ASKED: Final = frozenset(("daemon:connectors", "daemon:budgets"))
"""What of the daemon's own state goes with connectors that this node fetches for."""
_LARGE: Final = 4 * 2**20


class FollowedJournal(Journal):
    """``open`` it. What would write raises ``NotDurable``, but for what this node fetches."""

    def __init__(self, link: Link, place: Place, *, clock: Clock, tail: Tail) -> None:
        self._link, self._clock, self._tail = link, clock, tail
        self._streams = streams = Streams.of(place, link)
        self._entries = Entries(streams.entries, streams.kept, key=streams.bucket.patch)
        self._lane = Commits(streams.entries, writer="", adopt=self._adopt)
        self._leader = Asking(link, place.name, clock=clock)
        self._state: tuple[Beside, Commits] | None = None
        self._refreshing = anyio.Lock()
        self._came = deque[tuple[int, Block]]()
        self._counted = deque[tuple[int, tuple[Counted, ...]]]()
        self._id, self._head = "", Seq(0)
        self._failure: str | None = None
        self._grown = anyio.Event()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, place: Place, *, clock: Clock, tail_events: int = 4_000, tail_bytes: int = 32 * 2**20
    ) -> AsyncIterator[Self]:
        """Follow the journal at ``place``. Raises ``NotDurable`` (no server, or no journal there yet) and ``Damaged``."""
        async with Link.open(place.access, name=f"cdmd {place.name}") as link:
            journal = cls(link, place, clock=clock, tail=Tail(max_events=tail_events, max_bytes=tail_bytes))
            await journal._begin()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(journal._follow, name="journal followed")
                try:
                    yield journal
                finally:
                    tasks.cancel_scope.cancel()

    async def _begin(self) -> None:
        checkpoint = await self._checkpoint()
        self._id, self._head, self._lane.end = checkpoint.journal_id, checkpoint.head, checkpoint.entries
        self._entries.begin(checkpoint.begins, checkpoint.first)
        await self._read_on()

    async def _checkpoint(self) -> Checkpoint:
        try:
            found = await Beside(self._streams.kept, self._streams.bucket).load()
        except CdmdError as error:
            raise error if isinstance(error, NotDurable) else NotDurable(f"there is no journal yet: {error}") from error
        if found is None:
            raise NotDurable("there is no journal yet: start the node that writes it")
        self._settle(found)
        return found

    def _settle(self, checkpoint: Checkpoint) -> None:
        """Forget what was counted until then: the checkpoint knows it."""
        while self._counted and self._counted[0][0] <= checkpoint.entries:
            self._counted.popleft()

    # ---- reading on --------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        refreshed = self._clock.monotonic()
        while True:
            try:
                came = await self._read_on()
                if self._clock.monotonic() - refreshed > _REFRESH:
                    refreshed = self._clock.monotonic()
                    checkpoint = await self._checkpoint()
                    if checkpoint.begins != self._entries.begins:
                        self._entries.begin(checkpoint.begins, checkpoint.first)
            except CdmdError as error:
                self._failure = str(error)
                await anyio.sleep(_FAILED)
            else:
                self._failure = None
                if not came:
                    await anyio.sleep(_LOOK)

    async def _read_on(self) -> bool:
        """Whether anything came. What cannot be read stays the next one to be read: it is said until it is mended."""
        if not self._whole():
            await self._lane.follow()
        came = False
        while self._whole():
            _, block = self._came[0]
            entries = await anyio.to_thread.run_sync(unpack, block)
            self._tail.extend(block.first, entries, [len(block.body) // len(entries)] * len(entries))
            self._head, came = block.last, True
            self._came.popleft()
        if came:
            self._grown.set()
            self._grown = anyio.Event()
        return came

    def _whole(self) -> bool:
        """Whether there is a block of a commit all of which could be taken."""
        return bool(self._came) and self._came[0][0] <= self._lane.end

    def _adopt(self, at: int, body: bytes) -> None:
        adopted, reached = (self._came[-1][0], self._came[-1][1].last) if self._came else (self._lane.end, self._head)
        if at <= adopted:
            return
        piece = decode_piece(body, f"message {at} of {self._streams.entries.name}")
        if piece.first <= reached:  # behind a gap goes on whoever was away while that was pruned
            raise Damaged(f"the journal is damaged: entry {piece.first} follows on entry {reached}; restart this node")
        self._entries.note(piece.last, at)
        self._came.append((at, piece.block))
        if piece.counts:
            self._counted.append((at, piece.counts))

    @property
    @override
    def id(self) -> str:
        return self._id

    @property
    @override
    def head(self) -> Seq:
        return self._head

    @property
    @override
    def failure(self) -> str | None:
        return self._failure

    @override
    async def read(self, after: Seq, *, limit: int) -> list[Journaled]:
        if after >= self._head:
            return []
        cached = self._tail.read(after, limit)
        if cached is not None:
            return cached
        blocks = await self._entries.read(after, limit=limit, end=self._lane.end)
        return await anyio.to_thread.run_sync(unpack_after, blocks, after, limit)

    @override
    async def wait(self, after: Seq) -> None:
        while self._head <= after:
            await self._grown.wait()

    async def _anew(self) -> tuple[Beside, Commits, Checkpoint | None]:
        """All of state and counters; once more where a checkpoint wiped changes while they were read."""
        while True:
            beside = Beside(self._streams.kept, self._streams.bucket)
            checkpoint = await beside.load()
            log = Commits(self._streams.changes, writer="", adopt=beside.adopt)
            log.end = 0 if checkpoint is None else checkpoint.changes
            await log.follow()
            if await Beside(self._streams.kept, self._streams.bucket).load() == checkpoint:
                return beside, log, checkpoint

    async def _beside(self) -> Beside:
        """State and counters as they are now."""
        beside, _, checkpoint = await self._anew()
        if checkpoint is not None:
            self._settle(checkpoint)
        for _, counts in self._counted:
            beside.count(counts)
        return beside

    async def _state_now(self) -> Beside:
        """State alone: what is new behind what was read before, or all of it anew where that was much."""
        async with self._refreshing:
            if self._state is not None and self._state[0].size <= _LARGE:
                beside, log = self._state
                read = log.end
                await log.follow()
                # Looked at after the changes: what a checkpoint came from is wiped, also while it is read here.
                checkpoint = await Beside(self._streams.kept, self._streams.bucket).load()
                if checkpoint is None or checkpoint.changes <= read:
                    return beside
            beside, log, _ = await self._anew()
            self._state = beside, log
        return beside

    @override
    async def get(self, connector: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        return await (await self._state_now()).get(connector, keys)

    @override
    async def scan(self, connector: str, prefix: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
        async for row in (await self._state_now()).scan(connector, prefix, page=500):
            yield row

    @override
    async def owners(self) -> list[str]:
        return await (await self._state_now()).owners()

    @override
    async def counts(self) -> dict[tuple[str, str], int]:
        return (await self._beside()).counts

    @override
    async def statistics(self) -> JournalStatistics:
        return JournalStatistics(
            first=self._entries.first, head=self._head, bytes=0, failure=self._failure, server=self._link.server or ""
        )

    # ---- what only the one does that writes --------------------------------------------------------------------------

    @override
    async def append(self, appends: Sequence[Append]) -> Seq:
        """What this node fetches is appended by the one that leads; all else is refused here."""
        if not all(one.fence or one.connector in _ASKED or not (one.entries or one.state) for one in appends):
            _refuse()
        return await self._leader.append(appends)

    @override
    async def forget(self, connector: str) -> int:
        _refuse()

    @override
    async def prune(self, *, before: Micros, upto: Seq) -> int:
        _refuse()

    @override
    async def revise(self, revise: Revise, *, holding: Holding, after: Seq) -> tuple[Seq, int]:
        _refuse()

    @override
    async def settled(self) -> bool:
        _refuse()

    @override
    def unpruned(self) -> AbstractAsyncContextManager[None]:
        _refuse()

    @override
    async def backup(self, target: Path) -> None:
        _refuse()

    @override
    async def check(self, after: Seq) -> None:
        """What is damaged is found by whoever writes, and when it is read."""

    @override
    async def verify(self) -> list[str]:
        _refuse()

    @override
    async def write_mark(self) -> None:
        """There is none: a mark is for the one who writes."""


def _refuse() -> NoReturn:
    raise NotDurable("this node only applies events; ask the node that leads (cdmctl status)")
