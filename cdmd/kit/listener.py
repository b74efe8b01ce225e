"""HTTP/1.1 for many small requests, on sockets that we bind: without a task or a coroutine for each of them.

``listen`` answers as ``cdmd.kit.serving.serve`` does, within the same ``Limits``, at about half the cost
(tests/bench/intake.py). Not here: a connection (``cdmd.kit.exchanges``), what is answered (a ``Handler`` is handed in),
ASGI applications and answers that stream (``serve``).
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import anyio
import anyio.abc

from cdmd.kit.bounded_http import Limits
from cdmd.kit.clock import SystemClock
from cdmd.kit.connections import Connection
from cdmd.kit.exchanges import Handler, Shared
from cdmd.kit.serving import BACKLOG, LOOK_AGAIN, Calendar, http_date

_DATE_SECONDS: Final = 1.0
_CUT_SECONDS: Final = 1.0


async def listen(
    handler: Handler,
    sockets: Sequence[socket.socket],
    *,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
    stop: anyio.Event | None = None,
    clock: Calendar | None = None,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Answer on ``sockets`` (closed at the end) until cancelled or ``stop`` is set; started once all of them accept.

    Stopping: accept no more, close idle connections, let requests finish for ``limits.stop_seconds``, then cut them off.
    """
    listening = _Listening(Shared(handler, limits or Limits()), sockets)
    async with anyio.create_task_group() as group:
        group.start_soon(_keep_date, listening.shared, clock or SystemClock())
        try:
            await listening.accept(tls)
            task_status.started()
            await (stop or anyio.Event()).wait()
        finally:
            with anyio.CancelScope(shield=True):
                await listening.stop()
            group.cancel_scope.cancel()


class _Listening:
    """The sockets, who is connected, and what all of them share."""

    def __init__(self, shared: Shared, sockets: Sequence[socket.socket]) -> None:
        self.shared, self._sockets = shared, sockets
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()

    async def accept(self, tls: ssl.SSLContext | None) -> None:
        """Accept on all sockets from now on."""
        loop, encrypted = asyncio.get_running_loop(), tls is not None
        options: dict[str, Any] = {"ssl": tls, "ssl_handshake_timeout": self.shared.limits.header_seconds} if encrypted else {}

        def connection() -> Connection:
            return Connection(self.shared, self._connections, encrypted=encrypted)

        for bound in self._sockets:
            bound.setblocking(False)
            self._servers.append(await loop.create_server(connection, sock=bound, backlog=BACKLOG, **options))

    async def stop(self) -> None:
        """Accept no more, let requests finish, then cut them off."""
        shared = self.shared
        shared.stopping = True
        for server in self._servers:
            server.close()
        for bound in self._sockets:
            bound.close()
        for connection in list(self._connections):
            connection.shutdown()
        with anyio.move_on_after(shared.limits.stop_seconds):
            await self._gone()
        for task in list(shared.tasks):
            task.cancel()
        for connection in list(self._connections):
            with suppress(Exception):  # a transport may already be half closed, whatever its loop makes of that
                connection.abort()
        with anyio.move_on_after(_CUT_SECONDS):
            await self._gone()

    async def _gone(self) -> None:
        while self._connections or self.shared.tasks:  # noqa: ASYNC110 - looked at only while stopping
            await anyio.sleep(LOOK_AGAIN)


async def _keep_date(shared: Shared, clock: Calendar) -> None:
    while True:
        shared.date = b"date: %b\r\n" % http_date(clock.now())
        await anyio.sleep(_DATE_SECONDS)
