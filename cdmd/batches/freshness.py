"""How late events become visible: per connector the 95th percentile over the last hour, in bounded memory.

Delays are counted minute by minute in buckets that grow by a fifth, so a figure is at most 20 % too high.
"""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from cdmd.models import Micros, to_micros

_MINUTES: Final = 60
_SHARE: Final = 0.95
_SMALLEST: Final = 0.001
_GROWTH: Final = 1.2
_BOUNDS: Final = [_SMALLEST * _GROWTH**bucket for bucket in range(130)]  # up to half a year
_SHOWN: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0)


class _Hour:
    """One connector's last sixty minutes: (minute, counts by bucket), newest last."""

    __slots__ = ("last_event", "minutes", "newest")

    def __init__(self) -> None:
        self.minutes: deque[tuple[int, dict[int, int]]] = deque()
        self.last_event: datetime | None = None
        self.newest: Micros | None = None


class Freshness:
    """Measured freshness of every connector that brought something."""

    def __init__(self) -> None:
        self._hours: dict[str, _Hour] = {}
        self._begun: dict[str, Micros] = {}
        self._all: dict[int, int] = {}
        self._seconds = 0.0

    def begin(self, connector: str, at: Micros) -> None:
        """The connector first began to look at that moment: what happened before is its source's history."""
        self._begun[connector] = at

    def seen(self, happened: Mapping[str, Sequence[Micros]], now: datetime) -> None:
        """Events of these connectors became visible ``now``, to be measured from these moments unless that is history."""
        moment, minute = to_micros(now), int(now.timestamp() // 60)
        for connector, moments in happened.items():
            hour = self._hours.setdefault(connector, _Hour())
            hour.last_event = now
            if not hour.minutes or hour.minutes[-1][0] != minute:
                hour.minutes.append((minute, {}))
                _forget(hour, minute)
            ordered = sorted(moments)
            hour.newest = max(hour.newest or Micros(0), ordered[-1])
            counted = ordered[bisect_left(ordered, self._begun.get(connector, ordered[0])) :]
            self._count(hour.minutes[-1][1], counted, moment)

    def _count(self, counts: dict[int, int], ordered: Sequence[Micros], now: Micros) -> None:
        """Bucket by bucket, not moment by moment: a backlog has thousands of them, of few buckets."""
        place = 0
        while place < len(ordered):
            bucket = bisect_left(_BOUNDS, _delay(ordered[place], now))
            below = -math.inf if bucket == 0 else _BOUNDS[bucket - 1]
            after = bisect_left(ordered, True, place, key=lambda at: _delay(at, now) <= below)
            counts[bucket] = counts.get(bucket, 0) + after - place
            self._all[bucket] = self._all.get(bucket, 0) + after - place
            place = after
        past = ordered[: bisect_left(ordered, now)]
        self._seconds += (now * len(past) - sum(past)) / 1_000_000

    def seconds(self, connector: str, now: datetime) -> float | None:
        """The 95th percentile of the last hour; None when nothing came."""
        hour = self._hours.get(connector)
        if hour is None:
            return None
        _forget(hour, int(now.timestamp() // 60))
        summed: dict[int, int] = {}
        for _, counts in hour.minutes:
            for bucket, count in counts.items():
                summed[bucket] = summed.get(bucket, 0) + count
        rest = math.ceil(sum(summed.values()) * _SHARE)
        for bucket in sorted(summed):
            rest -= summed[bucket]
            if rest <= 0:
                return float(_SMALLEST * _GROWTH**bucket)
        return None

    def measured(self, now: datetime) -> dict[str, float]:
        """Of every connector whose events became visible here within the hour."""
        found = {name: self.seconds(name, now) for name in list(self._hours)}
        return {name: seconds for name, seconds in found.items() if seconds is not None}

    def last_event(self, connector: str) -> datetime | None:
        """When the connector's last event became visible; None before the first since the start."""
        hour = self._hours.get(connector)
        return None if hour is None else hour.last_event

    def newest(self, connector: str) -> Micros | None:
        """The newest moment that the connector's events were measured from; None before the first since the start."""
        hour = self._hours.get(connector)
        return None if hour is None else hour.newest

    def distribution(self) -> tuple[list[tuple[str, float]], float]:
        """All delays since the start as a cumulative histogram (upper bounds as text, "+Inf" last), and their sum in seconds.

        A delay is counted with the bound of its bucket, up to a fifth above it.
        """
        found = [(f"{bound:g}", float(sum(self._within(bound)))) for bound in _SHOWN]
        return [*found, ("+Inf", float(sum(self._all.values())))], self._seconds

    def _within(self, bound: float) -> Iterable[int]:
        return (count for bucket, count in self._all.items() if _SMALLEST * _GROWTH**bucket <= bound)


def _delay(at: Micros, now: Micros) -> float:
    """Seconds; what is said to happen later came at once."""
    return max(0, now - at) / 1_000_000


def _forget(hour: _Hour, minute: int) -> None:
    """Also what lies ahead of ``minute``: the wall clock was set back, and would never catch up with it."""
    while hour.minutes and not minute - _MINUTES < hour.minutes[0][0] <= minute:
        hour.minutes.popleft()
