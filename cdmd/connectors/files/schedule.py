"""When to look again: at fixed intervals, at times of day, or when files are likely to have come. No I/O."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from cdmd.connectors.polling.planning import Planner, Wants
from cdmd.kit.daily import At

LEAST: Final = 1.0
"""Seconds between two looks, whatever is wanted."""

USUAL: Final = 120.0
"""The freshness that is wanted where nobody says."""


class Schedule:
    """``every`` so many seconds, else ``at`` those times, else when files are likely to have come, within ``freshness``.

    ``settles`` are the seconds that a file takes from being found to being read. What was learned of when files come outlives
    the process: ``begin`` with what stands at ``keys``, write ``state`` after each look.
    """

    def __init__(
        self,
        name: str,
        *,
        every: float | None = None,
        at: Sequence[At] = (),
        freshness: float | None = None,
        settles: float = 0.0,
    ) -> None:
        self._every, self._at = every, at
        wanted = USUAL if freshness is None else freshness
        wants = Wants(freshness=max(2 * LEAST, wanted / 2, wanted - settles))
        self._planner = None if every is not None or at else Planner(name, wants)

    @property
    def keys(self) -> Sequence[bytes]:
        """Where its state stands."""
        return () if self._planner is None else self._planner.keys

    def begin(self, kept: Mapping[bytes, bytes], now: datetime) -> None:
        """Go on from what was learned before."""
        if self._planner is not None:
            self._planner.begin(kept, now.timestamp())

    def next(self, now: datetime, *, arrived: int, settling: float | None) -> datetime:
        """When to look after a look that found ``arrived`` new files; ``settling``: seconds until a file may be whole.

        A file that settles is looked at when it may be whole, whatever the schedule says: it was found in time.
        """
        regular = self._regular(now, arrived)
        if settling is None:
            return regular
        return min(regular, now + timedelta(seconds=max(settling, LEAST)))

    def state(self, arrived: int) -> dict[bytes, bytes]:
        """What is to be written: only where files came, so that a quiet place costs no writing."""
        return self._planner.state() if self._planner is not None and arrived else {}

    def _regular(self, now: datetime, arrived: int) -> datetime:
        if self._every is not None:
            return now + timedelta(seconds=self._every)
        if self._planner is None:
            return min(one.next(now) for one in self._at)
        moment = now.timestamp()
        if arrived or moment >= self._planner.due.at:  # a look in between, at a file that settles, is not one of the plan's
            self._planner.looked(moment, arrivals=arrived)
        return now + timedelta(seconds=max(LEAST, self._planner.due.at - moment))
