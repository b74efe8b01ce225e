"""Which failures are the things' own that were asked for, and which are everybody's. Pure.

While something else succeeds, what fails fails by itself; of a source that is down, or with a credential that opens nothing,
nothing succeeds. Not here: when anything is tried again.
"""

from typing import Final

EVERYBODYS: Final = 3
"""So many things that failed one after the other, with no success between, are no trouble of their own."""


class Streak:
    """What failed since the last success; ``succeeded`` counts the successes, so that one can be told from the next."""

    def __init__(self) -> None:
        self.succeeded = 0
        self._failed: set[bytes] = set()
        self._length = 0

    def success(self) -> None:
        """Something was answered."""
        self.succeeded += 1
        self._failed.clear()
        self._length = 0

    def failure(self, thing: bytes) -> None:
        """``thing`` was not."""
        self._length += 1
        if not self.everybodys:
            self._failed.add(thing)

    @property
    def long(self) -> bool:
        """Whether so many failed, be it always the same thing."""
        return self._length >= EVERYBODYS

    @property
    def everybodys(self) -> bool:
        """Whether it is not the things' own."""
        return len(self._failed) >= EVERYBODYS
