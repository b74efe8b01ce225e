"""The connectors that are live: built from the configuration, supervised, paused and resumed, exchanged by a reload.

A pull connector is a supervised task; a push connector is a set of routes at the edge. What is paused stays so over restarts
(``kept``). A change is planned first, which finds every mistake, and then carried out.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Final

import anyio
import anyio.lowlevel
import structlog

from cdmd.config.naming import Names
from cdmd.config.schema import Absent, Config, ConnectorConfig
from cdmd.control.protocol import ConnectorVerdict, ReloadRow
from cdmd.daemon.building import Builder
from cdmd.daemon.gate import Fetching, HttpMaker, Live, Plan, mounts
from cdmd.daemon.kept import OURS, OWNER, Kept
from cdmd.errors import BadArguments, CdmdError, ConfigInvalid, NotFound
from cdmd.intake.edge import Edge
from cdmd.intake.shared import Intake
from cdmd.intake.source import IntakeSource
from cdmd.kit.changing import Changing
from cdmd.models import Entry, Event, Fault, Micros
from cdmd.plugins import Plugins
from cdmd.supervisor import UNSTOPPABLE, ChildState, Supervisor

_READINESS: Final = 10.0
_IMPATIENT: Final = frozenset({"github"})
"""Verification presets of senders that never deliver again by themselves."""


class LiveConnectors:
    """All of them, by name as configured now."""

    def __init__(
        self,
        *,
        intake: Intake,
        supervisor: Supervisor,
        edge: Edge,
        http: HttpMaker,
        plugins: Plugins,
        names: Names,
        began: Callable[[str, Micros], None] = lambda name, at: None,
    ) -> None:
        self._intake, self._supervisor, self._edge, self._names = intake, supervisor, edge, names
        self._builder = Builder(intake=intake, supervisor=supervisor, plugins=plugins, http=http)
        self._live: dict[str, Live] = {}
        self._kept = Kept(intake.journal, clock=intake.clock, tell=began)
        self._moved = anyio.Event()
        self.changing = Changing()
        self.pulling: Fetching | None = None
        """Which of them this node fetches for, where several divide them among themselves."""
        self._log = structlog.get_logger()

    # ---- starting, exchanging and stopping -------------------------------------------------------------------------

    async def load(self) -> None:
        """Learn what was paused before the restart, and since when each is here."""
        await self._kept.load()

    async def renew(self, names: Iterable[str]) -> None:
        """Begin these anew, as they are configured now and by what is kept of them."""
        async with self.changing.change():
            await self._renew(names)

    async def _renew(self, names: Iterable[str]) -> None:
        lives = [self._live[name] for name in names if name in self._live]
        built = {live.config.name: self._build(live.config, raw=live.mapper.raw) for live in lives}
        await self._exchange(Plan({name: one.config for name, one in built.items()}, built))

    async def plan(self, config: Config) -> Plan:
        """Build what is new or changed. Raises ConfigInvalid with every mistake; nothing is changed here.

        Whatever else runs has its turn after each: a thousand of them take seconds.
        """
        built: dict[str, Live] = {}
        problems: list[str] = []
        for name, one in config.connectors.items():
            if not self._unchanged(one, config):
                try:
                    built[name] = self._build(one, raw=config.dead_letters.raw)
                except ConfigInvalid as error:
                    problems += [f"{one.file}: {problem}" for problem in error.problems]
                await anyio.lowlevel.checkpoint()
        if problems:
            raise ConfigInvalid(problems)
        leaving = [name for name in self._live if name not in config.connectors]
        lives = {name: built.get(name) or self._live[name] for name in config.connectors}
        self._edge.check(mounts(lives.values()))
        return Plan(config.connectors, built, leaving, frozenset(name for name, live in lives.items() if live.gate is None))

    async def carry_out(self, plan: Plan, *, wait: bool = False) -> list[ReloadRow]:
        """Stop what leaves, exchange what changed, start what is new; a verdict for each. One that fails stops no other.

        With ``wait`` a pull connector has up to ten seconds to show that it works. Raises ``Ending``.
        """
        async with self.changing.change():
            verdicts = await self._exchange(plan)
        if wait:
            self.changing.check()
            with anyio.move_on_after(_READINESS):
                await self._settled(list(plan.built))
            self.changing.check()
            verdicts |= {name: self._judged(verdicts[name]) for name in plan.built}
        verdicts |= {name: ReloadRow(name=name, verdict="unchanged") for name in plan.same}
        return [verdicts[name] for name in sorted(verdicts)]

    async def _exchange(self, plan: Plan) -> dict[str, ReloadRow]:
        verdicts: dict[str, ReloadRow] = {}
        async with AsyncExitStack() as retired:
            for name in plan.leaving:
                verdicts[name] = await self._retire(name, "stopped", into=retired)
                self.changing.check()
            await self._kept.begin(plan.pull, lambda name: plan.wanted[name].frame.was)
            for name, live in plan.built.items():
                before = await self._retire(name, "restarted", into=retired) if name in self._live else None
                self.changing.check()
                verdicts[name] = await self._start(live, before or ReloadRow(name=name, verdict="started"))
                await anyio.lowlevel.checkpoint()
            self._mount()
        return verdicts

    async def close(self) -> None:
        """Stop all of them, at once; a change that goes on ends where it is."""
        async with self.changing.last():
            self._wake()
            lives = list(self._live.values())
            self._live.clear()
            for live in lives:
                if live.gate is not None:
                    live.gate.retired = True
            await self._supervisor.stop_all()
            for live in lives:
                live.source.closed = live.working.closed = True
                await live.http.__aexit__()
                self._log.info("connector_stopped", connector=live.config.name)

    def _unchanged(self, one: ConnectorConfig, config: Config) -> bool:
        live = self._live.get(one.name)
        return (
            live is not None
            and live.unstarted is None
            and (live.config.frame, live.config.settings) == (one.frame, one.settings)
            and live.mapper.raw == config.dead_letters.raw
        )

    def _build(self, one: ConnectorConfig, *, raw: bool) -> Live:
        return self._builder.build(one, raw=raw, alive=self._alive, troubled=self._troubled)

    async def _start(self, live: Live, row: ReloadRow) -> ReloadRow:
        name, kind = live.config.name, live.config.frame.type
        await live.http.__aenter__()
        here = self.pulling is None or self.pulling.let_in(live)
        try:
            await self._inherit(live, here=here)
        except CdmdError as error:
            self._live[name] = live
            live.unstarted = str(error)
            if live.gate is not None:
                live.gate.unstarted = True
            self._supervisor.mark(name, "failed", live.unstarted, kind=kind)
            return ReloadRow(name=name, verdict="failed", problem=live.unstarted)
        self._live[name] = live
        if not here:
            self._supervisor.mark(name, "starting", kind=kind)  # until it is known how it goes there
            return row
        paused = self._kept.is_paused(name)
        if live.gate is not None:
            live.gate.paused = paused
        if live.puller is not None:
            self._supervisor.start(name, live.run, kind=kind, paused=paused, uncut=live.exchanging)
        else:
            self._supervisor.mark(name, "running", kind=kind)
            if paused:
                await self._supervisor.pause(name)
        self._log.info("connector_started", connector=name)
        return row

    async def _retire(self, name: str, verdict: ConnectorVerdict, *, into: AsyncExitStack) -> ReloadRow:
        """Stop it; its routes and its client stay until its successor is mounted."""
        live = self._live.pop(name)
        into.push_async_callback(live.http.__aexit__)
        if live.gate is not None:
            live.gate.retired = True
        ended = await self._supervisor.stop(name)
        live.hold_back(closed=True)
        self._log.info("connector_stopped", connector=name)
        return ReloadRow(name=name, verdict=verdict) if ended else ReloadRow(name=name, verdict="failed", problem=UNSTOPPABLE)

    def _mount(self) -> None:
        self._edge.swap(mounts(self._live.values()))

    async def _inherit(self, live: Live, *, here: bool) -> None:
        """Take over state and pause of the connector's earlier names; the old keys go in the same transaction.

        Where another node fetches, that one does. Raises CdmdError where the plugin is missing: what is kept waits untouched.
        """
        config, fence = live.config, live.working.fence
        if isinstance(config.settings, Absent):
            raise CdmdError(config.settings.unavailable)
        for old in config.frame.was if here else ():
            await self._intake.feeds.fenced(fence).rename(old, config.name)
            await self._kept.rename(old, config.name, fence=fence)

    # ---- how they are ----------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Live]:
        return iter(list(self._live.values()))

    def get(self, name: str) -> Live:
        """The live connector of that name. Raises ``NotFound`` with the names there are."""
        try:
            return self._live[name]
        except KeyError:
            names = ", ".join(sorted(self._live)) or "none"
            raise NotFound(f"there is no connector {name!r}; configured are: {names}") from None

    def here(self, name: str) -> Live:
        """The same, of one that this node fetches for. Raises ``BadArguments`` where another one does."""
        live = self.get(name)
        if self.pulling is not None and (why := self.pulling.elsewhere(live)) is not None:
            raise BadArguments(f"{name} {why}")
        return live

    def works_here(self, live: Live) -> bool:
        """Whether this node is the one that takes or fetches it."""
        return self.pulling is None or self.pulling.works_here(live)

    def changed(self, child: ChildState) -> None:
        """The supervisor says that a connector's state changed."""
        say = self._log.warning if child.error else self._log.info
        say("connector_state", connector=child.name, state=child.state, error=child.error, restarts=child.restarts)
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()

    def degraded(self, name: str, error: str) -> None:
        """The edge says that a push connector failed to answer."""
        live = self._live.get(name)
        if live is not None and live.gate is not None:
            live.gate.failed(error)

    def _alive(self, live: Live) -> None:
        name = live.config.name
        if self._live.get(name) is not live or (live.gate is not None and live.gate.degraded):
            return
        if self._supervisor.state(name).state in {"starting", "degraded"}:
            self._supervisor.started(name)

    def _troubled(self, live: Live, why: str | None) -> None:
        """A connector that runs says that it cannot do its work, or that it can again."""
        if live.gate is not None:
            live.gate.trouble = why
        if self._live.get(live.config.name) is live and why is not None:
            self._supervisor.mark(live.config.name, "degraded", why)
        elif why is None:
            self._alive(live)

    async def _settled(self, names: Sequence[str]) -> None:
        while any(self._supervisor.state(name).state == "starting" for name in names):
            await self._moved.wait()
            self.changing.check()  # what is stopped has no state any more

    def _judged(self, row: ReloadRow) -> ReloadRow:
        child = self._supervisor.state(row.name)
        if row.verdict == "failed" or child.state not in {"degraded", "failed"}:
            return row
        return ReloadRow(name=row.name, verdict="failed", problem=child.error)

    # ---- one connector ---------------------------------------------------------------------------------------------

    async def pause(self, name: str) -> str | None:
        """Hold it back over restarts; a warning where its sender does not deliver again by itself."""
        async with self.changing.change():
            live = self.here(name)
            await self._kept.pause(name, paused=True)
            if live.gate is not None:
                live.gate.paused = True
            await self._supervisor.pause(name)
            live.hold_back(closed=True)
        if live.gate is not None and getattr(live.config.settings, "verify", None) in _IMPATIENT:
            return "this sender does not try again by itself: what it sends meanwhile has to be redelivered there by hand"
        return None

    async def resume(self, name: str) -> None:
        """Let it go on; one that failed is tried at once."""
        async with self.changing.change():
            live = self.here(name)
            await self._kept.pause(name, paused=False)
            if live.unstarted is not None:
                await self._renew([name])
                return
            if live.gate is not None:
                live.gate.paused = False
            live.hold_back(closed=False)
            self._supervisor.resume(name)

    async def poll(self, name: str) -> None:
        """Let a pull connector look now, also one that waits after a failure.

        Raises ``BadArguments`` for one that only listens or is paused.
        """
        live = self.here(name)
        if live.puller is None:
            raise BadArguments(f"{name} is told by its sender; there is nothing to poll")
        state = self._supervisor.state(name).state
        if state == "paused":
            raise BadArguments(f"{name} is paused; let it go on first with: cdmctl resume {name}")
        if state in {"degraded", "failed"} and live.puller.trouble is None:
            await self.resume(name)
        live.puller.poke()

    async def gone(self) -> list[str]:
        """The connectors that left the configuration and whose state is still there."""
        owners = await self._intake.journal.owners()
        return [one for one in owners if not one.startswith(OURS) and self._names.today(one) not in self._live]

    async def forget(self, name: str) -> int:
        """Drop the state of a connector that is no longer configured."""
        async with self.changing.change():
            if name in self._live:
                raise BadArguments(f"{name} is configured; take it out of the configuration and reload first")
            count = 0 if name == OWNER else await self._intake.journal.forget(name) + await self._intake.feeds.forget(name)
            count += await self._kept.forget(name)
        if count == 0:
            raise NotFound(f"nothing is kept of a connector {name!r}")
        return count

    def desk(self, live: Live) -> IntakeSource:
        """A source for commands about the connector, also while it is paused."""
        source = IntakeSource(live.config.name, intake=self._intake, mapper=live.mapper, http=live.http, push=True)
        source.fence = live.source.fence
        return source

    def again(self, entry: Entry) -> Event | Fault | None:
        """Map a dead letter's record with today's configuration (see ``cdmd.contracts.Remap``)."""
        live = self._live.get(self._names.today(entry.event.connector))
        if live is None:
            return Fault("no_connector", f"the connector {entry.event.connector} is no longer configured")
        return live.mapper.again(entry)
