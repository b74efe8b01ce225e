"""A node that waits for its turn to lead: what is sent to it goes to the one that does, so that any of them may be asked.

Its sockets stay open when its turn comes. Not here: how a request gets there (``cdmd.cluster.handing``), and whose turn it is.
"""

import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final

import anyio
import anyio.to_thread
import structlog

from cdmd.daemon.given import Given
from cdmd.daemon.listening import limits, public_sockets, tls
from cdmd.kit.exchanges import Handler
from cdmd.kit.listener import listen

_STARTING: Final = 60.0
_SAY_AGAIN: Final = 10.0
_FINISH: Final = 1.0


class StandingBy:
    """``public`` are the sockets that were bound meanwhile; None where it never stood by."""

    def __init__(self, given: Given, inherited: Mapping[str, Sequence[socket.socket]], stack: AsyncExitStack) -> None:
        self._given, self._inherited, self._stack = given, inherited, stack
        self.public: list[socket.socket] | None = None

    @asynccontextmanager
    async def answering(self, handler: Handler) -> AsyncIterator[None]:
        """What is sent goes to the ``handler`` inside. Raises ``CdmdError``."""
        http = self._given.config.http
        if self.public is None:
            self.public = await public_sockets(http.listen, self._inherited, self._stack)
        encrypted, stop = await anyio.to_thread.run_sync(tls, http.tls), anyio.Event()
        bounds = replace(limits(http), stop_seconds=_FINISH)  # whoever leads by now has to begin
        kept = [one.dup() for one in self.public]
        structlog.get_logger().info("daemon_stands_by")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._say_so, name="standing by")
            await tasks.start(partial(listen, handler, kept, limits=bounds, tls=encrypted, stop=stop), name="public")
            try:
                yield
            finally:
                stop.set()
                tasks.cancel_scope.cancel()

    async def _say_so(self) -> None:
        """A start that takes so long is no failed one."""
        while True:
            self._given.systemd.extend_timeout(_STARTING)
            await self._given.clock.sleep(_SAY_AGAIN)
