"""An ASGI application behind the listener, so that one test asks both servers the same."""

from collections import deque
from collections.abc import Callable
from typing import Any

import anyio

from cdmd.kit.exchanges import Exchange


class _Cycle:
    def __init__(self) -> None:
        self.messages: deque[dict[str, Any]] = deque()
        self.filled = anyio.Event()
        self.status, self.headers = 0, []

    def put(self, **message: Any) -> None:
        self.messages.append(message)
        self.filled.set()

    async def receive(self) -> dict[str, Any]:
        while not self.messages:
            self.filled = anyio.Event()
            await self.filled.wait()
        return self.messages.popleft()


class Asgi:
    """A handler that runs ``app`` in a task for each request. ``left`` counts clients that went before their answer."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app
        self.left_count = 0

    def begin(self, exchange: Exchange) -> None:
        exchange.held = _Cycle()
        exchange.start(self._run, exchange)

    def piece(self, exchange: Exchange, data: bytes) -> None:
        exchange.held.put(type="http.request", body=data, more_body=True)

    def complete(self, exchange: Exchange) -> None:
        exchange.held.put(type="http.request", body=b"", more_body=False)

    def left(self, exchange: Exchange) -> None:
        self.left_count += 1
        exchange.held.put(type="http.disconnect")

    async def _run(self, exchange: Exchange) -> None:
        cycle: _Cycle = exchange.held

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                cycle.status = message["status"]
                cycle.headers = [(name.decode(), value.decode()) for name, value in message["headers"]]
            elif not exchange.gone:
                given = [one for one in cycle.headers if one[0] != "content-length"]
                exchange.answer(cycle.status, given, message.get("body", b""))

        await self._app({"type": "http", "method": exchange.method}, cycle.receive, send)
