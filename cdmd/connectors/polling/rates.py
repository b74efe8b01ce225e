"""How often things happen at a source, learned from when they happened. Pure; times are Unix seconds, rates are per second.

The rate at a moment is that of its hour of the week plus what the arrivals just before it make likely: a Hawkes process with
an exponential kernel, whose weight is learned by online expectation and maximisation (A. G. Hawkes, Biometrika 1971; A. Veen
and F. P. Schoenberg, JASA 2008). Where little was seen yet, an hour leans on the same hour of all working days or weekends,
and that on the whole (the mean of a gamma prior): by the weight of few arrivals where hours differ by more than chance, of many
where they do not (empirical Bayes, by the method of moments). Not here: when to look (``pacing``).
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
TAU: Final = 600.0
"""Seconds within which what an arrival makes likely falls to a third."""

HALF_LIFE: Final = 14 * DAY
"""Seconds in which what was seen loses half of its weight."""

_HOURS: Final = 168
_MONDAY: Final = 72  # the epoch was a Thursday
_WEEKEND: Final = 5 * 24
_LEAN: Final = 5.0
_LEAN_LEAST: Final = 4.0
_LEAN_MOST: Final = 40.0
_FIRST: Final = 1 / DAY
_ASSUMED: Final = 20.0
_ASSUMED_SHARE: Final = 0.15
_MOST_SHARE: Final = 0.5
_MOST_AT_ONCE: Final = 1000


class Rates(msgspec.Struct, array_like=True, frozen=True):
    """What was learned since ``since``, as of ``at``; all of it fades with ``HALF_LIFE``.

    ``counts`` are arrivals by hour of the week (UTC, from Monday), ``excited`` the sum of ``exp(-age / TAU)`` over them all,
    ``arrived`` how many there were, and ``caused`` how many of those are explained by others before them. ``lean_kin`` is the
    weight, in arrivals, of the whole for the same hour of alike days, ``lean_hour`` the weight of that for one hour.
    """

    since: float
    at: float
    counts: tuple[float, ...] = (0.0,) * _HOURS
    excited: float = 0.0
    arrived: float = 0.0
    caused: float = 0.0
    lean_kin: float = _LEAN
    lean_hour: float = _LEAN

    @property
    def share(self) -> float:
        """Which part of the arrivals others explain; a few are assumed before the first is seen."""
        return min(_MOST_SHARE, (_ASSUMED * _ASSUMED_SHARE + self.caused) / (_ASSUMED + self.arrived))


class Forecast:
    """What is to be expected after all that ``rates`` know, if nothing more arrives. It never changes; it remembers."""

    __slots__ = ("_extra", "_kept", "_rates", "_whole")

    def __init__(self, rates: Rates) -> None:
        self._rates, self._kept = rates, dict[int, float]()
        self._extra = rates.share * rates.excited / TAU
        self._whole = _leaning(sum(rates.counts), _all_watched(rates), prior=_FIRST, weight=1.0)

    @property
    def whole(self) -> float:
        """The mean rate over a week."""
        return self._whole

    def rate(self, moment: float) -> float:
        """Arrivals per second at ``moment``."""
        return self.usual(moment) + self.aftermath(moment)

    def aftermath(self, moment: float) -> float:
        """The part of the rate that is due to recent arrivals."""
        return self._extra * math.exp(-max(0.0, moment - self._rates.at) / TAU)

    def usual(self, moment: float) -> float:
        """The part of it that is due to the hour of the week."""
        place = hour(moment)
        if place not in self._kept:
            kin = _leaning(*self._seen(_kin(place)), prior=self._whole, weight=self._rates.lean_kin)
            own = _leaning(*self._seen((place,)), prior=kin, weight=self._rates.lean_hour)
            self._kept[place] = (1 - self._rates.share) * own
        return self._kept[place]

    def _seen(self, places: Iterable[int]) -> tuple[float, float]:
        """Arrivals in these hours of the week, and for how many seconds those were watched."""
        counts, places = self._rates.counts, tuple(places)
        return sum(counts[one] for one in places), sum(_watched(self._rates, one) for one in places)


def hour(moment: float) -> int:
    """The hour of the week (UTC), from Monday."""
    return (int(moment // HOUR) + _MONDAY) % _HOURS


def learned(rates: Rates, arrivals: Sequence[float], until: float) -> Rates:
    """What is known once everything up to ``until`` was seen; ``arrivals`` are moments in order.

    What happened before ``rates.at`` counts as if then, what happens after ``until`` as if at ``until``. Of more than a
    thousand arrivals some stand for all.
    """
    if until < rates.at:
        rates = set_back(rates, until)
    fade, share, expected = faded(until - rates.at), rates.share, Forecast(rates)
    counts, excited, caused, at = [count * fade for count in rates.counts], rates.excited, 0.0, rates.at
    some = arrivals[:: -(-len(arrivals) // _MOST_AT_ONCE) or 1]
    for arrival in some:
        weight, moment = len(arrivals) / len(some), max(at, min(arrival, until))
        excited *= math.exp((at - moment) / TAU)
        by_others = share * excited / TAU
        caused += weight * by_others / (by_others + expected.usual(moment))
        counts[hour(moment)] += weight
        excited, at = excited + weight, moment
    found = msgspec.structs.replace(
        rates,
        at=until,
        counts=tuple(counts),
        excited=excited * math.exp((at - until) / TAU),
        arrived=rates.arrived * fade + len(arrivals),
        caused=rates.caused * fade + caused,
    )
    return _weighed(found) if some else found


def _weighed(rates: Rates) -> Rates:
    """How much each hour leans on its kin, and those on the whole, by how much they differ beyond chance."""
    whole = _leaning(sum(rates.counts), _all_watched(rates), prior=_FIRST, weight=1.0)
    watched = [_watched(rates, place) for place in range(_HOURS)]
    kinds, hours = list[tuple[float, float]](), list[tuple[float, float]]()
    for kin in _KINDS:
        count, seconds = sum(rates.counts[one] for one in kin), sum(watched[one] for one in kin)
        rate = _leaning(count, seconds, prior=whole, weight=rates.lean_kin)
        kinds.append((count, whole * seconds))
        hours += [(rates.counts[one], rate * watched[one]) for one in kin]
    chance = 1 / (1 - rates.share) ** 2
    return msgspec.structs.replace(rates, lean_kin=_weight(kinds, chance), lean_hour=_weight(hours, chance))


def _weight(pairs: Sequence[tuple[float, float]], chance: float) -> float:
    """The weight of the prior for counts beside what was expected, whose variance by chance is ``chance`` times their mean.

    A gamma prior of that weight would make the counts vary by the square of what is expected over the weight, on top of that.
    """
    beyond = sum((count - expected) ** 2 - chance * expected for count, expected in pairs)
    squares = sum(expected**2 for _, expected in pairs)
    return min(_LEAN_MOST, max(_LEAN_LEAST, squares / beyond)) if beyond > 0 else _LEAN_MOST


def set_back(rates: Rates, now: float) -> Rates:
    """The same where the clock was set back to ``now``: no time passed."""
    return msgspec.structs.replace(rates, since=rates.since - (rates.at - now), at=now)


def faded(seconds: float) -> float:
    """What is left after so long of the weight of what was seen."""
    return math.exp2(-max(0.0, seconds) / HALF_LIFE)


def _kin(place: int) -> range:
    """The same hour of all working days, or of both days of a weekend."""
    return range(place % 24, _WEEKEND, 24) if place < _WEEKEND else range(_WEEKEND + place % 24, _HOURS, 24)


def _leaning(count: float, seconds: float, *, prior: float, weight: float = _LEAN) -> float:
    """The rate of ``count`` arrivals in ``seconds``, and of ``weight`` more at the rate ``prior``."""
    return (count + weight) / (seconds + weight / prior)


def _all_watched(rates: Rates) -> float:
    """Seconds for which anything was watched, faded: the integral of what fades."""
    return HALF_LIFE / math.log(2) * (1 - faded(rates.at - rates.since))


def _watched(rates: Rates, place: int) -> float:
    """The same for one hour of the week: what watching for ever would give, less what lies before ``since``."""
    return max(0.0, _for_ever(place, rates.at) - faded(rates.at - rates.since) * _for_ever(place, rates.since))


def _for_ever(place: int, moment: float) -> float:
    """Faded seconds of that hour of the week in all time before ``moment``."""
    age = (moment + (_MONDAY - place) * HOUR) % WEEK
    return faded(age) * (min(age, HOUR) + HOUR * _EARLIER)


_KINDS: Final = [_kin(place) for place in (*range(24), *range(_WEEKEND, _WEEKEND + 24))]
_EARLIER: Final = faded(WEEK) / (1 - faded(WEEK))
