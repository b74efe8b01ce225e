"""Policies that decide when to look, and how late what arrived is seen by them. Each rival has one number that scales it.

The rivals are set to as many looks as ours by bisection over the whole trace: they know in hindsight what ours has to learn.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from math import sqrt
from typing import NamedTuple

from cdmd.connectors.polling.pacing import Allowed, begun, due, looked
from cdmd.connectors.polling.rates import DAY, HOUR
from tests.bench.figures import quantile
from tests.bench.traces import Trace

MEAN = 1800.0
FLOOR, CEILING = 60.0, 4 * MEAN
Policy = Callable[[Trace, float], list[float]]


class Late(NamedTuple):
    """Seconds until what arrived was seen: the mean and the 95th percentile."""

    mean: float
    p95: float


def late(arrivals: Sequence[float], looks: Sequence[float]) -> Late:
    """By these looks."""
    found = sorted(waits(arrivals, looks))
    return Late(sum(found) / len(found), quantile(found, 0.95))


def waits(arrivals: Sequence[float], looks: Sequence[float]) -> list[float]:
    """Seconds from each arrival to the next look; what nobody looked for after its arrival is left out."""
    return [looks[seen] - at for at in arrivals if (seen := bisect_left(looks, at)) < len(looks)]


def ours(trace: Trace, mean: float = MEAN) -> list[float]:
    """What the daemon does: it learns as it goes."""
    allowed, pace = Allowed(mean=mean, least=FLOOR, most=CEILING), begun(trace.begin)
    looks, place, end = list[float](), 0, trace.begin + trace.days * DAY
    while (at := due(pace, allowed, pace.looked).at) < end:
        seen = bisect_right(trace.arrivals, at)
        pace = looked(pace, allowed, at, arrivals=trace.arrivals[place:seen])
        place = seen
        looks.append(at)
    return looks


def fixed(trace: Trace, interval: float) -> list[float]:
    """Every so many seconds."""
    return [trace.begin + interval * (number + 1) for number in range(int(trace.days * DAY / interval))]


def idle_back_off(trace: Trace, interval: float) -> list[float]:
    """Twice the interval after every look that found nothing, up to sixteen times; once it is again after one that did."""
    return _by_finding(trace, interval, lambda now, found: interval if found else min(now * 2, 16 * interval))


def skipping(trace: Trace, interval: float) -> list[float]:
    """After five looks in a row that found nothing, four are skipped, again and again (Apache Camel's idle threshold)."""
    idle = 0

    def following(_: float, found: int) -> float:
        nonlocal idle
        idle = 0 if found else idle + 1
        return 5 * interval if idle >= 5 else interval

    return _by_finding(trace, interval, following)


def aimd(trace: Trace, step: float) -> list[float]:
    """Half the interval after a look that found something, a step more after one that did not, between floor and ceiling."""
    return _by_finding(trace, MEAN, lambda now, found: max(FLOOR, now / 2) if found else min(CEILING, now + step))


def oracle(trace: Trace, scale: float) -> list[float]:
    """Knows the true rate: the integral of its root, with the same ceiling as ours."""
    assert trace.rate is not None
    looks, last, at, pressure = list[float](), trace.begin, trace.begin, 0.0
    while at < trace.begin + trace.days * DAY:
        step = min(FLOOR, (at // HOUR + 1) * HOUR - at)
        at, pressure = at + step, pressure + sqrt(trace.rate(at) * DAY) * step
        if pressure >= scale or at - last >= CEILING:
            looks.append(at)
            last, pressure = at, 0.0
    return looks


def _by_finding(trace: Trace, first: float, following: Callable[[float, int], float]) -> list[float]:
    looks, place, interval, at = list[float](), 0, first, trace.begin + first
    while at < trace.begin + trace.days * DAY:
        seen = bisect_right(trace.arrivals, at, lo=place)
        looks.append(at)
        interval, place = following(interval, seen - place), seen
        at += interval
    return looks


def calibrated(policy: Policy, trace: Trace, looks: int) -> list[float]:
    """The policy scaled so that it looks that often, as nearly as it can."""
    low, high = 1.0, 64 * DAY
    best = policy(trace, MEAN)
    for _ in range(40):
        middle = sqrt(low * high)
        found = policy(trace, middle)
        best = min(best, found, key=lambda one: abs(len(one) - looks))
        low, high = (middle, high) if len(found) > looks else (low, middle)
        if abs(len(best) - looks) <= looks // 200:
            break
    return best
