"""Bulk gives way while others bring events one by one: their senders wait for the same interpreter and the same disk.

While a load has all it can have, three threads want the interpreter, and each of the few times that an acknowledgement needs it
costs a turn of the other two. So a load then works one step at a time (read, journal, apply), and rests as long as it works.
Not here: the bounds of what pull connectors bring (``cdmd.batches.credit``).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from cdmd.contracts import Clock
from cdmd.models import Entry

BULK: Final = 100
"""A pull connector that brings so many records at once brings bulk; all else is live."""

LITTLE: Final = 20
"""Records of bulk that are mapped and encoded at one go while live events arrive: a millisecond's work."""

_LIVE: Final = 10.0
"""Live events a second that bulk gives way to: fewer are hardly ever met by it."""

AHEAD: Final = 4_000
"""So many events of bulk may be durable and not applied when it goes on: the next batches are made while some are applied,
and are applied together then. A page of an index that several of them change is written once (tests/bench/bulk.py)."""

AHEAD_OF_ANOTHER: Final = 3_000
"""The same where another process applies it: what is made meanwhile keeps neither waiting."""

_LOOK: Final = 0.25
_LONGEST: Final = 0.25
"""Seconds that bulk rests at most after each batch, however slow the machine is."""


class Courtesy:
    """Whether live events arrive now, and what bulk does then.

    ``credit(connector, n)`` waits until fewer than ``n`` of the connector's events are durable and not applied; where nobody
    has to be given way to, ``ahead`` of a batch of bulk may be.
    """

    def __init__(self, clock: Clock, credit: Callable[[str, int], Awaitable[None]], *, ahead: int = AHEAD) -> None:
        self._clock, self._credit, self._ahead = clock, credit, ahead
        self._bulky: dict[str, float] = {}  # when they went on last
        self._live = 0
        self._looked = clock.monotonic()
        self._wanted = False

    def journaled(self, entries: Sequence[Entry]) -> bool:
        """These are durable: a batch of one connector. Whether they are live."""
        live = bool(entries) and entries[0].event.connector not in self._bulky
        if live:
            self._live += len(entries)
        return live

    @property
    def wanted(self) -> bool:
        """Whether bulk has to give way, as of a moment ago."""
        passed = self._clock.monotonic() - self._looked
        if passed >= _LOOK:
            self._wanted = self._live >= _LIVE * passed
            self._live, self._looked = 0, self._looked + passed
        return self._wanted

    async def give_way(self, connector: str) -> None:
        """Return when ``connector`` may go on with a batch of bulk."""
        began = self._bulky.setdefault(connector, self._clock.monotonic())
        await self._credit(connector, 1 if self.wanted else self._ahead + 1)
        if self.wanted:
            await self._clock.sleep(min(self._clock.monotonic() - began, _LONGEST))
        self._bulky[connector] = self._clock.monotonic()
