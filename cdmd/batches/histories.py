"""A profile's stored activities, some at a time: however many there are, nobody else waits and memory is bounded."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

import anyio.lowlevel

from cdmd.contracts import Store
from cdmd.errors import Damaged
from cdmd.models import Activity, Seq

_AT_ONCE: Final = 200


async def pages(store: Store, heads: Iterable[Seq], *, at_once: int = _AT_ONCE) -> AsyncIterator[Sequence[Activity]]:
    """All activities from ``heads`` back. Raises ``Damaged`` and ``NotDurable``."""
    rest, met = list(heads), set[Seq]()
    while rest:
        if not met.isdisjoint(rest):
            raise Damaged("the store is damaged: activities stand before each other in a circle; cdmctl verify says more")
        met.update(rest)
        page = await store.membership.history(rest, each=max(1, at_once // len(rest)))
        yield page.activities
        rest = list(page.rest)
        await anyio.lowlevel.checkpoint()
