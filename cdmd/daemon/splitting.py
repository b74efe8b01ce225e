"""Splits a profile into two people, or shows what would come of it. Not here: who gets what (``cdmd.identity.siding``)."""

from functools import partial
from typing import Final

import anyio.to_thread

from cdmd.batches.histories import pages
from cdmd.batches.parting import Parting
from cdmd.batches.regrouping import Group, Old, Plan, Regrouping
from cdmd.contracts import ProfileFound
from cdmd.control.profile_shapes import SideRow, SplitReport
from cdmd.daemon.mentions import unsay
from cdmd.daemon.ruling import Ruled
from cdmd.errors import BadArguments, CdmdError, Damaged, NotFound
from cdmd.identity.identifiers import Pair
from cdmd.identity.replaying import carried
from cdmd.identity.siding import sides
from cdmd.models import Carried, Micros, ProfileKey, to_micros

MOST_EVENTS: Final = 200_000
"""Of one profile: what decides about each is in memory while it is split."""

WHY: Final = "a profile was split"
_ATTEMPTS: Final = 8


class Splitting:
    """By what is configured at that moment."""

    def __init__(self, ruled: Ruled, *, journal_id: str) -> None:
        self._ruled, self._store, self._clock, self._journal_id = ruled, ruled.store, ruled.clock, journal_id

    async def split(self, first: Pair, second: Pair, *, apply: bool) -> SplitReport:
        """Make two people of the one that has both identifiers, for good; with ``apply`` false only say what would come of it.

        Two who are two already stay so. Raises ``NotFound``, ``BadArguments`` and other ``CdmdError``.
        """
        looked_damaged = False
        for _ in range(_ATTEMPTS):
            mine, theirs = await self._owner(first), await self._owner(second)
            if first == second:
                raise BadArguments("both are the same identifier: nothing can be split between them")
            if mine.key != theirs.key:
                report = await self._part(first, second, mine, theirs, apply=apply)
            else:
                try:
                    report = await self._divide(first, second, mine, apply=apply)
                except Damaged:
                    # A chain that a rebuild makes anew between two looks at it looks like a circle, once.
                    if looked_damaged:
                        raise
                    looked_damaged, report = True, None
            if report is not None:
                return report
        raise CdmdError("the profile changes faster than it can be split; hold its source back for a moment with: cdmctl pause")

    async def lift(self, first: Pair, second: Pair) -> SplitReport:
        """Let two people who are kept apart be joined again by the next event that names both. Raises as ``split``.

        What was said of an identifier while it was nobody's stands with others, and would count at the next rebuild.
        """
        splits = self._ruled.kinds.splits
        parting = Parting(first, second, splits=splits, apart=False)
        await self._store.apply(parting.wanted, parting)
        elsewhere = await unsay(self._store, {splits.digest(first), splits.digest(second)}, splits, self._clock, both=True)
        if not (parting.found or elsewhere):
            await self._owner(first)
            await self._owner(second)
            raise BadArguments("these two are not kept apart by a split; cdmctl profile explain says what does")
        return SplitReport(summary="they may be joined again by the next event that names both", applied=True)

    async def _owner(self, pair: Pair) -> ProfileFound:
        found = await self._store.profile(*pair, activities=0)
        if found is None:
            raise NotFound(f"nobody is known by that {pair[0]}")
        return found

    async def _part(
        self, first: Pair, second: Pair, mine: ProfileFound, theirs: ProfileFound, *, apply: bool
    ) -> SplitReport | None:
        parting = Parting(first, second, splits=self._ruled.kinds.splits, apart=True)
        if apply:
            await self._store.apply(parting.wanted, parting)
            if not parting.found:
                return None
        publics = [mine.state.public, theirs.state.public]
        summary = f"they are two people already, {' and '.join(publics)}, and {'stay' if apply else 'would stay'} so"
        return SplitReport(summary=summary, applied=apply)

    async def _divide(self, first: Pair, second: Pair, found: ProfileFound, *, apply: bool) -> SplitReport | None:
        plan, contested = await self._plan(first, second, found)
        now = to_micros(self._clock.now())
        if not apply:
            rows = [self._row(group, now) for group in plan.groups]
            return SplitReport(summary="one person would become two", applied=False, sides=rows, contested=contested)
        regrouping = Regrouping(
            plan,
            self._ruled.audiences,
            journal_id=self._journal_id,
            now=now,
            why=WHY,
            subscriptions=self._ruled.subscriptions(),
        )
        await self._store.apply(regrouping.wanted, regrouping)
        if regrouping.stale:
            return None
        rows = [self._row(group, now) for group in plan.groups]
        return SplitReport(summary="one person became two", applied=True, sides=rows, contested=contested)

    async def _plan(self, first: Pair, second: Pair, found: ProfileFound) -> tuple[Plan, int]:
        """What becomes of the profile, complete with all that its events add up to; how many events named both sides."""
        kinds, audiences = self._ruled.kinds, self._ruled.audiences
        keys = [found.key, *map(ProfileKey, found.state.members)]
        old = Old(found.key, found.state, found.merges, await self._store.membership.newest(keys))
        events: list[Carried] = []
        async for page in pages(self._store, old.heads.values()):
            events += [carried(one, one.profile, kinds) for one in page if one.profile is not None]
            if len(events) > MOST_EVENTS:
                raise BadArguments(f"a profile of more than {MOST_EVENTS} events is not split")
        decide = partial(sides, found.state, events, first=first, second=second, merges=found.merges, kinds=kinds)
        persons = await anyio.to_thread.run_sync(decide)
        plan = await anyio.to_thread.run_sync(partial(Plan, persons, [old], events, splits=kinds.splits, keep=True))
        now = to_micros(self._clock.now())
        async for page in pages(self._store, old.heads.values()):
            plan.project(page, audiences, now=now)
        plan.remember(audiences)
        return plan, sum("kept apart" in rule for group in plan.groups for rule in group.rules.values())

    def _row(self, group: Group, now: Micros) -> SideRow:
        audiences, state = self._ruled.audiences, group.state
        return SideRow(
            profile=state.public or None,
            identifiers=[{"kind": one.kind, "value": one.value} for one in state.identifiers if not one.derived],
            events=len(group.chain),
            traits=audiences.projection.shown_traits(state),
            indicators=audiences.projection.shown_indicators(state, now),
            audiences=[one.name for one in audiences.every if audiences.holds(one, state, now, {})],
        )
