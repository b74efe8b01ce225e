"""A stream of JSON documents over HTTP, one a line, that shows it is alive while nothing happens."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, TypeAlias

import anyio
import anyio.lowlevel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from cdmd.control.documents import told
from cdmd.control.problems import PROBLEM, problem_of
from cdmd.errors import CdmdError

Line: TypeAlias = Mapping[str, Any]
HEARTBEAT: Final = 15.0
"""Seconds between signs of life."""

_BUFFER: Final = 500
_MOMENT: Final = 0.02


class JsonLines(Response):
    """A stream of documents, one a line, with ``{"type":"heartbeat"}`` whenever nothing else was said for a while.

    It ends with ``{"type":"end"}`` when its lines do, or when the client leaves. Where they cannot go on, a problem document
    under ``problem`` in a line of that type comes before it.
    """

    media_type = "application/jsonl"

    def __init__(self, lines: AsyncGenerator[Line, None], *, heartbeat: float) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._lines, self._heartbeat = lines, heartbeat
        self._waiting: list[Line] = []
        self._filled, self._room, self._ended = anyio.Event(), anyio.Event(), False

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
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._pump)
            # Let the pump subscribe first: from the first heartbeat on, nothing that happens is missed.
            await anyio.lowlevel.checkpoint()
            await _send_line(send, {"type": "heartbeat"})
            while self._waiting or not self._ended:
                with anyio.move_on_after(self._heartbeat):
                    await self._filled.wait()
                if not self._filled.is_set():
                    await _send_line(send, {"type": "heartbeat"})
                    continue
                await anyio.sleep(_MOMENT)
                lines, self._waiting = self._waiting, []
                self._filled = anyio.Event()
                self._room.set()
                if lines:
                    await _send_line(send, *lines)
            tasks.cancel_scope.cancel()
        await _send_line(send, {"type": "end"})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self) -> None:
        """Gather what comes within a moment: sent line by line each would cost as much as ten (tests/bench/commands.py)."""
        try:
            async for line in self._lines:
                self._waiting.append(line)
                if len(self._waiting) == 1:
                    self._filled.set()
                    await anyio.sleep(_MOMENT)
                elif len(self._waiting) >= _BUFFER:
                    self._room = anyio.Event()
                    await self._room.wait()
        except CdmdError as error:
            self._waiting.append({"type": PROBLEM, "problem": problem_of(error)})
        finally:
            self._ended = True
            self._filled.set()
            # Cancelled between two lines, a generator would keep its subscription until it is collected.
            with anyio.CancelScope(shield=True):
                await self._lines.aclose()


async def _send_line(send: Send, *lines: Line) -> None:
    await send({"type": "http.response.body", "body": b"".join([told(line) + b"\n" for line in lines]), "more_body": True})
