"""Times of day by the clocks of a zone: ``"02:30 Europe/Stockholm"``. No I/O but for the zone's file."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

_AT: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?: (\S+))?")


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

    @classmethod
    def each(cls, given: "str | Sequence[str] | None") -> "tuple[At, ...]":
        """Those of a key that takes one, several or none. Raises ValueError."""
        return () if given is None else tuple(cls.parse(text) for text in ((given,) if isinstance(given, str) else given))

    @property
    def clock(self) -> ZoneInfo:
        """The zone."""
        return ZoneInfo(self.zone)

    def next(self, now: datetime) -> datetime:
        """The next moment after ``now`` that this clock shows; one that is left out comes an hour later."""
        return next(at for at in self._around(now, 0, 1, 2) if at.timestamp() > now.timestamp())

    def last(self, now: datetime) -> datetime:
        """The last such moment up to ``now``."""
        return next(at for at in self._around(now, 1, 0, -1, -2) if at.timestamp() <= now.timestamp())

    def _around(self, now: datetime, *days: int) -> Iterator[datetime]:
        """This time of the days around ``now``."""
        today = now.astimezone(self.clock).date()
        for day in days:
            local = datetime.combine(today + timedelta(days=day), time(self.hour, self.minute), self.clock)
            yield local.astimezone(now.tzinfo)
