"""Hours in which a source is let alone: ``"22:00-06:00 Europe/Stockholm"``. Pure; moments are Unix seconds.

The hours are those that clocks there show, also in a night in which they are changed.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

_HOURS: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)(?: (\S+))?")
_DAY: Final = 86_400.0
_AROUND: Final = (-1, 0, 1, 2)


class QuietHours(msgspec.Struct, frozen=True):
    """The same hours of every day, in a time zone; ``begin`` and ``end`` are minutes since midnight and differ."""

    begin: int
    end: int
    zone: str = "UTC"

    @classmethod
    def parse(cls, text: str) -> "QuietHours":
        """Read ``"22:00-06:00 Europe/Stockholm"`` (without a zone: UTC); raises ValueError."""
        found = _HOURS.fullmatch(text)
        if found is None:
            example = '"22:00-06:00 Europe/Stockholm"'
            raise ValueError(f"{text!r} are no quiet hours: write HH:MM-HH:MM and a zone, for example {example}")
        begin, end, zone = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4]), found[5] or "UTC"
        if begin == end:
            raise ValueError(f"{text!r} leaves no time to look: its end has to differ from its begin")
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{zone!r} is not a time zone that this machine knows") from None
        return cls(begin, end, zone)

    def around(self, moment: float) -> Iterator[tuple[float, float]]:
        """Those of the days around ``moment``, as begin and end, in order."""
        zone = ZoneInfo(self.zone)
        today = datetime.fromtimestamp(moment, zone).date()
        for days in _AROUND:
            day = today + timedelta(days=days)
            last = day if self.end > self.begin else day + timedelta(days=1)
            yield _moment(day, self.begin, zone), _moment(last, self.end, zone)


class Quiet(msgspec.Struct, frozen=True):
    """All quiet hours of a source."""

    hours: Sequence[QuietHours] = ()

    def until(self, moment: float) -> float:
        """When it is over: ``moment`` itself where that is not quiet. Hours that follow each other are one."""
        limit = moment + 2 * _DAY
        while moment < limit:
            ends = [end for one in self.hours for begin, end in one.around(moment) if begin <= moment < end]
            if not ends:
                return moment
            moment = max(ends)
        return moment

    def begins(self, moment: float) -> float:
        """When the next quiet hours begin after ``moment``; infinity where there are none."""
        return min((begin for one in self.hours for begin, _ in one.around(moment) if begin > moment), default=float("inf"))

    def open_share(self, moment: float) -> float:
        """Which part of the day after ``moment`` is not quiet."""
        opened, at, end = 0.0, self.until(moment), moment + _DAY
        while at < end:
            close = min(end, self.begins(at))
            opened, at = opened + close - at, self.until(close)
        return opened / _DAY


def _moment(day: date, minutes: int, zone: ZoneInfo) -> float:
    return datetime.combine(day, time(minutes // 60, minutes % 60), zone).timestamp()
