"""Signals, and the way down: listeners first, then what pulls, then the queue, then what is journaled, then the disk."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import anyio
import anyio.abc
import structlog

from cdmd.daemon.given import Given
from cdmd.daemon.parts import Parts
from cdmd.daemon.running import Running
from cdmd.daemon.upkeep import write_counts
from cdmd.errors import CdmdError

SYNC_SECONDS: Final = 2.0
_MARGIN: Final = 30.0


class Stopping:
    """Follows ``signals``: SIGHUP reloads, the first SIGTERM or SIGINT drains and stops, a second one stops at once.

    Before anything was taken there is nothing to drain: then the first one does.
    """

    def __init__(self, given: Given, signals: AsyncIterator[signal.Signals]) -> None:
        self._given, self._signals = given, signals
        self._stop, self._closed = anyio.Event(), anyio.Event()
        self._opening, self._opened = anyio.CancelScope(), anyio.Event()

    async def heed(self, everything: anyio.CancelScope) -> None:
        """While the state is opened, which may wait a minute for servers: one signal to stop ends ``everything`` at once."""
        try:
            with self._opening:
                async for number in self._signals:
                    if number != signal.SIGHUP:
                        structlog.get_logger().warning("daemon_stopped_at_once", state="starting")
                        everything.cancel()
                        return
        finally:
            self._opened.set()

    async def opened(self) -> None:
        """From here on ``follow`` has the signals."""
        self._opening.cancel()
        await self._opened.wait()

    async def listen(
        self, serve: Callable[..., Awaitable[Any]], *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Run the public listeners (``cdmd.kit.listener.listen``) until the way down begins."""
        await serve(stop=self._stop, task_status=task_status)
        self._closed.set()

    async def follow(self, parts: Parts, running: Running, everything: anyio.CancelScope) -> None:
        """Until the way down has ended; then cancel ``everything``."""
        async with anyio.create_task_group() as tasks:
            async for number in self._signals:
                if number == signal.SIGHUP:
                    if parts.state == "running":
                        tasks.start_soon(running.reload_quietly, name="reload")
                elif parts.state == "running":
                    parts.state = "draining"
                    tasks.start_soon(self._go_down, parts, everything, name="way down")
                else:
                    parts.log.warning("daemon_stopped_at_once", state=parts.state)
                    break
            everything.cancel()

    async def _go_down(self, parts: Parts, everything: anyio.CancelScope) -> None:
        seconds = parts.config.daemon.drain.seconds
        parts.systemd.stopping("draining")
        parts.systemd.extend_timeout(seconds + _MARGIN)
        parts.log.info("daemon_draining", backlog=parts.pipeline.statistics().backlog)
        self._stop.set()
        drained = await self._drain(parts, seconds)
        await parts.outbound.close()
        parts.pipeline.tail.close()
        await self._settle(parts)
        await parts.plugins.shutdown()
        await parts.isolating.stop()
        parts.log.info("daemon_stopped", outcome="drained" if drained else "later", backlog=parts.pipeline.statistics().backlog)
        everything.cancel()

    async def _drain(self, parts: Parts, seconds: float) -> bool:
        """Whether all that was acknowledged is applied or parked; what is not is applied after the next start."""
        if not parts.given.leads:
            with anyio.move_on_after(seconds):
                await parts.connectors.close()
                await parts.queue.flush()
            return True  # others go on with its lanes at once
        with anyio.move_on_after(seconds):
            await self._closed.wait()
            await parts.connectors.close()
            await parts.queue.flush()
            return await parts.pipeline.drain(seconds)
        return False

    @staticmethod
    async def _settle(parts: Parts) -> None:
        """Counts that no append carried, and the store on the disk: so that the next start has little to do again."""
        with anyio.move_on_after(SYNC_SECONDS):
            try:
                if parts.given.leads:
                    await write_counts(parts.intake)
                await parts.store.sync()
            except CdmdError as error:
                parts.log.warning("final_sync_failed", error=error)
