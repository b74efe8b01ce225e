"""Runs the extension calls of several batches at once, and lets go of a batch whose calls take too long.

What is not ready when its batch is released is left behind: its call runs on, and its result comes back by itself later.
Not here: how one extension is called (``cdmd.extensions``), and what a result means (``deciding``).
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import anyio
import msgspec

from cdmd.batches.deciding import is_of
from cdmd.batches.preparing import Preparation, Work, prepared
from cdmd.batches.rules import Digester, Rules, allowed
from cdmd.contracts import Clock, Remap, Screen, Store
from cdmd.errors import CdmdError
from cdmd.extensions import Extensions, Visit
from cdmd.models import (
    Apply,
    Bury,
    Digest,
    Discard,
    Entry,
    Event,
    Extended,
    Fault,
    Hold,
    Item,
    Journaled,
    Micros,
    Outcome,
    Parked,
    Seq,
    to_micros,
)

_MARGIN: Final = 5_000_000
_APPLY: Final = Apply()


class Passage:
    """The way of an event that extensions are asked about, from the journal (or from ``parked``) to its item."""

    __slots__ = (
        "attempts",
        "before",
        "digest",
        "entry",
        "left",
        "outcome",
        "parked_since",
        "resumed",
        "retry",
        "seq",
        "told",
        "tries",
        "visit",
        "waits_for",
    )

    def __init__(self, seq: Seq, entry: Entry) -> None:
        self.seq, self.entry = seq, entry
        self.outcome: Outcome = Apply()
        self.visit: Visit | None = None
        self.left = self.resumed = self.retry = False
        self.parked_since: Micros | None = None
        self.attempts = self.tries = self.told = 0
        self.digest: Digest | None = None
        self.before: Sequence[Extended] = ()
        self.waits_for = ""

    @classmethod
    def resuming(cls, parked: Parked) -> "Passage":
        """The way of an event that comes back from ``parked``."""
        passage = cls(parked.seq, parked.entry)
        passage.resumed, passage.retry, passage.parked_since = True, parked.retry, parked.since
        passage.attempts = passage.tries = parked.attempts
        passage.before, passage.waits_for = parked.trace, parked.extension
        return passage

    @property
    def ready(self) -> bool:
        """Whether its outcome stands."""
        return self.visit is None or self.visit.outcome is not None

    def item(self) -> tuple[Item, Event]:
        """The item and the event as it was journaled."""
        visit, entry, outcome = self.visit, self.entry, self.outcome
        if visit is not None:
            extended = Entry(visit.event, brief=entry.brief, adjusted=entry.adjusted, span=entry.span)
            entry, outcome = extended, visit.outcome or outcome
        item = Item(
            seq=self.seq,
            entry=entry,
            outcome=outcome,
            trace=(*self.before, *(visit.trace if visit is not None else ())),
            resumed=self.resumed,
            parked_since=self.parked_since,
            retry=self.retry,
            attempts=self.tries,
            digest=self.digest,
            began=tuple(visit.began[self.told :]) if visit is not None else (),
        )
        return item, self.entry.event


class Batch:
    """Entries in journal order; ``position`` is the last one that was looked at.

    ``passages`` are of those that extensions are asked about: all others are items as they are, which a load is felt by
    (tests/bench/bulk.py). ``release`` is when (monotonic seconds) its calls are waited for no longer: set once they have begun.
    ``ready`` is what of its decision was made while others were written, where its calls had ended by then; ``preparing`` ends
    with that. Nothing more is made of one that is ``taken``.
    """

    def __init__(self, journaled: list[Journaled], *, position: Seq) -> None:
        self.journaled, self.position = journaled, position
        self.passages: dict[Seq, Passage] = {}
        self.release = 0.0
        self.unfinished = 0
        self.finished = anyio.Event()
        self.ready: Preparation | None = None
        self.preparing: anyio.Event | None = None
        self.taken = False

    async def make_ready(self, rules: Rules) -> None:
        """Once its calls have ended, unless it was taken before that."""
        if not self.finished.is_set():
            await self.finished.wait()
        if not self.taken:
            self.preparing = anyio.Event()
            self.ready = await prepared(rules, self.work())
            self.preparing.set()

    async def take(self, rules: Rules) -> Preparation:
        """It as it stands now."""
        self.taken = True
        self.finished.set()  # so that nobody waits for it any more
        if self.preparing is not None and not self.preparing.is_set():
            await self.preparing.wait()
        return self.ready or await prepared(rules, self.work())

    def work(self) -> Work:
        """Its items as they stand now."""
        passages = self.passages
        return [
            (Item(seq=one.seq, entry=one.entry, outcome=_APPLY), one.entry.event)
            if (passage := passages.get(one.seq)) is None
            else passage.item()
            for one in self.journaled
        ]


def joined(window: Iterable[Batch], most: int) -> list[Batch]:
    """The first of them, and those behind it whose calls have ended, too, up to ``most`` events together."""
    ready, size = list[Batch](), 0
    for batch in window:
        size += len(batch.journaled)
        if ready and (size > most or not batch.finished.is_set()):
            break
        ready.append(batch)
    return ready


class Extending:
    """The calls under way: those of the window's batches, those left behind, and those of events back from ``parked``."""

    def __init__(
        self,
        extensions: Extensions,
        store: Store,
        *,
        digester: Digester,
        remap: Remap,
        clock: Clock,
        screen: Screen | None = None,
    ) -> None:
        self._extensions, self._store, self._digester, self._remap, self._clock = extensions, store, digester, remap, clock
        self._screen = screen
        self._in_flight: dict[Digest, Seq] = {}
        self.running: dict[Seq, Passage] = {}
        self.returned: deque[Passage] = deque()
        self.on_return: Callable[[], None] = lambda: None

    async def begin(self, batch: Batch) -> None:
        """Start the calls that the batch's events need; repeats need none."""
        plan = self._extensions.plan
        asked = [one for one in batch.journaled if one.entry.fault is None and plan(one.entry.event.type)]
        wanting = [Passage(one.seq, one.entry) for one in asked]
        if self._screen is not None and self._screen.version:
            wanting = [one for one in wanting if self._may_be_shown(one)]
        batch.passages = {one.seq: one for one in wanting}
        for passage, digest in await self._not_yet_seen(wanting):
            # An earlier entry of the same occurrence is decided first, so this one will be a repeat.
            if self._in_flight.setdefault(digest, passage.seq) != passage.seq:
                continue
            batch.unfinished += 1
            self._start(passage, lambda passage=passage: self._ended_in(batch, passage))  # type: ignore[misc]
        if batch.unfinished == 0:
            batch.finished.set()

    def forget(self) -> None:
        """What is under way is somebody else's from now on, or begins anew."""
        self._in_flight.clear()
        self.running.clear()
        self.returned.clear()

    def admitted(self, due: Sequence[Parked], *, share: int) -> list[Parked]:
        """Of these, what is not under way and makes no more than ``share`` under way of one extension.

        So one that is slow, or never answers, holds no places that the events waiting for others could take.
        """
        under_way = Counter(passage.waits_for for passage in self.running.values())
        found: list[Parked] = []
        for one in due:
            if one.seq not in self.running and under_way[one.extension] < share:
                under_way[one.extension] += 1
                found.append(one)
        return found

    async def resume(self, parked: Sequence[Parked]) -> None:
        """Take events back from ``parked``; their results come through ``returned``."""
        passages = []
        for one in parked:
            passage = Passage.resuming(one)
            self.running[one.seq] = passage
            if passage.entry.fault is not None:
                self._map_again(passage)
            passages.append((passage, one.extension))
        calls = [passage for passage, _ in passages if passage.entry.fault is None and isinstance(passage.outcome, Apply)]
        calls = [passage for passage in calls if self._may_be_shown(passage)]
        # Another entry of the same occurrence may be under way: a call too many, and the store decides whose it was.
        wanting = {id(passage) for passage, _ in await self._not_yet_seen(calls)}
        for passage, extension in passages:
            if id(passage) in wanting:
                self._start(passage, lambda passage=passage: self._back(passage), extension)  # type: ignore[misc]
            else:
                self._back(passage)

    def release(self, batch: Batch) -> Iterable[Passage]:
        """The batch as it is now. What waits for its turn goes to ``parked`` at once, what is being called runs on."""
        now = to_micros(self._clock.now())
        for passage in batch.passages.values():
            visit = passage.visit
            if visit is None or visit.outcome is not None:
                continue
            if self._extensions.withdraw(visit):
                passage.outcome = Hold(visit.extension, now, visit.attempts, "waits for its turn")
            else:
                due = Micros(now + round(visit.remaining * 1_000_000) + _MARGIN)
                passage.outcome = Hold(visit.extension, due, visit.attempts, "not ready yet")
                passage.left = True
                passage_after = Passage(passage.seq, passage.entry)
                passage_after.visit, passage_after.resumed, passage_after.parked_since = visit, True, now
                passage_after.waits_for, passage_after.told = visit.extension, len(visit.trace)
                self.running[passage.seq] = passage_after
        return batch.passages.values()

    def applied(self, passages: Iterable[Passage]) -> None:
        """These are in the store now."""
        for passage in passages:
            if passage.resumed:
                self.running.pop(passage.seq, None)
            if passage.digest is not None and self._in_flight.get(passage.digest) == passage.seq:
                del self._in_flight[passage.digest]

    def take_returned(self) -> list[Passage]:
        """The events that came back since."""
        taken = list(self.returned)
        self.returned.clear()
        return taken

    def _start(self, passage: Passage, ended: Callable[[], None], extension: str = "") -> None:
        entry = passage.entry
        passage.visit = self._extensions.start(
            entry.event, ended=ended, extension=extension, attempts=passage.attempts, span=entry.span
        )
        if passage.visit.outcome is not None:
            ended()

    def _ended_in(self, batch: Batch, passage: Passage) -> None:
        if passage.left:
            if (after := self.running.get(passage.seq)) is not None:
                self._back(after)
            return
        batch.unfinished -= 1
        if batch.unfinished == 0:
            batch.finished.set()

    def _back(self, passage: Passage) -> None:
        self.returned.append(passage)
        self.on_return()

    def _may_be_shown(self, passage: Passage) -> bool:
        """Whether an extension may see the event, which is as far as it may be kept then."""
        entry = allowed(self._screen, passage.entry)
        passage.entry = passage.entry if entry is None else entry
        return entry is not None

    async def _not_yet_seen(self, passages: Sequence[Passage]) -> list[tuple[Passage, Digest]]:
        """Those whose occurrence the store remembers of no other entry, each with its digest."""
        if not passages:
            return []
        digests = [self._digester.occurrence(one.entry.event.source, one.entry.event.id) for one in passages]
        for one, digest in zip(passages, digests, strict=True):
            one.digest = digest if one.entry.event.id else None
        try:
            seen = await self._store.seen(digests)
        except CdmdError:
            seen = {}  # a call too many does less harm than waiting: the store decides about repeats
        pairs = zip(passages, digests, strict=True)
        return [
            (one, digest)
            for one, digest in pairs
            if digest not in seen or seen[digest].seq == one.seq or not is_of(seen[digest], one.entry, one.seq)
        ]

    def _map_again(self, passage: Passage) -> None:
        try:
            mapped = self._remap(passage.entry)
        except Exception as error:  # noqa: BLE001 - one record that breaks its mapping must not stop all others
            mapped = Fault("internal", f"could not be mapped: {type(error).__name__}")
        if mapped is None:
            passage.outcome = Discard("not wanted by today's configuration")
            passage.entry = Entry(passage.entry.event)
        elif isinstance(mapped, Fault):
            passage.entry = msgspec.structs.replace(passage.entry, fault=mapped)
            passage.outcome = Bury(mapped)
        else:
            passage.entry = Entry(mapped, brief=passage.entry.brief, span=passage.entry.span)
