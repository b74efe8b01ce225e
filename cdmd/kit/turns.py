"""Who is next among those that wait for a turn: by priority, and in turn among the askers of one. Pure.

Nobody starves: after four turns in a row for higher priorities, one goes to whoever has waited longest below them.
"""

from typing import Final

_IN_A_ROW: Final = 4


class Ticket:
    """A place among those that wait. ``number`` grows with every ticket; a smaller ``priority`` comes first."""

    __slots__ = ("asker", "number", "priority")

    def __init__(self, asker: str, priority: int, number: int) -> None:
        self.asker, self.priority, self.number = asker, priority, number


class Turns:
    """Those that wait. Askers take turns within a priority; the tickets of one asker are served in their order."""

    def __init__(self) -> None:
        self._waiting: list[Ticket] = []
        self._served: dict[tuple[int, str], int] = {}
        self._numbers = self._rounds = self._in_a_row = 0
        self._first: Ticket | None = None  # as long as nothing changes

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, asker: str, priority: int) -> Ticket:
        """Wait from now on."""
        self._numbers += 1
        ticket = Ticket(asker, priority, self._numbers)
        self._waiting.append(ticket)
        self._first = None
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Wait no longer (also for one whose turn it was)."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)
            self._first = None
        if not self._waiting:
            self._served.clear()

    def first(self) -> Ticket | None:
        """Whose turn is next; asking changes nothing."""
        if self._first is None and self._waiting:
            self._first = self._chosen()
        return self._first

    def _chosen(self) -> Ticket:
        top = min(ticket.priority for ticket in self._waiting)
        below = [ticket for ticket in self._waiting if ticket.priority > top]
        if below and self._in_a_row >= _IN_A_ROW:
            return min(below, key=lambda ticket: ticket.number)
        level = [ticket for ticket in self._waiting if ticket.priority == top]
        return min(level, key=lambda ticket: (self._served.get((top, ticket.asker), 0), ticket.number))

    def take(self, ticket: Ticket) -> None:
        """It is this one's turn now."""
        self._rounds += 1
        self._served[ticket.priority, ticket.asker] = self._rounds
        lowers = any(other.priority > ticket.priority for other in self._waiting)
        self._in_a_row = self._in_a_row + 1 if lowers else 0
        self.leave(ticket)
