"""A source's API on loopback, served for real in a thread: a hard rate limit that counts violations, latency, ill will.

What happens at a key is said by ``ways``: ``gone``, ``redirect``, ``huge``, ``hang``, ``page``, ``broken``, ``nonsense``.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import Any, Final, Self
from urllib.parse import parse_qs

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from cdmd.kit.serving import bind, serve

HUGE: Final = 12 * 2**20


class Api:
    """``things`` is what it knows, ``token`` who may ask (None: anybody), ``limit`` requests in any ``per`` seconds."""

    def __init__(self, *, limit: int = 1000, per: float = 1.0, slow: float = 0.0) -> None:
        self.limit, self.per, self.slow = limit, per, slow
        self.things: dict[str, Any] = {}
        self.ways: dict[str, str] = {}
        self.token: str | None = "sesame"
        self.refresh_token = "refresh-0"
        self.arrivals: list[float] = []
        self.asked: Counter[str] = Counter()
        self.flying: Counter[str] = Counter()
        self.violations = self.overlaps = self.tokens = self.elsewhere = 0
        self.asking = threading.Event()
        self.url = self.evil = ""

    @contextmanager
    def served(self) -> Iterator[Self]:
        """Serve it, and beside it the host that nothing must ever ask."""
        with start_blocking_portal() as portal, ExitStack() as stack:
            self.url = stack.enter_context(_listening(portal, self))
            self.evil = stack.enter_context(_listening(portal, self._evil))
            yield self

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = await _read(receive)
        if scope["path"] == "/token":
            await _answer(send, *self._exchanged(body))
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if self.token is not None and headers.get("authorization") != f"Bearer {self.token}":
            self.asked["(refused)"] += 1
            await _answer(send, 401, b"{}")
            return
        if not self._admitted():
            await _answer(send, 429, b"{}", {"retry-after": "1"})
            return
        await self._told(scope["path"].rpartition("/")[2], send)

    def _admitted(self) -> bool:
        now = monotonic()
        self.arrivals = [one for one in self.arrivals if now - one < self.per]
        self.arrivals.append(now)
        if len(self.arrivals) > self.limit:
            self.violations += 1
            return False
        return True

    async def _told(self, key: str, send: Any) -> None:
        self.asked[key] += 1
        self.flying[key] += 1
        self.overlaps += self.flying[key] > 1
        self.asking.set()
        try:
            thing = self.things.get(key)  # what it is now, whenever the answer arrives
            await anyio.sleep(self.slow)
            await self._way(self.ways.get(key, ""), thing, send)
        finally:
            self.flying[key] -= 1

    async def _way(self, way: str, thing: Any, send: Any) -> None:
        match way:
            case "redirect":
                await _answer(send, 302, b"", {"location": f"{self.evil}/steal"})
            case "huge":
                await _answer(send, 200, b'"' + b"x" * HUGE + b'"')
            case "hang":
                await anyio.sleep(30)
            case "page":
                await _answer(send, 200, b"<!doctype html><title>Sign in</title>", {"content-type": "text/html"})
            case "broken":
                await _answer(send, 500, b"{}")
            case "nonsense":
                await _answer(send, 200, b'{"n": 1')
            case _:
                gone = way == "gone" or thing is None
                await _answer(send, 404 if gone else 200, b"{}" if gone else json.dumps(thing).encode())

    def _exchanged(self, body: bytes) -> tuple[int, bytes]:
        """Each refresh token is good once."""
        fields = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if fields.get("refresh_token") != self.refresh_token:
            return 400, b'{"error":"invalid_grant"}'
        self.tokens += 1
        self.refresh_token, self.token = f"refresh-{self.tokens}", f"access-{self.tokens}"
        answer = {"access_token": self.token, "expires_in": 3600, "refresh_token": self.refresh_token}
        return 200, json.dumps(answer).encode()

    async def _evil(self, scope: Any, receive: Any, send: Any) -> None:
        self.elsewhere += 1
        await _answer(send, 200, b"{}")


@contextmanager
def _listening(portal: BlockingPortal, app: Any) -> Iterator[str]:
    bound = portal.call(anyio.to_thread.run_sync, bind, "127.0.0.1:0")
    host, port = bound.getsockname()

    async def run(*, task_status: Any) -> None:
        with anyio.CancelScope() as scope:
            await serve(app, [bound], task_status=_Started(task_status, scope))

    future, scope = portal.start_task(run)
    try:
        yield f"http://{host}:{port}"
    finally:
        portal.call(scope.cancel)
        future.result(timeout=15)


class _Started:
    """Says that it serves, and hands over how to end it."""

    def __init__(self, status: Any, scope: anyio.CancelScope) -> None:
        self._status, self._scope = status, scope

    def started(self, _: Any = None) -> None:
        self._status.started(self._scope)


async def _read(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _answer(send: Any, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    given = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    named = [(name.encode(), value.encode()) for name, value in given.items()]
    await send({"type": "http.response.start", "status": status, "headers": named})
    await send({"type": "http.response.body", "body": body})
