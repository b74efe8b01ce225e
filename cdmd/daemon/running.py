"""The running daemon as the control socket sees it: ``Running`` fulfils ``cdmd.control.protocol.Runtime``."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from cdmd import __version__
from cdmd.config.differing import differences
from cdmd.config.naming import guarded
from cdmd.config.outbound import TargetConfig
from cdmd.config.schema import Absent, Config, ConnectorConfig
from cdmd.contracts import Clock, DeadLetterFilter, Feeds, Journal
from cdmd.control.profile_shapes import SplitReport
from cdmd.control.protocol import PluginInfo, ReloadReport, Status, TailFilter, TailItem
from cdmd.control.runtime import Place
from cdmd.control.watching_shapes import DifferenceRow, LastReload
from cdmd.daemon.counting import Counting
from cdmd.daemon.errands import carrier_of, running_on, whose
from cdmd.daemon.gathering import Report
from cdmd.daemon.governing import Governing
from cdmd.daemon.history import History
from cdmd.daemon.metrics import render
from cdmd.daemon.outbound import Outbound
from cdmd.daemon.overview import Overview
from cdmd.daemon.parts import Parts
from cdmd.daemon.plugin_rows import plugin_info
from cdmd.daemon.rebuilding import Rebuilding
from cdmd.daemon.restarting import needs_restart
from cdmd.daemon.scraping import Scraping
from cdmd.daemon.shelves import Shelves, only
from cdmd.daemon.splitting import Splitting
from cdmd.daemon.status_line import status_line
from cdmd.daemon.taking_back import take_back
from cdmd.errors import BadArguments, CdmdError, ConfigInvalid
from cdmd.identity.identifiers import Kinds, Pair
from cdmd.kit.frames import sentence
from cdmd.kit.globs import Globs
from cdmd.models import Entry, to_micros
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.projection import Projection
from cdmd.store.files import StateDirectory
from cdmd.store.restoring import backup
from cdmd.store.stored import StoredStore

_Configured = TypeVar("_Configured", ConnectorConfig, TargetConfig)


class Running:
    """What commands may ask of the daemon and change in it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._began = parts.clock.monotonic()
        self._began_with = parts.config
        self._reloading = anyio.Lock()
        rehearsal, privacy = StateDirectory(parts.config.state_dir).rehearsal, parts.privacy
        self._rebuilding = Rebuilding(
            parts,
            rehearsal,
            journal_id=parts.journal.id,
            settled=lambda: None if privacy.erasures.pending else privacy.suppressions.version,
        )
        self.history = History()
        self.last_reload: LastReload | None = None
        self._overview = Overview(parts, rebuilding=lambda: self._rebuilding.progress)
        self._shelves = Shelves(lambda: parts.connectors)
        self.governance = Governing(parts)
        self._splitting = Splitting(parts, journal_id=parts.journal.id)
        self.scraping = Scraping(self.metrics, clock=parts.clock)
        self.carrier = carrier_of(parts)

    @property
    def config(self) -> Config:
        """The effective configuration."""
        return self._parts.config

    @property
    def journal(self) -> Journal:
        """The open journal."""
        return self._parts.journal

    @property
    def feeds(self) -> Feeds:
        """The open feeds."""
        return self._parts.feeds

    @property
    def store(self) -> StoredStore:
        """The open store."""
        return self._parts.store

    @property
    def clock(self) -> Clock:
        """The daemon's clock."""
        return self._parts.clock

    @property
    def kinds(self) -> Kinds:
        """The configured identifier kinds."""
        return self._parts.kinds

    @property
    def shown(self) -> Projection:
        """How a profile's values are shown."""
        return self._parts.projection

    @property
    def audiences(self) -> Audiences:
        """The configured audiences."""
        return self._parts.audiences

    @property
    def counted(self) -> Counting:
        """How far the stored past is counted."""
        return self._parts.counting

    @property
    def targets(self) -> Outbound:
        """Where deliveries go."""
        return self._parts.outbound

    async def status(self) -> Status:
        """Measured now."""
        return await self._overview.status(uptime=self._parts.clock.monotonic() - self._began)

    async def place(self, connector: str | None, *, target: str | None = None, shelf: str | None = None) -> Place:
        """See ``whose``."""
        return await whose(self._parts, connector or only(self._parts.connectors, shelf), target=target)

    async def report(self) -> Report:
        """What this node has to say to others."""
        return await self._overview.report(uptime=self._parts.clock.monotonic() - self._began)

    async def plugin(self, name: str) -> PluginInfo:
        """See ``plugin_rows``."""
        return await plugin_info(self._parts, name)

    async def pause(self, name: str) -> str | None:
        """See ``LiveConnectors.pause``."""
        return await self._parts.connectors.pause(name)

    async def resume(self, name: str) -> None:
        """See ``LiveConnectors.resume``."""
        await self._parts.connectors.resume(name)

    async def poll(self, name: str) -> None:
        """See ``LiveConnectors.poll``."""
        await self._parts.connectors.poll(name)

    async def take_back(self, which: DeadLetterFilter) -> int:
        """See ``taking_back``."""
        return await take_back(self._parts.connectors, self._parts.store, which, now=to_micros(self.clock.now()))

    async def gone(self) -> list[str]:
        """See ``LiveConnectors.gone``."""
        return await self._parts.connectors.gone()

    async def forget(self, name: str) -> int:
        """See ``LiveConnectors.forget``. Raises ``BadArguments`` while another node fetches for it: it would keep it anew."""
        if (node := await running_on(self._parts, name)) is not None:
            raise BadArguments(
                f"{name} is still fetched by the node {node}: take it out of its configuration and reload there first"
            )
        return await self._parts.connectors.forget(name)

    async def shelf(self, kind: str, *, connector: str | None, state: str | None, limit: int) -> list[Mapping[str, Any]]:
        """See ``Shelves.rows``."""
        return await self._shelves.rows(kind, connector=connector, state=state, limit=limit)

    async def tell_shelf(self, kind: str, command: str, *, connector: str | None, names: Sequence[str]) -> tuple[str, int]:
        """See ``Shelves.command``."""
        return await self._shelves.command(kind, command, connector=connector, names=names)

    @property
    def identities(self) -> Rebuilding:
        """The job about who is who."""
        return self._rebuilding

    async def split(self, first: Pair, second: Pair, *, apply: bool) -> SplitReport:
        """See ``Splitting.split``."""
        return await self._splitting.split(first, second, apply=apply)

    async def lift(self, first: Pair, second: Pair) -> SplitReport:
        """See ``Splitting.lift``."""
        return await self._splitting.lift(first, second)

    async def reload(self) -> ReloadReport:
        """Read, check, apply the difference; on a mistake the old configuration stays.

        Raises ``ConfigInvalid``, and ``CdmdError`` while the daemon starts or stops.
        """
        async with self._reloading:
            parts = self._parts
            if parts.state != "running":
                raise CdmdError(f"the daemon is {parts.state}; nothing is changed now")
            parts.systemd.reloading(monotonic=parts.clock.monotonic())
            before, at = parts.config.effective, parts.clock.now()
            try:
                report = await self._apply(await anyio.to_thread.run_sync(parts.given.read_config))
            except CdmdError as error:
                mistakes = error.problems if isinstance(error, ConfigInvalid) else (str(error),)
                self.last_reload = LastReload(at=at, mistakes=list(mistakes))
                raise
            finally:
                if parts.state == "running":  # what stops is not to be said to be ready again
                    parts.systemd.ready(status_line(parts))
            rows = [DifferenceRow(**row._asdict()) for row in differences(before, parts.config.effective)]
            self.last_reload = LastReload(at=at, report=report, differences=rows)
            return report

    async def _apply(self, config: Config) -> ReloadReport:
        """Everything that can be wrong comes first; then all rooms take the new settings before any connector starts."""
        parts, before, had = self._parts, self._parts.config, self._parts.kinds.hashed
        kinds, projection = (
            Kinds(config.identity, parts.kinds.splits),
            Projection(config.indicators, config.traits, config.privacy),
        )
        audiences = Audiences(config.audiences, projection)
        connectors, aims = (before.connectors, config.connectors), (before.targets, config.targets)
        if lost := [*_lost("connectors", *connectors), *_lost("targets", *aims)]:
            raise ConfigInvalid(lost)
        plan, targets = await parts.connectors.plan(config), parts.outbound.plan(config)
        await self.scraping.configure(config.metrics.listen, config.metrics.names)
        if parts.laning is not None:
            await parts.laning.configure(config)
        parts.outbound.take(targets, audiences, config)
        parts.take(config, kinds=kinds, audiences=audiences, pull=plan.pull)
        if guarded(config) != guarded(before) or kinds.hashed != had:
            await parts.refill_door()
        if config.daemon.log_level != before.daemon.log_level:
            parts.logs.set_level(config.daemon.log_level, seconds=None)
        sent = await parts.outbound.carry_out(targets)
        rows = await parts.connectors.carry_out(plan, wait=True) if parts.given.leads or parts.given.pulls else []
        parts.log.info("configuration_reloaded", connectors=len(rows))
        failed = [f"connectors.{row.name}: {row.problem}" for row in rows if row.problem]
        failed += [f"targets.{row.name}: {row.problem}" for row in sent if row.problem]
        warnings = [*needs_restart(self._began_with, config), *config.warnings]
        return ReloadReport(connectors=rows, targets=sent, problems=failed, warnings=warnings)

    async def reload_quietly(self) -> None:
        """After SIGHUP, where nobody waits for an answer."""
        try:
            await self.reload()
        except ConfigInvalid as error:
            self._parts.log.warning("reload_refused", count=len(error.problems))
        except CdmdError as error:
            self._parts.log.warning("reload_failed", error=error)
        except Exception as error:  # noqa: BLE001 - the edge of a signal: our mistake, or a plugin's, ends no daemon
            self._parts.log.warning("reload_failed", error=sentence(error))

    async def tail(self, wanted: TailFilter) -> AsyncGenerator[TailItem, None]:
        """Live events from now on."""
        globs = Globs([wanted.type]) if wanted.type else None
        with self._parts.pipeline.tail.subscribe() as passing:
            async for one in passing:
                if self.governance.conceals(Entry(one.event)):
                    continue
                if wanted.connector not in {None, one.event.connector} or wanted.stage not in {None, one.stage}:
                    continue
                if globs is None or globs.matches(one.event.type):
                    yield TailItem(
                        stage=one.stage,
                        time=self.clock.now(),
                        event=one.event,
                        detail=one.detail or None,
                        lost=passing.take_dropped(),
                    )

    def set_log_level(self, level: str, seconds: float | None) -> None:
        """Log from ``level`` up."""
        self._parts.logs.set_level(level, seconds=seconds)

    async def metrics(self) -> bytes:
        """The Prometheus text format, measured now: what is this node's, so that nothing is counted on several."""
        found = await self._overview.status(uptime=self._parts.clock.monotonic() - self._began, alone=True)
        return await render(found, self._parts)

    async def backup(self, target: Path) -> int:
        """Write a backup to the new file ``target``; returns its bytes."""
        parts = self._parts
        await anyio.to_thread.run_sync(parts.disk.check_backup, target)
        await backup(parts.journal, parts.store, parts.feeds, target, clock=parts.clock, version=__version__)
        await parts.privacy.erasures.copied(str(target))
        return (await anyio.Path(target).stat()).st_size


def _lost(table: str, before: Mapping[str, _Configured], after: Mapping[str, _Configured]) -> list[str]:
    """Those that run, and whose new settings their plugin cannot use: they would only be stopped."""
    return [
        f"{one.file}: {table}.{name}: {one.settings.unavailable}"
        for name, one in after.items()
        if isinstance(one.settings, Absent) and name in before and not isinstance(before[name].settings, Absent)
    ]
