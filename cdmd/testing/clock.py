"""Time that stands still until it is moved."""

from datetime import UTC, datetime, timedelta

import anyio


class ManualClock:
    """A ``cdmd.contracts.Clock``; ``advance`` moves it and wakes who slept long enough."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now, self._elapsed = now, 0.0
        self._moved = anyio.Event()

    def now(self) -> datetime:
        """The wall clock."""
        return self._now

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Return once the clock was advanced by ``seconds`` from now on."""
        until = self._elapsed + seconds
        while self._elapsed < until:
            await self._moved.wait()

    def advance(self, seconds: float) -> None:
        """Move wall clock and monotonic clock by ``seconds``."""
        self._now += timedelta(seconds=seconds)
        self._elapsed += seconds
        self._moved.set()
        self._moved = anyio.Event()
