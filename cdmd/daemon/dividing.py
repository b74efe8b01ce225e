"""Keeps this node's part of what one node at a time does: takes what is free, gives up what is too much, ends what it lost.

Not here: whose each duty is (the store's ``Duties``), and the work itself (``Work``).
"""

import random
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol

import anyio
import structlog

from cdmd.config.roles import INGEST
from cdmd.config.schema import Config
from cdmd.contracts import DELIVER, PULL, Clock, Duties, Holder, Part
from cdmd.control.protocol import DaemonState
from cdmd.daemon.given import Given
from cdmd.daemon.outbound import Outbound
from cdmd.daemon.pulling import Fetched, Fetches, Pulling
from cdmd.errors import CdmdError, Ending, Followed
from cdmd.kit.backoff import Backoff
from cdmd.store.stored import StoredStore

LOOK: Final = 0.5
"""Seconds between two looks: a twentieth of how long a node may be silent."""
_AGAIN: Final = Backoff(first=LOOK, cap=30.0)
"""Before what could not be begun is tried again."""
RARELY: Final = 2.0
"""The same for a node that has no such work, and only shows who does."""


class Work(Protocol):
    """Duties of one kind, as the daemon's part that does them. Raise ``CdmdError``."""

    @property
    def names(self) -> Collection[str]:
        """All that there are, on whichever node."""
        ...

    @property
    def here(self) -> Collection[str]:
        """Those that this node does now."""
        ...

    @property
    def followed(self) -> Collection[str]:
        """Those of them for which another node has a greater token, whatever the rows say: nothing of them is taken here."""
        ...

    async def begin(self, name: str, token: int) -> None:
        """Do it from now on. Raises ``Followed`` as above."""
        ...

    async def end(self, name: str) -> None:
        """Do it no more; when it returns nothing of it is under way."""
        ...

    def seen(self, holders: Mapping[str, Holder]) -> None:
        """Who does what."""
        ...

    def said(self, name: str) -> str:
        """How it goes, for the other nodes to show."""
        ...


class _Failed(NamedTuple):
    """One that could not be begun: how often, until when it rests (steady seconds), and why."""

    times: int
    until: float
    why: str


class Whole(Fetched, Protocol):
    """The daemon's parts that this needs (``Parts`` fulfils it)."""

    given: Given
    clock: Clock
    store: StoredStore
    state: DaemonState
    config: Config

    @property
    def outbound(self) -> Outbound:
        """What is sent."""
        ...


def dividing_of(whole: Whole) -> "Dividing | None":
    """Of a daemon that is one of several; None where it is alone."""
    return Dividing(whole, whole.store) if isinstance(whole.store, Duties) else None


class Dividing:
    """All kinds of duties. ``problem`` says why nothing can be taken now, in words for the administrator."""

    def __init__(self, whole: Whole, duties: Duties) -> None:
        self._whole, self.duties = whole, duties
        self.pulling, self.led = Pulling(whole, duties), Pulling(whole, duties, INGEST)
        self.fetches = Fetches(self.pulling, self.led, leads=whole.given.leads)
        self.problem: str | None = None
        self._had = {kind: set[str]() for kind in (PULL, INGEST, DELIVER)}
        self._chance: Callable[[], float] = random.random
        self._failed: dict[tuple[str, str], _Failed] = {}
        self._log: Any = structlog.get_logger()

    async def run(self) -> None:
        """Until cancelled."""
        async with anyio.create_task_group() as tasks:
            for kind, work in self._works().items():
                tasks.start_soon(self._keep, kind, work, name=f"duties: {kind}")

    def _works(self) -> Mapping[str, Work]:
        return {PULL: self.pulling, INGEST: self.led, DELIVER: self._whole.outbound}

    async def _keep(self, kind: str, work: Work) -> None:
        pause = LOOK if kind in self._whole.given.roles else RARELY
        while True:
            if self._whole.state == "running":
                await self.look(kind, work)
            await self._whole.clock.sleep(pause)

    async def look(self, kind: str, work: Work) -> None:
        """Once: whatever cannot be done now is done by the next look.

        Where the daemon is stopping nothing is let go: its own leaving does that, once all of it has ended.
        """
        with suppress(Ending):
            try:
                await self._divide(kind, work)
            except Ending:
                raise
            except CdmdError as error:
                if self.problem is None:
                    self._log.warning("duties_failed", error=error)
                self.problem = f"this node cannot take part in what nodes divide among themselves: {error}"
                for name in [one for one in work.here if not self.duties.holds(kind, one)]:
                    await self._end(kind, name, work, "over")

    async def _divide(self, kind: str, work: Work) -> None:
        names = set(work.names)
        failed = any(of == kind for of, _ in self._failed)
        if names or work.here or self._had[kind] or failed:
            await self._let_followed_go(kind, work)
            part = await self.duties.part(kind, names)
            for name in set(work.here) - part.mine.keys():
                await self._end(kind, name, work, "lost")
            await self._forget(kind, names, part)
            await self._give_up(kind, part, work)
            await self._begin(kind, part, work)
            work.seen(part.holders)
            for name in set(work.here) & set(work.names):
                if (said := work.said(name)) != part.holders.get(name, Holder(None)).said:
                    await self.duties.say(kind, name, said)
            yet = [f"{name} yet: {one.why}" for (_, name), one in self._failed.items()]
            self.problem = f"this node cannot begin with {yet[0]}" if yet else None

    async def _let_followed_go(self, kind: str, work: Work) -> None:
        """Whoever takes them next, this node or another one, has a greater token than all before."""
        for name in list(work.followed):
            await self._end(kind, name, work, "followed")
            await self.duties.let_go(kind, [name])

    async def _forget(self, kind: str, names: Collection[str], part: Part) -> None:
        """Let go what there is no more: where it is there again, whoever has it then has a greater token than all between."""
        if gone := self._had[kind] - set(names):
            await self.duties.let_go(kind, gone)
        self._had[kind] = set(part.mine)
        stay = part.mine.keys() | set(part.free)
        self._failed = {key: one for key, one in self._failed.items() if key[0] != kind or key[1] in stay}

    async def _give_up(self, kind: str, part: Part, work: Work) -> None:
        for name in part.surplus:
            if name in work.here:
                await self._end(kind, name, work, "given_up")
        if part.surplus:
            await self.duties.let_go(kind, part.surplus)

    async def _begin(self, kind: str, part: Part, work: Work) -> None:
        for name, token in part.mine.items():
            if name not in part.surplus and name not in work.here and self._may_begin(kind, name):
                await self._begin_one(kind, name, token, work)
        for name in part.free:
            if self._may_begin(kind, name) and (taken := await self.duties.take(kind, name)) is not None:
                self._had[kind].add(name)
                self._log.info("duty_taken", kind=kind, task=name)
                await self._begin_one(kind, name, taken, work)

    def _may_begin(self, kind: str, name: str) -> bool:
        failed = self._failed.get((kind, name))
        return failed is None or self._whole.clock.monotonic() >= failed.until

    async def _begin_one(self, kind: str, name: str, token: int, work: Work) -> None:
        """Others are begun where this one cannot be: it is tried again later, and with another token where that was why."""
        try:
            await work.begin(name, token)
        except CdmdError as error:
            times = self._failed[kind, name].times + 1 if (kind, name) in self._failed else 1
            until = self._whole.clock.monotonic() + _AGAIN.delay(times, self._chance())
            self._failed[kind, name] = _Failed(times, until, str(error))
            self._log.warning("duty_not_begun", kind=kind, task=name, error=error)
            if isinstance(error, Followed):
                await self.duties.let_go(kind, [name])
        else:
            self._failed.pop((kind, name), None)

    async def _end(self, kind: str, name: str, work: Work, outcome: str) -> None:
        self._log.info("duty_ended", kind=kind, task=name, outcome=outcome)
        await work.end(name)
