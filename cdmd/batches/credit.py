"""How many of a connector's events are durable and not applied yet, so that a pull connector waits."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Final

import anyio

from cdmd.models import Entry, Seq

CREDIT: Final = 5000
_ITEMS: Final = 1000
_TOGETHER: Final = 256
"""Where so many appends wait for others the newest are counted so many events at a time: what is far behind takes no memory."""


class Credit:
    """Counts what went into the journal against what was applied. What an earlier run left behind counts for everybody.

    ``shared``: others apply, too, so that it is known only up to where everything is applied (``everywhere``).
    """

    def __init__(self, *, head: Seq, position: Seq, shared: bool = False) -> None:
        self._shared, self._waiting = shared, deque[tuple[Seq, Counter[str]]]()
        self._head_at_start, self._position = head, position
        self._behind: Counter[str] = Counter()
        self._applied = anyio.Event()

    def journaled(self, first: Seq, entries: Sequence[Entry]) -> None:
        """These entries are durable now; ``first`` is the first one's sequence number."""
        done = max(self._head_at_start, self._position)
        for source, count in Counter([entry.event.source for entry in entries[max(0, done + 1 - first) :]]).items():
            self._behind[source.partition(".")[0]] += count
        if self._shared:
            self._wait(Seq(first + len(entries) - 1), [entry.event.connector for entry in entries[max(0, done + 1 - first) :]])

    def _wait(self, last: Seq, connectors: Sequence[str]) -> None:
        came = Counter(connectors)
        if len(self._waiting) >= _ITEMS and self._waiting[-1][1].total() < _TOGETHER:
            came += self._waiting.pop()[1]
        self._waiting.append((last, came))

    def everywhere(self, position: Seq) -> None:
        """Everything up to ``position`` is done, whoever did it."""
        while self._waiting and self._waiting[0][0] <= position:
            self._behind.subtract(self._waiting.popleft()[1])
        self.applied(position, ())

    def applied(self, position: Seq, done: Iterable[tuple[Seq, str]]) -> None:
        """Everything up to ``position`` is done, among it these (sequence number, source)."""
        self._position, before = position, self._head_at_start
        for source, count in Counter([source for seq, source in done if seq > before]).items():
            connector = source.partition(".")[0]
            self._behind[connector] = max(0, self._behind[connector] - count)
        self._applied.set()
        self._applied = anyio.Event()

    def backlog(self, connector: str) -> int:
        """Its events that are durable and not applied; never too few."""
        return self._behind[connector] + max(0, self._head_at_start - self._position)

    async def wait(self, connector: str, *, limit: int = CREDIT) -> None:
        """Return once fewer than ``limit`` of its events are behind."""
        while self.backlog(connector) >= limit:
            await self._applied.wait()
