"""When files are due, and how far a target has come. Pure; after time that was missed only the last file is owed."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from cdmd.kit.daily import At

_AHEAD: Final = timedelta(hours=36)
"""A file that was written for a moment so far ahead was written by a clock that was wrong."""


class Slots(msgspec.Struct, frozen=True, kw_only=True):
    """At times of day, or ``every`` so many seconds (counted from 1970, so that a restart changes nothing)."""

    at: Sequence[At] = ()
    every: float | None = None

    def next(self, now: datetime) -> datetime:
        """The next moment after ``now``."""
        if self.every is not None:
            return self._whole(now) + timedelta(seconds=self.every)
        return min(one.next(now) for one in self.at)

    def last(self, now: datetime) -> datetime:
        """The last one up to ``now``."""
        return self._whole(now) if self.every is not None else max(one.last(now) for one in self.at)

    def _whole(self, now: datetime) -> datetime:
        every = self.every or 1.0
        return datetime.fromtimestamp(now.timestamp() // every * every, UTC)


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept over restarts.

    ``slot``: the last file that was owed was written then; ``written``: the moment of the last file of all. ``settling``: the
    place up to which a file holds what waited, while that is being noted. ``kept``: which register of the members is the last
    file's, and of how many parts it is.
    """

    slot: datetime | None = None
    written: datetime | None = None
    settling: int | None = None
    kept: tuple[int, int] = (0, 0)

    def begun(self, slots: Slots, now: datetime) -> "Progress":
        """From the first start on, files are owed; none of a time before."""
        if self.slot is not None and self.slot <= now + _AHEAD:
            return self
        return msgspec.structs.replace(self, slot=slots.last(now))

    def owed(self, slots: Slots, now: datetime) -> datetime | None:
        """The moment of the file that is owed now."""
        due = slots.last(now)
        return due if self.slot is not None and due > self.slot else None

    def unasked(self, now: datetime) -> datetime:
        """The moment of a file that is written although none is due: no name is used twice."""
        moment = now.replace(microsecond=0)
        return moment if self.written is None else max(moment, self.written + timedelta(seconds=1))
