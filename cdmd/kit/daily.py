"""Times of day by the clocks of a zone: ``"02:30 Europe/Stockholm"``. No I/O but for the zone's file."""

import re
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

    def next(self, now: datetime) -> datetime:
        """The next moment after ``now`` that this clock shows; one that is left out comes an hour later."""
        zone = ZoneInfo(self.zone)
        local = now.astimezone(zone)
        for day in range(3):
            at = datetime.combine(local.date() + timedelta(days=day), time(self.hour, self.minute), zone)
            if at.timestamp() > now.timestamp():
                return at.astimezone(now.tzinfo)
        raise AssertionError("a day has this time")
