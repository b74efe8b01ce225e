"""When to look at a stream again: what a look was like, and the seam where a policy decides. Pure."""

from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

import msgspec

USUAL: Final = 60.0
"""Seconds between two looks where nobody says how fresh it has to be."""

LEAST: Final = 1.0
FAILED: Final = (5.0, 30.0, 120.0, 600.0)
"""Seconds after which a look that failed is repeated: the first time, the second ..."""

DENIED: Final = 900.0
"""Seconds after which a refused credential is tried again."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at a stream was like.

    ``times`` are those of the new records where the source says them (a thousand of them at most), ``asked`` the seconds that
    the source wants between looks. ``trouble`` says why it did not come to its end; with ``denied`` somebody has to act.
    ``warning``: it did, and somebody should know this of the source. ``more``: it stopped where the next one goes on at once.
    """

    began: datetime
    ended: datetime
    records: int = 0
    new: int = 0
    requests: int = 0
    times: tuple[datetime, ...] = ()
    asked: float | None = None
    trouble: str | None = None
    warning: str | None = None
    denied: bool = False
    more: bool = False


class Next(NamedTuple):
    """When, and why then, in words for ``status``."""

    at: datetime
    reason: str


class Pace(Protocol):
    """Decides when to look; one for each stream."""

    def next_look(self, look: Look, *, now: datetime) -> Next:
        """When to look after ``look``, which came to its end."""
        ...


class Regular:
    """Looks at fixed intervals: ``every`` seconds, else so that ``freshness`` (seconds) is kept."""

    def __init__(self, *, every: float | None, freshness: float | None) -> None:
        wanted = every if every is not None else USUAL if freshness is None else freshness / 2
        self._seconds = max(LEAST, wanted)

    def next_look(self, look: Look, *, now: datetime) -> Next:
        """See ``Pace``: from the beginning of the last one on."""
        if look.asked is not None and look.asked > self._seconds:
            return Next(max(now, look.began + timedelta(seconds=look.asked)), "as often as the source wants it")
        return Next(max(now, look.began + timedelta(seconds=self._seconds)), "the next look")


def after_failure(look: Look, failures: int, *, now: datetime) -> Next:
    """When to look after one that failed, of ``failures`` in a row."""
    seconds = DENIED if look.denied else FAILED[min(failures, len(FAILED)) - 1]
    return Next(now + timedelta(seconds=seconds), "another try")
