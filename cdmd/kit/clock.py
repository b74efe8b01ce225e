"""The real clock behind ``cdmd.contracts.Clock``; tests and simulations hand in their own."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

import anyio

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SystemClock:
    """The machine's clock."""

    def __init__(self) -> None:
        self._told = -1, _EPOCH

    def now(self) -> datetime:
        """The wall clock in UTC, to the millisecond: finer decimals of what is shown and kept would only look exact.

        Within one millisecond it is one object: many ask in a burst (tests/bench/intake.py).
        """
        milliseconds = time.time_ns() // 1_000_000
        before, moment = self._told
        if before != milliseconds:
            moment = _EPOCH + timedelta(milliseconds=milliseconds)
            self._told = milliseconds, moment
        return moment

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def boottime(self) -> float:
        """The same, also while the machine sleeps."""
        slept = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
        return self.monotonic() + slept

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        await anyio.sleep(seconds)
