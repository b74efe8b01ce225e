"""What the extensions made of an entry."""

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from cdmd.models.arriving import Fault
from cdmd.models.journaled import Entry
from cdmd.models.times import Digest, Micros, Seq

FAILED: Final = "failed"
"""What the outcome of a visit begins with where the call failed."""


class Extended(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One extension's visit to an event: who, how long (seconds), what became of it, which data keys it added."""

    extension: str
    seconds: float
    outcome: str
    added: Sequence[str] = ()


class Apply(msgspec.Struct, frozen=True, gc=False):
    """The event goes on to identity and profile."""


class Hold(msgspec.Struct, frozen=True):
    """The event waits in ``parked`` for an extension until ``due``; ``attempts`` counts the calls that failed."""

    extension: str
    due: Micros
    attempts: int
    reason: str


class Discard(msgspec.Struct, frozen=True):
    """An extension does not want the event: it is counted as filtered."""

    reason: str


class Bury(msgspec.Struct, frozen=True):
    """The event becomes a dead letter."""

    fault: Fault


Outcome: TypeAlias = Apply | Hold | Discard | Bury


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event on its way into the store: fresh from the journal, or back from ``parked`` (``resumed``).

    ``parked_since`` is when it was first parked. ``entry.event`` is already extended where extensions answered in time.
    ``retry`` marks a revived dead letter that was retried ``attempts`` times before. ``digest``: its occurrence's, if computed.
    ``began``: when the last calls of ``trace`` began (monotonic seconds), those that were made in this run.
    """

    seq: Seq
    entry: Entry
    outcome: Outcome
    trace: Sequence[Extended] = ()
    resumed: bool = False
    parked_since: Micros | None = None
    retry: bool = False
    attempts: int = 0
    digest: Digest | None = None
    began: Sequence[float] = ()
