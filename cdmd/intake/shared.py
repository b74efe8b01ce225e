"""What all sources share of the daemon, handed in once. Not here: what they do with it (``way_in``, ``source``)."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from cdmd.contracts import Budget, Clock, Feeds, Journal, Screen
from cdmd.intake.courtesy import Courtesy
from cdmd.intake.door import Door
from cdmd.intake.queue import JournalQueue
from cdmd.intake.recent import Recent
from cdmd.intake.tally import Tally
from cdmd.kit.quantities import Rate
from cdmd.models import Entry, Event, Record, Seq


class Digesting(Protocol):
    """Keys for what a connector digests itself."""

    def secret(self, connector: str, purpose: str) -> bytes:
        """32 bytes to key a connector's own digests with."""
        ...


class Budgets(Protocol):
    """The budgets of all hosts."""

    def of(self, connector: str, origin: str, credential: str, limits: Sequence[Rate]) -> Budget:
        """See ``Source.budget``."""
        ...


class Intake(msgspec.Struct, frozen=True, kw_only=True):
    """What all sources share. ``journaled(first, entries)`` is told of every durable batch; ``credit`` holds pull back.

    ``courtesy`` holds bulk back while live events arrive. ``public_url`` is what senders write before the path. ``partition``
    says which of ``lanes`` an event goes into, where there are several: what it says modulo their number. ``scratch`` is the
    folder below which each connector has one, ``room()`` the bytes that may be written there.
    """

    journal: Journal
    feeds: Feeds
    queue: JournalQueue
    tally: Tally
    recent: Recent
    door: Door
    screen: Screen
    digests: Digesting
    clock: Clock
    journaled: Callable[[Seq, Sequence[Entry]], None]
    credit: Callable[[str], Awaitable[None]]
    courtesy: Courtesy
    budgets: Budgets
    public_url: str | None = None
    scratch: Path = Path("scratch")
    room: Callable[[], int] = lambda: 0
    observe: Callable[[str, Record], None] = lambda connector, record: None
    partition: Callable[[Event], int] | None = None
    lanes: int = 1
