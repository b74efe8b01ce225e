"""Hours in which a source is let alone: ``"22:00-06:00 Europe/Stockholm"``. Pure; moments are Unix seconds.

The hours are those that clocks there show, also in a night in which they are changed.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from typing_extensions import override

_HOURS: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)(?: (\S+))?")
_UTC: Final = ZoneInfo("UTC")
_DAY: Final = 86_400.0
_AROUND: Final = (-1, 0, 1, 2)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """The same hours of every day by the clocks of ``zone``; ``begin`` and ``end`` are minutes since midnight and differ."""

    begin: int
    end: int
    zone: ZoneInfo = field(default=_UTC, compare=False)
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> "QuietHours":
        """Read ``"22:00-06:00 Europe/Stockholm"`` (without a zone: UTC); raises ValueError. It may read the zone's file."""
        found = _HOURS.fullmatch(text)
        if found is None:
            example = '"22:00-06:00 Europe/Stockholm"'
            raise ValueError(f"{text!r} are no quiet hours: write HH:MM-HH:MM and a zone, for example {example}")
        begin, end, zone = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4]), found[5] or "UTC"
        if begin == end:
            raise ValueError(f"{text!r} leaves no time to look: its end has to differ from its begin")
        try:
            return cls(begin, end, ZoneInfo(zone), text)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{zone!r} is not a time zone that this machine knows") from None

    @override
    def __str__(self) -> str:
        return self.text

    def around(self, moment: float) -> Iterator[tuple[float, float]]:
        """Those of the days around ``moment``, as begin and end, in order."""
        today = datetime.fromtimestamp(moment, self.zone).date()
        for days in _AROUND:
            day = today + timedelta(days=days)
            last = day if self.end > self.begin else day + timedelta(days=1)
            yield _moment(day, self.begin, self.zone), _moment(last, self.end, self.zone)


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
