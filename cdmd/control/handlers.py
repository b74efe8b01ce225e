"""The table of paths under ``/v1/`` and what each takes from its request; the commands do the rest.

Queries and bodies are bounded and checked here; no role is (the commands check it).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cdmd.contracts import DeadLetterFilter
from cdmd.control import audiences, commands, explaining, exporting, finding, inspection, letters, privacy_handlers
from cdmd.control.actors import Actor
from cdmd.control.asking import body, flag, needed, number, text
from cdmd.control.identity_handlers import IDENTITIES
from cdmd.control.protocol import STAGES, TailFilter
from cdmd.control.runtime import Runtime
from cdmd.control.target_handlers import TARGETS
from cdmd.errors import BadArguments
from cdmd.models import Seq

Handler: TypeAlias = Callable[[Runtime, Actor, Request], Awaitable[Any]]
Opener: TypeAlias = Callable[[Runtime, Actor, Request], Awaitable[AsyncGenerator[dict[str, Any], None]]]


class _Empty(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _LogLevel(msgspec.Struct, forbid_unknown_fields=True):
    level: str
    seconds: float | None = None


class _Names(msgspec.Struct, forbid_unknown_fields=True):
    names: list[str]
    connector: str | None = None


class _Trial(msgspec.Struct, forbid_unknown_fields=True):
    where: str
    after: Annotated[int, msgspec.Meta(ge=0, lt=2**62)] = 0
    sample: Annotated[int, msgspec.Meta(ge=0)] = 10


class _Backup(msgspec.Struct, forbid_unknown_fields=True):
    path: str


async def _status(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Health, queue, backlog, connectors, plugins, totals."""
    return await commands.status(runtime, actor)


async def _caller(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Who you are here, and what you may do."""
    return await commands.caller(runtime, actor)


async def _history(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`connector`, `series` (both may be repeated): the last hour, a sample every ten seconds."""
    said = request.query_params
    return await commands.history(runtime, actor, said.getlist("connector"), series=said.getlist("series"))


async def _last_reload(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """What the last reload changed and came to."""
    return await commands.last_reload(runtime, actor)


async def _gone(runtime: Runtime, actor: Actor, _: Request) -> Any:
    """Connectors that left the configuration and whose state is still there."""
    return await commands.gone(runtime, actor)


async def _connectors(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """The connectors' rows of the status."""
    return await commands.connectors(runtime, actor)


async def _plugins(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """The plugins' rows of the status."""
    return await commands.plugins(runtime, actor)


async def _plugin(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`name`: all about one plugin, its extensions, and its settings as TOML to paste."""
    return await commands.plugin(runtime, actor, needed(request, "name"))


async def _pause(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Hold a connector back, over restarts."""
    return await commands.pause(runtime, actor, request.path_params["name"])


async def _resume(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Let a paused connector go on."""
    return await commands.resume(runtime, actor, request.path_params["name"])


async def _poll(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Let a pull connector look now."""
    return await commands.poll(runtime, actor, request.path_params["name"])


async def _forget(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Drop the state of a connector that left the configuration."""
    return await commands.forget(runtime, actor, request.path_params["name"])


async def _shelf(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`connector`, `state`, `limit`: what connectors show of a kind, `files` for one."""
    connector, state, limit = text(request, "connector"), text(request, "state"), number(request, "limit", 100)
    return await commands.shelf(runtime, actor, request.path_params["kind"], connector=connector, state=state, limit=limit)


async def _tell_shelf(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`{names, connector?}`: a command about some of them."""
    said, kind, command = await body(request, _Names), request.path_params["kind"], request.path_params["command"]
    return await commands.tell_shelf(runtime, actor, kind, command, connector=said.connector, names=said.names)


async def _reload(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Apply a changed configuration and wait."""
    await body(request, _Empty)
    return await commands.reload(runtime, actor)


async def _config(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """The effective configuration; secrets are references."""
    return await commands.config_show(runtime, actor)


async def _log_level(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`{level, seconds?}`: log more or less."""
    said = await body(request, _LogLevel)
    return await commands.log_level(runtime, actor, said.level, seconds=said.seconds)


async def _backup(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`{path}`: write a backup to a new file."""
    return await commands.backup(runtime, actor, (await body(request, _Backup)).path)


async def _verify(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Check journal and store."""
    return await commands.verify(runtime, actor)


async def _metrics(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Metrics in the Prometheus text format."""
    return Response(await commands.metrics(runtime, actor), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _audit(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`limit`: the newest audit rows."""
    return await commands.audit(runtime, actor, limit=number(request, "limit", 100))


async def tail(runtime: Runtime, actor: Actor, request: Request) -> AsyncGenerator[dict[str, Any], None]:
    """`connector`, `type`, `stage`, `reveal`: live events as JSON Lines."""
    wanted = TailFilter(connector=text(request, "connector"), type=text(request, "type"), stage=text(request, "stage"))
    if wanted.stage not in {None, *STAGES}:
        raise BadArguments(f"there is no stage {wanted.stage!r}: it is one of {', '.join(STAGES)}")
    return await inspection.tail(runtime, actor, wanted, reveal=flag(request, "reveal"))


async def _event(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`id`, `source`, `reveal`: what became of an event."""
    source, reveal = text(request, "source"), flag(request, "reveal")
    return await inspection.event_show(runtime, actor, needed(request, "id"), source=source, reveal=reveal)


async def _recent(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`connector`, `type`, `limit`: what the journal took last, as the tail would have shown it."""
    wanted = TailFilter(connector=text(request, "connector"), type=text(request, "type"))
    return await inspection.recent(runtime, actor, wanted, limit=number(request, "limit", 50))


async def _profile(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`identifier` (KIND:VALUE) or `profile` (a public id), `activities`: one customer."""
    activities, public = number(request, "activities", inspection.ACTIVITIES), text(request, "profile")
    identifier = needed(request, "identifier") if public is None else ""
    return await inspection.profile_show(runtime, actor, identifier, activities=activities, public=public)


async def _events_of(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`identifier` (KIND:VALUE), `type`, `limit`: one customer's events, the newest first."""
    glob, limit = text(request, "type"), number(request, "limit", 100)
    return await inspection.events_of(runtime, actor, needed(request, "identifier"), glob=glob, limit=limit)


async def _explain(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`first`, `second` (KIND:VALUE): why they are one person, or what kept them apart."""
    return await explaining.explain(runtime, actor, needed(request, "first"), needed(request, "second"))


async def _find(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`text` (a public id, [KIND:]VALUE or [KIND:]BEGINNING*) or `trait` (NAME=VALUE), `after`, `limit`: who it may be."""
    after, limit, trait = text(request, "after") or "", number(request, "limit", 100), text(request, "trait")
    if trait is not None:
        return await finding.find_by_trait(runtime, actor, trait, after=after, limit=limit)
    return await finding.find(runtime, actor, needed(request, "text"), after=after, limit=limit)


async def export(runtime: Runtime, actor: Actor, request: Request) -> AsyncGenerator[dict[str, Any], None]:
    """`identifier` (KIND:VALUE): everything that is held about one person, as JSON Lines."""
    return await exporting.export(runtime, actor, needed(request, "identifier"))


async def _audiences(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Every configured audience, how many are in and how far it is computed."""
    return await audiences.listed(runtime, actor)


async def _members(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`after`, `limit`: who is in, some at a time."""
    after, limit = number(request, "after", 0), number(request, "limit", audiences.MOST_MEMBERS)
    return await audiences.members(runtime, actor, request.path_params["name"], after=after, limit=limit)


async def _audience_changes(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`audience`, `limit`: who entered and left last."""
    return await audiences.changes(runtime, actor, text(request, "audience"), limit=number(request, "limit", 100))


async def _audience_try(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`{where, after?, sample?}`: what a condition comes to over some of the stored profiles."""
    said = await body(request, _Trial)
    return await audiences.tried(runtime, actor, said.where, after=said.after, sample=said.sample)


async def _letters(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`connector`, `type`, `code`, `limit`: dead letters with their reasons."""
    connector, glob, code = (text(request, name) for name in ("connector", "type", "code"))
    which = DeadLetterFilter(connector=connector, type=glob, code=code, limit=number(request, "limit", 100))
    return await letters.listed(runtime, actor, which)


async def _causes(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`limit`: dead letters counted by connector, type and code."""
    return await letters.causes(runtime, actor, limit=number(request, "limit", 100))


async def _letter(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`reveal`: one dead letter."""
    return await letters.shown(runtime, actor, Seq(request.path_params["seq"]), reveal=flag(request, "reveal"))


async def _retry(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`{seqs}`, a filter or `{all: true}`, and `most?` of them: send them through again."""
    return await letters.retry(runtime, actor, await body(request, letters.Selection))


async def _discard(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """The same: remove them for good."""
    return await letters.discard(runtime, actor, await body(request, letters.Selection))


# Each handler's docstring is what the documentation says of its path.
TABLE: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/v1/status", _status),
    ("GET", "/v1/me", _caller),
    ("GET", "/v1/history", _history),
    ("GET", "/v1/connectors", _connectors),
    ("GET", "/v1/connectors/gone", _gone),
    ("POST", "/v1/connectors/{name}/pause", _pause),
    ("POST", "/v1/connectors/{name}/resume", _resume),
    ("POST", "/v1/connectors/{name}/poll", _poll),
    ("POST", "/v1/connectors/{name}/forget", _forget),
    ("GET", "/v1/shelves/{kind}", _shelf),
    ("POST", "/v1/shelves/{kind}/{command}", _tell_shelf),
    ("POST", "/v1/reload", _reload),
    ("GET", "/v1/reload", _last_reload),
    ("GET", "/v1/event", _event),
    ("GET", "/v1/events/recent", _recent),
    ("GET", "/v1/profile", _profile),
    ("GET", "/v1/profile/events", _events_of),
    ("GET", "/v1/profile/explain", _explain),
    *IDENTITIES,
    ("GET", "/v1/profiles", _find),
    ("GET", "/v1/audiences", _audiences),
    ("GET", "/v1/audiences/{name}/members", _members),
    ("GET", "/v1/audience-changes", _audience_changes),
    ("POST", "/v1/audience-try", _audience_try),
    ("GET", "/v1/dead-letters", _letters),
    ("GET", "/v1/dead-letters/causes", _causes),
    ("GET", "/v1/dead-letters/{seq:int}", _letter),
    ("POST", "/v1/dead-letters/retry", _retry),
    ("POST", "/v1/dead-letters/discard", _discard),
    *TARGETS,
    ("GET", "/v1/plugins", _plugins),
    ("GET", "/v1/plugin", _plugin),
    ("GET", "/v1/config", _config),
    ("POST", "/v1/log-level", _log_level),
    ("POST", "/v1/backup", _backup),
    ("POST", "/v1/verify", _verify),
    ("GET", "/v1/metrics", _metrics),
    ("GET", "/v1/audit", _audit),
    *privacy_handlers.TABLE,
)

STREAMS: Final[tuple[tuple[str, Opener], ...]] = (
    ("/v1/tail", tail),
    ("/v1/profile/export", export),
    *privacy_handlers.STREAMS,
)
