"""The paths under ``/v1/`` that change who is who, and what each takes from its request."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import msgspec
from starlette.requests import Request

from cdmd.control import identities, splitting
from cdmd.control.actors import Actor
from cdmd.control.asking import body
from cdmd.control.runtime import Runtime

Handler: TypeAlias = Callable[[Runtime, Actor, Request], Awaitable[Any]]


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _Split(msgspec.Struct, forbid_unknown_fields=True):
    first: str
    second: str
    apply: bool = False
    lift: bool = False


class _Rules(msgspec.Struct, forbid_unknown_fields=True):
    rules: str | None = None


async def _split(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`{first, second, apply?, lift?}` (KIND:VALUE): two people of one; without `apply` what would come of it."""
    said = await body(request, _Split)
    if said.lift:
        return await splitting.lift(runtime, actor, said.first, said.second)
    return await splitting.split(runtime, actor, said.first, said.second, apply=said.apply)


async def _identity_try(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """`{rules?}` (TOML): begin to find out what these rules for identifiers, or those configured, would change."""
    return await identities.attempt(runtime, actor, (await body(request, _Rules)).rules)


async def _identity_rebuild(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """Begin to make all profiles what the configured rules come to."""
    await body(request, _Nothing)
    return await identities.rebuild(runtime, actor)


async def _identity_job(runtime: Runtime, actor: Actor, request: Request) -> Any:
    """How far the job about identities is, and what it came to."""
    return await identities.job(runtime, actor)


# Each handler's docstring is what the documentation says of its path.
IDENTITIES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("POST", "/v1/profile/split", _split),
    ("POST", "/v1/identity/try", _identity_try),
    ("POST", "/v1/identity/rebuild", _identity_rebuild),
    ("GET", "/v1/identity/job", _identity_job),
)
