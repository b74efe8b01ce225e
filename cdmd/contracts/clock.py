"""Time, handed in."""

from datetime import datetime
from typing import Protocol, runtime_checkable


class Clock(Protocol):
    """Time, handed in."""

    def now(self) -> datetime:
        """The wall clock in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow; for deadlines and durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        ...


@runtime_checkable
class SleeplessClock(Clock, Protocol):
    """One that also knows for how long the machine slept."""

    def boottime(self) -> float:
        """Seconds as of ``monotonic``, and all that it slept."""
        ...
