"""``Journal`` for a daemon that applies what another one writes: it reads, and asks that one to append what it fetches itself.

It hears up to where the journal reaches, and reads the lanes that it applies, or whatever it is asked for, when it is wanted.
Connectors' state is read anew whenever it is asked for: whoever writes changes it meanwhile. Not here: whose turn it is to
write (``holding``).
"""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, NoReturn, Self

import anyio
import anyio.to_thread
import msgspec
from typing_extensions import override

from cdmd.cluster.beside import Beside, Checkpoint
from cdmd.cluster.commits import Commits
from cdmd.cluster.connection import Link
from cdmd.cluster.entries import Entries, decode_piece
from cdmd.cluster.forwarding import Asking
from cdmd.cluster.heads import listen
from cdmd.cluster.lanes import LaneReader
from cdmd.cluster.place import Place, Streams
from cdmd.contracts import Append, Clock, Divided, Holding, Journal, JournalStatistics, Revise
from cdmd.errors import CdmdError, Damaged, NotDurable
from cdmd.models import Journaled, Micros, Seq
from cdmd.store.blocks import unpack_after

_ASKED: Final = frozenset(("daemon:connectors", "daemon:budgets"))
"""What of the daemon's own state goes with connectors that this node fetches for."""
_LARGE: Final = 4 * 2**20
_SILENT: Final = 20.0
"""Seconds: longer than another node takes to go on where the one that led is gone."""


class FollowedJournal(Journal, Divided):
    """``open`` it. What would write raises ``NotDurable``, but for what this node fetches."""

    def __init__(self, link: Link, place: Place, *, clock: Clock) -> None:
        self._link, self._clock, self._heard = link, clock, clock.monotonic()
        self._streams = streams = Streams.of(place, link)
        self._entries = Entries(streams.entries, streams.kept, key=streams.bucket.patch)
        self._reader = LaneReader(streams.entries, self._entries, known=lambda: self._reached)
        self._leader = Asking(link, place.name, clock=clock)
        self._state: tuple[Beside, Commits] | None = None
        self._counted, self._refreshing = Seq(0), anyio.Lock()
        self._reached = Checkpoint("")
        self._grown = anyio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, place: Place, *, clock: Clock) -> AsyncIterator[Self]:
        """Follow the journal at ``place``. Raises ``NotDurable`` (no server, or no journal there yet) and ``Damaged``."""
        async with Link.open(place.access, name=f"cdmd {place.name}") as link:
            journal = cls(link, place, clock=clock)
            stop = await listen(link, place.name, journal._hear)
            await journal._begin()
            try:
                yield journal
            finally:
                await stop()

    async def _begin(self) -> None:
        """What lies behind the checkpoint is read once; from then on it is told."""
        beside = Beside(self._streams.kept, self._streams.bucket)
        try:
            checkpoint = await beside.load()
        except CdmdError as error:
            raise error if isinstance(error, NotDurable) else NotDurable(f"there is no journal yet: {error}") from error
        if checkpoint is None:
            raise NotDurable("there is no journal yet: start the node that writes it")
        head, division = checkpoint.head, checkpoint.division

        def adopt(at: int, body: bytes) -> None:
            nonlocal head, division
            piece = decode_piece(body, f"message {at} of {self._streams.entries.name}")
            if piece.first <= head:  # behind a gap goes on what was pruned meanwhile
                raise Damaged(f"the journal is damaged: entry {piece.first} follows on entry {head}")
            head, division = piece.last, division.into(piece.lanes, behind=Seq(piece.first - 1)).taken([at], [piece])

        self._reached = Checkpoint(checkpoint.journal_id)
        self._hear(checkpoint)
        commits = Commits(self._streams.entries, writer="", adopt=adopt)
        commits.end = checkpoint.entries
        await commits.follow()
        self._hear(msgspec.structs.replace(checkpoint, entries=commits.end, head=head, division=division))

    def _hear(self, said: Checkpoint) -> None:
        """What is said by whoever writes, or wrote: of two the one that tells of more is the newer one."""
        if said.journal_id != self._reached.journal_id or said.entries < self._reached.entries:
            return
        self._heard = self._clock.monotonic()
        if said.begins != self._entries.begins:
            self._entries.begin(said.begins, said.first)
        self._reached = said
        self._reader.wake()
        self._grown.set()
        self._grown = anyio.Event()

    # ---- reading -----------------------------------------------------------------------------------------------------

    @property
    @override
    def id(self) -> str:
        return self._reached.journal_id

    @property
    @override
    def head(self) -> Seq:
        return self._reached.head

    @property
    @override
    def readable(self) -> bool:
        return self._link.connected

    @property
    @override
    def failure(self) -> str | None:
        if not self._link.connected:
            return "no NATS server can be reached"
        silent = self._clock.monotonic() - self._heard
        return None if silent < _SILENT else f"no node that leads was heard of for {silent:.0f} s"

    @override
    async def read(self, after: Seq, *, limit: int) -> list[Journaled]:
        if after >= self.head:
            return []
        blocks = await self._entries.read(after, limit=limit, end=self._reached.entries)
        return await anyio.to_thread.run_sync(unpack_after, blocks, after, limit)

    @override
    async def read_lanes(
        self, lanes: Collection[int], number: int, after: Seq, *, limit: int
    ) -> tuple[list[Journaled], Seq] | None:
        return await self._reader.read(lanes, number, after, limit=limit)

    @override
    async def wait(self, after: Seq) -> None:
        while self.head <= after:
            await self._grown.wait()

    async def _anew(self) -> tuple[Beside, Commits, Checkpoint | None]:
        """All of state and counters; once more where a checkpoint wiped changes while they were read."""
        while True:
            beside = Beside(self._streams.kept, self._streams.bucket)
            checkpoint = await beside.load()
            log = Commits(self._streams.changes, writer="", adopt=beside.adopt)
            log.end = 0 if checkpoint is None else checkpoint.changes
            await log.follow()
            if await beside.is_last(checkpoint):
                return beside, log, checkpoint

    async def _state_now(self) -> Beside:
        async with self._refreshing:
            return await self._refreshed()

    async def _refreshed(self) -> Beside:
        """What is new behind what was read before, or all of it anew where that was much, or is gone."""
        if self._state is not None and self._state[0].size <= _LARGE:
            beside, log = self._state
            read = log.end
            await log.follow()
            # Looked at after the changes: what a checkpoint came from is wiped, also while it is read here.
            checkpoint = await Beside(self._streams.kept, self._streams.bucket).load()
            if checkpoint is None or (checkpoint.changes <= read and checkpoint.first <= self._counted + 1):
                return beside
        beside, log, checkpoint = await self._anew()
        self._state, self._counted = (beside, log), Seq(0) if checkpoint is None else checkpoint.head
        if checkpoint is not None:
            self._entries.note(checkpoint.head, checkpoint.entries)
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
        """Those since the last checkpoint came with entries behind it, each of which is read once."""
        async with self._refreshing:
            beside = await self._refreshed()
            async for found in self._entries.behind(self._counted, end=self._reached.entries):
                beside.count(found.piece.counts)
                self._counted = found.piece.last
                self._entries.note(found.piece.last, found.last)
            return beside.counts

    @override
    async def statistics(self) -> JournalStatistics:
        return JournalStatistics(
            first=self._entries.first, head=self.head, bytes=0, failure=self.failure, server=self._link.server or ""
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
