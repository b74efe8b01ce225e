"""A node that waits for its turn to lead: what is sent to it goes to the one that does, so that any of them may be asked.

Its sockets stay open when its turn comes. Not here: how a request gets there (``cdmd.cluster.handing``), and whose turn it is.
"""

import gc
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Final

import anyio
import anyio.abc
import anyio.to_thread
import structlog

from cdmd.config.schema import Absent
from cdmd.contracts import Clock
from cdmd.daemon.given import Given
from cdmd.daemon.listening import limits, public_sockets, tls
from cdmd.kit.exchanges import Handler
from cdmd.kit.listener import listen

_STARTING: Final = 120.0
"""Seconds from its turn: that long nobody takes a node for one that hangs, as with one that starts."""
_FINISH: Final = 1.0
_KNOWN: Final = 10.0
"""Seconds between two looks at the store."""


class StandingBy:
    """``public`` are the sockets that were bound meanwhile; None where it never stood by.

    What it starts in ``tasks`` ends with the ``stack`` at the latest.
    """

    def __init__(
        self,
        given: Given,
        inherited: Mapping[str, Sequence[socket.socket]],
        stack: AsyncExitStack,
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        self._given, self._inherited, self._stack, self._tasks = given, inherited, stack, tasks
        self.public: list[socket.socket] | None = None
        self._until: float | None = None

    @asynccontextmanager
    async def answering(
        self, handling: Callable[..., Handler], *, trouble: Callable[[], str | None] = lambda: None
    ) -> AsyncIterator[None]:
        """What is sent goes inside to what is made by ``handling(largest=)``, bytes of a body.

        ``trouble`` lets the nodes at work know that this one is not lost, in a thread, and says why there is no store; None
        where there is one. Raises ``CdmdError``.
        """
        http, first = self._given.config.http, self.public is None
        if self.public is None:
            self.public = await public_sockets(http.listen, self._inherited, self._stack)
        encrypted, stop = await anyio.to_thread.run_sync(tls, http.tls), anyio.Event()
        handler = handling(largest=await anyio.to_thread.run_sync(self._largest))
        bounds = replace(limits(http), stop_seconds=_FINISH)  # whoever leads by now has to begin
        kept = [one.dup() for one in self.public]
        async with anyio.create_task_group() as tasks:
            await tasks.start(partial(listen, handler, kept, limits=bounds, tls=encrypted, stop=stop), name="public")
            structlog.get_logger().info("daemon_stands_by")
            self._until = None
            self._given.systemd.ready("stands by")
            if first:
                self._tasks.start_soon(self._say_well, name="standing by")
            tasks.start_soon(_keep_known, trouble, self._given.clock, name="store")
            try:
                with _collecting():
                    yield
            finally:
                self._until = self._given.clock.monotonic() + _STARTING
                stop.set()
                tasks.cancel_scope.cancel()

    def _largest(self) -> int:
        """Bytes that any connector takes: who is asked for what is not known here. Raises ``ConfigInvalid``."""
        config, found = self._given.config, [self._given.config.http.max_body.bytes]
        for one in config.connectors.values():
            if not isinstance(one.settings, Absent):
                connector = self._given.plugins.connector(one.frame.type, one.name, one.settings)
                found += [route.max_body or 0 for route in getattr(connector, "routes", ())]
        return max(found)

    async def _say_well(self) -> None:
        """Once it has said that it is ready it is watched, also on its way to lead (then ``upkeep`` says it, too)."""
        given = self._given
        if (pause := given.systemd.watchdog_seconds()) is None:
            return
        with anyio.CancelScope() as scope:
            self._stack.callback(scope.cancel)
            while self._until is None or given.clock.monotonic() < self._until:
                given.systemd.watchdog()
                await given.clock.sleep(pause)


@contextmanager
def _collecting() -> Iterator[None]:
    """Look for garbage inside: it may be weeks, and what starts the process keeps that from it (``cli.daemon_starting``)."""
    before = gc.isenabled()
    gc.enable()
    try:
        yield
    finally:
        if not before:
            gc.disable()


async def _keep_known(trouble: Callable[[], str | None], clock: Clock) -> None:
    """Whoever leads opens the store: what is wrong with the way there from this machine is to be known before.

    Again and again: one that led and was killed is taken for lost some time after it stands by.
    """
    before: str | None = None
    while True:
        why = await anyio.to_thread.run_sync(trouble, abandon_on_cancel=True)
        if why is not None and before is None:
            structlog.get_logger().warning("store_not_reached", error=why)
        before = why
        await clock.sleep(_KNOWN)
