"""How many looks each of those gets that share a number of requests. Pure; rates are per second.

The mean delay of all arrivals together is least when looks are in proportion to the square root of the rate over what a look
costs (minimise the sum of rate / looks while the sum of cost * looks is given). A part (15 %) is given out evenly: rates are
only estimates, and what was silent for long has to be noticed when it speaks again. Not here: limits (``budget``).
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from cdmd.kit.quantities import Rate, spoken

_EVEN: Final = 0.15
_ROUNDS: Final = 60
_OLD: Final = 60.0
_GREW: Final = 1.1
_KEPT: Final = 3600.0
_MEMORY: Final = 3600.0
_HOUR: Final = 3600.0
_ROUNDING: Final = 1.000001
_PLANNED: Final = 0.8
_PLANNED_LEAST: Final = 0.1
_NEXT_TO_NOTHING: Final = 1e-6


class Claim(msgspec.Struct, frozen=True):
    """What somebody wants: ``arrivals`` happen there, a look takes ``cost`` requests, ``least`` to ``most`` are of use.

    All of them are positive.
    """

    arrivals: float
    cost: float
    least: float
    most: float

    @property
    def root(self) -> float:
        """What its part is in proportion to."""
        return math.sqrt(self.arrivals * self.cost)


class Demand(msgspec.Struct, frozen=True):
    """What a configuration asks of one host with one credential: for each stream so many seconds between two looks at most."""

    host: str
    credential: str
    wanted: Mapping[str, float]
    limits: Sequence[Rate]


class Level(msgspec.Struct, frozen=True):
    """How requests are given out to all: so many ``each`` for a unit of weight, and of ``least`` only that ``part``."""

    each: float
    part: float
    roots: float
    costs: float

    def looks(self, claim: Claim) -> float:
        """What this claim gets."""
        least = claim.least * self.part
        return min(max(claim.most, least), max(least, self.each * self._weight(claim)))

    def _weight(self, claim: Claim) -> float:
        return (1 - _EVEN) * claim.root / self.roots / claim.cost + _EVEN / self.costs


def level(claims: Collection[Claim], requests: float) -> Level:
    """The level at which these claims take ``requests`` together, or all they can use where that is less."""
    roots, costs = sum(one.root for one in claims), sum(one.cost for one in claims)
    needed = sum(one.cost * one.least for one in claims)
    if needed >= requests:
        return Level(0.0, requests / needed, roots, costs)
    if sum(one.cost * max(one.least, one.most) for one in claims) <= requests:
        return Level(math.inf, 1.0, roots, costs)
    low, high = 0.0, requests
    while _taken(Level(high, 1.0, roots, costs), claims) < requests:
        low, high = high, 2 * high
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if _taken(Level(middle, 1.0, roots, costs), claims) < requests else (low, middle)
    return Level(low, 1.0, roots, costs)


class Shares:
    """The claims of all that share a budget. One is forgotten an hour after the look it got should have been followed.

    A fifth of what is allowed is not given out, or as much as was lately taken by those that do not plan: by notifications.
    """

    def __init__(self) -> None:
        self._claims: dict[str, tuple[Claim, float]] = {}
        self._level: Level | None = None
        self._counted, self._allowed, self._at = 0, 0.0, float("-inf")
        self._unplanned, self._unplanned_at = 0.0, 0.0

    def made(self, asker: str, now: float) -> None:
        """A request is made; it counts as unplanned where ``asker`` has no claim."""
        if asker not in self._claims:
            self._unplanned, self._unplanned_at = self._unplanned * self._left(now) + 1, now

    def ask(self, asker: str, claim: Claim, *, allowed: float, now: float) -> float:
        """How many looks ``asker`` may plan with where all are ``allowed`` so many requests (infinity: any).

        What all get is reckoned anew once a minute, and when there are more of them or another number is allowed.
        """
        self._claims[asker] = (claim, math.inf)
        if allowed == math.inf:
            return claim.most
        if self._level is None or self._stale(allowed, now):
            self._claims = {name: kept for name, kept in self._claims.items() if kept[1] > now}
            claims = [one for one, _ in self._claims.values()]
            self._level = level(claims, self._given(claims, allowed, now))
            self._counted, self._allowed, self._at = len(claims), allowed, now
        granted = self._level.looks(claim)
        self._claims[asker] = (claim, now + 2 / granted + _KEPT)
        return granted

    def _given(self, claims: Collection[Claim], allowed: float, now: float) -> float:
        """What is given out: the part that is kept back is there for what somebody needs at the least, too."""
        left = allowed - self._unplanned * self._left(now) / _MEMORY
        needed = sum(one.cost * one.least for one in claims)
        return max(_NEXT_TO_NOTHING, _PLANNED_LEAST * allowed, min(left, max(_PLANNED * allowed, needed)))

    def _left(self, now: float) -> float:
        return math.exp((self._unplanned_at - now) / _MEMORY)

    def _stale(self, allowed: float, now: float) -> bool:
        changed = not self._allowed / _GREW <= allowed <= self._allowed * _GREW
        return changed or now - self._at > _OLD or len(self._claims) > self._counted * _GREW


def impossible(wanted: Mapping[str, float], limits: Sequence[Rate]) -> str | None:
    """Why looks so many seconds apart do not fit within these limits, with the arithmetic; None where they do."""
    needed = sum(1 / seconds for seconds in wanted.values())
    strictest = min(limits, key=lambda one: one.count / one.per, default=None)
    if strictest is None or needed * strictest.per <= strictest.count * _ROUNDING:
        return None
    hourly, factor = strictest.count / strictest.per * _HOUR, needed * strictest.per / strictest.count
    sums = " + ".join(f"{name} once in {spoken(seconds)}" for name, seconds in wanted.items())
    return (
        f"{sums} = {needed * _HOUR:.4g} requests an hour at the least, the limit of {strictest} allows {hourly:.4g}: "
        f"allow more, or want everything {math.ceil(factor * 10) / 10:g} times less often"
    )


def _taken(at: Level, claims: Collection[Claim]) -> float:
    return sum(one.cost * at.looks(one) for one in claims)
