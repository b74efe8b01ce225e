"""One connector's way to the journal: map, accept, door, encode, queue. All counting of the door happens here.

What needs nothing but a commit is gathered: all that a connector takes while a commit runs is one append of the next. Not here:
what else a connector sees of the daemon (``source``).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import anyio.lowlevel
import msgspec

from cdmd.contracts import Append, Budget, Clock, Feeds, Journal, Screen
from cdmd.errors import Overloaded
from cdmd.intake.courtesy import LITTLE, Courtesy
from cdmd.intake.door import Door
from cdmd.intake.mapping import Mapper
from cdmd.intake.queue import JournalQueue, size_of
from cdmd.intake.recent import Flight, Occurrence, Recent, content_of, name_of
from cdmd.intake.routes import Then
from cdmd.intake.tally import Tally
from cdmd.kit.quantities import Rate
from cdmd.models import Accepted, Count, Entry, Filtered, Record, Rejected, Seq, Verdict, encode_entry, tombstone

PUSH_PATIENCE: Final = 1.0
"""Seconds that a push connector waits for a place in the queue."""

_SLICE: Final = 100
"""Records that are mapped and encoded at one go."""

_PARCEL_EVENTS: Final = 256
_PARCEL_BYTES: Final = 2**20


class Digesting(Protocol):
    """Keys for what a connector digests itself."""

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

    ``courtesy`` holds bulk back while live events arrive. ``public_url`` is what senders write before the path.
    ``scratch`` is the folder below which each connector has one, ``room()`` the bytes that may be written there.
    """

    journal: Journal
    feeds: Feeds
    queue: JournalQueue
    tally: Tally
    recent: Recent
    door: Door
    screen: Screen
    digests: Digesting
    clock: Clock
    journaled: Callable[[Seq, Sequence[Entry]], None]
    credit: Callable[[str], Awaitable[None]]
    courtesy: Courtesy
    budgets: Budgets
    public_url: str | None = None
    scratch: Path = Path("scratch")
    room: Callable[[], int] = lambda: 0
    observe: Callable[[str, Record], None] = lambda connector, record: None


class _Suppressed(msgspec.Struct, frozen=True):
    """Nothing of the record is kept, because of whom it is about; a sender is not told, one that fetches forgets it, too."""

    id: str


class _Parcel:
    """What goes to the journal together: requests of one connector, and who waits for them. It grows until it leaves."""

    def __init__(self, connector: str, intake: Intake, left: Callable[[], None]) -> None:
        self.connector, self._intake, self._left = connector, intake, left
        self.flight = Flight()
        self.entries: list[Entry] = []
        self.encoded: list[bytes] = []
        self.occurrences: list[Occurrence] = []
        self.state: dict[bytes, bytes | None] = {}
        self.waiting: list[tuple[Then, list[Verdict]]] = []
        self.events = self.bytes = self.filtered = self.repeats = self.suppressed = 0
        self._screened_by = intake.screen.version
        self._counts: dict[str, int] = {}
        self._pending: Mapping[str, int] = {}

    @property
    def full(self) -> bool:
        """Whether the next request belongs into another one."""
        return self.events >= _PARCEL_EVENTS or self.bytes >= _PARCEL_BYTES

    def mark(self) -> "_Mark":
        """Where it is now."""
        return len(self.entries), len(self.occurrences), self.filtered, self.repeats, self.suppressed

    def cut(self, mark: "_Mark") -> None:
        """As it was at ``mark``."""
        entries, occurrences, self.filtered, self.repeats, self.suppressed = mark
        self._intake.recent.recall(self.occurrences[occurrences:], self.flight)
        del self.entries[entries:], self.encoded[entries:], self.occurrences[occurrences:]

    def counts(self) -> dict[str, int]:
        """What was counted in it, without what is nought; a dict of its own at every call."""
        accepted = len(self.entries) + self.repeats + self.suppressed
        found = {
            Count.RECEIVED: accepted + self.filtered,
            Count.ACCEPTED: accepted,
            Count.FILTERED: self.filtered,
            Count.REPEATS: self.repeats,
            Count.SUPPRESSED: self.suppressed,
        }
        return {name: count for name, count in found.items() if count}

    def leave(self) -> Append:
        """It goes into a commit now; what its connector had counted without an append goes with it."""
        self._left()
        self.screen_again()
        self._pending = self._intake.tally.take_pending(self.connector)
        self._counts = self.counts()
        for name, count in self._pending.items():
            self._counts[name] = self._counts.get(name, 0) + count
        return Append(
            connector=self.connector, entries=self.entries, encoded=self.encoded, state=self.state, counts=self._counts
        )

    def screen_again(self) -> None:
        """Where the suppression list became another one while it waited; what goes now leaves its place, which is booked."""
        if self._intake.screen.version == self._screened_by:
            return
        for place, entry in enumerate(self.entries):
            kept = self._intake.screen.screened(entry)
            if kept is not entry:
                self.entries[place] = tombstone(entry) if kept is None else kept
                self.encoded[place] = encode_entry(self.entries[place])

    def settle(self, first: Seq | None, error: Overloaded | None) -> None:
        """Keep the books about what became of it."""
        intake = self._intake
        if first is None:
            intake.tally.restore(self.connector, self._pending)
            intake.recent.crash(self.occurrences, self.flight, error or Overloaded("not journaled"))
            return
        intake.tally.written(self.connector, self._counts)
        intake.recent.land(self.occurrences, self.flight, first)
        intake.journaled(first, self.entries)

    def acknowledge(self, first: Seq | None, error: Overloaded | None) -> None:
        """Tell everybody who waits."""
        if error is not None:
            lost = sum(len(verdicts) for _, verdicts in self.waiting)
            self._intake.tally.refused(self.connector, lost, type(error).__name__)
        for then, verdicts in self.waiting:
            then(None if first is None else verdicts, error)


_Mark: TypeAlias = tuple[int, int, int, int, int]
"""How far a parcel had grown: entries, occurrences, filtered ones, repeats and suppressed ones."""

_Decided: TypeAlias = Entry | Filtered | _Suppressed


class WayIn:
    """One connector's. ``push``: it waits at most ``PUSH_PATIENCE`` for a place, a pull connector as long as it takes."""

    def __init__(self, connector: str, *, intake: Intake, mapper: Mapper, push: bool) -> None:
        self._connector, self._intake, self._mapper, self._push = connector, intake, mapper, push
        self._queue, self._door = intake.queue, intake.door
        self._gathering: _Parcel | None = None

    async def emit(self, records: Sequence[Record], state: Mapping[bytes, bytes | None]) -> list[Verdict]:
        """See ``cdmd.contracts.Source.emit``."""
        parcel, verdicts = _Parcel(self._connector, self._intake, _nothing), list[Verdict]()
        fates = await self._enter_all(parcel, records, verdicts)
        parcel.state.update(state)
        try:
            await self._commit(parcel)
        except Overloaded as error:
            self._intake.tally.refused(self._connector, len(verdicts), type(error).__name__)
            raise
        await self._share(fates)
        return verdicts

    def take(self, records: Sequence[Record], state: Mapping[bytes, bytes | None], then: Then) -> bool:
        """``emit`` without waiting: ``then`` is told the outcome, now or when it is durable.

        False, with nothing done, where it takes waiting for more than a commit: for a place, for the store, for another's.
        """
        if self._connector in self._door.guarded:
            return False
        parcel, verdicts = self._gathering, list[Verdict]()
        if parcel is None or parcel.full:
            parcel = _Parcel(self._connector, self._intake, self._left)
        mark = parcel.mark()
        decided: Iterable[_Decided] = map(self._mapper.decide, records)
        if self._intake.screen.version:
            decided = self._screened(decided)
        if self._enter(parcel, mark, decided, verdicts):
            parcel.cut(mark)
            return False
        before = mark[0]
        events, size = len(parcel.entries) - before, size_of(parcel.encoded[before:], state)
        if not self._queue.book(self._connector, events, size):
            parcel.cut(mark)
            return False
        if state:
            parcel.state.update(state)
        parcel.waiting.append((then, verdicts))
        parcel.events += events
        parcel.bytes += size
        if parcel is not self._gathering:
            self._gathering = parcel
            # It leaves with all that is taken in this turn of the loop.
            asyncio.get_running_loop().call_soon(self._send, parcel)
        return True

    def _send(self, parcel: _Parcel) -> None:
        """On its way; at once to an end where there is nothing to commit."""
        if parcel.entries or parcel.state:
            self._queue.put(parcel)
            return
        self._gathering = None
        self._intake.tally.counted(self._connector, parcel.counts())
        for then, verdicts in parcel.waiting:
            then(verdicts, None)

    def _left(self) -> None:
        self._gathering = None

    async def _enter_all(
        self, parcel: _Parcel, records: Sequence[Record], verdicts: list[Verdict]
    ) -> "list[asyncio.Future[Seq]]":
        """Put them into a parcel of their own, a slice at a time: whoever else has something to do has it between two.

        A thousand rows of a file would hold the loop for tens of milliseconds (tests/bench/bulk.py).
        """
        fates: list[asyncio.Future[Seq]] = []
        start = 0
        try:
            while start < len(records):
                if start:
                    await anyio.lowlevel.checkpoint()
                end = start + (LITTLE if self._intake.courtesy.wanted else _SLICE)
                some = [self._mapper.decide(record) for record in records[start:end]]
                start = end
                decided: Iterable[_Decided] = await self._at_the_door(some)
                if self._intake.screen.version:
                    decided = self._screened(decided)
                fates += [flight.fate() for flight in self._enter(parcel, parcel.mark(), decided, verdicts)]
        except BaseException:
            self._intake.recent.crash(parcel.occurrences, parcel.flight, Overloaded("given up before it was whole"))
            raise
        return fates

    async def _at_the_door(self, decided: list[Entry | Filtered]) -> list[Entry | Filtered]:
        """The same, with events of people that nobody knows filtered out where the connector keeps only known ones."""
        if self._connector not in self._door.guarded:
            return decided
        places = [place for place, one in enumerate(decided) if isinstance(one, Entry) and one.fault is None]
        events = [one.event for one in decided if isinstance(one, Entry) and one.fault is None]
        strangers = {places[index] for index in await self._door.unknown(self._connector, events)}
        return [Filtered("unknown") if place in strangers else one for place, one in enumerate(decided)]

    def _screened(self, decided: Iterable[_Decided]) -> list[_Decided]:
        """The same as far as it may be kept. Raises ``Overloaded`` where that cannot be told."""
        screened = self._intake.screen.screened
        found: list[_Decided] = []
        for one in decided:
            if isinstance(one, Entry):
                kept = screened(one)
                found.append(_Suppressed(one.event.id) if kept is None else kept)
            else:
                found.append(one)
        return found

    def _enter(self, parcel: _Parcel, mark: _Mark, decided: Iterable[_Decided], verdicts: list[Verdict]) -> list[Flight]:
        """Put them into the parcel, but for those that are not wanted or are repeats: all of them or none, whatever happens.

        ``mark`` is where it is now. Returned are the commits of others that carry the same already, once for each that they
        carry. It runs for every event (tests/bench/intake.py).
        """
        recent, shared = self._intake.recent, list[Flight]()
        try:
            for one in decided:
                if isinstance(one, Filtered):
                    parcel.filtered += 1
                    verdicts.append(one)
                    continue
                if isinstance(one, _Suppressed):
                    parcel.suppressed += 1
                    verdicts.append(Accepted(one.id) if self._push else Filtered("suppressed"))
                    continue
                entry, encoded = self._mapper.encode(one)
                if entry.fault is not None:
                    verdicts.append(Rejected(entry.fault.code, entry.fault.message))
                else:
                    event = entry.event
                    verdicts.append(Accepted(event.id))
                    name, content = name_of(event.source, event.id), content_of(event, adjusted=entry.adjusted)
                    met = recent.met(name, content)
                    # How long ago an id was met is not known here: one that names its occurrence only briefly is the store's
                    # to judge.
                    if met is parcel.flight or (met is True and not entry.brief):
                        parcel.repeats += 1
                        continue
                    if isinstance(met, Flight):
                        shared.append(met)
                        continue
                    recent.depart(name, content, parcel.flight)
                    parcel.occurrences.append((name, content))
                parcel.entries.append(entry)
                parcel.encoded.append(encoded)
        except BaseException:
            parcel.cut(mark)
            raise
        return shared

    async def _commit(self, parcel: _Parcel) -> None:
        if not parcel.entries and not parcel.state:
            self._intake.tally.counted(self._connector, parcel.counts())
            return
        patience = PUSH_PATIENCE if self._push else None
        await self._queue.submit(parcel.leave(), patience=patience, settle=parcel.settle, leaving=parcel.screen_again)

    async def _share(self, fates: "Sequence[asyncio.Future[Seq]]") -> None:
        """What another ``emit`` was just committing has that one's fate."""
        for place, fate in enumerate(fates):
            try:
                await asyncio.shield(fate)
            except Overloaded as error:
                self._intake.tally.refused(self._connector, len(fates) - place, type(error).__name__)
                raise
            self._intake.tally.counted(self._connector, {Count.RECEIVED: 1, Count.ACCEPTED: 1, Count.REPEATS: 1})


def _nothing() -> None:
    """One that leaves at once has nothing to tell."""
