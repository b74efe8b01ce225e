"""The paths about targets and deliveries, and what each takes from its request (see ``handlers``)."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import msgspec
from starlette.requests import Request

from cdmd.control import targets
from cdmd.control.actors import Actor
from cdmd.control.asking import body, flag, number, text
from cdmd.control.runtime import Runtime
from cdmd.errors import BadArguments

_Handler: TypeAlias = Callable[[Runtime, Actor, Request], Awaitable[Any]]


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


async def _targets(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Every target: its endpoint's state, what waits, what became of its deliveries."""
    return await targets.listed(runtime, actor)


async def _enable(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Send to a target again."""
    await body(request, _Nothing)
    return await targets.enable(runtime, actor, request.path_params["name"])


async def _disable(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Send nothing to a target, over restarts."""
    await body(request, _Nothing)
    return await targets.disable(runtime, actor, request.path_params["name"])


async def _test(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Send a target a sample."""
    await body(request, _Nothing)
    return await targets.attempt(runtime, actor, request.path_params["name"])


async def _send(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Let a target that waits for a set time go now."""
    await body(request, _Nothing)
    return await targets.send(runtime, actor, request.path_params["name"])


async def _forget(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Drop what waits for a target that left the configuration."""
    await body(request, _Nothing)
    return await targets.forget(runtime, actor, request.path_params["name"])


async def _deliveries(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`target`, `state` (waiting, failed), `limit`: what waits or was set aside."""
    state = text(request, "state")
    if state not in {None, "waiting", "failed"}:
        raise BadArguments("state is waiting or failed")
    failed = None if state is None else state == "failed"
    return await targets.deliveries(runtime, actor, text(request, "target"), failed=failed, limit=number(request, "limit", 100))


async def _attempts(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`target`, `outcome`, `limit`: the last attempts."""
    target, outcome, limit = text(request, "target"), text(request, "outcome"), number(request, "limit", 100)
    return await targets.attempts(runtime, actor, target, outcome=outcome, limit=limit)


async def _delivery(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`reveal`: one delivery with its attempts."""
    return await targets.shown(runtime, actor, request.path_params["id"], reveal=flag(request, "reveal"))


async def _retry(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`{id}`, `{target}` or `{all: true}`: let them go now."""
    return await targets.retry(runtime, actor, await body(request, targets.Again))


async def _replay(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`{target, since, until?, type?, rate?, dry_run?}`: tell it once more what it was told."""
    return await targets.replay(runtime, actor, await body(request, targets.Replay))


# Each handler's docstring is what the documentation says of its path.
TARGETS: Final[tuple[tuple[str, str, _Handler], ...]] = (
    ("GET", "/v1/targets", _targets),
    ("POST", "/v1/targets/{name}/enable", _enable),
    ("POST", "/v1/targets/{name}/disable", _disable),
    ("POST", "/v1/targets/{name}/test", _test),
    ("POST", "/v1/targets/{name}/send", _send),
    ("POST", "/v1/targets/{name}/forget", _forget),
    ("GET", "/v1/deliveries", _deliveries),
    ("GET", "/v1/attempts", _attempts),
    ("GET", "/v1/deliveries/{id}", _delivery),
    ("POST", "/v1/deliveries/retry", _retry),
    ("POST", "/v1/deliveries/replay", _replay),
)
