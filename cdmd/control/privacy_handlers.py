"""The paths under ``/v1/`` about what is kept of people, as ``handlers`` has all others."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from starlette.requests import Request

from cdmd.control import governing
from cdmd.control.actors import Actor
from cdmd.control.asking import body
from cdmd.control.runtime import Runtime

_Within: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**62), lt=2**62)]


class _After(msgspec.Struct, forbid_unknown_fields=True):
    after: tuple[_Within, _Within] | None = None


class _Sweep(msgspec.Struct, forbid_unknown_fields=True):
    trust_clock: bool = False


class _Identifier(msgspec.Struct, forbid_unknown_fields=True):
    identifier: str


async def _suppressions(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """How long the suppression list is."""
    return await governing.suppressions(runtime, actor)


async def _suppress(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`{identifier}` (KIND:VALUE): keep nothing any more of whoever has it."""
    return await governing.suppress(runtime, actor, (await body(request, _Identifier)).identifier)


async def _unsuppress(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """The same: take it back."""
    return await governing.unsuppress(runtime, actor, (await body(request, _Identifier)).identifier)


async def _restrict(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`{identifier}` (KIND:VALUE): store whoever has it and use nothing of them."""
    return await governing.restrict(runtime, actor, (await body(request, _Identifier)).identifier, restricted=True)


async def _unrestrict(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """The same: use them again."""
    return await governing.restrict(runtime, actor, (await body(request, _Identifier)).identifier, restricted=False)


async def _erase(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`{identifier}` (KIND:VALUE): erase whoever has it; in force when it answers."""
    return await governing.erase(runtime, actor, (await body(request, _Identifier)).identifier)


async def _holdings(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """The same: what an erasure would remove."""
    return await governing.holdings(runtime, actor, (await body(request, _Identifier)).identifier)


async def _erasures(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Erasures under way and done."""
    return await governing.erasures(runtime, actor)


async def _simulate(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`{after?}`: what retention would take away of some of what is stored, by month."""
    return await governing.simulate(runtime, actor, (await body(request, _After)).after)


async def _sweep(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`{trust_clock?}`: take away what is due now."""
    return await governing.sweep(runtime, actor, trust_clock=(await body(request, _Sweep)).trust_clock)


async def _minimised(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Which fields arrived and were not kept, by connector: sampled, counted, without values."""
    return await governing.minimised(runtime, actor)


async def suppression_rows(runtime: Runtime, actor: Actor, request: Request) -> AsyncGenerator[dict[str, Any], None]:
    """The suppression list as JSON Lines, for `cdmd restore --suppressions`."""
    return await governing.suppression_rows(runtime, actor)


TABLE: Final = (
    ("GET", "/v1/minimisation", _minimised),
    ("POST", "/v1/retention/simulate", _simulate),
    ("POST", "/v1/retention/run", _sweep),
    ("POST", "/v1/restrictions/add", _restrict),
    ("POST", "/v1/restrictions/remove", _unrestrict),
    ("POST", "/v1/erasures", _erase),
    ("POST", "/v1/erasures/try", _holdings),
    ("GET", "/v1/erasures", _erasures),
    ("GET", "/v1/suppressions", _suppressions),
    ("POST", "/v1/suppressions/add", _suppress),
    ("POST", "/v1/suppressions/remove", _unsuppress),
)

STREAMS: Final = (("/v1/suppressions/export", suppression_rows),)
