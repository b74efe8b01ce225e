"""Time that leaps to the next moment somebody sleeps for, as soon as everybody waits: hours of waiting in no time.

Who waits for a worker thread of anyio's does not wait for the clock: time stands still until the thread is done.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint


class VirtualClock:
    """A ``contracts.Clock``; ``run`` drives it until ``main`` returns."""

    def __init__(self, elapsed: float = 0.0) -> None:
        self.elapsed = elapsed
        self._sleepers: list[tuple[float, anyio.Event]] = []

    def now(self) -> datetime:
        return datetime(2027, 1, 1, tzinfo=UTC) + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await checkpoint()
            return
        sleeper = (self.elapsed + seconds, anyio.Event())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1].wait()
        finally:
            self._sleepers.remove(sleeper)

    async def run(self, main: Callable[[], Awaitable[object]]) -> None:
        async with anyio.create_task_group() as group:

            async def ended() -> None:
                await main()
                group.cancel_scope.cancel()

            group.start_soon(ended)
            threads = anyio.to_thread.current_default_thread_limiter()
            while True:
                await checkpoint()
                if asyncio.get_running_loop()._ready:  # type: ignore[attr-defined]
                    continue
                if threads.borrowed_tokens:
                    await asyncio.sleep(0.001)
                    continue
                if self._sleepers:
                    self.elapsed = max(self.elapsed, min(at for at, _ in self._sleepers))
                    for at, event in self._sleepers:
                        if at <= self.elapsed:
                            event.set()
