"""A journal and a store in memory with the semantics of the real ones, and small parts around the pipeline."""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from operator import attrgetter

import anyio
import msgspec

from cdmd.contracts import Decide
from cdmd.errors import NotDurable
from cdmd.models import (
    Activity,
    Changes,
    Count,
    DeadLetter,
    Digest,
    Entry,
    Event,
    Journaled,
    Known,
    Micros,
    Parked,
    ProfileKey,
    ProfileState,
    Seen,
    SeenVerdict,
    Seq,
    Wanted,
    decode_entry,
    encode_entry,
    unpack_activity,
    unpack_profile,
)

START = datetime(2026, 11, 24, 12, tzinfo=UTC)


class ManualClock:
    """A wall clock that stands still until it is moved; sleeping yields only."""

    def __init__(self) -> None:
        self.moment = START
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return anyio.current_time() + (self.moment - START).total_seconds()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await anyio.lowlevel.checkpoint()

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


class Digests:
    def occurrence(self, source: str, id: str) -> Digest:
        return Digest(hashlib.blake2b(f"{source}\0{id}".encode(), digest_size=16).digest())

    def content(self, event: Event) -> int:
        shown = msgspec.json.encode([event.type, event.time, event.identifiers, event.traits, event.data])
        return int.from_bytes(hashlib.blake2b(shown, digest_size=8).digest(), signed=True)


class MemoryJournal:
    id = "journal-1"

    def __init__(self) -> None:
        self._entries: list[bytes] = []
        self._more = anyio.Event()
        self.limits: list[int] = []
        self.failing: list[Exception] = []

    @property
    def head(self) -> Seq:
        return Seq(len(self._entries))

    def add(self, *entries: Entry | Event) -> Seq:
        first = Seq(len(self._entries) + 1)
        self._entries += [encode_entry(entry if isinstance(entry, Entry) else Entry(entry)) for entry in entries]
        self._more.set()
        self._more = anyio.Event()
        return first

    async def read(self, after: Seq, *, limit: int) -> list[Journaled]:
        await anyio.lowlevel.checkpoint()
        if self.failing:
            raise self.failing.pop(0)
        self.limits.append(limit)
        found = self._entries[after : after + limit]
        return [Journaled(Seq(after + 1 + index), decode_entry(encoded)) for index, encoded in enumerate(found)]

    async def wait(self, after: Seq) -> None:
        while self.head <= after:
            await self._more.wait()


class _Call:
    """A batch that was handed over."""

    def __init__(self) -> None:
        self.ended, self.written = anyio.Event(), False


class MemoryStore:
    """``failing`` holds what the next calls of ``apply`` raise, before or (``after``) after the transaction took effect."""

    def __init__(self) -> None:
        self.position = Seq(0)
        self.remembered: dict[Digest, Seen] = {}
        self.owners: dict[tuple[str, str], ProfileKey] = {}
        self.profiles: dict[ProfileKey, ProfileState] = {}
        self.activities: dict[Seq, Activity] = {}
        self.dead: dict[Seq, DeadLetter] = {}
        self.waiting: dict[Seq, Parked] = {}
        self.counters: Counter[tuple[str, str]] = Counter()
        self.sizes: list[int] = []
        self.swayed: list[bool] = []
        self.failing: list[Exception] = []
        self.failing_after: list[Exception] = []
        self.refuses: set[str] = set()
        self.seen_fails = False
        self.seen_asked = 0
        self._moved = anyio.Event()
        self._calls: list[_Call] = []
        self.takes = 1  # turns of the loop that a transaction takes

    async def apply(self, wanted: Wanted, decide: Decide) -> Changes:
        earlier, mine = list(self._calls), _Call()
        self._calls.append(mine)
        try:
            for _ in range(self.takes):
                await anyio.lowlevel.checkpoint()
            for one in earlier:
                await one.ended.wait()
            if not all(one.written for one in earlier):
                raise NotDurable("what came before was not written")
            changes = self._applied(wanted, decide)
            mine.written = True
            return changes
        finally:
            mine.ended.set()
            if all(one.ended.is_set() for one in self._calls):
                self._calls.clear()

    def _applied(self, wanted: Wanted, decide: Decide) -> Changes:
        if self.failing:
            raise self.failing.pop(0)
        changes = spelled_out(decide(self._known(wanted)))
        if any(activity.event.id in self.refuses for activity in changes.activities):
            raise OverflowError("an event that cannot be bound")
        self._write(changes)
        if self.failing_after:
            raise self.failing_after.pop(0)
        return changes

    def _known(self, wanted: Wanted) -> Known:
        owners = {pair: self.owners[pair] for pair in wanted.identifiers if pair in self.owners}
        keys = set(owners.values())
        return Known(
            seen={digest: self.remembered[digest] for digest in wanted.digests if digest in self.remembered},
            owners=owners,
            profiles={key: self.profiles[key] for key in keys},
            next_profile=ProfileKey(len(self.profiles) + 1),
            parked=frozenset(seq for seq in wanted.parked if seq in self.waiting),
        )

    def _write(self, changes: Changes) -> None:
        if changes.position is not None:
            assert changes.position > self.position, "the position only grows"
            self.position = changes.position
        for activity in changes.activities:
            assert activity.seq not in self.activities, "applied twice"
            self.activities[activity.seq] = activity
        self.sizes.append(len(changes.activities))
        self.swayed.append(changes.swayed)
        self.remembered.update(changes.seen)
        self.profiles.update(changes.profiles)
        self.owners.update(changes.owners)
        for seq in changes.unparked:
            del self.waiting[seq]
        self.waiting.update({parked.seq: _again(parked) for parked in changes.parked})
        self.dead.update({letter.seq: letter for letter in changes.dead})
        self.counters.update(changes.counts)
        self._moved.set()
        self._moved = anyio.Event()

    async def until(self, condition) -> None:
        """Return once ``condition()`` holds; the test's deadline bounds the wait."""
        with anyio.fail_after(30):
            while not condition():
                await self._moved.wait()

    async def seen(self, digests: Sequence[Digest]) -> dict[Digest, Seen]:
        await anyio.lowlevel.checkpoint()
        self.seen_asked += len(digests)
        if self.seen_fails:
            from cdmd.errors import NotDurable

            raise NotDurable("no disk")
        return {digest: self.remembered[digest] for digest in digests if digest in self.remembered}

    async def due(self, now: Micros, *, limit: int, without: Collection[Seq] = ()) -> list[Parked]:
        await anyio.lowlevel.checkpoint()
        found = sorted((one for one in self.waiting.values() if one.due <= now), key=lambda one: one.due)
        lines: dict[str, list[Parked]] = {}
        for one in found:
            if one.seq not in without:
                lines.setdefault(one.extension, []).append(one)
        turns = zip_longest(*lines.values())
        return [one for turn in turns for one in turn if one is not None][:limit]

    async def next_due(self) -> Micros | None:
        return min((one.due for one in self.waiting.values()), default=None)

    async def counts(self) -> dict[tuple[str, str], int]:
        return dict(self.counters)

    def revive(self, seq: Seq, now: Micros) -> None:
        """A dead letter becomes a parked event that is due now, as ``Store.revive`` does it."""
        letter = self.dead.pop(seq)
        connector = letter.entry.event.connector
        self.waiting[seq] = Parked(
            seq=seq, entry=letter.entry, extension="", attempts=letter.attempts, due=now, since=now, reason="", retry=True
        )
        for digest, seen in self.remembered.items():
            if seen.seq == seq:
                self.remembered[digest] = Seen(seq, SeenVerdict.PARKED, seen.content)
                break
        self.counters.update({(connector, Count.DEAD): -1, (connector, Count.PARKED): 1})

    def sums(self, connector: str = "shop") -> dict[str, int]:
        return {name: number for (of, name), number in self.counters.items() if of == connector and number}


def _again(parked: Parked) -> Parked:
    """The row as it comes back from the disk."""
    return msgspec.structs.replace(parked, entry=decode_entry(encode_entry(parked.entry)))


def event(id: str = "1", *, type: str = "order.paid", source: str = "shop", **fields) -> Event:
    fields.setdefault("received", START)
    fields.setdefault("identifiers", {"email": "joe@example.com"})
    return Event(id=id, source=source, type=type, **fields)


P9 = (Count.APPLIED, Count.REPEATS, Count.FILTERED, Count.SUPPRESSED, Count.DEAD, Count.PARKED)


def spelled_out(changes: Changes) -> Changes:
    """The same with those who are new among its profiles, owners and activities."""
    came = [(one, unpack_activity(one.activity)) for one in changes.newcomers]
    activities = [Activity(seq=one.seq, profile=one.key, time=one.at, event=told.event, rule=told.rule) for one, told in came]
    return msgspec.structs.replace(
        changes,
        profiles=dict(changes.profiles) | {one.key: unpack_profile(one.profile) for one, _ in came},
        owners=changes.owners | {pair: one.key for one, _ in came for pair in one.pairs},
        activities=sorted([*changes.activities, *activities], key=attrgetter("seq")),
        newcomers=(),
    )


def accounted(store: MemoryStore) -> int:
    """How many journaled entries the counters account for."""
    return sum(number for (_, name), number in store.counters.items() if name in P9)
