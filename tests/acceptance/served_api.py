"""The tests' API (``tests.connectors.rest.api``) served for real on loopback, with ways to be ill that only a network has.

``/hang`` never answers, ``/endless`` never ends, ``/bomb`` is little that becomes much, ``/elsewhere`` redirects to a host that
nothing must ever ask. With ``slow`` every answer takes so long (seconds).
"""

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cache
from threading import Lock
from time import monotonic
from typing import Any

import anyio
from anyio.from_thread import start_blocking_portal

from tests.acceptance.survey_api import _answer, _listening, _read
from tests.connectors.rest.api import Api, Asked

_BOMB = 200 * 2**20


@cache
def bomb() -> bytes:
    """Packed once: on a loaded machine that takes seconds."""
    packed = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return packed.compress(b" " * _BOMB) + packed.flush()


class ServedApi:
    """``api`` behind real sockets: ``url`` and ``evil``, the other host, which counts how often it was asked."""

    def __init__(self, api: Api, *, slow: float = 0.0) -> None:
        self.api, self.slow, self.elsewhere = api, slow, 0
        self.url = self.evil = ""
        self.lock = Lock()
        api.now, api.steady = lambda: datetime.now(UTC), monotonic

    @contextmanager
    def served(self) -> Iterator["ServedApi"]:
        with start_blocking_portal() as portal, ExitStack() as stack:
            self.url = stack.enter_context(_listening(portal, self))
            self.evil = stack.enter_context(_listening(portal, self._evil))
            yield self

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = await _read(receive)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = scope["query_string"].decode()
        url = f"http://{headers['host']}{scope['path']}{'?' if query else ''}{query}"
        with self.lock:
            found = self.api.respond(Asked(scope["method"], url, headers, body))
        await anyio.sleep(self.slow)
        match scope["path"]:
            case "/hang":
                await anyio.sleep(30)
            case "/endless":
                await _endless(send)
            case "/bomb":
                await _answer(send, 200, bomb(), {"content-encoding": "gzip"})
            case "/elsewhere":
                await _answer(send, 302, b"", {"location": f"{self.evil}/steal"})
            case _:
                await _answer(send, found.status_code, found.content, dict(found.headers))

    async def _evil(self, scope: Any, receive: Any, send: Any) -> None:
        self.elsewhere += 1
        await _answer(send, 200, b'{"results":[]}')


async def _endless(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    for _ in range(3000):
        await send({"type": "http.response.body", "body": b" " * 8192, "more_body": True})
        await anyio.sleep(0.005)
    await send({"type": "http.response.body", "body": b""})
