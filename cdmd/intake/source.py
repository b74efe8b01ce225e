"""What a connector sees of the daemon: ``IntakeSource``, the one implementation of ``cdmd.contracts.Source``.

``emit``: map, accept, door, encode, queue, and return when it is durable. All counting of the door happens here.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import anyio
import msgspec

from cdmd.contracts import Append, Budget, Clock, Feeds, Http, Journal
from cdmd.errors import Overloaded
from cdmd.intake.door import Door
from cdmd.intake.mapping import Mapper
from cdmd.intake.queue import JournalQueue
from cdmd.intake.recent import Recent
from cdmd.intake.tables import SourceTable
from cdmd.intake.tally import Tally
from cdmd.kit.logs import escaped
from cdmd.kit.quantities import Rate
from cdmd.models import Accepted, Count, Digest, Entry, Event, Filtered, Record, Rejected, Seq, Verdict

PUSH_PATIENCE: Final = 1.0
"""Seconds that a push connector waits for a place in the queue."""


class Digesting(Protocol):
    """Keyed digests of occurrences and of their content."""

    def occurrence(self, source: str, id: str) -> Digest:  # noqa: A002 - the field's own name
        """128 bits of (source, id)."""
        ...

    def content(self, event: Event) -> int:
        """64 bits of what the event says."""
        ...

    def secret(self, connector: str, purpose: str) -> bytes:
        """32 bytes to key a connector's own digests with."""
        ...


class Budgets(Protocol):
    """The budgets of all hosts."""

    def of(self, connector: str, origin: str, credential: str, limits: Sequence[Rate]) -> Budget:
        """See ``Source.budget``."""
        ...


class Intake(msgspec.Struct, frozen=True, kw_only=True):
    """What all sources share. ``journaled(first, entries)`` is told of every durable batch; ``credit`` holds pull back.

    ``public_url`` is what senders write before the path.
    ``scratch`` is the folder below which each connector has one, ``room()`` the bytes that may be written there.
    """

    journal: Journal
    feeds: Feeds
    queue: JournalQueue
    tally: Tally
    recent: Recent
    door: Door
    digests: Digesting
    clock: Clock
    journaled: Callable[[Seq, Sequence[Entry]], None]
    credit: Callable[[str], Awaitable[None]]
    budgets: Budgets
    public_url: str | None = None
    scratch: Path = Path("scratch")
    room: Callable[[], int] = lambda: 0


class Guarded(Http, Protocol):
    """A guarded client that also opens plain connections (``cdmd.kit.egress.GuardedHttp`` fulfils it)."""

    async def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """See ``cdmd.contracts.Source.connect``."""
        ...


class _Batch:
    """One ``emit`` being decided: what goes to the journal, and the verdict of every record in order."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []
        self.entries: list[Entry] = []
        self.encoded: list[bytes] = []
        self.occurrences: dict[tuple[Digest, int], None] = {}
        self.shared: list[asyncio.Future[Seq]] = []
        self.filtered = 0
        self.repeats = 0

    @property
    def counts(self) -> dict[str, int]:
        """A dict of its own at every call, without what is nought."""
        accepted = len(self.entries) + self.repeats
        if accepted and not self.filtered and not self.repeats:
            return {Count.RECEIVED: accepted, Count.ACCEPTED: accepted}
        found = {
            Count.RECEIVED: accepted + self.filtered,
            Count.ACCEPTED: accepted,
            Count.FILTERED: self.filtered,
            Count.REPEATS: self.repeats,
        }
        return {name: count for name, count in found.items() if count}


class IntakeSource:
    """One connector's way in. ``push`` sources wait a second for a place; pull sources wait for credit instead.

    ``alive`` is called whenever a pull connector shows that it does its work: it idles, or something it emitted is durable.
    A ``closed`` one takes nothing: a connector that did not stop when told must not write beside its successor.
    ``working_on`` says what it does, ``waiting_for`` and ``next_look`` what it idles for and until when, ``looked`` when it
    last came that far; ``trouble`` is what the connector says of itself (``unwell``).
    """

    def __init__(
        self,
        name: str,
        *,
        intake: Intake,
        mapper: Mapper,
        http: Guarded,
        push: bool,
        alive: Callable[[], None] = lambda: None,
        troubled: Callable[[str | None], None] = lambda why: None,
        freshness: float | None = None,
    ) -> None:
        self._name, self._intake, self._mapper, self._http, self._push = name, intake, mapper, http, push
        self._alive, self._troubled, self._freshness, self.closed = alive, troubled, freshness, False
        self.trouble: str | None = None
        self._wake = anyio.Event()
        self.waiting_for: str | None = None
        self.working_on: str | None = None
        self.next_look: datetime | None = None
        self.looked: datetime | None = None

    @property
    def name(self) -> str:
        """The connector's name."""
        return self._name

    @property
    def public_url(self) -> str | None:
        """What senders write before the path."""
        return self._intake.public_url

    @property
    def http(self) -> Http:
        """The guarded client."""
        return self._http

    @property
    def clock(self) -> Clock:
        """The daemon's clock."""
        return self._intake.clock

    @property
    def freshness(self) -> float | None:
        """The configured objective in seconds."""
        return self._freshness

    async def emit(self, records: Sequence[Record], *, state: Mapping[bytes, bytes | None] = {}) -> list[Verdict]:
        """See ``cdmd.contracts.Source.emit``. Raises TypeError for what no journal could keep, before anything is queued."""
        _check(records, state)
        if not self._push:
            await self._intake.credit(self._name)
        if self.closed:
            raise Overloaded("this connector was stopped; what it still brings is not taken")
        batch = await self._decide(records)
        try:
            await self._commit(batch, state)
        except Overloaded as error:
            self._intake.tally.refused(self._name, len(records), type(error).__name__)
            raise
        await self._share(batch.shared)
        if not self._push:
            self._show_life()
        return batch.verdicts

    def refuse(self, count: int, reason: str) -> None:
        """Count what was refused before mapping."""
        self._intake.tally.refused(self._name, count, reason)

    async def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The connector's own state."""
        return await self._intake.journal.get(self._name, keys)

    def scan(self, prefix: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
        """The connector's own state under a prefix."""
        return self._intake.journal.scan(self._name, prefix)

    def table(self, name: str) -> SourceTable:
        """A big table of its own. Raises ValueError for a name that is none."""
        return SourceTable(self._name, name, state=self.get, feeds=self._intake.feeds)

    def secret(self, purpose: str) -> bytes:
        """A key of its own."""
        return self._intake.digests.secret(self._name, purpose)

    async def idle(self, until: datetime, reason: str) -> None:
        """Sleep until then, or until ``poke``."""
        self.looked = self.clock.now()
        self.waiting_for, self.next_look = reason, until
        self._wake = anyio.Event()
        self._show_life()
        try:
            await self._sleep(max(0.0, (until - self.looked).total_seconds()))
        finally:
            self.waiting_for = self.next_look = None

    def working(self, on: str | None) -> None:
        """What ``status`` shows while it does not idle."""
        self.working_on = None if on is None else escaped(on)

    async def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """A plain connection to a configured host."""
        return await self._http.connect(host, port, timeout=timeout)

    @property
    def scratch(self) -> Path:
        """The connector's own folder for what is needed only for a while."""
        return self._intake.scratch / self._name

    def room(self) -> int:
        """Bytes that may be written there now."""
        return self._intake.room()

    def unwell(self, why: str | None) -> None:
        """See ``cdmd.contracts.Source.unwell``."""
        if why != self.trouble:
            self.trouble = why
            self._troubled(why)

    def budget(self, origin: str, credential: str, limits: Sequence[Rate]) -> Budget:
        """See ``cdmd.contracts.Source.budget``."""
        return self._intake.budgets.of(self._name, origin, credential, limits)

    def _show_life(self) -> None:
        if self.trouble is None:
            self._alive()

    async def _sleep(self, seconds: float) -> None:
        async with anyio.create_task_group() as group:

            async def sleep() -> None:
                await self.clock.sleep(seconds)
                self._wake.set()

            group.start_soon(sleep)
            await self._wake.wait()
            group.cancel_scope.cancel()

    def poke(self) -> None:
        """Wake an idling connector: look now."""
        self._wake.set()

    async def _decide(self, records: Sequence[Record]) -> _Batch:
        batch = _Batch()
        decided = [self._mapper.decide(record) for record in records]
        for one in await self._at_the_door(decided):
            if isinstance(one, Filtered):
                batch.filtered += 1
                batch.verdicts.append(one)
            else:
                self._enter(batch, *self._mapper.encode(one))
        return batch

    async def _at_the_door(self, decided: list[Entry | Filtered]) -> list[Entry | Filtered]:
        """The same, with events of people that nobody knows filtered out where the connector keeps only known ones."""
        if self._name not in self._intake.door.guarded:
            return decided
        places = [place for place, one in enumerate(decided) if isinstance(one, Entry) and one.fault is None]
        events = [one.event for one in decided if isinstance(one, Entry) and one.fault is None]
        strangers = {places[index] for index in await self._intake.door.unknown(self._name, events)}
        return [Filtered("unknown") if place in strangers else one for place, one in enumerate(decided)]

    def _enter(self, batch: _Batch, entry: Entry, encoded: bytes) -> None:
        event = entry.event
        if entry.fault is not None:
            batch.verdicts.append(Rejected(entry.fault.code, entry.fault.message))
        else:
            batch.verdicts.append(Accepted(event.id))
            occurrence = (
                self._intake.digests.occurrence(event.source, event.id),
                self._intake.digests.content(entry.content(event)),
            )
            # How long ago an id was met is not known here: one that names its occurrence only briefly is the store's to judge.
            remembered = not entry.brief and self._intake.recent.holds(*occurrence)
            if remembered or occurrence in batch.occurrences:
                batch.repeats += 1
                return
            if (fate := self._intake.recent.flight(*occurrence)) is not None:
                batch.shared.append(fate)
                return
            batch.occurrences[occurrence] = None
        batch.entries.append(entry)
        batch.encoded.append(encoded)

    async def _commit(self, batch: _Batch, state: Mapping[bytes, bytes | None]) -> None:
        tally, recent = self._intake.tally, self._intake.recent
        counts = batch.counts
        if not batch.entries and not state:
            tally.counted(self._name, counts)
            return
        pending = tally.take_pending(self._name)
        for name, count in pending.items():
            counts[name] = counts.get(name, 0) + count
        append = Append(connector=self._name, entries=batch.entries, encoded=batch.encoded, state=state, counts=counts)
        fate = recent.depart(batch.occurrences)

        def settle(first: Seq | None, error: Overloaded | None) -> None:
            if first is None:
                tally.restore(self._name, pending)
                recent.crash(batch.occurrences, fate, error or Overloaded("not journaled"))
                return
            tally.written(self._name, counts)
            recent.land(batch.occurrences, fate, first)
            self._intake.journaled(first, batch.entries)

        await self._intake.queue.submit(append, patience=PUSH_PATIENCE if self._push else None, settle=settle)

    async def _share(self, flights: Sequence["asyncio.Future[Seq]"]) -> None:
        """What another ``emit`` was just committing has that one's fate."""
        for place, fate in enumerate(flights):
            try:
                await asyncio.shield(fate)
            except Overloaded as error:
                self._intake.tally.refused(self._name, len(flights) - place, type(error).__name__)
                raise
            self._intake.tally.counted(self._name, {Count.RECEIVED: 1, Count.ACCEPTED: 1, Count.REPEATS: 1})


def _check(records: Sequence[Record], state: Mapping[Any, Any]) -> None:
    """A commit is shared: what would fail in it, or be unreadable after it, must not come from one connector to all."""
    for key, value in state.items():
        if not isinstance(key, bytes) or not isinstance(value, bytes | None):
            raise TypeError("a connector's state maps bytes to bytes or None")
    for record in records:
        received: Any = record.received
        if not isinstance(received, datetime) or received.tzinfo is None:
            raise TypeError("a record's received is a datetime with a time zone")
