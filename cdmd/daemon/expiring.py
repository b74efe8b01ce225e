"""The clock's sweep: profiles whose windows let go of something leave and enter audiences without any event.

Slices through the store's one writer, each followed by a rest. Never ahead of the events: what has arrived before a step is
applied before it, so that a sweep that is repeated after a power cut says the same. Not here: what a step changes.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import anyio
import anyio.abc
import structlog

from cdmd.batches.sweeping import Expiring
from cdmd.contracts import Clock, Journal, Store
from cdmd.daemon.upkeep import Agreement
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.errors import CdmdError
from cdmd.models import Micros, to_micros
from cdmd.profiles.audiences import Audiences

SLICE: Final = 20
_LOOK: Final = 1.0
_AFTER_FAILURE: Final = 5.0
_REST: Final = 9.0
_LEAST_REST: Final = 0.005
"""A tenth of the time at most, a few milliseconds each: senders must not notice (tests/bench/expiry.py)."""

_MARGIN: Final = timedelta(seconds=2)
"""How long an event may take from its receipt into the journal without a sweep going past it."""


class Expiry:
    """``problem`` says why nothing expires now, None where it does."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        *,
        audiences: Callable[[], Audiences],
        clock: Clock,
        subscriptions: Callable[[], Subscriptions | None] = lambda: None,
    ) -> None:
        self._store, self._journal, self._audiences, self._clock = store, journal, audiences, clock
        self._subscriptions = subscriptions
        self._agreement = Agreement(clock)
        self.problem: str | None = None
        self._log: Any = structlog.get_logger()

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED) -> None:
        """Sweep until cancelled."""
        task_status.started()
        while True:
            began = self._clock.monotonic()
            try:
                done = await self.sweep()
            except CdmdError as error:
                self._failed(error)
                await self._clock.sleep(_AFTER_FAILURE)
                continue
            disturbed = self._agreement.disturbed()
            self.problem = disturbed and f"audiences do not follow the clock: {disturbed}"
            took = self._clock.monotonic() - began
            await self._clock.sleep(max(_LEAST_REST, took * _REST) if done == SLICE else _LOOK)

    async def sweep(self) -> int:
        """Bring some profiles up to now; returns how many were due (at most ``SLICE``). Raises CdmdError."""
        if self._agreement.disturbed():
            return 0
        upto = await self._horizon()
        keys = await self._store.membership.overdue(upto, limit=SLICE)
        if keys:
            now = to_micros(self._clock.now())
            wanted = self._subscriptions()
            slice_ = Expiring(self._audiences(), keys, upto=upto, journal_id=self._journal.id, now=now, subscriptions=wanted)
            await self._store.apply(slice_.wanted, slice_)
        return len(keys)

    async def lag(self) -> float:
        """For how many seconds the longest overdue profile has been due. Raises CdmdError."""
        first = await self._store.membership.first_due_profile()
        return 0.0 if first is None else max(0.0, (to_micros(self._clock.now()) - first) / 1_000_000)

    async def _horizon(self) -> Micros:
        """Up to when everything that has arrived is applied."""
        upto = to_micros(self._clock.now() - _MARGIN)
        if self._store.position < self._journal.head:
            for waiting in await self._journal.read(self._store.position, limit=1):
                upto = min(upto, Micros(to_micros(waiting.entry.event.received) - 1))
        return upto

    def _failed(self, error: CdmdError) -> None:
        if self.problem is None:
            self._log.warning("expiry_failed", error=error)
        self.problem = f"audiences do not follow the clock: {error}"
