"""What one listing found, page by page, and no more of it in memory than is taken at once. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from cdmd.connectors.files.area import Listed
from cdmd.connectors.files.names import shown

MOST_AT_ONCE: Final = 1_000
"""Files that are taken after one listing; the others wait for the next one."""


class Looked(NamedTuple):
    """What a look brought: how many new files, and how soon a file that settles may be whole."""

    arrived: int
    settling: float | None

    def reason(self, denied: Sequence[bytes], *, held: int) -> str:
        """What is waited for, with the folders that could not be looked into and how many removals wait for somebody."""
        settling = "" if self.settling is None else ", files are settling"
        waits = f"; {held} removals wait for approval (cdmctl snapshot)" if held else ""
        names = ", ".join(map(shown, denied[:5]))
        return "the next look" + settling + waits + (f"; folders that cannot be looked into: {names}" if names else "")


class Found:
    """What one listing found, page by page; no more of it than is taken at once."""

    def __init__(self) -> None:
        self.ready: list[tuple[int, bytes]] = []
        self.tidy: list[bytes] = []
        self.on_their_way: set[int] = set()
        self.arrived = 0
        self.settling: float | None = None

    def take(self, listed: Listed, *, all_of_them: bool) -> None:
        """The oldest ones first, as the other side dates them, then by name."""
        self.ready.append((listed.version.mtime, listed.path))
        if not all_of_them and len(self.ready) >= 2 * MOST_AT_ONCE:
            self.ready.sort()
            del self.ready[MOST_AT_ONCE:]

    def settle(self, seconds: float) -> None:
        """A file may be whole in so many seconds."""
        self.settling = seconds if self.settling is None else min(self.settling, seconds)
