"""Who hears of every step of an event's way, to trace it. Not for: anything that an event or a delivery depends on."""

from collections.abc import Sequence
from typing import Protocol

from cdmd.models import Entry, Item, Seq, Settled


class Witness(Protocol):
    """Told on the event loop, after the step; it neither waits nor raises, and forgets rather than grows."""

    def journaled(self, first: Seq, entries: Sequence[Entry]) -> None:
        """These are durable now; ``first`` is the first one's sequence number."""
        ...

    def passed(self, item: Item, stage: str) -> None:
        """The store has what became of it: ``applied``, ``filtered``, ``repeated``, ``dead`` or ``parked``."""
        ...

    def settled(self, settled: Sequence[Settled]) -> None:
        """These attempts to deliver ended."""
        ...
