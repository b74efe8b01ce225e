"""What waits for targets, beside all else in the store. Its contract test-suite is ``tests/store/contract_outbox.py``."""

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from cdmd.models import (
    Activity,
    Attempt,
    Delivery,
    Micros,
    Outgoing,
    ProfileState,
    Queued,
    Seq,
    Settled,
    TargetNote,
    TargetTotals,
)


class AttemptFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which attempts: by target, by the deliveries' ids (the first and the last), by outcome; all where nothing is said."""

    target: str | None = None
    ids: tuple[str, str] | None = None
    outcome: str | None = None
    limit: int = 100


class Outbox(Protocol):
    """Deliveries are written by ``Store.apply`` with the effects that they tell of; here they are sent from.

    Writes are durable as everything in the store is: what a power cut takes back is sent again under the same id.
    """

    async def ready(self, target: str, now: Micros, *, limit: int, without: Collection[int] = ()) -> list[Delivery]:
        """What may be sent now, the longest due first, but for the places ``without``; bounded in bytes, too.

        Of each lane it is the first at most.
        """
        ...

    async def lane(self, target: str, lane: int, *, limit: int, after: int = 0) -> list[Delivery]:
        """What waits in a lane, in order, behind the place ``after``."""
        ...

    async def waiting(self, target: str, *, limit: int, after: int = 0) -> list[Delivery]:
        """What waits for the target in the order in which it was written."""
        ...

    async def next_due(self, target: str) -> Micros | None:
        """When the next one may be sent."""
        ...

    async def put(self, outgoing: Outgoing, *, now: Micros) -> int:
        """Write deliveries that no batch makes (replayed ones); returns how many there was room for."""
        ...

    async def settle(self, settled: Sequence[Settled]) -> None:
        """Write what became of these, with their attempts, at once.

        One that is no longer there is passed over: of its attempt nothing is kept that says whom it was about.
        """
        ...

    async def totals(self) -> list[TargetTotals]:
        """Every target that ever had a delivery, by name."""
        ...

    async def notes(self) -> dict[str, TargetNote]:
        """What is remembered of every target's endpoint."""
        ...

    async def note(self, target: str, note: TargetNote) -> None:
        """Remember this of a target's endpoint."""
        ...

    async def listed(self, *, target: str | None, failed: bool | None, limit: int) -> list[Queued]:
        """What waits or is set aside, the oldest first."""
        ...

    async def find(self, first: str, last: str) -> list[Queued]:
        """The deliveries in the outbox whose ids lie between these, both included; at most 1,000."""
        ...

    async def retry(self, *, target: str | None, id: str | None, limit: int, now: Micros) -> int:  # noqa: A002
        """Let what was set aside, or waits for a later attempt, go out now with all its attempts; returns how many."""
        ...

    async def attempts(self, which: AttemptFilter) -> list[Attempt]:
        """Attempts, the newest first."""
        ...

    async def applied(self, after: Seq, *, limit: int) -> list[tuple[Activity, ProfileState | None]]:
        """Stored activities behind ``after`` in order, each with the profile that it is part of now; for telling it again."""
        ...

    async def expire(self, *, before: Micros) -> int:
        """Forget attempts, and what was set aside, older than that; returns how many rows."""
        ...

    async def forget(self, target: str) -> int:
        """Drop a target with all that waits for it; returns how many deliveries went."""
        ...
