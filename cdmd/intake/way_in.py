"""One connector's way to the journal: map, accept, door, encode, queue. All counting of the door happens here.

What needs nothing but a commit is gathered: all that a connector takes while a commit runs is one append of the next. Not here:
what else a connector sees of the daemon (``source``).
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

import anyio.lowlevel
import msgspec

from cdmd.errors import Overloaded
from cdmd.intake.courtesy import LITTLE
from cdmd.intake.mapping import Mapper
from cdmd.intake.parcels import Mark, Parcel
from cdmd.intake.queue import size_of
from cdmd.intake.recent import Flight, content_of, name_of
from cdmd.intake.routes import E
from cdmd.intake.shared import Intake
from cdmd.models import Accepted, Count, Entry, Event, Filtered, Record, Rejected, Seq, Verdict

PUSH_PATIENCE: Final = 1.0
"""Seconds that a push connector waits for a place in the queue."""

_SLICE: Final = 100
"""Records that are mapped and encoded at one go."""


class _Suppressed(msgspec.Struct, frozen=True):
    """Nothing of the record is kept, because of whom it is about; a sender is not told, one that fetches forgets it, too."""

    id: str


_Decided: TypeAlias = Entry | Filtered | _Suppressed
_Group: TypeAlias = tuple[Iterable[_Decided], list[Verdict]]
"""What became of the records of one request, and where their verdicts go."""


class WayIn:
    """One connector's. ``push``: it waits at most ``PUSH_PATIENCE`` for a place, a pull connector as long as it takes.

    ``fence`` goes with what it appends (``Append.fence``).
    """

    def __init__(self, connector: str, *, intake: Intake, mapper: Mapper, push: bool) -> None:
        self._connector, self._intake, self._mapper, self._push = connector, intake, mapper, push
        self._queue, self._door = intake.queue, intake.door
        self._gathering: Parcel | None = None
        self.fence = 0
        self._encode = mapper.encode if intake.partition is None else partial(_placed, mapper.encode, intake.partition)

    async def emit(self, records: Sequence[Record], state: Mapping[bytes, bytes | None]) -> list[Verdict]:
        """See ``cdmd.contracts.Source.emit``."""
        parcel = Parcel(self._connector, self._intake, _nothing, fence=self.fence)
        verdicts: list[Verdict] = []
        fates = await self._enter_all(parcel, records, verdicts)
        parcel.state.update(state)
        try:
            await self._commit(parcel)
        except Overloaded as error:
            self._intake.tally.refused(self._connector, len(verdicts), type(error).__name__)
            raise
        await self._share(fates)
        return verdicts

    def take(self, several: Sequence[E]) -> Sequence[E]:
        """``emit`` without waiting, for what arrived together: each is told how it ended when that is known.

        Returned are those with which nothing was done, because it takes waiting for more than a commit: for a place, for the
        store, for another's. What raises leaves nothing done. All of them are booked at once (tests/bench/intake.py).
        """
        if self._connector in self._door.guarded:
            return several
        parcel = self._gathering
        if parcel is None or parcel.full:
            parcel = Parcel(self._connector, self._intake, self._left)
        mark = parcel.mark()
        taken = self._entered(parcel, mark, several)
        states = [one.wanted.state for one, _ in taken if one.wanted.state]
        size = parcel.bytes - mark[2] + (sum([size_of((), state) for state in states]) if states else 0)
        if not taken or not self._queue.book(self._connector, len(parcel.entries) - mark[0], size):
            parcel.cut(mark)
            return several if len(several) == 1 else [one for each in several for one in self.take((each,))]
        parcel.bytes = mark[2] + size
        for state in states:
            parcel.state.update(state)
        parcel.waiting += taken
        if parcel is not self._gathering:
            self._gathering = parcel
            self._send(parcel)
        return self.take(several[len(taken) :]) if len(taken) < len(several) else ()

    def _entered(self, parcel: Parcel, mark: Mark, several: Sequence[E]) -> "list[tuple[E, list[Verdict]]]":
        """Those that are in the parcel now, with their verdicts: as many as belong into one. None where one has to wait."""
        taken: list[tuple[E, list[Verdict]]] = []
        screened, decide = bool(self._intake.screen.version), self._mapper.decide

        def groups() -> Iterator[_Group]:
            for one in several:
                if parcel.full:
                    return
                verdicts: list[Verdict] = []
                taken.append((one, verdicts))
                decided: Iterable[_Decided] = map(decide, one.wanted.records)
                yield self._screened(decided) if screened else decided, verdicts

        return [] if self._enter(parcel, mark, groups()) else taken

    def _send(self, parcel: Parcel) -> None:
        """On its way; at once to an end where there is nothing to commit."""
        if parcel.entries or parcel.state:
            self._queue.put(parcel)
            return
        self._gathering = None
        self._intake.tally.counted(self._connector, parcel.counts())
        for one, verdicts in parcel.waiting:
            one.settle(verdicts, None)

    def _left(self) -> None:
        self._gathering = None

    async def _enter_all(
        self, parcel: Parcel, records: Sequence[Record], verdicts: list[Verdict]
    ) -> "list[asyncio.Future[Seq]]":
        """Put them into a parcel of their own, a slice at a time: whoever else has something to do has it between two.

        A thousand rows of a file would hold the loop for tens of milliseconds (tests/bench/bulk.py).
        """
        fates: list[asyncio.Future[Seq]] = []
        start, remember = 0, not all(record.once for record in records)
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
                shared = self._enter(parcel, parcel.mark(), [(decided, verdicts)], remember=remember)
                fates += [flight.fate() for flight in shared]
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

    def _enter(self, parcel: Parcel, mark: Mark, groups: Iterable[_Group], *, remember: bool = True) -> list[Flight]:
        """Put them into the parcel, but for those that are not wanted or are repeats: all of them or none, whatever happens.

        ``mark`` is where it is now. Returned are the commits of others that carry the same already, once for each that they
        carry. Without ``remember`` nobody asks whether they were met. It runs for every event (tests/bench/intake.py).
        """
        recent, encode, flight = self._intake.recent, self._encode, parcel.flight
        shared: list[Flight] = []
        entries, bodies, occurrences = parcel.entries, parcel.encoded, parcel.occurrences
        try:
            for decided, verdicts in groups:
                for one in decided:
                    if isinstance(one, Filtered):
                        parcel.filtered += 1
                        verdicts.append(one)
                        continue
                    if isinstance(one, _Suppressed):
                        parcel.suppressed += 1
                        verdicts.append(Accepted(one.id) if self._push else Filtered("suppressed"))
                        continue
                    entry, encoded = encode(one)
                    fault = entry.fault
                    if fault is not None:
                        verdicts.append(Rejected(fault.code, fault.message))
                    else:
                        event = entry.event
                        verdicts.append(Accepted(event.id))
                        if remember:
                            name, content = name_of(event.source, event.id), content_of(event, adjusted=entry.adjusted)
                            # How long ago an id was met is not known here: one that names its occurrence only briefly is the
                            # store's to judge.
                            met = recent.depart(name, content, flight, brief=entry.brief)
                            if met is not False:
                                if met is True or met is flight:
                                    parcel.repeats += 1
                                else:
                                    shared.append(met)
                                continue
                            occurrences.append((name, content))
                    entries.append(entry)
                    bodies.append(encoded)
                    parcel.bytes += len(encoded)
        except BaseException:
            parcel.cut(mark)
            raise
        return shared

    async def _commit(self, parcel: Parcel) -> None:
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


def _placed(
    encode: Callable[[Entry], tuple[Entry, bytes]], partition: Callable[[Event], int], entry: Entry
) -> tuple[Entry, bytes]:
    """In its lane."""
    return encode(msgspec.structs.replace(entry, part=partition(entry.event)))


def _nothing() -> None:
    """One that leaves at once has nothing to tell."""
