"""When to look next: when enough is likely to have happened since the last look. Pure; times are Unix seconds.

For a given number of looks the mean delay is least when the time between two is inversely proportional to the square root of
the rate (minimise the sum of rate / looks for a fixed sum of looks). So the next look is due when the integral of that root
since the last one reaches a threshold, which moves until as many looks happen as are granted. Clamps come after: what the
source wants at least between two looks, what freshness allows at most, quiet hours with one look at their end.
Not here: what will happen (``rates``), how many looks are granted (``cdmd.kit.grants``), requests.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from cdmd.connectors.polling.rates import HOUR, TAU, WEEK, Forecast, Rates, faded, learned
from cdmd.kit.quiet import Quiet

QUIET: Final = "the end of its quiet hours"

_EASE: Final = 0.1
_FIRMNESS: Final = 3
_OFF: Final = 2.0
_FAINT: Final = 0.01
_FINE: Final = TAU / 10
_SLOWLY: Final = 0.1


class Allowed(msgspec.Struct, frozen=True):
    """What a stream may do: on the whole a look every ``mean`` seconds, ``least`` to ``most`` apart, none in ``quiet``."""

    mean: float
    least: float
    most: float
    quiet: Quiet = Quiet()


class Pace(msgspec.Struct, array_like=True, frozen=True):
    """What a stream's looks are planned by, and all that has to outlive the process.

    ``pressure`` is the integral of the root of the expected rate over its mean, ``over`` the seconds of that integral,
    ``looks`` how many looks there were meanwhile and ``granted`` how many were granted, all faded; ``pages`` is the mean
    number of requests that a look takes.
    """

    rates: Rates
    looked: float
    pressure: float = 0.0
    over: float = 0.0
    looks: float = 0.0
    granted: float = 0.0
    pages: float = 1.0


class Due(NamedTuple):
    """When to look, and why then: a sentence for ``status``."""

    at: float
    why: str


def begun(now: float) -> Pace:
    """A stream that was just looked at for the first time."""
    return Pace(rates=Rates(since=now, at=now), looked=now)


def due(pace: Pace, allowed: Allowed, now: float) -> Due:
    """When the next look is due; never before ``now``. Where the clock was set back, the last look counts as just now."""
    last = min(pace.looked, now)
    at, why = _reached(pace, allowed, last)
    if at < last + allowed.least:
        at, why = last + allowed.least, "not sooner: so much time has to be between two looks"
    if (opens := allowed.quiet.until(at)) > at:
        at, why = opens, QUIET
    return Due(max(at, now), why)


def looked(pace: Pace, allowed: Allowed, now: float, *, arrivals: Sequence[float] | int, pages: int = 1) -> Pace:
    """The stream after a look at ``now`` that took ``pages`` requests and brought ``arrivals``: moments, or just how many.

    What has no moments happened evenly since the last look, as far as anybody can tell. Where the clock was set back, no time
    passed.
    """
    if isinstance(arrivals, int):
        step = (now - pace.looked) / max(1, arrivals)
        arrivals = [pace.looked + (place + 0.5) * step for place in range(arrivals)]
    summed, over = _between(pace, allowed, now)
    fade = faded(now - pace.looked)
    return Pace(
        rates=learned(pace.rates, sorted(arrivals), now),
        looked=now,
        pressure=pace.pressure * fade + summed,
        over=pace.over * fade + over,
        looks=pace.looks * fade + 1,
        granted=pace.granted * fade + over / allowed.mean,
        pages=max(1.0, pace.pages + _SLOWLY * (pages - pace.pages)),
    )


def threshold(pace: Pace, allowed: Allowed, expected: Forecast) -> float:
    """How much has to be likely before a look: what so many looks leave to each, corrected by their count so far."""
    pressure = pace.pressure / pace.over if pace.over > 0 else math.sqrt(expected.rate(pace.looked) / expected.whole)
    ease = _EASE * WEEK / allowed.mean
    really = (pace.looks + ease) / (pace.granted + ease)
    return pressure * allowed.mean * min(_OFF, max(1 / _OFF, really)) ** _FIRMNESS


def _reached(pace: Pace, allowed: Allowed, last: float) -> tuple[float, str]:
    """When the threshold is reached after ``last``, at most ``allowed.most`` later."""
    if allowed.least >= allowed.most:
        return last + allowed.most, "it is looked at at fixed intervals"
    expected = Forecast(pace.rates)
    left = threshold(pace, allowed, expected)
    for begin, seconds, root in _pieces(expected, allowed.quiet, last, last + allowed.most):
        if root * seconds >= left:
            return begin + left / root, "by then as much is likely to have happened as between any two looks"
        left -= root * seconds
    return last + allowed.most, "at the latest: so much time may be between two looks"


def _between(pace: Pace, allowed: Allowed, now: float) -> tuple[float, float]:
    """The integral of the root of the rate since the last look, as expected then, and the seconds that were not quiet.

    What lies beyond the latest moment at which a look was due counts for nothing: nobody looked, and that is not made up for.
    """
    end = min(now, pace.looked + max(allowed.most, allowed.least))
    pieces = list(_pieces(Forecast(pace.rates), allowed.quiet, pace.looked, end))
    return sum(seconds * root for _, seconds, root in pieces), sum(seconds for _, seconds, _ in pieces)


def _pieces(expected: Forecast, quiet: Quiet, begin: float, end: float) -> Iterator[tuple[float, float, float]]:
    """The time that is not quiet, cut so that the rate hardly changes within a piece: its begin, seconds, root of the rate."""
    while (begin := quiet.until(begin)) < end:
        stop = min(end, (begin // HOUR + 1) * HOUR, quiet.begins(begin))
        if expected.aftermath(begin) > _FAINT * expected.usual(begin):
            stop = min(stop, begin + _FINE)
        rate = expected.usual(begin) + expected.aftermath((begin + stop) / 2)
        yield begin, stop - begin, math.sqrt(rate / expected.whole)
        begin = stop
