"""Profiles in memory, and what batches and sweeps make of them: the decisions without a store."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from cdmd.batches.deciding import Decision
from cdmd.batches.preparing import prepare
from cdmd.batches.regrouping import Old, Plan, Regrouping
from cdmd.batches.rules import Rules
from cdmd.batches.sweeping import Computing, Expiring, Past, Removing, members_of
from cdmd.config.schema import AudienceSettings, IdentitySettings, IndicatorSettings
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.identity.identifiers import Kinds
from cdmd.kit.conditions import Failures
from cdmd.kit.quantities import Duration
from cdmd.models import (
    Activity,
    Apply,
    Changes,
    Delivery,
    Digest,
    Entry,
    Event,
    Item,
    Known,
    Merge,
    Micros,
    Notice,
    ProfileKey,
    ProfileState,
    Seen,
    Seq,
    from_micros,
    to_micros,
)
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.projection import Projection
from cdmd.store.keys import Digester
from tests.batches.doubles import spelled_out

START = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
HOUR = 3_600_000_000
WINDOWED = IndicatorSettings(on="order.*", window="4h", step=Duration.parse("1h"))
INDICATORS = {
    "orders": IndicatorSettings(on="order.*"),
    "orders_4h": WINDOWED,
    "spent_4h": msgspec.structs.replace(WINDOWED, value="{data.total}", compute="sum"),
    "mean": IndicatorSettings(value="indicators.spent_4h / indicators.orders_4h"),
}
AUDIENCES = {
    "busy": "indicators.orders_4h >= 2",
    "lapsed": "indicators.orders_4h == 0",
    "large": "indicators.mean > 50.0",
    "vip": "profile.traits.vip == true",
    "reachable": "has(profile.identifiers.email) && size(profile.identifiers.email) > 1",
}


def rules(audiences: Mapping[str, str] = AUDIENCES, indicators: Mapping[str, IndicatorSettings] = INDICATORS) -> Audiences:
    return Audiences({name: AudienceSettings(where=where) for name, where in audiences.items()}, Projection(indicators))


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def micros(hours: float) -> Micros:
    return to_micros(at(hours))


def order(number: int, *, hours: float, total: float = 10.0, late: float = 0.0, **fields: Any) -> Event:
    """An order received then; it happened ``late`` hours before."""
    kept: dict[str, Any] = {
        "identifiers": {"email": "joe@example.com"}, "type": "order.paid", "data": {"total": total}, **fields
    }  # fmt: skip
    return Event(id=f"e{number}", source="shop", received=at(hours), time=at(hours - late), **kept)


class World:
    """What a store would hold."""

    def __init__(self, audiences: Audiences, subscriptions: Subscriptions | None = None, *, kinds: Kinds | None = None) -> None:
        self.audiences, self.subscriptions = audiences, subscriptions
        self.kinds = kinds or Kinds(IdentitySettings())
        self.deliveries: list[Delivery] = []
        self.untold: dict[str, tuple[int, str]] = {}
        self.profiles: dict[ProfileKey, ProfileState] = {}
        self.owners: dict[tuple[str, str], ProfileKey] = {}
        self.seen: dict[Digest, Seen] = {}
        self.activities: list[Activity] = []
        self.notices: list[Notice] = []
        self.merges: list[Merge] = []
        self.failures: dict[str, Failures] = {}

    def take(self, *events: Event, first: int | None = None, now: float = 100.0) -> Changes:
        """One batch."""
        start = len(self.activities) + 1 if first is None else first
        items = [(Item(seq=Seq(seq), entry=Entry(event), outcome=Apply()), event) for seq, event in enumerate(events, start)]
        ruled = Rules(
            journal_id="journal",
            kinds=self.kinds,
            audiences=self.audiences,
            digester=Digester(b"k" * 32),
            subscriptions=self.subscriptions,
        )
        decision = Decision(prepare(ruled, items), position=None, parked=0, now=micros(now))
        return self.write(decision(self.known()))

    def sweep(self, hours: float) -> Changes:
        """The clock's sweep up to then, of everybody who is due."""
        due = [key for key, state in self.profiles.items() if state.due is not None and state.due <= micros(hours)]
        sweep = Expiring(
            self.audiences,
            due,
            upto=micros(hours),
            journal_id="journal",
            now=micros(hours),
            subscriptions=self.subscriptions,
        )
        return self.write(sweep(self.known(due)))

    def compute(self, names: Sequence[str], *, hours: float) -> Changes:
        """The stored past counted, for everybody."""
        past = {}
        for key, state in self.profiles.items():
            members = members_of(key, state)
            mine = [one for one in self.activities if one.profile in members]
            past[key] = Past(state, {one.profile: one.seq for one in mine if one.profile is not None})
            activities = [(one.event, one.time, one.seq) for one in mine]
            self.audiences.projection.recount(past[key].held, activities, names=names, now=micros(hours))
        decision = Computing(
            self.audiences,
            past,
            names=names,
            which=self.audiences.every,
            journal_id="journal",
            now=micros(hours),
            subscriptions=self.subscriptions,
        )
        return self.write(decision(self.known(past)))

    def remove(self, name: str, *, hours: float) -> Changes:
        """An audience that is no longer configured."""
        inside = [key for key, state in self.profiles.items() if name in state.audiences]
        removal = Removing(
            self.audiences, name, inside, journal_id="journal", now=micros(hours), subscriptions=self.subscriptions
        )
        return self.write(removal(self.known(inside)))

    def joe(self) -> ProfileState:
        """The one who is not merged into another."""
        (found,) = [state for state in self.profiles.values() if state.merged_into is None]
        return found

    def told(self) -> list[tuple[str, bool, float, str]]:
        """Audience, entered, hours, reason."""
        return [
            (one.audience, one.entered, (from_micros(one.at) - START) / timedelta(hours=1), one.reason) for one in self.notices
        ]

    def known(self, keys: Any = None) -> Known:
        """What a store would look up of these, or of everybody."""
        newest: dict[ProfileKey, Seq] = {}
        for one in self.activities:
            if one.profile is not None:
                newest[one.profile] = max(one.seq, newest.get(one.profile, Seq(0)))
        chosen = self.profiles if keys is None else {key: self.profiles[key] for key in keys}
        # As from a store: decoded anew, so that nothing is shared.
        copied = msgspec.msgpack.decode(msgspec.msgpack.encode(chosen), type=dict[ProfileKey, ProfileState])
        return Known(dict(self.seen), dict(self.owners), copied, ProfileKey(len(self.profiles) + 1), frozenset(), newest)

    def old(self, key: ProfileKey) -> Old:
        """A profile as it is stored."""
        state, newest = self.profiles[key], self.known().newest
        keys = members_of(key, state)
        merges = [one for one in self.merges if one.winner in keys]
        return Old(key, state, merges, {one: newest[one] for one in keys if one in newest})

    def regroup(self, plan: Plan, activities: Iterable[Activity], *, hours: float, why: str = "regrouped") -> Changes:
        """What a plan comes to."""
        plan.project(activities, self.audiences, now=micros(hours))
        plan.remember(self.audiences)
        decision = Regrouping(plan, self.audiences, journal_id="journal", now=micros(hours), why=why)
        changes = decision(self.known(decision.wanted.profiles))
        assert not decision.stale
        return self.write(changes)

    def _regroup(self, changes: Changes) -> None:
        if (regrouped := changes.regrouped) is None:
            return
        placed = {seq: key for key, chain in regrouped.chains.items() for seq in chain}
        self.activities = [
            msgspec.structs.replace(one, profile=placed.get(one.seq, one.profile), rule=regrouped.rules.get(one.seq, one.rule))
            for one in self.activities
        ]
        self.merges = [one for one in self.merges if (one.winner, one.loser) not in regrouped.parted]
        for pair in regrouped.disowned:
            if self.owners[pair] in regrouped.chains:
                del self.owners[pair]

    def write(self, changes: Changes) -> Changes:
        changes = spelled_out(changes)
        if changes.outgoing is not None:
            self.deliveries += changes.outgoing.deliveries
            self.untold |= changes.outgoing.untold
        for key, (was, due) in changes.due.items():
            before = self.profiles.get(key)
            assert (was, due) == (None if before is None else before.due, changes.profiles[key].due)
        for key, state in changes.profiles.items():
            if key not in changes.due and key in self.profiles:
                assert state.due == self.profiles[key].due
        self.profiles |= changes.profiles
        self.owners |= changes.owners
        self.seen |= changes.seen
        self.activities += changes.activities
        self._regroup(changes)
        self.merges += changes.merges
        self.notices += changes.notices
        for name, one in changes.failures.items():
            before = self.failures.get(name, Failures())
            self.failures[name] = Failures(before.missing + one.missing, before.failed + one.failed, one.fault or before.fault)
        return changes
