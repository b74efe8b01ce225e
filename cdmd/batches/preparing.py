"""A decision prepared where it does not hold the loop: a backlog takes tens of milliseconds before anything is asked."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import anyio.to_thread

from cdmd.batches.deciding import Decision
from cdmd.batches.rules import Rules
from cdmd.models import Event, Item, Micros, Seq

_FEW: Final = 100
"""So many events are prepared sooner than a thread could be asked to."""


async def prepared(
    rules: Rules, work: Sequence[tuple[Item, Event]], *, position: Seq | None, parked: int, now: Micros
) -> Decision:
    """The decision about ``work``; see there."""
    make = partial(Decision, rules, work, position=position, parked=parked, now=now)
    return make() if len(work) <= _FEW else await anyio.to_thread.run_sync(make)
