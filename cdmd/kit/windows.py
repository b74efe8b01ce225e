"""Windows of time: which bucket a moment falls into, and when that bucket falls out.

Pure arithmetic on microseconds since 1970. A window is always the newest part of time: everything from its beginning on, which
moves forward in steps. So what is a little ahead of the clock counts at once, and what has fallen out never comes back.

* rolling (``"30d"``): buckets are as long as a step and lie on multiples of it since 1970. A moment counts until the last
  step boundary at which it is not older than the window: never longer, and at most a step shorter.
* calendar (``"month Europe/Stockholm"``): the day, week (from Monday), month or year that it is now in that zone (UTC where
  none is named), as the zone's clocks show it.

Not for: what is computed in a bucket.
"""

import re
from datetime import datetime, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from typing_extensions import override

from cdmd.kit.quantities import Duration

MOST_STEPS: Final = 400
"""How many buckets a rolling window has at most."""

_CALENDAR: Final = re.compile(r"(day|week|month|year)(?: (\S+))?")
_MINUTE: Final = 60_000_000
_DAY: Final = 86_400_000_000
_USUAL_STEPS: Final = 60
_LONGEST: Final = 100 * 366 * _DAY
_EARLIEST: Final = 366 * 86_400
"""Calendars begin in 1971: no clock reads what is before it, and no zone may lead before what a date can say."""


class Window(Protocol):
    """``bucket``: the bucket of a time; ``oldest``: the first bucket that counts at a time; ``expires``: when one is out."""

    def bucket(self, at: int) -> int:
        """The number of the bucket that ``at`` falls into; buckets are numbered in the order of time."""
        ...

    def oldest(self, now: int) -> int:
        """The number of the oldest bucket that counts at ``now``."""
        ...

    def expires(self, bucket: int) -> int:
        """The first moment at which the bucket of that number no longer counts."""
        ...


class Rolling(Window):
    """The last ``length`` microseconds in steps of ``step``."""

    __slots__ = ("_steps", "step")

    def __init__(self, length: int, step: int) -> None:
        self.step, self._steps = step, length // step

    @override
    def bucket(self, at: int) -> int:
        return at // self.step

    @override
    def oldest(self, now: int) -> int:
        return now // self.step - self._steps + 1

    @override
    def expires(self, bucket: int) -> int:
        return (bucket + self._steps) * self.step


class Calendar(Window):
    """The current ``unit`` of the calendar in ``zone``. A bucket is numbered by its first second since 1970."""

    __slots__ = ("_last", "_recent", "_unit", "_zone")

    def __init__(self, unit: str, zone: str) -> None:
        self._unit, self._zone = unit, ZoneInfo(zone)
        self._recent: list[tuple[int, int]] = []
        self._last = (0, 0, 0)

    @override
    def bucket(self, at: int) -> int:
        begin, end, number = self._last
        if begin <= at < end:
            return number
        number, after = self._around(max(at // 1_000_000, _EARLIEST))
        self._last = number * 1_000_000, after * 1_000_000, number
        return number

    @override
    def oldest(self, now: int) -> int:
        begin, end, number = self._last
        return number if begin <= now < end else self.bucket(now)

    @override
    def expires(self, bucket: int) -> int:
        _, end, number = self._last
        return end if bucket == number and end else self._around(max(bucket, _EARLIEST))[1] * 1_000_000

    def _around(self, second: int) -> tuple[int, int]:
        """The period around it; the last few that were asked for are remembered, because dates are dear."""
        for period in self._recent:
            if period[0] <= second < period[1]:
                return period
        period = self._period(second)
        self._recent = [period, *self._recent[:3]]
        return period

    def _period(self, second: int) -> tuple[int, int]:
        """The period around it: its first second, and the first second of the next."""
        local = datetime.fromtimestamp(second, self._zone)
        day = datetime(local.year, local.month, local.day, tzinfo=self._zone)
        if second < _second(day):
            day -= timedelta(days=1)  # midnight comes again
        match self._unit:
            case "day":
                begin, after = day, day + timedelta(days=1)
            case "week":
                begin = day - timedelta(days=day.weekday())
                after = begin + timedelta(days=7)
            case "month":
                begin = day.replace(day=1)
                after = (begin + timedelta(days=31)).replace(day=1)
            case _:
                begin = day.replace(month=1, day=1)
                after = begin.replace(year=begin.year + 1)
        return _second(begin), _second(after)


def parse_window(text: str, step: Duration | None) -> Window:
    """The window that is written ``text``, with its step where one is written. Raises ValueError with the arithmetic."""
    calendar = _CALENDAR.fullmatch(text)
    if calendar is not None:
        if step is not None:
            raise ValueError(f"the window {text!r} moves with the calendar: it takes no step")
        return _calendar(calendar[1], calendar[2] or "UTC")
    try:
        length = Duration.parse(text)
    except ValueError:
        zones = 'or day, week, month or year with a time zone ("month Europe/Stockholm")'
        raise ValueError(f'{text!r} is not a window: write a duration ("30d"), {zones}') from None
    return _rolling(length, step)


def _calendar(unit: str, zone: str) -> Calendar:
    try:
        return Calendar(unit, zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{zone!r} is not a time zone that this machine knows") from None


def _rolling(length: Duration, step: Duration | None) -> Rolling:
    if length.micros < _MINUTE:
        raise ValueError(f"a window of {length} is too short: at least 1m, because it moves in steps of at least that")
    if length.micros > _LONGEST:
        raise ValueError(f"a window of {length} is longer than a century; leave it out to count everything")
    each = _usual_step(length.micros) if step is None else step.micros
    if each < _MINUTE:
        raise ValueError(f"a step of {step} is too short: at least 1m")
    if length.micros % each:
        raise ValueError(f"the window {length} is no whole number of steps of {step or '1m'}")
    if (count := length.micros // each) > MOST_STEPS:
        said = step or f"{each // _MINUTE}m (chosen where none is set)"
        least = -(-length.micros // (MOST_STEPS * _MINUTE))
        hint = f"and at most {MOST_STEPS} are kept: set a step of at least {least}m"
        raise ValueError(f"the window {length} is {count} steps of {said}, {hint}")
    return Rolling(length.micros, each)


def _usual_step(length: int) -> int:
    """A sixtieth of the window within 1m and 1d, then down to whole minutes of which the window is a whole number."""
    wanted = min(max(length // _USUAL_STEPS, _MINUTE), _DAY)
    return next((each for each in range(wanted - wanted % _MINUTE, _MINUTE, -_MINUTE) if length % each == 0), _MINUTE)


def _second(day: datetime) -> int:
    """The first second of a local day: of a midnight that comes twice the second, of one that is left out where it would be."""
    return max(int(day.replace(fold=fold).timestamp()) for fold in (0, 1))
