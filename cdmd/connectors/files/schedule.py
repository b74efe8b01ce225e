"""When to look again: at fixed intervals, at times of day, or as often as the wanted freshness needs. Pure."""

import re
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

_AT: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?: (\S+))?")
LEAST: Final = 1.0
"""Seconds between two looks, whatever is wanted."""

USUAL: Final = 60.0
_QUIET: Final = 8


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


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """How often to look, in seconds: ``every``, else ``at``, else so that ``freshness`` is kept."""

    every: float | None = None
    at: Sequence[At] = ()
    freshness: float | None = None

    def next(self, now: datetime, *, idle: int, settling: float | None) -> datetime:
        """When to look again. ``idle``: looks in a row that found nothing new; ``settling``: seconds until a file may be whole.

        A file that settles is looked at when it may be whole, whatever the schedule says: it was found in time.
        """
        regular = self._regular(now, idle)
        if settling is None:
            return regular
        return min(regular, now + timedelta(seconds=max(settling, LEAST)))

    def _regular(self, now: datetime, idle: int) -> datetime:
        if self.every is not None:
            return now + timedelta(seconds=self.every)
        if self.at:
            return min(one.next(now) for one in self.at)
        return now + timedelta(seconds=self._adaptive(idle))

    def _adaptive(self, idle: int) -> float:
        """Often after something came, then less often up to half of what freshness allows (a minute where nobody says)."""
        most = max(LEAST, USUAL if self.freshness is None else self.freshness / 2)
        return max(LEAST, most * min(1.0, (idle + 1) / _QUIET))
