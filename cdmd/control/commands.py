"""What may be asked of the running daemon as a whole: its state, its connectors, its configuration, its upkeep.

Each command takes the runtime, the actor and its arguments, checks the role itself and answers a shape of ``protocol``.
Commands that look at events, profiles and dead letters are in ``inspection`` and ``letters``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio

from cdmd.control.actors import Actor, Role, permit
from cdmd.control.auditing import audited
from cdmd.control.protocol import (
    AuditRow,
    BackupReport,
    ConnectorRow,
    Done,
    PluginInfo,
    PluginRow,
    ReloadReport,
    Status,
    VerifyReport,
)
from cdmd.control.runtime import Runtime
from cdmd.control.watching_shapes import SERIES, Caller, HistoryReport, LastReload
from cdmd.errors import BadArguments, NotFound
from cdmd.models import from_micros

LEVELS: Final = ("debug", "info", "warning", "error")
MOST_ROWS: Final = 10_000
MOST_SERIES: Final = 200
_LONGEST_COMMAND: Final = 80


async def status(runtime: Runtime, actor: Actor) -> Status:
    """Health, queue, backlog, every connector and plugin, totals."""
    permit(actor, Role.READER)
    return await runtime.status()


async def caller(runtime: Runtime, actor: Actor) -> Caller:
    """Who asks; also for one who may do nothing."""
    return Caller(uid=actor.uid, user=actor.user, role=actor.role.value)


async def history(runtime: Runtime, actor: Actor, names: Sequence[str], *, series: Sequence[str] = ()) -> HistoryReport:
    """The last hour of the daemon and of those connectors; of these only the named ``series``. Raises ``BadArguments``."""
    permit(actor, Role.READER)
    if strange := [one for one in series if one not in SERIES]:
        raise BadArguments(f"there is no series {strange[0]}: there are {', '.join(SERIES)}")
    return runtime.history.report(names[:MOST_SERIES], series)


async def last_reload(runtime: Runtime, actor: Actor) -> LastReload:
    """What the last reload changed and came to. Raises ``NotFound`` where there was none since the start."""
    permit(actor, Role.READER)
    if runtime.last_reload is None:
        raise NotFound("nothing was reloaded since the daemon started: its configuration is the one it started with")
    return runtime.last_reload


async def connectors(runtime: Runtime, actor: Actor) -> list[ConnectorRow]:
    """Every connector's row of the status."""
    return (await status(runtime, actor)).connectors


async def gone(runtime: Runtime, actor: Actor) -> list[str]:
    """The connectors that left the configuration and whose state is still there."""
    permit(actor, Role.READER)
    return await runtime.gone()


async def plugins(runtime: Runtime, actor: Actor) -> list[PluginRow]:
    """Every plugin's row of the status."""
    return (await status(runtime, actor)).plugins


async def plugin(runtime: Runtime, actor: Actor, name: str) -> PluginInfo:
    """All about one. Raises ``NotFound``."""
    permit(actor, Role.READER)
    return await runtime.plugin(name)


async def pause(runtime: Runtime, actor: Actor, name: str) -> Done:
    """Hold a connector back, over restarts. Raises ``NotFound``."""
    async with audited(runtime, actor, "pause", arguments={"connector": name}):
        warning = await runtime.pause(name)
    return Done(done="paused", name=name, warning=warning)


async def resume(runtime: Runtime, actor: Actor, name: str) -> Done:
    """Let a paused connector go on from where it was. Raises ``NotFound``."""
    async with audited(runtime, actor, "resume", arguments={"connector": name}):
        await runtime.resume(name)
    return Done(done="resumed", name=name)


async def poll(runtime: Runtime, actor: Actor, name: str) -> Done:
    """Let a pull connector look now. Raises ``NotFound``; ``BadArguments`` for one that only listens."""
    async with audited(runtime, actor, "poll", arguments={"connector": name}):
        await runtime.poll(name)
    return Done(done="woken", name=name)


async def forget(runtime: Runtime, actor: Actor, name: str) -> Done:
    """Drop the state of a connector that left the configuration. Raises ``NotFound``; ``BadArguments`` while configured."""
    async with audited(runtime, actor, "connectors forget", arguments={"connector": name}):
        if name in runtime.config.connectors:
            raise BadArguments(f"{name} is still configured: remove it from the configuration and reload first")
        count = await runtime.forget(name)
    return Done(done="forgotten", name=name, count=count)


async def shelf(
    runtime: Runtime, actor: Actor, kind: str, *, connector: str | None, state: str | None, limit: int
) -> list[Mapping[str, Any]]:
    """What connectors show of that kind. Raises ``NotFound`` and ``BadArguments``."""
    permit(actor, Role.READER)
    return await runtime.shelf(kind, connector=connector, state=state, limit=max(1, min(limit, MOST_ROWS)))


async def tell_shelf(
    runtime: Runtime, actor: Actor, kind: str, command: str, *, connector: str | None, names: Sequence[str]
) -> Done:
    """Have it done to those rows. Their names are a supplier's, so the audit row holds their number only."""
    said: dict[str, Any] = {"connector": connector, "count": len(names)}
    async with audited(runtime, actor, f"{kind} {command}"[:_LONGEST_COMMAND], arguments=said):
        if not names:
            raise BadArguments(f"name at least one of the {kind}")
        said["connector"], count = await runtime.tell_shelf(kind, command, connector=connector, names=names)
    return Done(done=command, name=said["connector"], count=count)


async def reload(runtime: Runtime, actor: Actor) -> ReloadReport:
    """Read the configuration again and apply what changed. Raises ``ConfigInvalid``; then the old one stays in force."""
    async with audited(runtime, actor, "reload", arguments={}):
        return await runtime.reload()


async def config_show(runtime: Runtime, actor: Actor) -> Mapping[str, Any]:
    """The effective configuration; secrets are their references."""
    permit(actor, Role.READER)
    return runtime.config.effective


async def log_level(runtime: Runtime, actor: Actor, level: str, *, seconds: float | None) -> Done:
    """Log from ``level`` up, for ``seconds`` or until told otherwise. Raises ``BadArguments``."""
    async with audited(runtime, actor, "log-level", arguments={"level": level, "seconds": seconds}):
        if level not in LEVELS:
            raise BadArguments(f"there is no such level; the levels are {', '.join(LEVELS)}")
        if seconds is not None and not 0 < seconds <= 7 * 86_400:
            raise BadArguments("the time must be more than nothing and at most seven days")
        runtime.set_log_level(level, seconds)
    return Done(done="log level set to", name=level)


async def backup(runtime: Runtime, actor: Actor, path: str) -> BackupReport:
    """Write a backup to a new file, named from the root as the daemon sees it. Raises ``BadArguments``."""
    async with audited(runtime, actor, "backup", arguments={"path": path}):
        target = Path(path)
        if not target.is_absolute() or "\0" in path:
            raise BadArguments("a backup's path must start at the root, because the daemon's folder is not yours")
        if await _exists(target):
            raise BadArguments(f"{path} exists already: a backup never overwrites; name another file or move it away")
        size = await runtime.backup(target)
    return BackupReport(path=path, bytes=size)


async def _exists(target: Path) -> bool:
    try:
        return await anyio.Path(target).exists()
    except OSError as error:  # a name that is too long, say
        raise BadArguments(f"there cannot be a backup of that name: {error.strerror}") from error


async def verify(runtime: Runtime, actor: Actor) -> VerifyReport:
    """Read journal and store whole and report every damage; it takes a while and some disk bandwidth."""
    async with audited(runtime, actor, "verify", arguments={}):
        problems = [text for part in (runtime.journal, runtime.store, runtime.feeds) for text in await part.verify()]
    return VerifyReport(whole=not problems, problems=problems)


async def metrics(runtime: Runtime, actor: Actor) -> bytes:
    """The Prometheus text format."""
    permit(actor, Role.READER)
    return await runtime.metrics()


async def audit(runtime: Runtime, actor: Actor, *, limit: int) -> list[AuditRow]:
    """The newest audit rows, newest first; at most 10,000."""
    permit(actor, Role.READER)
    return [
        AuditRow(
            time=from_micros(row.time),
            uid=row.uid,
            user=row.user,
            role=row.role,
            command=row.command,
            arguments=row.arguments,
            outcome=row.outcome,
        )
        for row in await runtime.store.audits(limit=max(1, min(limit, MOST_ROWS)))
    ]
