"""A stream of JSON documents over HTTP, one a line, that shows it is alive while nothing happens."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import anyio
import anyio.lowlevel
from anyio.streams.memory import MemoryObjectSendStream
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from cdmd.control.documents import encoded

HEARTBEAT: Final = 15.0
"""Seconds between signs of life."""

_BUFFER: Final = 100


class JsonLines(Response):
    """A stream of documents, one a line, with ``{"type":"heartbeat"}`` whenever nothing else was said for a while.

    It ends with ``{"type":"end"}`` when its lines do, or when the client leaves.
    """

    media_type = "application/jsonl"

    def __init__(self, lines: AsyncGenerator[Mapping[str, Any], None], *, heartbeat: float) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._lines, self._heartbeat = lines, heartbeat

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until there is no more to send or nobody to send it to."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._until_gone, receive, tasks.cancel_scope)
            await self._relay(send)
            tasks.cancel_scope.cancel()

    async def _until_gone(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async def _relay(self, send: Send) -> None:
        into, out = anyio.create_memory_object_stream[Mapping[str, Any]](_BUFFER)
        async with anyio.create_task_group() as tasks, out:
            tasks.start_soon(self._pump, into)
            # Let the pump subscribe first: from the first heartbeat on, nothing that happens is missed.
            await anyio.lowlevel.checkpoint()
            await _send_line(send, {"type": "heartbeat"})
            while True:
                line: Mapping[str, Any] = {"type": "heartbeat"}
                with anyio.move_on_after(self._heartbeat):
                    try:
                        line = await out.receive()
                    except anyio.EndOfStream:
                        break
                await _send_line(send, line)
            tasks.cancel_scope.cancel()
        await _send_line(send, {"type": "end"})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, into: MemoryObjectSendStream[Mapping[str, Any]]) -> None:
        async with into:
            try:
                async for line in self._lines:
                    await into.send(line)
            finally:
                # Cancelled between two lines, a generator would keep its subscription until it is collected.
                with anyio.CancelScope(shield=True):
                    await self._lines.aclose()


async def _send_line(send: Send, line: Mapping[str, Any]) -> None:
    await send({"type": "http.response.body", "body": encoded(line) + b"\n", "more_body": True})
