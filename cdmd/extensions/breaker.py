"""A breaker: stops calling what keeps failing, and lets one probe through after a while. And how long a held event waits.

Pure: time and chance are handed in. Not for: deadlines of a single call (``driving``).
"""

from collections import deque
from collections.abc import Callable
from typing import Final

FAILURES: Final = 5
WITHIN: Final = 60.0
_LOOKS_BACK: Final = 20
OPEN_FOR: Final = 30.0
SHORTEST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 900.0


def back_off(attempts: int, chance: Callable[[], float]) -> float:
    """Seconds to wait after the ``attempts``-th failure (from 1): doubling, 1 s to 15 min, with jitter upwards from the half.

    ``chance`` draws from [0, 1). Source: exponential back-off with equal jitter (AWS Architecture Blog, 2015).
    """
    ceiling = min(LONGEST_WAIT, 2.0 ** min(attempts, 16))
    return max(SHORTEST_WAIT, ceiling / 2 * (1 + chance()))


class Breaker:
    """Opens for 30 s when a service fails, then lets one probe through. Times are monotonic seconds.

    It fails when 5 calls in a row did, or of the last 20 calls within 60 s at least 5 and half of them: a few bad events among
    good ones say nothing about the service.
    """

    def __init__(self) -> None:
        self._recent: deque[tuple[float, bool]] = deque(maxlen=_LOOKS_BACK)
        self._in_a_row = 0
        self._probing = False
        self.open_until: float | None = None

    def admits(self, now: float) -> bool:
        """Whether a call may be made now; in the half-open state the one that asks first is the probe."""
        if self.open_until is None:
            return True
        if now < self.open_until or self._probing:
            return False
        self._probing = True
        return True

    def withdraw(self) -> None:
        """The admitted call was not made or not finished (it was cancelled from outside): it says nothing."""
        self._probing = False

    def succeeded(self, now: float) -> None:
        """A call went well."""
        self._in_a_row = 0
        self._recent.append((now, False))
        if self._probing:
            self._probing, self.open_until = False, None
            self._recent.clear()

    def failed(self, now: float) -> bool:
        """A call failed; True when this opened the breaker."""
        self._in_a_row += 1
        self._recent.append((now, True))
        if not (self._probing or self._in_a_row >= FAILURES or self._fails_often(now)):
            return False
        was_open = self.open_until is not None and not self._probing
        self._probing = False
        self.open_until = now + OPEN_FOR
        return not was_open

    def _fails_often(self, now: float) -> bool:
        recent = [failed for moment, failed in self._recent if now - moment <= WITHIN]
        return sum(recent) >= FAILURES and sum(recent) * 2 >= len(recent)
