"""The running daemon as the control socket sees it: ``Running`` fulfils ``cdmd.control.protocol.Runtime``."""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import anyio.to_thread

from cdmd import __version__
from cdmd.config.schema import Config
from cdmd.contracts import Clock
from cdmd.control.protocol import DaemonState, ReloadReport, Status, TailFilter, TailItem
from cdmd.daemon.metrics import render
from cdmd.daemon.overview import overview
from cdmd.daemon.parts import Parts
from cdmd.errors import CdmdError, ConfigInvalid
from cdmd.identity.identifiers import Kinds
from cdmd.kit.globs import Globs
from cdmd.profiles.projection import Projection
from cdmd.store.journal import SqliteJournal
from cdmd.store.restoring import backup
from cdmd.store.store import SqliteStore

_NEEDS_RESTART = ("state_dir", "control_socket", "http", "queue", "plugins")


class Running:
    """What commands may ask of the daemon and change in it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._began = parts.clock.monotonic()
        self._reloading = anyio.Lock()
        self.state: DaemonState = "starting"
        self.stopping = anyio.Event()

    @property
    def config(self) -> Config:
        """The effective configuration."""
        return self._parts.config

    @property
    def journal(self) -> SqliteJournal:
        """The open journal."""
        return self._parts.journal

    @property
    def store(self) -> SqliteStore:
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

    async def status(self) -> Status:
        """Measured now."""
        parts = self._parts
        return await overview(parts, state=self.state, uptime=parts.clock.monotonic() - self._began)

    async def pause(self, name: str) -> str | None:
        """See ``LiveConnectors.pause``."""
        return await self._parts.connectors.pause(name)

    async def resume(self, name: str) -> None:
        """See ``LiveConnectors.resume``."""
        await self._parts.connectors.resume(name)

    async def poll(self, name: str) -> None:
        """See ``LiveConnectors.poll``."""
        await self._parts.connectors.poll(name)

    async def forget(self, name: str) -> int:
        """See ``LiveConnectors.forget``."""
        return await self._parts.connectors.forget(name)

    async def reload(self) -> ReloadReport:
        """Read, check, apply the difference; on a mistake the old configuration stays. Raises ConfigInvalid."""
        async with self._reloading:
            parts = self._parts
            parts.systemd.reloading(monotonic=parts.clock.monotonic())
            try:
                config = await anyio.to_thread.run_sync(parts.read_config)
                kinds, projection = Kinds(config.identity), Projection(config.indicators)
                rows = await parts.connectors.apply(config)
            finally:
                parts.systemd.ready(self.state)
            problems = [
                f"{key.replace('_', '.', 1)} has changed; that takes effect after a restart of the daemon"
                for key in _NEEDS_RESTART
                if getattr(config, key) != getattr(parts.config, key)
            ]
            guarded = frozenset(name for name, one in config.connectors.items() if one.frame.known_only)
            parts.config, parts.kinds, parts.projection = config, kinds, projection
            parts.names.configure(config.connectors)
            parts.intake.door.guarded = guarded
            parts.pipeline.configure(kinds=kinds, projection=projection, known_only=guarded)
            parts.log.info("configuration_reloaded", count=len(rows))
            return ReloadReport(connectors=rows, problems=problems, warnings=list(config.warnings))

    async def reload_quietly(self) -> None:
        """After SIGHUP, where nobody waits for an answer."""
        try:
            await self.reload()
        except ConfigInvalid as error:
            self._parts.log.warning("reload_refused", count=len(error.problems))
        except CdmdError as error:
            self._parts.log.warning("reload_failed", error=type(error).__name__)

    async def tail(self, wanted: TailFilter) -> AsyncGenerator[TailItem, None]:
        """Live events from now on."""
        globs = Globs([wanted.type]) if wanted.type else None
        with self._parts.pipeline.tail.subscribe() as passing:
            async for one in passing:
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
        """The Prometheus text format, measured now."""
        return render(await self.status(), self._parts)

    async def backup(self, target: Path) -> int:
        """Write a backup to the new file ``target``; returns its bytes."""
        parts = self._parts
        await backup(parts.journal, parts.store, target, clock=parts.clock, version=__version__)
        return (await anyio.Path(target).stat()).st_size
