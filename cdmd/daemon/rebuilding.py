"""Who is who, resolved anew over the whole history: shown first (``try``), or carried out (``rebuild``), one at a time.

In the background, while events are taken. A rebuild that a stop cut off begins again by itself and finds done what was done.
Not here: the rehearsal (``rehearsing``), and what becomes of profiles that belong together (``batches.regrouping``).
"""

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import anyio.to_thread
import msgspec
import structlog

from cdmd.batches.histories import pages
from cdmd.batches.regrouping import Old, Plan, Regrouping
from cdmd.batches.sweeping import members_of
from cdmd.control.profile_shapes import IdentityJob, RegroupedRow, RehearsalReport
from cdmd.daemon.rehearsing import Rehearsing
from cdmd.daemon.ruling import Ruled
from cdmd.errors import BadArguments, CdmdError
from cdmd.identity.identifiers import Kinds, Pair
from cdmd.identity.keeping_apart import Splits
from cdmd.identity.replaying import Person, carried, replayed
from cdmd.models import Carried, Emerged, Micros, ProfileKey, ProfileState, to_micros
from cdmd.store.rehearsal import Component, Figures, SqliteRehearsal

WHY: Final = "identities were rebuilt"
MOST_TOGETHER: Final = 2_000
MOST_EVENTS: Final = 200_000
"""Profiles that belong together and are made anew at once, and events of all of them."""

_NOTE: Final = "rebuild"
_ATTEMPTS: Final = 4
_LARGEST: Final = 10
_NAMED: Final = 20
_REST: Final = 1.0
_LEAST_REST: Final = 0.002
_AFTER_FAILURE: Final = 30.0
_LOOK: Final = 0.5


class _Unsettled(CdmdError):
    """Somebody is erased: what the rehearsal knows of people has to go."""


class Rebuilding:
    """``job`` says what is going on. ``folder`` is emptied at each start of the daemon; what is in it may be lost.

    ``settled`` changes whenever somebody is erased or suppressed, and is None until all of an erased person is gone: what a
    rehearsal knows of people then is thrown away, and it begins again.
    """

    def __init__(self, ruled: Ruled, folder: Path, *, journal_id: str, settled: Callable[[], int | None] = lambda: 0) -> None:
        self._settled = settled
        self._mark: int | None = None
        self._ruled, self._store, self._clock = ruled, ruled.store, ruled.clock
        self._folder, self._journal_id = folder, journal_id
        self._asked: tuple[str, Kinds | None] | None = None
        self._woken = anyio.Event()
        self._rehearsing: Rehearsing | None = None
        self.job = IdentityJob()
        self._log: Any = structlog.get_logger()

    @property
    def progress(self) -> str | None:
        """How far a rebuild is, None where none is going on."""
        job = self.now()
        return f"identities are rebuilt: {job.progress}" if (job.what, job.state) == ("rebuild", "running") else None

    def now(self) -> IdentityJob:
        """The job as it stands."""
        if self._rehearsing is None:
            return self.job
        return msgspec.structs.replace(self.job, progress=self._rehearsing.progress)

    async def load(self) -> None:
        """Go on with a rebuild that a stop cut off. Raises CdmdError."""
        if await self._store.noted(_NOTE):
            self._ask("rebuild", None)

    async def attempt(self, kinds: Kinds | None) -> None:
        """Find out what resolving everything by ``kinds`` (None: those configured) would change. Raises ``BadArguments``."""
        self._ask("try", kinds)

    async def rebuild(self) -> None:
        """Carry out what the configured kinds come to. Raises ``BadArguments``."""
        self._ask("rebuild", None)
        await self._store.note(_NOTE, "asked")

    def _ask(self, what: str, kinds: Kinds | None) -> None:
        if self.job.state == "running":
            raise BadArguments(f"an identity {self.job.what} is under way ({self.now().progress}); wait until it is done")
        self._asked = (what, kinds)
        self.job = IdentityJob(what=what, state="running", progress="beginning")
        self._woken.set()

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED) -> None:
        """Do what is asked for until cancelled."""
        task_status.started()
        while True:
            while (asked := self._asked) is None:
                await self._woken.wait()
                self._woken = anyio.Event()
            self._asked = None
            try:
                await self._do(*asked)
            except Exception:
                self._broken(*asked)
                raise

    def _broken(self, what: str, kinds: Kinds | None) -> None:
        """A fault of ours ended it: a rebuild is begun again once this runs again, a trial has failed."""
        if what == "rebuild":
            self._asked = (what, kinds)
        else:
            self.job = msgspec.structs.replace(self.job, state="failed", problem="it met a fault of ours; see the daemon's log")

    async def _do(self, what: str, kinds: Kinds | None) -> None:
        self._log.info("identity_job_started", task=what)
        while True:
            try:
                await self._work(what, kinds)
            except _Unsettled:
                self._log.info("identity_job_begins_again", task=what)
            except (CdmdError, OSError) as error:
                self._log.warning("identity_job_failed", task=what, error=error)
                self.job = msgspec.structs.replace(self.job, problem=str(error))
                if what == "try":
                    self.job = msgspec.structs.replace(self.job, state="failed")
                    return
                await self._clock.sleep(_AFTER_FAILURE)
            else:
                self._log.info("identity_job_done", task=what, count=self.job.applied)
                return
            finally:
                self._rehearsing = None
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(partial(shutil.rmtree, self._folder, ignore_errors=True))

    async def _work(self, what: str, kinds: Kinds | None) -> None:
        while (mark := self._settled()) is None:
            self.job = msgspec.structs.replace(self.job, progress="waiting for an erasure to be done")
            await self._clock.sleep(_LOOK)
        self._mark, self.job = mark, msgspec.structs.replace(self.job, report=None)
        today = self._ruled.kinds
        await anyio.Path(self._folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        async with SqliteRehearsal.open(self._folder / "rehearsal.db") as tables:
            self._rehearsing = Rehearsing(self._store, tables, kinds=kinds or today, clock=self._clock, check=self._check)
            figures = await self._rehearsing.run()
            report = await self._report(tables, figures, self._rehearsing.standing)
            self._rehearsing = None
            self.job = msgspec.structs.replace(self.job, report=report, progress="compared", problem=None)
            if what == "rebuild":
                await self._carry_out(tables, today, total=max(1, figures.changed))
                await self._store.note(_NOTE, "")
        self.job = msgspec.structs.replace(self.job, state="done", progress=None)

    def _check(self) -> None:
        if self._settled() != self._mark:
            raise _Unsettled

    # ---- telling -------------------------------------------------------------------------------------------------------

    async def _report(self, tables: SqliteRehearsal, figures: Figures, remembered: int) -> RehearsalReport:
        joins = [await self._row(tables, olds) for olds in await tables.largest(joined=True, limit=_LARGEST)]
        splits = [await self._row(tables, olds) for olds in await tables.largest(joined=False, limit=_LARGEST)]
        return RehearsalReport(
            events=figures.events,
            profiles_before=figures.before,
            profiles_after=figures.after,
            joined=figures.joined,
            into=figures.into,
            split=figures.split,
            parts=figures.parts,
            changed=figures.changed,
            remembered=remembered,
            largest_joins=joins,
            largest_splits=splits,
        )

    async def _row(self, tables: SqliteRehearsal, olds: Sequence[ProfileKey]) -> RegroupedRow:
        persons = await tables.persons_of(olds)
        states = [state for key in olds[:_NAMED] if (state := await self._state(key)) is not None]
        return RegroupedRow(
            profiles=[state.public for state in states],
            people=len(persons),
            events=sum(one.seq > 0 for person in persons for one, _ in person.events),
            identifiers=[_named(person) for person in persons[:_NAMED]],
        )

    # ---- carrying it out -----------------------------------------------------------------------------------------------

    async def _carry_out(self, tables: SqliteRehearsal, kinds: Kinds, *, total: int) -> None:
        while (component := await tables.component(most=MOST_TOGETHER)) is not None:
            self._check()
            began = self._clock.monotonic()
            done = await self._regroup(tables, component, kinds)
            await tables.done(component.olds)
            changed = len(component.olds)
            self.job = msgspec.structs.replace(
                self.job,
                applied=self.job.applied + changed * done,
                left=self.job.left + changed * (not done),
                progress=f"making profiles anew, {1 - await tables.left() / total:.0%}",
            )
            await self._clock.sleep(max(_LEAST_REST, (self._clock.monotonic() - began) * _REST))

    async def _regroup(self, tables: SqliteRehearsal, component: Component, kinds: Kinds) -> bool:
        """Make these profiles anew; False where they are others by now, or too many."""
        for _ in range(_ATTEMPTS):
            olds = await self._olds(component)
            if not component.persons or olds is None:
                return False
            plan = await self._plan(tables, component, olds, kinds)
            if plan is None:
                return False
            now = to_micros(self._clock.now())
            regrouping = Regrouping(
                plan,
                self._ruled.audiences,
                journal_id=self._journal_id,
                now=now,
                why=WHY,
                subscriptions=self._ruled.subscriptions(),
            )
            await self._store.apply(regrouping.wanted, regrouping)
            if not regrouping.stale:
                return True
        return False

    async def _olds(self, component: Component) -> list[Old] | None:
        """The profiles as they are stored now; None where they are no longer the ones of the rehearsal."""
        olds: list[Old] = []
        for key in component.olds:
            state = await self._state(key)
            if state is None or state.merged_into is not None:
                return None
            keys = members_of(key, state)
            olds.append(Old(key, state, await self._store.membership.merges(keys), await self._store.membership.newest(keys)))
        return olds if component.members == {key for old in olds for key in old.keys} else None

    async def _plan(self, tables: SqliteRehearsal, component: Component, olds: Sequence[Old], kinds: Kinds) -> Plan | None:
        persons = [_person(one) for one in component.persons.values()]
        known = {one.seq: one for person in persons for one, _ in person.events}
        events, fresh = list(known.values()), list[Carried]()
        heads = [seq for old in olds for seq in old.heads.values()]
        async for page in pages(self._store, heads):
            fresh += [carried(one, one.profile, kinds) for one in page if one.profile is not None and one.seq not in known]
            if len(events) + len(fresh) > MOST_EVENTS:
                return None
        audiences, now = self._ruled.audiences, to_micros(self._clock.now())
        among = {(one.kind, one.value) for person in persons for one in person.identifiers}
        among |= {(one.kind, one.value) for old in olds for one in old.state.identifiers}
        strangers = await tables.strangers(sorted(among), component)
        strangers |= {pair for pair in among if kinds.normalise(*pair) != pair}
        protected = kinds.splits.protected_by([old.state for old in olds])
        emerge = partial(replayed, fresh, kinds=kinds, among=among - strangers, protected=protected, start=persons)
        make = partial(_planned, emerge, olds, [*events, *fresh], strangers, splits=kinds.splits)
        plan = await anyio.to_thread.run_sync(make)
        async for page in pages(self._store, heads):
            plan.project(page, audiences, now=now)
        plan.remember(audiences)
        return plan

    async def _state(self, key: ProfileKey) -> ProfileState | None:
        rows = await self._store.membership.profiles(after=ProfileKey(key - 1), limit=1)
        return rows[0][1] if rows and rows[0][0] == key else None


def _planned(
    emerge: Callable[[], Sequence[Person]],
    olds: Sequence[Old],
    events: Sequence[Carried],
    strangers: Collection[Pair],
    *,
    splits: Splits,
) -> Plan:
    """The rehearsal's people with what came after it."""
    return Plan(emerge(), olds, events, splits=splits, keep=False, strangers=strangers)


def _person(one: Emerged) -> Person:
    """Without what only stood for events that are no longer kept."""
    events = [(event, rule) for event, rule in one.events if event.seq > 0]
    state = one.state
    return Person(state.identifiers, state.apart, Micros(state.created), Micros(state.updated), events, list(one.merges))


def _named(person: Emerged) -> Sequence[Mapping[str, str]]:
    arrived = [one for one in person.state.identifiers if not one.derived]
    return [{"kind": one.kind, "value": one.value} for one in arrived[:_NAMED]]
