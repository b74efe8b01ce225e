"""Runs the daemon: opens the state, starts every part in order, says that it is ready, and closes in reverse."""

import os
import secrets
import socket
import ssl
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial

import anyio
import anyio.abc
import anyio.to_thread

from cdmd.batches.crossing import DecisionCrossing
from cdmd.config.alike import whole
from cdmd.config.naming import Names
from cdmd.config.roles import role_problems
from cdmd.console.app import with_console
from cdmd.contracts import Lanes
from cdmd.control.actors import system_lookups
from cdmd.control.server import control_app
from cdmd.daemon.errands import away_of, do_errands
from cdmd.daemon.forwarded import answer_others, keep_door
from cdmd.daemon.gate import Plan
from cdmd.daemon.gathering import keep_reporting
from cdmd.daemon.given import Given
from cdmd.daemon.history import keep_history
from cdmd.daemon.laning import settings_of
from cdmd.daemon.listening import Sockets, handed_over, limits, sockets, tls
from cdmd.daemon.parts import Parts
from cdmd.daemon.remembering import remember, why_withheld
from cdmd.daemon.running import Running
from cdmd.daemon.sharing import shared_journal
from cdmd.daemon.standing_by import StandingBy
from cdmd.daemon.status_line import keep_status_line, status_line
from cdmd.daemon.stopping import Stopping
from cdmd.deliveries.dispatching import Built
from cdmd.errors import CdmdError, ConfigInvalid
from cdmd.kit.bounded_http import Limits
from cdmd.kit.frames import leaf, sentence
from cdmd.kit.listener import listen
from cdmd.kit.serving import serve
from cdmd.store.files import StateDirectory
from cdmd.store.opening import Apart, Server, not_lost, open_state
from cdmd.store.remote import Own

_COMMANDS_FINISH = Limits(stop_seconds=1.0)


async def run(given: Given) -> None:
    """Run until a signal says stop.

    Raises ``CdmdError``: ``ConfigInvalid``, ``InUse``, ``Damaged``, ``NotDurable``, or with a sentence about what it cannot
    listen on or what went wrong in cdmd itself.
    """
    parts: Parts | None = None
    try:
        async with anyio.create_task_group() as beside, AsyncExitStack() as stack:
            # From here on no signal ends the process by itself: SIGHUP during the start would look like a clean end.
            stopping = Stopping(given, stack.enter_context(given.signals()))
            beside.start_soon(stopping.heed, beside.cancel_scope, name="signals of the start")
            inherited = stack.enter_context(handed_over(given.systemd))
            standing = StandingBy(given, inherited, stack, beside)
            parts = await _open(given, stack, standing)
            parts.absent = await remember(given.plugins, parts.store, keep=given.leads)
            await stopping.opened()
            listening = await stack.enter_async_context(
                sockets(given.config, inherited, public=given.leads, bound=standing.public)
            )
            if parts.tracing is not None:
                await stack.enter_async_context(parts.tracing.running())
            for client in parts.plugin_clients.values():
                await stack.enter_async_context(client)
            await (_serve if given.leads else _follow)(parts, listening, stopping)
    except BaseExceptionGroup as group:
        raise _plain(group) from group
    finally:
        given.left(parts.supervisor.abandoned() if parts is not None else ())


async def _open(given: Given, stack: AsyncExitStack, standing: StandingBy) -> Parts:
    """The state directory, held, with both databases open, and the parts over them."""
    config, names = given.config, Names(given.config.connectors)
    if problems := role_problems(config, given.roles):
        raise ConfigInvalid(problems)
    directory = await stack.enter_async_context(StateDirectory(config.state_dir).hold())
    name = f"{socket.gethostname()}:{directory.root}"
    server = _server(given, name)
    opening = open_state(
        directory,
        clock=given.clock,
        new_id=_new_id,
        random=secrets.token_bytes,
        named=names.earliest,
        shared=shared_journal(
            config.journal,
            holder=name,
            clock=given.clock,
            new_id=_new_id,
            follows=not given.leads,
            meanwhile=partial(standing.answering, trouble=partial(not_lost, server)) if server is not None else None,
        ),
        server=server,
        apart=Apart(
            store=Own("cdmd.batches.store_process", DecisionCrossing()) if config.store.process == "own" else None,
            journal=config.journal.process == "own",
        ),
    )
    opened = await stack.enter_async_context(opening)
    trust = await anyio.to_thread.run_sync(ssl.create_default_context)
    return Parts(given, opened, names=names, trust=trust, counts=await opened.journal.counts())


def _new_id() -> str:
    return uuid.uuid4().hex


def _server(given: Given, name: str) -> Server | None:
    config, settings = given.config, given.config.store
    if settings.url is None:
        return None
    password = None if settings.password is None else settings.password.reveal().decode()
    goes_by = whole(settings_of(config, given.plugins))
    return Server(settings.url, password, config.journal.partitions, name, given.roles, goes_by)


async def _follow(parts: Parts, listening: Sockets, stopping: Stopping) -> None:
    """The same for one that takes nothing that is sent: another node leads."""
    running = Running(parts)
    plan, targets = await _take(parts)
    parts.upkeep.leads = False
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(stopping.follow, parts, running, tasks.cancel_scope), name="signals")
        await tasks.start(parts.queue.run, name="journal queue")
        await _start_extending(parts, tasks)
        await tasks.start(parts.supervisor.run, name="supervisor")
        await _start_working(parts, plan, targets, tasks)
        await _start_telling(parts, running, listening, tasks)
        await _be_ready(parts, listening, tasks, connectors=0)


async def _serve(parts: Parts, listening: Sockets, stopping: Stopping) -> None:
    """Start in order, each when the one before is ready; return when it was told to stop."""
    config, running = parts.config, Running(parts)
    encrypted = await anyio.to_thread.run_sync(tls, config.http.tls)
    public = partial(listen, parts.edge, listening.public, limits=limits(config.http), tls=encrypted)
    plan, targets = await _take(parts)
    await parts.deriving.load()
    await parts.counting.load()
    await running.identities.load()
    await parts.privacy.load()
    await parts.refill_door()
    await parts.connectors.load()
    await parts.budgets.load()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(stopping.follow, parts, running, tasks.cancel_scope), name="signals")
        await tasks.start(parts.queue.run, name="journal queue")
        await _start_extending(parts, tasks)
        await tasks.start(parts.background.run, parts.deriving.run, "deriving", name="deriving")
        await tasks.start(parts.background.run, parts.counting.run, "counting", name="counting")
        await tasks.start(parts.background.run, running.identities.run, "rebuilding", name="rebuilding")
        await tasks.start(parts.background.run, parts.expiry.run, "expiry", name="expiry")
        await tasks.start(parts.supervisor.run, name="supervisor")
        await _start_working(parts, plan, targets, tasks)
        await tasks.start(parts.background.run, parts.privacy.removing.run, "erasures", name="erasures")
        await tasks.start(parts.background.run, parts.privacy.retaining.run, "retention", name="retention")
        await tasks.start(parts.background.run, parts.privacy.rekeying.run, "rekeying", name="rekeying")
        await tasks.start(parts.background.run, parts.privacy.requests(running).run, "requests", name="requests")
        await _start_telling(parts, running, listening, tasks)
        await tasks.start(partial(stopping.listen, public), name="public")
        await _be_ready(parts, listening, tasks, connectors=len(config.connectors))


async def _take(parts: Parts) -> tuple[Plan, Mapping[str, Built]]:
    """The configuration, of which no connector and no target runs yet. Raises ``ConfigInvalid``."""
    config = parts.config
    plan, targets = await parts.connectors.plan(config), parts.outbound.plan(config)
    await parts.outbound.load()
    parts.outbound.take(targets, parts.audiences, config)
    parts.take(config, kinds=parts.kinds, audiences=parts.audiences, pull=plan.pull)
    await parts.upkeep.look_at_disk()
    return plan, targets


async def _start_extending(parts: Parts, tasks: anyio.abc.TaskGroup) -> None:
    """What an event goes through on every node that applies some: plugins, those withheld that are not well, the pipeline."""
    plugins = parts.given.plugins
    await tasks.start(parts.watch.run, name="loop watch")
    tasks.start_soon(parts.leaks.run, name="leak watch")
    await plugins.startup(parts.contexts)
    await tasks.start(parts.isolating.run, name="isolated plugins")
    for plugin, why in why_withheld(plugins).items():
        parts.extensions.withhold(plugin, why)
    await tasks.start(parts.pipeline.run, name="pipeline")


async def _start_working(parts: Parts, plan: Plan, targets: Mapping[str, Built], tasks: anyio.abc.TaskGroup) -> None:
    """Targets and connectors; where nodes divide them among themselves, those that become this one's part."""
    await tasks.start(parts.outbound.run, name="targets")
    await parts.outbound.carry_out(targets)
    if parts.dividing is not None:
        parts.connectors.pulling = parts.dividing.fetches
        parts.privacy.away = away_of(parts)
    if parts.given.leads or parts.given.pulls:
        await parts.connectors.carry_out(plan)
    if parts.given.leads:
        tasks.start_soon(answer_others, parts, name="other nodes")
    if parts.dividing is not None:
        if not parts.given.leads and parts.given.pulls:
            tasks.start_soon(keep_door, parts, name="the door")
        tasks.start_soon(parts.dividing.run, name="duties")


async def _start_telling(parts: Parts, running: Running, listening: Sockets, tasks: anyio.abc.TaskGroup) -> None:
    """What keeps a node well and answers those who ask how it is."""
    commands = control_app(running, own_uid=os.getuid(), lookups=system_lookups())
    app = with_console(commands, secret=secrets.token_bytes(32), clock=parts.clock)
    metrics = parts.config.metrics
    await tasks.start(parts.upkeep.run, name="upkeep")
    await tasks.start(running.scraping.run, name="metrics")
    await running.scraping.configure(metrics.listen, metrics.names)
    await tasks.start(keep_history, parts, running.history, name="history")
    if isinstance(parts.store, Lanes):
        await tasks.start(do_errands, parts, parts.store.errands, running, name="errands")
        await tasks.start(keep_reporting, parts, parts.store, running.report, name="reports")
    await tasks.start(partial(serve, app, listening.control, limits=_COMMANDS_FINISH), name="control")


async def _be_ready(parts: Parts, listening: Sockets, tasks: anyio.abc.TaskGroup, *, connectors: int) -> None:
    parts.state = "running"
    parts.given.systemd.ready(line := status_line(parts))
    tasks.start_soon(keep_status_line, parts, line, name="status line")
    parts.log.info("daemon_ready", listen=listening.addresses, connectors=connectors)
    await anyio.to_thread.run_sync(parts.given.ready, parts.config, listening.addresses)


def _plain(group: BaseExceptionGroup) -> CdmdError:
    """What ended the task tree, as one error: an unforeseen one by its class and place, because its text may hold data."""
    error = leaf(group)
    if isinstance(error, CdmdError):
        return error
    return CdmdError(f"cdmd ended by a fault of its own: {sentence(error)}; everything acknowledged is kept, start it again")
