"""A token bucket: whether something may happen now, else in how many seconds. Pure: the state and the time are handed in.

The whole state of a bucket is one float, the moment (monotonic seconds) at which it will be full again; a bucket nobody has
drawn from is ``FULL``. Whoever keeps it stores what ``take`` gives back. Not here: waiting, and obeying others' limits
(``cdmd.kit.budget``).
"""

import math
from typing import Final, TypeAlias

import msgspec

from cdmd.kit.quantities import Rate

FULL: Final = -math.inf
"""The state of a bucket that nobody has drawn from."""

_ROUNDING: Final = 1e-6
"""Seconds by which sums of intervals may be off; a wait shorter than this is none."""


class Allowance(msgspec.Struct, frozen=True):
    """``burst`` at once when the bucket is full, and one more every ``interval`` seconds."""

    interval: float
    burst: int

    @classmethod
    def quota(cls, rate: Rate) -> "Allowance":
        """What we allow others: all of ``rate.count`` at once, and as many again in every ``rate.per`` after that."""
        return cls(rate.per / rate.count, rate.count)


class Granted(msgspec.Struct, frozen=True):
    """It may happen; ``state`` is the bucket after it."""

    state: float


class Later(msgspec.Struct, frozen=True):
    """It may not happen now; ``seconds`` from now it may, if nobody else draws meanwhile. The bucket is as it was."""

    seconds: float


Verdict: TypeAlias = Granted | Later


def take(allowance: Allowance, state: float, now: float, *, cost: int = 1) -> Verdict:
    """Draw ``cost`` from the bucket at ``now``.

    What costs more than the bucket ever holds is granted when it is full, and the debt is waited for by those who follow.
    """
    full = max(state, now)
    wait = full - now - (allowance.burst - min(cost, allowance.burst)) * allowance.interval
    return Granted(full + cost * allowance.interval) if wait <= _ROUNDING else Later(wait)


def retry_after(seconds: float) -> int:
    """``seconds`` for a ``Retry-After`` header: whole, and at least one."""
    return max(1, math.ceil(seconds))
