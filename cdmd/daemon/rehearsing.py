"""Resolves all stored events anew beside the store, in the order in which they happened, and says who would be other people.

Nothing of the store is touched. Not here: carrying it out (``rebuilding``), and what the rehearsal keeps (``store.rehearsal``).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from cdmd.batches.sweeping import members_of
from cdmd.contracts import Clock, Store
from cdmd.identity.identifiers import Forms, Kinds, Pair
from cdmd.identity.replaying import carried, emerging, standing
from cdmd.models import Carried, Known, Micros, ProfileKey, ProfileState, Seq
from cdmd.store.rehearsal import Figures, Resolved, SqliteRehearsal

_SLICE: Final = 1000
_REST: Final = 0.5
_LEAST_REST: Final = 0.002
"""Two thirds of the time at most: events that arrive come first."""


class Rehearsing:
    """One rehearsal into ``tables`` by ``kinds``.

    ``progress`` says how far it is. ``head`` is the last event that counts. ``check`` is called between slices and may raise.
    """

    def __init__(self, store: Store, tables: SqliteRehearsal, *, kinds: Kinds, clock: Clock, check: Callable[[], None]) -> None:
        self._store, self._tables, self._kinds, self._clock = store, tables, kinds, clock
        self._check = check
        self._protected: dict[int, set[int]] = {}
        self.head = store.position
        self.progress = "beginning"
        self.standing = 0

    async def run(self) -> Figures:
        """All of it. Raises CdmdError."""
        total = max(1, (await self._store.totals()).activities)
        await self._carry(total)
        await self._hold()
        await self._resolve(total)
        self.progress = "comparing"
        await self._tables.compare()
        return await self._tables.figures()

    async def _carry(self, total: int) -> None:
        after, done = Seq(0), 0
        while True:
            began = self._clock.monotonic()
            rows = await self._store.membership.activities(after=after, upto=self.head, limit=_SLICE)
            if not rows:
                return
            mine = [carried(one, one.profile, self._kinds) for one in rows if one.profile is not None]
            await self._tables.carry(mine, sights=True)
            after, done = rows[-1].seq, done + len(rows)
            await self._pause("reading events", done, total, began)

    async def _hold(self) -> None:
        total, after = max(1, (await self._store.totals()).profiles), ProfileKey(0)
        while True:
            began = self._clock.monotonic()
            rows = await self._store.membership.profiles(after=after, limit=_SLICE)
            if not rows:
                return
            await self._tables.hold(dict(rows))
            living = [(key, state) for key, state in rows if state.merged_into is None]
            for digest, others in self._kinds.splits.protected_by([state for _, state in living]).items():
                self._protected.setdefault(digest, set()).update(others)
            await self._stand(living)
            after = rows[-1][0]
            await self._pause("reading profiles", int(after), total, began)

    async def _stand(self, living: Sequence[tuple[ProfileKey, ProfileState]]) -> None:
        """Where events are no longer kept, what is left of them counts in their place."""
        pairs = [(one.kind, one.value) for _, state in living for one in state.identifiers if not one.derived]
        whose = {member: key for key, state in living for member in members_of(key, state)}
        sights: dict[ProfileKey, dict[Pair, Micros]] = defaultdict(dict)
        for pair, member, time in await self._tables.first_sights(pairs):
            if (mine := whose.get(member)) is not None:
                sights[mine][pair] = min(time, sights[mine].get(pair, time))
        stands = [standing(key, state, sights[key], self._kinds) for key, state in living]
        self.standing += sum(map(bool, stands))
        await self._tables.carry([one for each in stands for one in each])

    async def _resolve(self, total: int) -> None:
        done, count = 0, -1
        while count:
            began = self._clock.monotonic()
            count = await self._tables.advance(self._decide, limit=_SLICE)
            done += count
            await self._pause("resolving events", done, total, began)

    def _decide(self, known: Known, events: Sequence[Carried]) -> Resolved:
        people = emerging(known, kinds=self._kinds, protected=self._protected)
        placed = [
            people.resolve(Forms(one.pairs, frozenset(one.derived)), seq=one.seq, at=one.time, source=one.source)
            for one in events
        ]
        return Resolved([(one.profile, one.rule) for one in placed], people.profiles, people.owners, people.merges)

    async def _pause(self, what: str, done: int, total: int, began: float) -> None:
        self._check()
        self.progress = f"{what}, {min(1.0, done / total):.0%}"
        await self._clock.sleep(max(_LEAST_REST, (self._clock.monotonic() - began) * _REST))
