"""Takes away what is older than it may be kept, once a day, a little at a time. Not here: what that is (``cdmd.privacy``).

It refuses to run where the wall clock leapt, or is much later than when it last ran: an administrator says that it is right.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import aclosing
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import anyio.to_thread
import msgspec
import structlog

from cdmd.contracts import BEGINNING, Clock, Holding, Store
from cdmd.daemon.mentions import merges, said, unname
from cdmd.daemon.requesting import answered_in, forget_exports
from cdmd.daemon.upkeep import Agreement
from cdmd.errors import CdmdError, ClockDisturbed
from cdmd.identity.identifiers import Kinds, Pair
from cdmd.identity.keeping_apart import Splits
from cdmd.models import Merge, Micros, ProfileKey, ProfileState, Seq, from_micros, to_micros
from cdmd.privacy.retention import Retention, by_month

_NOTE: Final = "retention"
_GONE: Final = "retention: splits of who went"
_EVERY: Final = timedelta(days=1)
_LOOK: Final = 600.0
_AFTER_FAILURE: Final = 60.0
_LONGEST_GAP: Final = timedelta(days=14)
_PAGE: Final = 2_000
_PROFILES: Final = 200
_SLICE: Final = 200
_REST: Final = 3.0
_LEAST_REST: Final = 0.002
"""A quarter of the time at most: senders must not notice."""

SIMULATED: Final = 20_000
"""Rows that one request of a simulation looks at."""

_MONTHS: Final = 6
ALLOW: Final = "where it is right, say so with: cdmctl retention run --trust-clock"


class Retaining:
    """``problem`` says why nothing goes now; ``erasing`` whether somebody is being erased.

    Answers to people lie in ``exports``.
    """

    def __init__(
        self,
        store: Store,
        *,
        retention: Callable[[], Retention],
        erasing: Callable[[], bool],
        kinds: Callable[[], Kinds],
        exports: Path,
        clock: Clock,
    ) -> None:
        self._store, self._retention, self._erasing, self._kinds, self._clock = store, retention, erasing, kinds, clock
        self._agreement, self._running, self._exports = Agreement(clock), anyio.Lock(), exports
        self.problem: str | None = None
        self._log: Any = structlog.get_logger()

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED) -> None:
        """Sweep once a day until cancelled."""
        task_status.started()
        while True:
            pause = _LOOK
            try:
                if self._retention() and await self._is_time():
                    await self.sweep()
                self.problem = None
            except CdmdError as error:
                if self.problem is None:
                    self._log.warning("retention_failed", error=error)
                self.problem, pause = f"nothing goes for its age: {error}", _AFTER_FAILURE
            await self._clock.sleep(pause)

    async def sweep(self, *, trust_clock: bool = False) -> Counter[str]:
        """Take away all that is due; how many of what. Raises ``ClockDisturbed``, ``NotDurable`` and ``Damaged``."""
        async with self._running:
            if trust_clock:
                self._agreement = Agreement(self._clock)
            else:
                await self._check_clock()
            retention, now = self._retention(), to_micros(self._clock.now())
            went = Counter({"activities": await self._activities(retention, now)})
            went["profiles"] = await self._profiles(retention, now)
            if went["profiles"]:
                went["activities"] += await self._activities(retention, now)
            await self._answers()
            await self._store.note(_NOTE, str(now))
            self.problem = None
            self._log.info("retention_swept", count=went.total())
            return went

    async def simulate(self, after: tuple[int, int] | None) -> tuple[Counter[str], Counter[str], tuple[int, int] | None]:
        """What would go of some activities and some profiles behind ``after``, by month, and where to go on (None: the end)."""
        retention, now, (seq, key) = self._retention(), to_micros(self._clock.now()), after or (BEGINNING, 0)
        page = await self._store.forgetting.activities(Holding(None), after=Seq(seq), limit=SIMULATED)
        people = await self._store.membership.profiles(after=ProfileKey(key), limit=_PAGE)
        activities = by_month((retention.ends(one) for one in page.held), now, months=_MONTHS)
        profiles = by_month((retention.ends_profile(state) for _, state in people), now, months=_MONTHS)
        if page.last is None and not people:
            return activities, profiles, None
        return activities, profiles, (seq if page.last is None else page.last, people[-1][0] if people else key)

    # ---- sweeping ------------------------------------------------------------------------------------------------------

    async def _activities(self, retention: Retention, now: int) -> int:
        """Those that are due, and those of profiles that went."""
        count, after = 0, BEGINNING
        while True:
            began = self._clock.monotonic()
            page = await self._store.forgetting.activities(Holding(None), after=after, limit=_PAGE)
            if page.last is None:
                return count
            # Those of somebody who is being erased still say which of the journal's entries are theirs.
            orphans = () if self._erasing() else (one.seq for one in page.orphans)
            due, after = [*retention.due(page.held, now), *orphans], page.last
            await self._rest(began)
            for start in range(0, len(due), _SLICE):
                began = self._clock.monotonic()
                count += await self._store.forgetting.drop_activities(due[start : start + _SLICE])
                await self._rest(began)

    async def _profiles(self, retention: Retention, now: int) -> int:
        """Those that are due. What splits said of them goes out of others, too: it would stay as long as those do."""
        count, after, said, splits = 0, ProfileKey(0), None, self._kinds().splits

        def is_idle(state: ProfileState) -> bool:
            return (end := retention.ends_profile(state)) is not None and end <= now

        gone = frozenset(msgspec.json.decode(await self._store.noted(_GONE) or "[]", type=list[int]))
        while rows := await self._store.membership.profiles(after=after, limit=_PROFILES):
            began, after = self._clock.monotonic(), rows[-1][0]
            idle = {key: state for key, state in rows if is_idle(state)}
            if idle:
                said = await self._said() if said is None else said
                # All of whoever is said something of: a merge that was undone lists what they had then.
                each = (_digests(splits, _pairs(state)) for state in idle.values())
                meant = gone.union(*(mine for mine in each if not said.isdisjoint(mine)))
                await self._note_gone(meant, was=gone)
                hidden = await self._store.forgetting.hide_some(list(idle), is_idle)
                # Whoever was heard of meanwhile stays, with what splits say of them.
                gone = await self._note_gone(gone | meant.intersection(_digests(splits, hidden.pairs)), was=meant)
                count += hidden.counts["profiles"]
            await self._rest(began)
        if gone:
            await unname(self._store, gone, splits, self._clock)
            await self._store.note(_GONE, "[]")
        return count

    async def _said(self) -> frozenset[int]:
        """All that splits say of anybody, by profiles and by merges: as much as administrators said."""
        splits, found = self._kinds().splits, set[int]()

        def heed(one: Merge) -> Merge:
            found.update(chain(*splits.said(one.before.apart)))
            return one

        async with aclosing(said(self._store, self._clock)) as pages:
            async for page in pages:
                found.update(chain.from_iterable(both for apart in page.values() for both in splits.said(apart)))
        await merges(self._store, heed, self._clock)
        return frozenset(found)

    async def _note_gone(self, gone: frozenset[int], *, was: frozenset[int]) -> frozenset[int]:
        """Those of whom splits have to say nothing more, kept until that is done: afterwards nobody knows whom they meant."""
        if gone != was:
            await self._store.note(_GONE, msgspec.json.encode(sorted(gone)).decode())
        return gone

    async def _answers(self) -> None:
        """Answers to those who are not there any more go with them."""
        answered = await anyio.to_thread.run_sync(answered_in, self._exports)
        gone = [public for public in answered if await self._store.directory.named(public) is None]
        _, left = await anyio.to_thread.run_sync(forget_exports, self._exports, gone)
        if left:
            self._log.warning("retention_failed", count=len(left))

    # ---- whether it may ------------------------------------------------------------------------------------------------

    async def _is_time(self) -> bool:
        last = await self._last()
        return last is None or not timedelta(0) <= from_micros(to_micros(self._clock.now())) - from_micros(last) < _EVERY

    async def _check_clock(self) -> None:
        if self._agreement.disturbed():
            raise ClockDisturbed(f"the wall clock leapt by {self._agreement.leap() // timedelta(hours=1)} h; {ALLOW}")
        last = await self._last()
        if last is not None and (gap := self._clock.now() - from_micros(last)) > _LONGEST_GAP:
            raise ClockDisturbed(f"by the wall clock it ran last {gap.days} days ago; {ALLOW}")

    async def _last(self) -> Micros | None:
        noted = await self._store.noted(_NOTE)
        return None if noted is None else Micros(int(noted))

    async def _rest(self, began: float) -> None:
        await self._clock.sleep(max(_LEAST_REST, (self._clock.monotonic() - began) * _REST))


def _pairs(state: ProfileState) -> list[Pair]:
    return [(one.kind, one.value) for one in state.identifiers]


def _digests(splits: Splits, pairs: Iterable[Pair]) -> frozenset[int]:
    return frozenset(map(splits.digest, pairs))
