"""A town's people in a real store: events are applied as the pipeline applies them, and everything kept can be looked at."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from cdmd.batches.deciding import Decision
from cdmd.batches.histories import pages
from cdmd.batches.preparing import prepare
from cdmd.batches.restricting import Restricting
from cdmd.batches.rules import Rules
from cdmd.config.schema import AudienceSettings, IdentifierSettings, IdentitySettings, IndicatorSettings, TraitSettings
from cdmd.control.profile_shapes import IdentityJob
from cdmd.daemon.rebuilding import Rebuilding
from cdmd.daemon.rekeying import splits_of
from cdmd.daemon.splitting import Splitting
from cdmd.identity.identifiers import Kinds, Pair
from cdmd.kit.quantities import Duration
from cdmd.models import Activity, Apply, Entry, Event, Item, ProfileKey, ProfileState, Seq, to_micros
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.projection import Projection
from cdmd.store.keys import Digester
from cdmd.store.store import SqliteStore
from tests.store.samples import HandClock

START = datetime(2026, 11, 1, tzinfo=UTC)
DIGESTER = Digester(b"k" * 32)
INDICATORS = {
    "seen": IndicatorSettings(on="*"),
    "spent": IndicatorSettings(on="*", value="{data.amount}", compute="sum"),
    "recent": IndicatorSettings(on="*", window="20d", step=Duration.parse("1d")),
    "latest": IndicatorSettings(on="*", value="{id}", compute="last"),
    "pages": IndicatorSettings(on="*", value="{data.page}", compute="distinct"),
}
AUDIENCES = {"often": "indicators.seen >= 3", "lately": "indicators.recent >= 2", "named": "has(profile.traits.name)"}
KINDS = {
    "user_id": IdentifierSettings(priority=1, limit=1),
    "email": IdentifierSettings(priority=2, limit=5),
    "anonymous_id": IdentifierSettings(priority=9, limit=50, shared=False),
}
"""By these a device joins whoever uses it: what is undone here has to be done first."""


def happened(
    name: str, hours: float, identifiers: Mapping[str, str], *, traits: Mapping[str, Any] | None = None, source: str = "shop"
) -> Event:
    number = sum(map(ord, name))
    return Event(
        id=name,
        source=source,
        type="seen",
        time=START + timedelta(hours=hours),
        received=START + timedelta(days=19),
        identifiers=dict(identifiers),
        traits=dict(traits or {}),
        data={"amount": number / 7, "page": number % 5},
    )


class Town:
    """``take`` applies events in the order given; ``people`` is everybody as the store has them."""

    def __init__(self, store: SqliteStore, clock: HandClock, kinds: Mapping[str, IdentifierSettings], *, folder: Path) -> None:
        self.store, self.clock = store, clock
        self.kinds = self.by(kinds)
        projection = Projection(INDICATORS, {"name": TraitSettings(trust=("crm",))})
        self.audiences = Audiences({name: AudienceSettings(where=where) for name, where in AUDIENCES.items()}, projection)
        self.seq = 0
        self.splitting = Splitting(self, journal_id="one")
        self.rebuilding = Rebuilding(self, folder, journal_id="one")

    def subscriptions(self) -> None:
        """Nothing is sent to anybody."""

    def by(self, kinds: Mapping[str, IdentifierSettings]) -> Kinds:
        """Other rules, with the key that there is."""
        return Kinds(IdentitySettings(identifiers=dict(kinds)), splits_of(DIGESTER))

    async def job(self, what: str, kinds: Mapping[str, IdentifierSettings] | None = None) -> IdentityJob:
        """A rehearsal, or a rebuild, from its beginning to its end."""
        if what == "try":
            await self.rebuilding.attempt(None if kinds is None else self.by(kinds))
        else:
            await self.rebuilding.rebuild()
        return await self.finished()

    async def finished(self) -> IdentityJob:
        """What was asked for, done."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.rebuilding.run)
            while self.rebuilding.now().state == "running":  # noqa: ASYNC110 - whoever asks over the socket does the same
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
        return self.rebuilding.now()

    async def take(self, *events: Event) -> None:
        rules = Rules(journal_id="one", kinds=self.kinds, audiences=self.audiences, digester=DIGESTER)
        items = []
        for one in events:
            self.seq += 1
            items.append((Item(seq=Seq(self.seq), entry=Entry(one), outcome=Apply()), one))
        now = to_micros(self.clock.now())
        decision = Decision(prepare(rules, items), position=Seq(self.seq), parked=0, now=now)
        await self.store.apply(decision.wanted, decision)

    async def living(self) -> dict[ProfileKey, ProfileState]:
        rows = await self.store.membership.profiles(after=ProfileKey(0), limit=100_000)
        return {key: state for key, state in rows if state.merged_into is None}

    async def activities(self, key: ProfileKey, state: ProfileState) -> list[Activity]:
        keys = [key, *map(ProfileKey, state.members)]
        heads = await self.store.membership.newest(keys)
        return [one async for page in pages(self.store, heads.values()) for one in page]

    async def people(self) -> dict[str, dict[str, Any]]:
        """By public id: identifiers, events and all that is projected."""
        found = {}
        for key, state in (await self.living()).items():
            found[state.public] = {
                "identifiers": sorted(f"{one.kind}:{one.value}" for one in state.identifiers),
                "events": sorted(one.event.id for one in await self.activities(key, state)),
                **self.projected(state),
            }
        return found

    def projected(self, state: ProfileState) -> dict[str, Any]:
        now, projection = to_micros(self.clock.now()), self.audiences.projection
        return {
            "traits": {name: (one.value, one.time, one.source) for name, one in state.traits.items()},
            "indicators": projection.shown_indicators(state, now),
            "audiences": sorted(state.audiences),
        }

    async def projected_anew(self) -> dict[str, dict[str, Any]]:
        """What everybody's stored events come to when they are counted from nothing, in no order."""
        now, found = to_micros(self.clock.now()), {}
        for key, state in (await self.living()).items():
            fresh = ProfileState(state.public, state.created, state.updated, identifiers=state.identifiers)
            for one in sorted(await self.activities(key, state), key=lambda one: hash(one.event.id)):
                self.audiences.projection.project(fresh, one.event, at=one.time, seq=one.seq, now=now)
            self.audiences.judge(fresh, now, self.audiences.every, {})
            found[state.public] = self.projected(fresh)
        return found

    async def assert_whole(self) -> None:
        """What is kept is whole, and everybody is what their events come to."""
        assert await self.store.verify() == []
        people = await self.people()
        names = ("traits", "indicators", "audiences")
        assert {public: {name: one[name] for name in names} for public, one in people.items()} == await self.projected_anew()
        assert (await self.store.totals()).profiles == len(people)
        for public, one in people.items():
            assert one["identifiers"], "nobody could find, show or erase them"
            for named in one["identifiers"]:
                kind, _, value = named.partition(":")
                owner = await self.store.profile(kind, value, activities=0)
                assert owner is not None
                assert owner.state.public == public, named

    async def restrict(self, pair: Pair) -> None:
        now = to_micros(self.clock.now())
        restricting = Restricting(pair, self.audiences, restricted=True, journal_id="one", now=now)
        await self.store.apply(restricting.wanted, restricting)
        assert restricting.changed

    def before_the_next_is_written(self, what: Callable[[], Awaitable[object]], monkeypatch: pytest.MonkeyPatch) -> None:
        """Do that when the next decision comes to be applied, which goes by what was read before."""
        apply = self.store.apply

        async def late(*arguments: Any) -> Any:
            monkeypatch.setattr(self.store, "apply", apply)
            await what()
            return await apply(*arguments)

        monkeypatch.setattr(self.store, "apply", late)

    async def split(self, first: Pair, second: Pair) -> None:
        shown = msgspec.to_builtins(await self.splitting.split(first, second, apply=False))
        before = await self.people()
        assert not shown["applied"]
        done = msgspec.to_builtins(await self.splitting.split(first, second, apply=True))
        assert before != await self.people() or not done["sides"]
        for one, other in zip(shown["sides"], done["sides"], strict=True):
            assert other["profile"]
            assert {**one, "profile": None} == {**other, "profile": None}
            assert one["profile"] in {None, other["profile"]}
        assert done["contested"] == shown["contested"]


@asynccontextmanager
async def town(path: Path, kinds: Mapping[str, IdentifierSettings] = KINDS) -> AsyncIterator[Town]:
    clock = HandClock()
    clock.moment = START + timedelta(days=19)
    async with SqliteStore.open(path, clock=clock, journal_id="one", digest=DIGESTER.occurrence) as store:
        yield Town(store, clock, kinds, folder=path.parent / "scratch-rehearsal")


def groups(people: Mapping[str, Mapping[str, Any]], what: str = "identifiers") -> set[frozenset[str]]:
    """Who there is, without the ids, which follow from the order of arrival."""
    return {frozenset(one[what]) for one in people.values()}


def identified(pairs: Iterable[Pair]) -> frozenset[str]:
    return frozenset(f"{kind}:{value}" for kind, value in pairs)
