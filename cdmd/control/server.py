"""The commands as HTTP under ``/v1/`` on the control socket: errors as problem documents, streams as JSON Lines.

Who asks stands in the scope (``extensions["cdmd.peer"]``), put there by the socket's protocol from the kernel; without it
nothing is allowed. Not here: binding the socket, and any check of a role (the commands do that).
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cdmd.control.actors import Actor, Lookups, Peer, actor_of
from cdmd.control.browsers import refuse_strange
from cdmd.control.carrying import Answer, Carried, about, belongs_elsewhere, request_of
from cdmd.control.documents import encoded
from cdmd.control.handlers import STREAMS, TABLE, Handler, Opener
from cdmd.control.problems import MEDIA_TYPE, internal_problem, problem_of
from cdmd.control.runtime import Runtime
from cdmd.control.streams import HEARTBEAT, JsonLines
from cdmd.errors import BadArguments, CdmdError, NotFound, NotPermitted

_LOOKS: Final = frozenset({"GET", "HEAD"})


def control_app(runtime: Runtime, *, own_uid: int, lookups: Lookups, heartbeat: float = HEARTBEAT) -> Starlette:
    """The ASGI application of the control socket; ``heartbeat`` in seconds keeps silent streams alive."""

    def opening(opener: Opener) -> Handler:
        async def opened(runtime: Runtime, actor: Actor, request: Request) -> Response:
            return JsonLines(await opener(runtime, actor, request), heartbeat=heartbeat)

        opened.__name__ = opener.__name__
        return opened

    def route(method: str, path: str, handler: Handler) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                refuse_strange(request.headers, changes=request.method not in _LOOKS)
                actor = await _actor(request, runtime, own_uid=own_uid, lookups=lookups)
                carried = await _carried(request, path, actor, runtime=runtime)
            except CdmdError as error:
                return _problem(problem_of(error))
            return carried or await _answer(handler, runtime, actor, request)

        return Route(path, endpoint, methods=[method])

    streams = [("GET", path, opening(opener)) for path, opener in STREAMS]
    routes = [route(*row) for row in (*TABLE, *streams)]
    return Starlette(routes=routes, exception_handlers={HTTPException: _no_path})


async def _carried(request: Request, path: str, actor: Actor, *, runtime: Runtime) -> Response | None:
    """The answer of another node, where that is for another one to do; None where it is for this one."""
    carrier = runtime.carrier
    if carrier is None or not belongs_elsewhere(request.method, path):
        return None
    said = await about(request, path)
    place = await runtime.place(said.connector, target=said.target, shelf=said.shelf)
    return None if place.here else await carrier.carry(request, path, actor, to=place.node)


def doing(runtime: Runtime) -> Callable[[Carried], Awaitable[Answer]]:
    """What does what other nodes ask of this one."""
    handlers = {(method, path): handler for method, path, handler in TABLE}

    async def do(said: Carried) -> Answer:
        handler = handlers.get((said.method, said.path))
        if handler is None:
            return _as_answer(_problem(problem_of(NotFound("the node that has to do this is of another version"))))
        return _as_answer(await _answer(handler, runtime, said.actor, request_of(said)))

    return do


def _as_answer(response: Response) -> Answer:
    return Answer(status=response.status_code, media_type=str(response.media_type), body=bytes(response.body))


async def _answer(handler: Handler, runtime: Runtime, actor: Actor, request: Request) -> Response:
    """The command, and its shape or problem as a response: the one place where errors are mapped."""
    try:
        shape = await handler(runtime, actor, request)
    except CdmdError as error:
        return _problem(problem_of(error))
    except Exception as error:  # noqa: BLE001 - the edge: our mistake is logged by its kind and answered, never passed on
        # Not the path: what somebody wrote where a connector's name belongs may be anything.
        command = handler.__name__.strip("_")
        structlog.get_logger("cdmd.control").error("control_request_failed", command=command, error=type(error).__name__)
        return _problem(internal_problem())
    if isinstance(shape, Response):
        return shape
    # A thousand connectors are half a megabyte: what is shown must not keep the loop from what arrives.
    return Response(await anyio.to_thread.run_sync(encoded, shape), media_type="application/json")


async def _actor(request: Request, runtime: Runtime, *, own_uid: int, lookups: Lookups) -> Actor:
    said = request.scope.get("extensions", {}).get("cdmd.peer")
    if said is None:
        raise NotPermitted("the control socket could not tell who asks")
    peer, control = Peer(*said), runtime.config.control
    # The user and group databases may ask a directory server over the network.
    return await anyio.to_thread.run_sync(lambda: actor_of(peer, control, own_uid=own_uid, lookups=lookups))


async def _no_path(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:  # noqa: PLR2004 - an HTTP status
        problem = problem_of(BadArguments(f"{request.method} is not what this path takes"))
    else:
        problem = problem_of(NotFound("there is no such path: the daemon may be of another version than the command"))
    return _problem({**problem, "status": status})


def _problem(document: dict[str, Any]) -> Response:
    return Response(encoded(document), status_code=document["status"], media_type=MEDIA_TYPE)
