"""What one listing found, page by page, and no more of it in memory than is taken at once. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cdmd.connectors.files.area import Listed
from cdmd.connectors.files.names import shown
from cdmd.kit.measures import span

MOST_AT_ONCE: Final = 1_000
"""Files that are taken after one listing; the others wait for the next one."""


_SAME_TIME: Final = timedelta(minutes=1)
"""Clocks that differ by no more agree."""

_DAY: Final = timedelta(days=1)


class Looked(NamedTuple):
    """What a look brought: how many new files, how soon a file that settles may be whole, and what is odd about their dates."""

    arrived: int
    settling: float | None
    dated: str | None = None

    def reason(self, denied: Sequence[bytes], *, held: int, stable_for: float) -> str:
        """What is waited for, with the folders that could not be looked into and how many removals wait for somebody.

        ``stable_for`` in seconds is how long a file has to stay the same before it is read.
        """
        settling = "" if self.settling is None else f", files are settling ({settles(stable_for)})"
        waits = f"; {held} removals wait for approval (cdmctl snapshot)" if held else ""
        names = ", ".join(map(shown, denied[:5]))
        dated = f"; the newest file is {self.dated}: one of the two clocks is wrong" if self.dated else ""
        folders = f"; folders that cannot be looked into: {names}" if names else ""
        return f"waits for the next look{settling}{waits}{folders}{dated}"


def settles(stable_for: float) -> str:
    """When a file is read that was seen; ``stable_for`` in seconds."""
    return f"read once the same for {span(stable_for)}"


def dated_ahead(modified: datetime | None, now: datetime) -> str | None:
    """That a file is dated ahead of our clock, and by how much; None where it is not. It is only said: no date is relied on."""
    if modified is None or modified - now <= _SAME_TIME:
        return None
    ahead = modified - now
    hours = f"{ahead / timedelta(hours=1):.1f} h"
    return f"dated {f'{ahead.days} days' if ahead > 2 * _DAY else hours} ahead of our clock"


class Found:
    """What one listing found, page by page; no more of it than is taken at once."""

    def __init__(self) -> None:
        self.ready: list[tuple[int, bytes]] = []
        self.tidy: list[bytes] = []
        self.on_their_way: set[int] = set()
        self.arrived = self.newest = 0
        self.settling: float | None = None

    def saw(self, page: Sequence[Listed]) -> None:
        """These are there."""
        self.newest = max([self.newest, *(one.version.mtime for one in page if one.fault is None)])

    def take(self, listed: Listed, *, all_of_them: bool) -> None:
        """The oldest ones first, as the other side dates them, then by name."""
        self.ready.append((listed.version.mtime, listed.path))
        if not all_of_them and len(self.ready) >= 2 * MOST_AT_ONCE:
            self.ready.sort()
            del self.ready[MOST_AT_ONCE:]

    def settle(self, seconds: float) -> None:
        """A file may be whole in so many seconds."""
        self.settling = seconds if self.settling is None else min(self.settling, seconds)
