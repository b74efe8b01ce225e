"""When to look again: at fixed intervals, at times of day, or when files are likely to have come. No I/O."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from cdmd.connectors.polling.planning import Planner, Wants

_AT: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?: (\S+))?")
LEAST: Final = 1.0
"""Seconds between two looks, whatever is wanted."""

USUAL: Final = 120.0
"""The freshness that is wanted where nobody says."""


class At(msgspec.Struct, frozen=True):
    """A time of day in a zone."""

    hour: int
    minute: int
    zone: str

    @classmethod
    def parse(cls, text: str) -> "At":
        """Read ``"02:30 Europe/Stockholm"`` (without a zone: UTC); raises ValueError."""
        found = _AT.fullmatch(text)
        if found is None:
            raise ValueError(f'{text!r} is not a time of day: write HH:MM and a zone, for example "02:30 Europe/Stockholm"')
        zone = found[3] or "UTC"
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{zone!r} is not a time zone that this machine knows") from None
        return cls(int(found[1]), int(found[2]), zone)

    def next(self, now: datetime) -> datetime:
        """The next moment after ``now`` that this clock shows; one that is left out comes an hour later."""
        zone = ZoneInfo(self.zone)
        local = now.astimezone(zone)
        for day in range(3):
            at = datetime.combine(local.date() + timedelta(days=day), time(self.hour, self.minute), zone)
            if at.timestamp() > now.timestamp():
                return at.astimezone(now.tzinfo)
        raise AssertionError("a day has this time")


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
