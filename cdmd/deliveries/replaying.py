"""Telling a target once more what it was told: from the stored events and the last times that somebody entered or left.

Under the ids of the first time, with the profiles as they are now. Not replayed: merges, erasures and crossed values, of which
nothing is kept that would say the same again.
"""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from cdmd.config.outbound import TargetConfig
from cdmd.contracts import Clock, Store, Values
from cdmd.deliveries.subscribing import CREATED, ENTERED, LEFT, NEWS, UPDATED, Subscriptions
from cdmd.deliveries.telling import Happened, Telling
from cdmd.kit.globs import Globs
from cdmd.kit.quantities import Rate
from cdmd.kit.ratelimit import FULL, Allowance, Granted, take
from cdmd.models import Activity, Micros, Notice, Outgoing, ProfileKey, ProfileState, Seq, to_micros

_PAGE: Final = 200
_NOTICES: Final = 100_000
_AGAIN: Final = (CREATED, UPDATED, ENTERED, LEFT)
_REST: Final = 0.02
_FULL_REST: Final = 1.0


class Replaying:
    """One replay. ``done`` counts what was put back into the outbox; with ``only_counted`` nothing is, it counts by type."""

    def __init__(  # noqa: PLR0913 - what is told, to whom, and how fast
        self,
        store: Store,
        config: TargetConfig,
        values: Values,
        *,
        journal_id: str,
        clock: Clock,
        since: Micros,
        until: Micros,
        types: Globs | None,
        rate: Rate | None,
    ) -> None:
        self._store, self._clock, self._since, self._until = store, clock, since, until
        self._name, self._types = config.name, types
        self._wanted = Subscriptions([config], values, journal_id=journal_id)
        self._allowance = None if rate is None else Allowance.quota(rate)
        self._bucket = FULL
        self.done = 0
        self.only_counted: Counter[str] | None = None

    async def run(self) -> None:
        """All of it, in order. Raises CdmdError."""
        async for activity, state in self._activities():
            telling = Telling(self._wanted)
            happened = Happened(activity.event, activity.seq, activity.time, _received(activity), activity.rule)
            profile = None if activity.profile is None or state is None else (activity.profile, state)
            telling.event(happened, profile, ())
            await self._put(telling.outgoing())
        async for notice, state in self._moves():
            telling = Telling(self._wanted)
            telling.notice(notice, state)
            await self._put(telling.outgoing())

    async def _activities(self) -> AsyncIterator[tuple[Activity, ProfileState | None]]:
        after = await self._first()
        while page := await self._store.outbox.applied(after, limit=_PAGE):
            for activity, state in page:
                if self._since <= _received(activity) < self._until:
                    yield activity, state
            after = page[-1][0].seq
            if _received(page[0][0]) >= self._until:
                return
            await self._clock.sleep(_REST)

    async def _first(self) -> Seq:
        """The sequence number behind which everything received since then is, by halves: they grow with the receipt."""
        low, high = 0, int(self._store.position)
        while low < high:
            middle = (low + high) // 2
            found = await self._store.outbox.applied(Seq(middle), limit=1)
            if found and _received(found[0][0]) < self._since:
                low = middle + 1
            else:
                high = middle
        return Seq(low)

    async def _moves(self) -> AsyncIterator[tuple[Notice, ProfileState]]:
        if not (self._wanted.news[ENTERED] or self._wanted.news[LEFT]):
            return
        notices = await self._store.membership.notices(limit=_NOTICES)
        for notice in reversed(notices):
            if self._since <= notice.at < self._until:
                for key, state in await self._store.membership.profiles(after=_before(notice), limit=1):
                    if key == notice.profile:
                        yield notice, state

    async def _put(self, outgoing: Outgoing | None) -> None:
        """As the rate allows, and as there is room."""
        if outgoing is None:
            return
        chosen = [one for one in outgoing.deliveries if self._again(one.type)]
        if self.only_counted is not None:
            self.only_counted.update(one.type for one in chosen)
            return
        for one in chosen:
            while self._allowance is not None:
                verdict = take(self._allowance, self._bucket, self._clock.monotonic())
                if isinstance(verdict, Granted):
                    self._bucket = verdict.state
                    break
                await self._clock.sleep(verdict.seconds)
            while not await self._room():
                await self._clock.sleep(_FULL_REST)
            self.done += await self._store.outbox.put(
                msgspec.structs.replace(outgoing, deliveries=[one], untold={}), now=to_micros(self._clock.now())
            )

    def _again(self, type_: str) -> bool:
        if type_ in NEWS and type_ not in _AGAIN:
            return False
        return self._types is None or self._types.matches(type_)

    async def _room(self) -> bool:
        """Whether less than half of what may wait does: what happens now goes before what happened then."""
        bound = self._wanted.bounds[self._name]
        for total in await self._store.outbox.totals():
            if total.name == self._name:
                return total.waiting * 2 < bound.waiting and total.bytes * 2 < bound.bytes
        return True


def _received(activity: Activity) -> Micros:
    return to_micros(activity.event.received)


def _before(notice: Notice) -> ProfileKey:
    return ProfileKey(notice.profile - 1)
