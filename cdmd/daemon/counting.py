"""Brings all profiles to the configured indicators and audiences: what is new or changed counts the stored past.

In the background, some profiles at a time, through the store's one writer; live events go on meanwhile, and after a stop it
goes on where it was. It also asks again those conditions that read the clock themselves, and lets members leave an audience
that is no longer configured. Not here: what a profile comes to (``batches.sweeping``).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import anyio
import anyio.abc
import msgspec
import structlog

from cdmd.batches.sweeping import Computing, Past, Removing, members_of, would_change
from cdmd.contracts import Clock, Store
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.errors import CdmdError, Damaged
from cdmd.models import Micros, ProfileKey, ProfileState, Seq, to_micros
from cdmd.profiles.audiences import Audience, Audiences

_NOTE: Final = "counted"
_ENCODE: Final = msgspec.json.Encoder(order="sorted").encode
_SLICE: Final = 100
_COUNTED: Final = 10
"""Profiles whose activities are read at once, and how many of each in one look."""
_EACH: Final = 50
_ATTEMPTS: Final = 8
_NOTE_EVERY: Final = 2.0
_REST: Final = 4.0
_LEAST_REST: Final = 0.002
_AFTER_FAILURE: Final = 5.0
_OFTEN: Final = 60.0
_SELDOM: Final = 3600.0
_SHARE: Final = 20.0
"""Conditions that read the clock take at most a twentieth of the time."""


class Noted(msgspec.Struct, omit_defaults=True):
    """What the store remembers: the definitions that all profiles are brought to, and how far those are that are not.

    ``since`` says when each audience was first configured (microseconds), ``cursor`` up to which profile the ``pending``
    definitions are counted.
    """

    indicators: dict[str, int] = {}
    audiences: dict[str, int] = {}
    since: dict[str, int] = {}
    pending: dict[str, int] = {}
    cursor: int = 0


class Counting:
    """``progress`` says how far it is, None where nothing is to be done; ``share`` of 0 to 1; ``rest`` waits between slices."""

    def __init__(
        self,
        store: Store,
        *,
        journal_id: str,
        audiences: Callable[[], Audiences],
        clock: Clock,
        subscriptions: Callable[[], Subscriptions | None] = lambda: None,
    ) -> None:
        self._store, self._journal_id, self._audiences, self._clock = store, journal_id, audiences, clock
        self._subscriptions = subscriptions
        self._noted, self._written = Noted(), b""
        self._changed = anyio.Event()
        self._asked: tuple[float, float] | None = None
        self._began = clock.monotonic()
        self.pending: frozenset[str] = frozenset()
        self.share = 1.0
        self.problem: str | None = None
        self._log: Any = structlog.get_logger()

    @property
    def progress(self) -> str | None:
        """What is being counted, and how far that is."""
        if not self.pending:
            return None
        return f"{', '.join(sorted(self.pending))}: {self.share:.0%} of the stored profiles are counted"

    @property
    def since(self) -> Mapping[str, int]:
        """When each audience was first configured (microseconds)."""
        return self._noted.since

    def lag(self) -> float | None:
        """For how many seconds the conditions that read the clock have not been asked of everybody; None without such."""
        if not self._audiences().moving:
            return None
        return self._clock.monotonic() - (self._began if self._asked is None else self._asked[0])

    async def load(self) -> None:
        """Read how far it was. Raises CdmdError."""
        noted = await self._store.noted(_NOTE)
        self._noted = Noted() if noted is None else msgspec.json.decode(noted, type=Noted)
        self._written = _ENCODE(self._noted)

    def configured(self) -> None:
        """Indicators and audiences may be others now."""
        self._asked, self._began = None, self._clock.monotonic()
        self._hold_to(self._audiences())
        self._changed.set()

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep all profiles complete until cancelled."""
        task_status.started()
        while True:
            self._changed = anyio.Event()
            try:
                await self.complete()
                await self.ask_again()
            except CdmdError as error:
                if self.problem is None:
                    self._log.warning("counting_failed", error=error)
                self.problem = f"the stored past is not counted: {error}"
                await self._clock.sleep(_AFTER_FAILURE)
            else:
                self.problem = None
                await self._wait()

    async def complete(self) -> None:
        """Bring all profiles to what is configured now. Raises CdmdError."""
        audiences = self._audiences()
        self._hold_to(audiences)
        await self._note()
        await self._remove(audiences)
        names = _missing(audiences.projection.definitions, self._noted.indicators)
        which = [one for one in audiences.every if self._noted.audiences.get(one.name) != one.definition]
        touched = [one for one in audiences.every if one in which or not one.indicators.isdisjoint(names)]
        pending = _tasks(names, {one.name: one.definition for one in which})
        now = to_micros(self._clock.now())
        self._noted.since = {one.name: self._noted.since.get(one.name, now) for one in audiences.every}
        self.pending = frozenset(pending)
        try:
            if pending:
                await self._walk(audiences, names=names, which=touched, pending=pending)
        finally:
            self.pending = frozenset()
        if self._audiences() is audiences:
            self._noted = Noted(audiences.projection.definitions, audiences.definitions, self._noted.since)
            await self._note()

    def _hold_to(self, audiences: Audiences) -> None:
        """Nobody counts as brought to other definitions than these: what happens from now on goes by these alone."""
        indicators, others = audiences.projection.definitions, audiences.definitions
        noted = self._noted
        noted.indicators = dict(noted.indicators.items() & indicators.items())
        noted.audiences = dict(noted.audiences.items() & others.items())
        if not noted.pending.items() <= _tasks(indicators, others).items():
            noted.pending, noted.cursor = {}, 0

    async def ask_again(self) -> None:
        """Ask the conditions that read the clock of everybody, if it is time to. Raises CdmdError."""
        audiences, began = self._audiences(), self._clock.monotonic()
        if not audiences.moving or (self._asked is not None and began < self._asked[0] + self._asked[1]):
            return
        after = ProfileKey(0)
        while self._audiences() is audiences:
            last = await self._slice(audiences, after, names=(), which=audiences.moving)
            if last is None:
                took = self._clock.monotonic() - began
                self._asked = (began, min(max(took * _SHARE, _OFTEN), _SELDOM))
                return
            after = last

    async def _wait(self) -> None:
        """Until the configuration changes, or conditions are to be asked again."""
        if self._asked is None or not self._audiences().moving:
            await self._changed.wait()
            return
        with anyio.move_on_after(max(0.0, self._asked[0] + self._asked[1] - self._clock.monotonic())):
            await self._changed.wait()

    async def _walk(
        self, audiences: Audiences, *, names: Collection[str], which: Sequence[Audience], pending: dict[str, int]
    ) -> None:
        if self._noted.pending != pending:
            self._noted.pending, self._noted.cursor = pending, 0
        await self._note()
        total, after, noted = (await self._store.totals()).profiles, ProfileKey(self._noted.cursor), self._clock.monotonic()
        self._log.info("counting_the_past", task=", ".join(sorted(pending)), count=total)
        while self._audiences() is audiences:
            self.share = min(1.0, after / max(total, after, 1))
            last = await self._slice(audiences, after, names=names, which=which)
            if last is None:
                self._log.info("counted_the_past", task=", ".join(sorted(pending)), count=total)
                return
            self._noted.cursor = after = last
            if self._clock.monotonic() >= noted + _NOTE_EVERY:
                noted = self._clock.monotonic()
                await self._note()

    async def _slice(
        self, audiences: Audiences, after: ProfileKey, *, names: Collection[str], which: Sequence[Audience]
    ) -> ProfileKey | None:
        """Some more profiles; the last of them, None where there are no more. Raises ``Damaged`` where it shows twice."""
        try:
            return await self._some(audiences, after, names=names, which=which)
        except Damaged:
            # Chains that are made anew between two looks (a rebuild, a split) look like a circle, once.
            return await self._some(audiences, after, names=names, which=which)

    async def _some(
        self, audiences: Audiences, after: ProfileKey, *, names: Collection[str], which: Sequence[Audience]
    ) -> ProfileKey | None:
        began = self._clock.monotonic()
        rows = await self._store.membership.profiles(after=after, limit=_COUNTED if names else _SLICE)
        if not rows:
            return None
        now = to_micros(self._clock.now())
        if names:
            winners = [await self._winner(key, state) for key, state in rows]
            chosen = dict([one for one in winners if one is not None])
        else:
            chosen = {
                key: state for key, state in rows if state.merged_into is None and would_change(audiences, state, which, now)
            }
        if chosen:
            await self._compute(audiences, chosen, names=names, which=which)
        await self._clock.sleep(max(_LEAST_REST, (self._clock.monotonic() - began) * _REST))
        return rows[-1][0]

    async def _winner(self, key: ProfileKey, state: ProfileState) -> tuple[ProfileKey, ProfileState] | None:
        """Whom the profile is part of now: what was counted of it before a merge may be incomplete there. None: gone."""
        while (into := state.merged_into) is not None:
            rows = await self._store.membership.profiles(after=ProfileKey(into - 1), limit=1)
            if not rows or rows[0][0] != into:
                return None
            ((key, state),) = rows
        return key, state

    async def _compute(
        self,
        audiences: Audiences,
        chosen: Mapping[ProfileKey, ProfileState],
        *,
        names: Collection[str],
        which: Sequence[Audience],
    ) -> None:
        past = {key: Past(state) for key, state in chosen.items()}
        for _ in range(_ATTEMPTS):
            now = to_micros(self._clock.now())
            if names:
                await self._count(audiences, past, names, now)
            slice_ = Computing(
                audiences,
                past,
                names=names,
                which=which,
                journal_id=self._journal_id,
                now=now,
                subscriptions=self._subscriptions(),
            )
            await self._store.apply(slice_.wanted, slice_)
            past = slice_.behind
            if not past:
                return
        self._log.warning("profiles_counted_late", count=len(past))

    async def _count(self, audiences: Audiences, past: Mapping[ProfileKey, Past], names: Collection[str], now: Micros) -> None:
        """Count what is stored of each and was not counted yet."""
        members = {key: members_of(key, one.read) for key, one in past.items()}
        owner = {member: key for key, mine in members.items() for member in mine}
        heads = await self._store.membership.newest(sorted(owner))
        until = [seq for one in past.values() for seq in one.heads.values()]
        rest: Iterable[Seq] = [seq for key, seq in heads.items() if past[owner[key]].heads.get(key) != seq]
        met: set[Seq] = set()
        while rest := list(rest):
            if not met.isdisjoint(rest):
                raise Damaged("the store is damaged: activities stand before each other in a circle; cdmctl verify says more")
            met.update(rest)
            page = await self._store.membership.history(rest, until=until, each=_EACH)
            for activity in page.activities:
                # What was made another's in between is not counted: whose it was is counted from the beginning.
                if activity.profile in owner:
                    held = past[owner[activity.profile]].held
                    audiences.projection.recount(held, [(activity.event, activity.time, activity.seq)], names=names, now=now)
            rest = page.rest
        for key, one in past.items():
            one.heads = {member: heads[member] for member in members[key] if member in heads}

    async def _remove(self, audiences: Audiences) -> None:
        """Members of audiences that are no longer configured leave them."""
        configured = audiences.definitions
        for total in await self._store.membership.audiences():
            if total.name in configured:
                continue
            while members := await self._store.membership.members(total.name, after=ProfileKey(0), limit=_SLICE):
                keys, now = [one.key for one in members], to_micros(self._clock.now())
                slice_ = Removing(
                    audiences,
                    total.name,
                    keys,
                    journal_id=self._journal_id,
                    now=now,
                    subscriptions=self._subscriptions(),
                )
                await self._store.apply(slice_.wanted, slice_)
                await self._clock.sleep(_LEAST_REST)
            await self._store.membership.drop_audience(total.name)

    async def _note(self) -> None:
        """What is remembered, where that is other than what was written last."""
        written = _ENCODE(self._noted)
        if written != self._written:
            await self._store.note(_NOTE, written.decode())
            self._written = written


def _tasks(indicators: Mapping[str, int], audiences: Mapping[str, int]) -> dict[str, int]:
    """Definitions by what is said of them while they are counted."""
    tasks = {f"indicator {name}": definition for name, definition in indicators.items()}
    return tasks | {f"audience {name}": definition for name, definition in audiences.items()}


def _missing(wanted: Mapping[str, int], noted: Mapping[str, int]) -> dict[str, int]:
    return {name: value for name, value in wanted.items() if noted.get(name) != value}
