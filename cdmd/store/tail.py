"""The newest journal entries in memory, so that the pipeline reads behind the head without touching the disk."""

from collections.abc import Sequence
from typing import Final

from cdmd.models import Entry, Journaled, Seq

_DEAD_MOST: Final = 256
"""Entries that were let go of and are still in the list: they take memory that nobody counts."""


class Tail:
    """A run of consecutive entries, bounded in number and in encoded bytes; the oldest go first, and what was read on from.

    Who reads it goes forwards; whoever else wants an entry again finds it on the disk.
    """

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self._entries: list[Entry] = []
        self._sizes: list[int] = []
        self._start = 0
        self._first = 1
        self._bytes = 0

    def extend(self, first: Seq, entries: Sequence[Entry], sizes: Sequence[int]) -> None:
        """Add entries numbered from ``first``; a gap to what is held forgets what was before it."""
        if first != self._first + len(self):
            self._entries, self._sizes, self._start, self._bytes, self._first = [], [], 0, 0, first
        self._entries.extend(entries)
        self._sizes.extend(sizes)
        self._bytes += sum(sizes)
        self._drop(max(0, len(self) - self._max_events))
        while self._bytes > self._max_bytes:
            self._drop(1)
        self._let_go()

    def clear(self) -> None:
        """Hold nothing: what was held may be another one on the disk."""
        self._drop(len(self))
        self._entries, self._sizes, self._start = [], [], 0

    def _drop(self, count: int) -> None:
        self._bytes -= sum(self._sizes[self._start : self._start + count])
        self._start += count
        self._first += count

    def _let_go(self) -> None:
        if self._start > min(_DEAD_MOST, len(self._entries) // 2):
            del self._entries[: self._start], self._sizes[: self._start]
            self._start = 0

    def __len__(self) -> int:
        return len(self._entries) - self._start

    @property
    def bytes(self) -> int:
        """Encoded bytes of what is held."""
        return self._bytes

    def read(self, after: Seq, limit: int) -> list[Journaled] | None:
        """Up to ``limit`` entries after ``after``; None where the disk has to be asked."""
        skip = after + 1 - self._first
        if skip < 0 or skip >= len(self):
            return None
        self._drop(skip)
        self._let_go()
        start = self._start
        return [Journaled(Seq(after + n), entry) for n, entry in enumerate(self._entries[start : start + limit], 1)]
