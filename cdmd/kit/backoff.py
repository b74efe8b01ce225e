"""How long to wait before the next try, and when trying has become hopeless. Pure: no clock, no randomness of its own."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that grow from ``first`` by ``factor`` up to ``cap`` (seconds), each spread evenly over its upper half.

    The spread ("equal jitter") keeps children that failed together from coming back together.
    """

    first: float = 1.0
    cap: float = 60.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        if not 0.0 < self.first <= self.cap or self.factor < 1.0:
            raise ValueError("a back-off needs 0 < first <= cap and factor >= 1")

    def ceiling(self, attempt: int) -> float:
        """The longest delay (seconds) before try number ``attempt``, which counts from 1."""
        delay = self.first
        for _ in range(attempt - 1):
            delay *= self.factor
            if delay >= self.cap:
                return self.cap
            if self.factor == 1.0:
                return delay
        return delay

    def delay(self, attempt: int, chance: float) -> float:
        """Seconds before try number ``attempt``; ``chance`` in [0, 1) is drawn by the caller."""
        ceiling = self.ceiling(attempt)
        return ceiling / 2 + ceiling / 2 * chance


@dataclass(frozen=True, slots=True)
class Budget:
    """How many failures within ``seconds`` are still a hiccup."""

    failures: int = 5
    seconds: float = 300.0

    def recent(self, failures: Sequence[float], now: float) -> tuple[float, ...]:
        """The moments (monotonic seconds) among ``failures`` that still count, never more than the budget."""
        return tuple(moment for moment in failures if now - moment < self.seconds)[-self.failures :]

    def spent(self, failures: Sequence[float], now: float) -> bool:
        """True once the budget's number of failures lies within its window."""
        return len(self.recent(failures, now)) >= self.failures
