"""The newest journal entries in memory, so that the pipeline reads behind the head without touching the disk."""

from collections.abc import Sequence
from typing import Final

from cdmd.models import Entry, Journaled, Seq

_DEAD_MOST: Final = 256
"""Entries that were let go of and are still in the list: they take memory that nobody counts."""

_AT_ONCE: Final = 2 * _DEAD_MOST
"""Of what nobody has read so many go at once: each takes a while, and the loop has others to serve."""


class Tail:
    """A run of consecutive entries, bounded in number and in encoded bytes; what was read on from is let go of.

    Who reads it goes forwards; whoever else wants an entry again finds it on the disk. When it is full its reader is so far
    behind that it reads from the disk for a good while: then nothing is held until that reader has come near the end again.
    To keep what nobody reads costs the intake about 3 µs an event (tests/bench/pieces.py): it is cold when it goes.
    """

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self._entries: list[Entry] = []
        self._sizes: list[int] = []
        self._start = 0
        self._first = 1
        self._bytes = 0
        self._followed = True

    def extend(self, first: Seq, entries: Sequence[Entry], sizes: Sequence[int]) -> None:
        """Add entries numbered from ``first``; a gap to what is held forgets what was before it."""
        if first != self._first + len(self):
            self._entries, self._sizes, self._start, self._bytes, self._first = [], [], 0, 0, first
        if self._followed:
            self._entries.extend(entries)
            self._sizes.extend(sizes)
            self._bytes += sum(sizes)
            if len(self) > self._max_events or self._bytes > self._max_bytes:
                self._followed = False
                self._drop(len(self))
        else:
            self._first += len(entries)
        self._let_go(_AT_ONCE)

    def clear(self) -> None:
        """Hold nothing: what was held may be another one on the disk."""
        self._drop(len(self))
        self._entries, self._sizes, self._start = [], [], 0

    def _drop(self, count: int) -> None:
        self._bytes -= sum(self._sizes[self._start : self._start + count])
        self._start += count
        self._first += count

    def _let_go(self, most: int) -> None:
        """Forget what was dropped, ``most`` of it."""
        if self._start > min(_DEAD_MOST, len(self._entries) // 2):
            going = min(self._start, most)
            del self._entries[:going], self._sizes[:going]
            self._start -= going

    def __len__(self) -> int:
        return len(self._entries) - self._start

    @property
    def bytes(self) -> int:
        """Encoded bytes of what is held."""
        return self._bytes

    def read(self, after: Seq, limit: int) -> list[Journaled] | None:
        """Up to ``limit`` entries after ``after``; None where the disk has to be asked."""
        skip = after + 1 - self._first
        if not 0 <= skip < len(self):
            # What is read from the disk now ends where the next ones begin, if it is not too much for one time.
            self._followed = self._followed or after + limit >= self._first - 1
            return None
        self._drop(skip)
        self._let_go(self._start)
        start = self._start
        return [Journaled(Seq(after + n), entry) for n, entry in enumerate(self._entries[start : start + limit], 1)]
