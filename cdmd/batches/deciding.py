"""Decides what a batch comes to: pure, from what the store knows, in journal order.

Every journaled entry ends in exactly one of applied, repeats, filtered, dead and parked, and one that leaves ``parked`` takes
its place there with it. Not here: calling extensions, and writing.
"""

import weakref
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from cdmd.batches.judging import Judging
from cdmd.batches.moments import effective_time
from cdmd.batches.newcomers import RULE, Newcomers
from cdmd.batches.preparing import Preparation, Prepared, forms_of
from cdmd.batches.rules import allowed, telling
from cdmd.deliveries.telling import Happened
from cdmd.identity.naming import public_id
from cdmd.identity.resolution import People, complete
from cdmd.models import (
    BRIEFLY,
    Activity,
    Apply,
    Bury,
    Changes,
    Count,
    DeadLetter,
    Discard,
    Entry,
    Fault,
    Hold,
    Item,
    Known,
    Merge,
    Micros,
    Parked,
    ProfileKey,
    ProfileState,
    Seen,
    SeenVerdict,
    Seq,
    to_micros,
)


class Fate(msgspec.Struct, frozen=True, gc=False):
    """What became of an item: the stage for ``tail`` (None: it had been done before), the event, and a word about it."""

    stage: str | None
    item: Item
    detail: str = ""
    at: Micros = Micros(0)
    received: Micros = Micros(0)


class Decision:
    """The decision about one batch: ``wanted`` is what it must know, calling it with that gives the changes.

    ``position`` is the journal position that is done with them (None: no journal entry among them), ``parked`` how many events
    wait already. May be called again; ``fates`` are of the last call. ``broke`` is what it raised, if it did.
    """

    def __init__(self, ready: Preparation, *, position: Seq | None, parked: int, now: Micros) -> None:
        self.ready, self.position, self.parked, self.now = ready, position, parked, now
        self.wanted = ready.wanted
        self._swayed = parked > 0 or ready.swayed
        self.fates: list[Fate] = []
        self.broke: Exception | None = None

    def __call__(self, known: Known) -> Changes:
        """What the batch changes. Pure but for ``fates`` and ``broke``."""
        try:
            decider = Decider(self.ready, known, parked=self.parked, now=self.now)
            self.fates = [decider.decide(one) for one in self.ready.items]
        except Exception as error:
            self.broke = error
            raise
        changes = decider.changes(self.position)
        changes.swayed = self._swayed
        return changes


class Decider:
    """One pass over one batch."""

    def __init__(self, ready: Preparation, known: Known, *, parked: int, now: Micros) -> None:
        rules = ready.rules
        self._rules, self._known, self._parked, self._now = rules, known, parked, now
        me = weakref.proxy(self)  # a circle would keep every batch in memory until the garbage collector looks
        self._people = People(
            known,
            kinds=rules.kinds,
            public=partial(public_id, rules.journal_id),
            combine=lambda winner, loser: me.combine(winner, loser),  # noqa: PLW0108 - bound to itself it would be one
        )
        self._changes = Changes()
        self._telling = telling(rules.subscriptions)
        self._judging = Judging(rules.audiences, journal_id=rules.journal_id, now=now, telling=self._telling)
        self._audiences = rules.audiences or None
        self._projection, self._applied = rules.audiences.projection, dict[str, int]()
        self._lost_traits, self._received, self._joined = 0, Micros(0), False
        self._before: Seen | None = None
        self._met = set[ProfileKey]()
        self._newcomers = Newcomers(ready, known, self._people, self._changes)

    def changes(self, position: Seq | None) -> Changes:
        """All of it."""
        changes, people = self._changes, self._people
        changes.position, changes.merges = position, people.merges
        changes.profiles, changes.owners = people.profiles, people.owners
        changes.newcomers = self._newcomers.all()
        for source, number in self._applied.items():
            self._add((source.partition(".")[0], Count.APPLIED), number)
        self._judging.into(changes)
        return changes

    def decide(self, one: Prepared) -> Fate:
        """What becomes of one item, after those before it."""
        if (made := self._newcomers.take(one)) is not None:
            return Fate("applied", one.item, RULE, made.at, made.received)
        self._newcomers.make_known(one.forms.pairs)
        return self._weigh(one)

    def _weigh(self, one: Prepared) -> Fate:
        """That of one that is more than a newcomer."""
        entry = allowed(self._rules.screen, one.item.entry)
        if entry is not None and entry is not one.item.entry:
            one = self._reduced(one, entry)
        item, parked = one.item, self._known.parked
        if item.resumed and parked is not None and item.seq not in parked:
            return Fate(None, item)
        prior = self._before = self._prior(one)
        if prior is not None and prior.seq == item.seq and _was_done(prior, item):
            return Fate(None, item)
        if entry is None:
            return self._suppress(one)
        if prior is not None and prior.seq != item.seq:
            return self._repeat(one, prior)
        if entry.fault is not None:
            return self._bury(one, entry.fault, stage="map")
        return self._apply(one) if isinstance(item.outcome, Apply) else self._ended(one, item.outcome)

    def _ended(self, one: Prepared, outcome: Hold | Discard | Bury) -> Fate:
        match outcome:
            case Hold():
                return self._park(one, outcome)
            case Discard(reason=reason):
                return self._filter(one, reason)
            case Bury(fault=fault):
                return self._bury(one, fault, stage="extend")

    def _prior(self, one: Prepared) -> Seen | None:
        if one.digest is None:
            return None
        prior = self._changes.seen.get(one.digest) or self._known.seen.get(one.digest)
        return prior if prior is None or is_of(prior, one.item.entry, one.item.seq) else None

    def _count(self, item: Item, counter: str, number: int = 1) -> None:
        self._add((item.entry.event.connector, counter), number)

    def _add(self, key: tuple[str, str], number: int) -> None:
        self._changes.counts[key] = self._changes.counts.get(key, 0) + number

    def _leave_parked(self, item: Item) -> None:
        if item.resumed:
            self._changes.unparked.append(item.seq)
            self._count(item, Count.PARKED, -1)

    def _remember(self, one: Prepared, verdict: SeenVerdict) -> None:
        if one.digest is None:
            return
        content = one.content if self._before is None else self._before.content
        self._changes.seen[one.digest] = Seen(one.item.seq, verdict, content)

    def _repeat(self, one: Prepared, prior: Seen) -> Fate:
        self._leave_parked(one.item)
        self._count(one.item, Count.REPEATS)
        if one.item.entry.brief or self._is_reconciled(one) or one.content == prior.content:
            return Fate("repeated", one.item)
        self._count(one.item, Count.ID_CONFLICTS)
        return Fate("repeated", one.item, "other content under the same id")

    def _is_reconciled(self, one: Prepared) -> bool:
        source, reconciled = one.original.source, self._rules.reconciled
        return bool(reconciled) and (source in reconciled or source in reconciled.values())

    def _reduced(self, one: Prepared, entry: Entry) -> Prepared:
        """The same with what may be kept of it."""
        item = msgspec.structs.replace(one.item, entry=entry)
        return msgspec.structs.replace(one, item=item, forms=forms_of(self._rules, item))

    def _suppress(self, one: Prepared) -> Fate:
        """Nothing of it is kept, and nobody who looks on sees it."""
        self._leave_parked(one.item)
        if self._before is None or self._before.seq == one.item.seq:
            self._remember(one, SeenVerdict.SUPPRESSED)
        self._count(one.item, Count.SUPPRESSED)
        return Fate(None, one.item)

    def _filter(self, one: Prepared, reason: str) -> Fate:
        self._leave_parked(one.item)
        self._remember(one, SeenVerdict.FILTERED)
        self._count(one.item, Count.FILTERED)
        return Fate("filtered", one.item, reason)

    def _bury(self, one: Prepared, fault: Fault, *, stage: str) -> Fate:
        item = one.item
        self._leave_parked(item)
        self._remember(one, SeenVerdict.DEAD)
        self._count(item, Count.DEAD)
        attempts = item.attempts + 1 if item.retry else 0
        letter = DeadLetter(seq=item.seq, entry=item.entry, fault=fault, stage=stage, since=self._now, attempts=attempts)
        self._changes.dead.append(letter)
        return Fate("dead", item, fault.code)

    def _park(self, one: Prepared, hold: Hold) -> Fate:
        item, since = one.item, one.item.parked_since
        if since is None:
            if self._parked >= self._rules.parked_max:
                return self._bury(one, Fault("parked_full", f"too many events wait; for {hold.extension}"), stage="extend")
            since = self._now
            self._parked += 1
            self._count(item, Count.PARKED)
        elif self._now - since >= self._rules.parked_keep:
            return self._bury(one, Fault("parked_too_long", f"{hold.extension}: {hold.reason}"), stage="extend")
        self._remember(one, SeenVerdict.PARKED)
        self._changes.parked.append(
            Parked(
                seq=item.seq,
                entry=item.entry,
                extension=hold.extension,
                attempts=hold.attempts,
                due=Micros(min(hold.due, since + self._rules.parked_keep)),
                since=since,
                reason=hold.reason,
                retry=item.retry,
                trace=tuple({visit.extension: visit for visit in item.trace}.values()),
            )
        )
        return Fate("parked", item, hold.extension)

    def _apply(self, one: Prepared) -> Fate:
        item, event = one.item, one.item.entry.event
        if self._rules.known_only and event.connector in self._rules.known_only and not self._is_known(one.forms.pairs):
            return self._filter(one, "not about a known customer")
        self._leave_parked(item)
        self._remember(one, SeenVerdict.APPLIED)
        self._applied[event.source] = self._applied.get(event.source, 0) + 1
        if (untold := self._rules.reconciled.get(event.source)) is not None:
            self._add((untold, Count.MISSED), 1)
        received = to_micros(event.received)
        at, ahead = effective_time(event, received)
        if ahead:
            self._count(item, Count.CLOCK_AHEAD)
        self._received, self._joined, arrived = received, False, self._people.arrived
        if self._telling is not None:
            self._telling.begin(partial(self._people.found, one.forms.pairs), event, received, span=item.entry.span)
        merged = len(self._people.merges)
        resolved = self._people.resolve(one.forms, seq=item.seq, at=at, source=event.source)
        key, rule = resolved.profile, resolved.rule
        if self._rules.kinds.left_out(event.identifiers, one.forms):
            self._count(item, Count.UNUSABLE)
        if key is None:
            self._count(item, Count.UNATTRIBUTED)
        else:
            self._project(item, key, at, identified=self._people.arrived > arrived)
            if not complete(rule):
                self._count(item, Count.KEPT_APART)
        self._changes.activities.append(
            Activity(seq=item.seq, profile=key, time=at, event=event, rule=rule, trace=item.trace, clock_ahead=ahead)
        )
        if self._telling is not None:
            whose = None if key is None else (key, self._people.state(key))
            self._telling.event(Happened(event, item.seq, at, received, rule), whose, self._people.merges[merged:])
        if key is not None:
            self._pack(key, self._people.merges[merged:])
        return Fate("applied", item, rule, at, received)

    def _project(self, item: Item, key: ProfileKey, at: Micros, *, identified: bool) -> None:
        """Add the event to its profile and judge that; what found no place there or could not be used is counted.

        As of its receipt, so that the same journal gives the same profile whenever it is applied.
        """
        event, state, audiences = item.entry.event, self._people.state(key), self._audiences
        moment = self._received
        if audiences is not None:
            if state.judged > moment:
                moment = self._judging.moment(state, moment)
            if state.due is not None and state.due <= moment:
                self._judging.catch_up(key, state, moment)
        purposes, restricted = state.purposes, state.restricted
        ignored = self._projection.project(state, event, at=at, seq=item.seq, now=moment)
        if audiences is not None:
            new = self._joined or not state.judged or state.purposes != purposes or state.restricted != restricted
            which = audiences.every if new else audiences.touched(event.type, event.traits, identified=identified)
            if which or audiences.by_clock:
                self._judging.judge(key, state, which, at=moment, why=f"event {event.type}", seq=item.seq)
        if ignored is None and not self._lost_traits:
            return
        skipped, ignored_traits = ignored or ((), 0)
        lost, self._lost_traits = self._lost_traits + ignored_traits, 0
        if skipped:
            self._count(item, Count.SKIPPED_VALUES, len(skipped))
        if lost:
            self._count(item, Count.IGNORED_TRAITS, lost)

    def _pack(self, key: ProfileKey, merges: Sequence[Merge]) -> None:
        """Make the body of its row while the profile is at hand, and let go of that: once, whoever else it is about."""
        met = self._met
        for one in merges:
            met.update((one.winner, one.loser))
        if key not in met:
            met.add(key)
            self._people.pack(key)

    def combine(self, winner: ProfileState, loser: ProfileState) -> None:
        """Join what is projected on two."""
        keys = self._people.merges[-1]
        for key, state in ((keys.winner, winner), (keys.loser, loser)):
            self._judging.catch_up(key, state, self._judging.moment(state, self._received))
        self._judging.vanish(keys.loser, loser, at=self._received, seq=keys.seq)
        self._lost_traits += self._projection.combine(winner, loser)
        self._joined = True

    def _is_known(self, pairs: Sequence[tuple[str, str]]) -> bool:
        owners: Sequence[Mapping[tuple[str, str], object]] = (self._people.owners, self._known.owners)
        return any(pair in held for pair in pairs for held in owners)


def is_of(seen: Seen, entry: Entry, seq: Seq) -> bool:
    """Whether ``seen`` is of the occurrence that ``entry`` at ``seq`` is of: a brief id may mean another one by now."""
    return seen.seq == seq or not entry.brief or abs(to_micros(entry.event.received) - seen.content) < BRIEFLY


def poisoned(item: Item, error: Exception) -> Item:
    """The item as a dead letter because deciding or storing it raised ``error``; only the error's class is told."""
    fault = Fault("internal", f"could not be processed: {type(error).__name__}")
    return msgspec.structs.replace(item, entry=msgspec.structs.replace(item.entry), outcome=Bury(fault))


def _was_done(prior: Seen, item: Item) -> bool:
    """Whether this very entry has had its effect: a transaction was told to have failed and had not."""
    if not item.resumed:
        return True
    return prior.verdict != SeenVerdict.PARKED and not (item.retry and prior.verdict == SeenVerdict.DEAD)
