"""The composition root: a readable list of parts. Opens the store, starts the task tree, stops it in reverse.

What each part does stands in its own room; what joins them to a running daemon (``Running``) is what the control socket sees.
"""

import os
import random
import secrets
import signal
import socket
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import anyio.to_thread
import msgspec
import structlog

from cdmd.config.schema import Config
from cdmd.contracts import Clock, Http
from cdmd.control.actors import system_lookups
from cdmd.control.server import control_app
from cdmd.daemon.live import LiveConnectors
from cdmd.daemon.naming import Names
from cdmd.daemon.parts import Parts
from cdmd.daemon.running import Running
from cdmd.daemon.upkeep import Disk, Upkeep, write_counts
from cdmd.errors import CdmdError, Overloaded
from cdmd.extensions import Extensions, LoopWatch, Registered, Stall
from cdmd.identity.identifiers import Kinds
from cdmd.intake.door import Door
from cdmd.intake.edge import Edge, EdgeLimits
from cdmd.intake.queue import JournalQueue
from cdmd.intake.recent import Recent
from cdmd.intake.source import Intake
from cdmd.intake.tally import Tally
from cdmd.kit.addresses import hosts_in
from cdmd.kit.bounded_http import Limits
from cdmd.kit.clock import SystemClock
from cdmd.kit.egress import GuardedHttp
from cdmd.kit.logs import Logs
from cdmd.kit.serving import bind, serve, tls_context
from cdmd.kit.systemd import Systemd
from cdmd.models import Entry, Event, Fault, Seq
from cdmd.pipeline import Pipeline, PipelineSettings
from cdmd.plugins import Plugins
from cdmd.profiles.projection import Projection
from cdmd.store.files import StateDirectory
from cdmd.store.opening import Opened, open_state
from cdmd.supervisor import Supervisor

RECENT_IDS: Final = 200_000
_DOOR_PAGE: Final = 2_000


class PluginContext(msgspec.Struct, frozen=True):
    """What an extension is handed (``cdmd.contracts.Context``)."""

    settings: Mapping[str, Any]
    http: Http
    clock: Clock

    @property
    def now(self) -> Any:
        """The daemon's wall clock in UTC."""
        return self.clock.now()


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What the process brings: its plugins, its logs, systemd's hands, and how the configuration is read again."""

    config: Config
    plugins: Plugins
    logs: Logs
    systemd: Systemd
    read_config: Callable[[], Config]
    ready: Callable[[Running, Sequence[str]], None]
    clock: Clock = SystemClock()
    stop_on_signals: bool = True


async def run(given: Given) -> None:
    """Run until SIGTERM or SIGINT. Raises ``InUse``, ``Damaged``, ``NotDurable``, ``ConfigInvalid``, OSError (listening)."""
    config = given.config
    directory = StateDirectory(config.state_dir)
    async with AsyncExitStack() as stack:
        stack.enter_context(directory.held())
        opened = await stack.enter_async_context(
            open_state(directory, clock=given.clock, new_id=lambda: uuid.uuid4().hex, random=secrets.token_bytes)
        )
        sockets = await stack.enter_async_context(_listening(config, given.systemd))
        await _run_parts(given, opened, *sockets, stack=stack)


async def _run_parts(
    given: Given, opened: Opened, public: list[socket.socket], control: list[socket.socket], *, stack: AsyncExitStack
) -> None:
    parts = await _assemble(given, opened, stack)
    running, stop = Running(parts), anyio.Event()
    async with anyio.create_task_group() as tasks:
        stopped = _Stopping(given, parts, running, stop, tasks)
        tasks.start_soon(stopped.listen_to_signals)
        await tasks.start(parts.watch.run)
        await tasks.start(parts.intake.queue.run)
        await given.plugins.startup()
        await tasks.start(parts.pipeline.run)
        await tasks.start(parts.supervisor.run)
        await parts.connectors.apply(given.config)
        await tasks.start(parts.upkeep.run)
        app = control_app(running, own_uid=os.getuid(), lookups=system_lookups())
        await tasks.start(partial(serve, app, control, limits=Limits(stop_seconds=1.0)))
        await tasks.start(partial(serve, parts.edge, public, limits=_limits(given.config), tls=_tls(given.config), stop=stop))
        running.state = "running"
        given.ready(running, [_address(one) for one in public])
        given.systemd.ready("running")
        parts.log.info("daemon_ready")


async def _assemble(given: Given, opened: Opened, stack: AsyncExitStack) -> Parts:
    config, clock, journal, store = given.config, given.clock, opened.journal, opened.store
    names = Names(opened.digester, config.connectors)
    kinds, projection = Kinds(config.identity), Projection(config.indicators)
    disk = Disk(config)
    tally = Tally(await journal.counts())
    trust = await anyio.to_thread.run_sync(ssl.create_default_context)
    allowed = [ip_network(one, strict=False) for one in config.network.allow_addresses]

    def http(settings: object) -> GuardedHttp:
        return GuardedHttp(hosts=hosts_in(settings), allowed=allowed, tls=trust)

    registered = [await _registered(one, config, http, clock, stack) for one in given.plugins.extensions()]
    extensions = Extensions(registered, clock=clock)
    guarded = frozenset(name for name, one in config.connectors.items() if one.frame.known_only)
    door = Door(usable=kinds.usable, ask=store.known, guarded=guarded)
    await _refill(door, opened)

    connectors: LiveConnectors
    parts: Parts

    def remap(entry: Entry) -> Event | Fault | None:
        return connectors.again(entry)

    def degraded(name: str, error: str) -> None:
        connectors.degraded(name, error)

    def ready() -> tuple[bool, list[str]]:
        return _ready(parts)

    async def recount() -> None:
        if tally.uncertain:
            tally.reload(await journal.counts())

    queue = JournalQueue(
        journal,
        max_events=config.queue.max_events,
        max_bytes=config.queue.max_bytes.bytes,
        blocked=disk.blocked,
        committed=recount,
    )
    pipeline = Pipeline(
        journal,
        store,
        extensions,
        kinds=kinds,
        projection=projection,
        digester=names,
        remap=remap,
        clock=clock,
        known_only=guarded,
        settings=PipelineSettings(parked_max=config.parked.max_events, parked_keep=config.parked.keep.seconds),
    )

    def journaled(first: Seq, entries: Sequence[Entry]) -> None:
        pipeline.journaled(first, entries)
        door.journaled(first, entries)
        door.applied(store.position)

    intake = Intake(
        journal=journal,
        queue=queue,
        tally=tally,
        recent=Recent(size=RECENT_IDS),
        door=door,
        digests=names,
        clock=clock,
        journaled=journaled,
        credit=pipeline.wait_for_credit,
    )
    supervisor = Supervisor(clock=clock, random=random.random)
    edge = Edge(
        clock=clock,
        ready=ready,
        degraded=degraded,
        limits=EdgeLimits(max_body=config.http.max_body.bytes),
    )
    connectors = LiveConnectors(
        intake=intake, supervisor=supervisor, edge=edge, http=http, types=given.plugins.connector_types()
    )
    log: Any = structlog.get_logger()

    def report(stall: Stall) -> None:
        log.error("loop_blocked", extension=stall.extension, file=stall.file, line=stall.line, seconds=round(stall.seconds, 3))
        if stall.extension:
            extensions.blame(stall.extension, stall.describe())

    watch = LoopWatch(registered, clock=clock, notice=lambda stall: None, report=report)
    upkeep = Upkeep(
        config=lambda: parts.config,
        journal=journal,
        store=store,
        intake=intake,
        disk=disk,
        clock=clock,
        systemd=given.systemd,
        well=supervisor.healthy,
    )
    parts = Parts(
        config=config,
        read_config=given.read_config,
        journal=journal,
        store=store,
        clock=clock,
        kinds=kinds,
        projection=projection,
        names=names,
        intake=intake,
        pipeline=pipeline,
        extensions=extensions,
        supervisor=supervisor,
        connectors=connectors,
        edge=edge,
        plugins=given.plugins,
        watch=watch,
        upkeep=upkeep,
        disk=disk,
        logs=given.logs,
        systemd=given.systemd,
        log=log,
    )
    return parts


class _Stopping:
    """Signals, and the way down: listeners first, then what pulls, then the queue, then what is journaled."""

    def __init__(self, given: Given, parts: Parts, running: Running, stop: anyio.Event, tasks: "anyio.abc.TaskGroup") -> None:
        self._given, self._parts, self._running, self._stop, self._tasks = given, parts, running, stop, tasks

    async def listen_to_signals(self) -> None:
        """SIGHUP reloads; SIGTERM and SIGINT stop."""
        if not self._given.stop_on_signals:
            await self._running.stopping.wait()
            await self._go_down()
            return
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for number in signals:
                if number != signal.SIGHUP:
                    break
                await self._running.reload_quietly()
        await self._go_down()

    async def _go_down(self) -> None:
        parts, seconds = self._parts, self._parts.config.daemon.drain.seconds
        self._given.systemd.stopping("draining")
        self._running.state = "draining"
        parts.log.info("daemon_draining")
        self._stop.set()
        with anyio.move_on_after(seconds):
            await parts.connectors.close()
            await parts.intake.queue.flush()
            await parts.pipeline.drain(seconds)
        with anyio.move_on_after(2):
            try:
                await write_counts(parts.intake)
                await parts.store.sync()
            except Overloaded as error:
                parts.log.warning("final_sync_failed", error=type(error).__name__)
        await self._given.plugins.shutdown()
        parts.log.info("daemon_stopped")
        self._tasks.cancel_scope.cancel()


async def _registered(
    one: tuple[str, Any], config: Config, http: Callable[[object], GuardedHttp], clock: Clock, stack: AsyncExitStack
) -> Registered:
    plugin, extension = one
    settings = config.plugins.get(plugin, {})
    client = await stack.enter_async_context(http(settings))
    return Registered(plugin, extension, PluginContext(settings, client, clock))


async def _refill(door: Door, opened: Opened) -> None:
    """Who is journaled but not applied, asked of the journal once at start."""
    after = opened.store.position
    while page := await opened.journal.read(after, limit=_DOOR_PAGE):
        door.journaled(page[0].seq, [one.entry for one in page])
        after = page[-1].seq


@asynccontextmanager
async def _listening(config: Config, systemd: Systemd) -> AsyncIterator[tuple[list[socket.socket], list[socket.socket]]]:
    """The public sockets and the control socket, bound before anything is started; handed-over ones by their name."""
    inherited = systemd.sockets()
    public = [one for address in config.http.listen for one in await _bound(address, inherited)]
    control = inherited.get("control", [])
    path = config.control_socket
    if not control:
        await anyio.to_thread.run_sync(partial(_make_folder, path.parent))
        control = await _bound(str(path), {})
    try:
        yield public, control
    finally:
        for one in (*public, *control):
            one.close()
        if "control" not in inherited:
            path.unlink(missing_ok=True)


async def _bound(address: str, inherited: Mapping[str, Sequence[socket.socket]]) -> list[socket.socket]:
    name = address.removeprefix("fd:")
    if name != address and name in inherited:
        return list(inherited[name])
    try:
        return [await anyio.to_thread.run_sync(bind, address)]
    except ValueError as error:
        raise CdmdError(str(error)) from error


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _limits(config: Config) -> Limits:
    http = config.http
    return Limits(
        header_bytes=http.max_header_bytes.bytes,
        header_seconds=http.header_timeout.seconds,
        body_seconds=http.body_timeout.seconds,
        connections=http.max_connections,
        stop_seconds=3.0,
    )


def _tls(config: Config) -> ssl.SSLContext | None:
    tls = config.http.tls
    return None if tls is None else tls_context(tls.certificate.reveal(), tls.key)


def _address(bound: socket.socket) -> str:
    name = bound.getsockname()
    return f"[{name[0]}]:{name[1]}" if bound.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def _ready(parts: Parts) -> tuple[bool, list[str]]:
    """``/readyz``: the journal takes events and the store goes on; one failing supplier does not make it unready."""
    problems = [reason for reason in (parts.disk.blocked(), parts.pipeline.failure) if reason]
    return not problems, problems or ["ok"]
