"""The real clock behind ``cdmd.contracts.Clock``; tests and simulations hand in their own."""

import time
from datetime import UTC, datetime

import anyio


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The wall clock in UTC, to the millisecond: finer decimals of what is shown and kept would only look exact."""
        now = datetime.now(UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        await anyio.sleep(seconds)
