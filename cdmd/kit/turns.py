"""Who is next among those that wait for a turn: by priority, and in turn among the askers of one. Pure.

Nobody starves: after four turns in a row for higher priorities, one goes to whoever has waited longest below them.
"""

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Final

_IN_A_ROW: Final = 4
_SLACK: Final = 64


class Ticket:
    """A place among those that wait. ``number`` grows with every ticket; a smaller ``priority`` comes first."""

    __slots__ = ("asker", "number", "priority")

    def __init__(self, asker: str, priority: int, number: int) -> None:
        self.asker, self.priority, self.number = asker, priority, number


class _Level:
    """Those of one priority. An entry of the heap holds while its ticket is its asker's first and nobody served the asker."""

    def __init__(self) -> None:
        self.waiting: dict[int, Ticket] = {}  # by number, the oldest first
        self._askers: dict[str, deque[Ticket]] = {}
        self._served: dict[str, int] = {}
        self._heap: list[tuple[int, int, str]] = []  # (when its asker was served, number, asker)

    def join(self, ticket: Ticket) -> None:
        self.waiting[ticket.number] = ticket
        queue = self._askers.setdefault(ticket.asker, deque())
        queue.append(ticket)
        if len(queue) == 1:
            self._offer(ticket.asker)

    def leave(self, ticket: Ticket) -> None:
        del self.waiting[ticket.number]
        queue = self._askers[ticket.asker]
        queue.remove(ticket)
        if queue:
            self._offer(ticket.asker)
        else:
            del self._askers[ticket.asker]

    def serve(self, asker: str, round_: int) -> None:
        self._served[asker] = round_

    def first(self) -> Ticket:
        """Of whoever was served longest ago."""
        while True:
            served, number, asker = self._heap[0]
            queue = self._askers.get(asker)
            if queue and queue[0].number == number and self._served.get(asker, 0) == served:
                return queue[0]
            heappop(self._heap)

    def _offer(self, asker: str) -> None:
        heappush(self._heap, self._entry(asker))
        if len(self._heap) > 2 * len(self._askers) + _SLACK:
            self._heap = [self._entry(one) for one in self._askers]
            heapify(self._heap)

    def _entry(self, asker: str) -> tuple[int, int, str]:
        return (self._served.get(asker, 0), self._askers[asker][0].number, asker)


class Turns:
    """Those that wait. Askers take turns within a priority; the tickets of one asker are served in their order."""

    def __init__(self) -> None:
        self._levels: dict[int, _Level] = {}
        self._numbers = self._rounds = self._in_a_row = 0
        self._first: Ticket | None = None  # as long as nothing changes

    def __len__(self) -> int:
        return sum(len(level.waiting) for level in self._levels.values())

    def join(self, asker: str, priority: int) -> Ticket:
        """Wait from now on."""
        self._numbers += 1
        ticket = Ticket(asker, priority, self._numbers)
        self._levels.setdefault(priority, _Level()).join(ticket)
        self._first = None
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Wait no longer (also for one whose turn it was)."""
        level = self._levels.get(ticket.priority)
        if level is not None and ticket.number in level.waiting:
            level.leave(ticket)
            self._first = None
            if len(self) == 0:
                self._levels.clear()

    def first(self) -> Ticket | None:
        """Whose turn is next; asking changes nothing."""
        if self._first is None and len(self):
            self._first = self._chosen()
        return self._first

    def _chosen(self) -> Ticket:
        top, *below = sorted(priority for priority, level in self._levels.items() if level.waiting)
        if below and self._in_a_row >= _IN_A_ROW:
            oldest = (next(iter(self._levels[one].waiting.values())) for one in below)
            return min(oldest, key=lambda ticket: ticket.number)
        return self._levels[top].first()

    def take(self, ticket: Ticket) -> None:
        """It is this one's turn now."""
        self._rounds += 1
        self._levels[ticket.priority].serve(ticket.asker, self._rounds)
        lowers = any(level.waiting for priority, level in self._levels.items() if priority > ticket.priority)
        self._in_a_row = self._in_a_row + 1 if lowers else 0
        self.leave(ticket)
