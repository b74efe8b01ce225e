"""What a request to the control socket says: its query and its body, bounded and checked."""

import builtins
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request

from cdmd.errors import BadArguments

MAX_BODY: Final = 64 * 1024


async def body(request: Request, shape: builtins.type[Any]) -> Any:
    """The body as ``shape``; raises ``BadArguments`` beyond 64 KiB, where it does not fit or is not whole."""
    try:
        return msgspec.json.decode(await whole(request) or b"{}", type=shape)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadArguments(f"the body is not understood: {error}") from error


async def whole(request: Request) -> bytes:
    """The body as it is, however often it is asked for; raises ``BadArguments`` beyond 64 KiB and where it is not whole."""
    if (read := getattr(request.state, "whole", None)) is not None:
        return bytes(read)
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise BadArguments(f"a body of more than {MAX_BODY} bytes")
    except ClientDisconnect as error:
        raise BadArguments("the client left before the body was whole") from error
    request.state.whole = body
    return body


def text(request: Request, name: str) -> str | None:
    """The query's ``name``; None where it is absent or empty."""
    return request.query_params.get(name) or None


def needed(request: Request, name: str) -> str:
    """The query's ``name``. Raises ``BadArguments`` where it is absent."""
    value = text(request, name)
    if value is None:
        raise BadArguments(f"the query needs {name}")
    return value


def number(request: Request, name: str, default: int) -> int:
    """The query's ``name`` as a whole number. Raises ``BadArguments``."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 16):  # noqa: PLR2004 - far beyond any limit, within 64 bits
        raise BadArguments(f"{name} is a whole number")
    return int(text)


def flag(request: Request, name: str) -> bool:
    """Whether the query says ``name``."""
    return request.query_params.get(name) in {"1", "true"}
