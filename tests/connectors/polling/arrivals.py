"""Arrivals to test with: seeded, of a known rate."""

import math
import random
from collections.abc import Callable

from cdmd.connectors.polling.rates import DAY, hour

MONDAY = 1767571200.0
"""2026-01-05T00:00:00Z."""


def arriving(rate: Callable[[float], float], top: float, *, seed: int, days: float, begin: float = MONDAY) -> list[float]:
    """Moments of a Poisson process whose rate per second never exceeds ``top`` (by thinning)."""
    chance, at, found = random.Random(seed), begin, list[float]()
    while (at := at + chance.expovariate(top)) < begin + days * DAY:
        if chance.random() * top < rate(at):
            found.append(at)
    return found


def evenly(per_day: float, *, seed: int = 1, days: float = 28) -> list[float]:
    return arriving(lambda _: per_day / DAY, per_day / DAY, seed=seed, days=days)


def in_office_hours(per_day: float, *, seed: int = 1, days: float = 28, begin: float = MONDAY) -> list[float]:
    """Monday to Friday, 8 to 18, UTC; ``per_day`` is the mean over the whole week."""
    top = per_day / DAY * 168 / 50
    return arriving(
        lambda at: top if hour(at) < 120 and 8 <= hour(at) % 24 < 18 else 0.0, top, seed=seed, days=days, begin=begin
    )


def like_the_sun(per_day: float, *, seed: int = 1, days: float = 28) -> list[float]:
    mean = per_day / DAY
    return arriving(lambda at: mean * (1 + math.sin(2 * math.pi * at / DAY)), 2 * mean, seed=seed, days=days)


def in_bursts(a_day: float, *, size: int, gap: float, seed: int = 1, days: float = 28) -> list[float]:
    """``a_day`` bursts of ``size`` arrivals, ``gap`` seconds apart in the mean."""
    chance, found = random.Random(seed), list[float]()
    for begin in evenly(a_day, seed=seed, days=days):
        found.append(begin)
        for _ in range(size - 1):
            found.append(found[-1] + chance.expovariate(1 / gap))
    return sorted(at for at in found if at < MONDAY + days * DAY)
