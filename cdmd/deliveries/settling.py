"""Writes what became of deliveries: all that ended while the last ones were written, and a moment longer, in one transaction.

A transaction of a few costs nearly as much as one of a hundred, and takes the store from what is received (``batches.pacing``).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio
import structlog

from cdmd.contracts import Clock, Outbox
from cdmd.errors import CdmdError
from cdmd.models import Settled

_MOST: Final = 500
_LONGEST_PAUSE: Final = 5.0
_REST: Final = 0.02
"""Seconds that lie between two, where nobody waits for one: the next of a lane does."""


class Settling:
    """One task for all targets. ``problem`` says why nothing can be noted now; what was delivered is then delivered again."""

    def __init__(self, outbox: Outbox, *, clock: Clock, done: Callable[[Sequence[Settled]], None]) -> None:
        self._outbox, self._clock, self._done = outbox, clock, done
        self._waiting: list[Settled] = []
        self._changed = anyio.Event()
        self._urgent = anyio.Event()
        self._written = anyio.Event()
        self.problem: str | None = None
        self._log: Any = structlog.get_logger()

    def put(self, settled: Sequence[Settled]) -> None:
        """Write these soon. How many there can be is bounded by what the senders hold."""
        self._waiting += settled
        self._changed.set()
        if any(one.delivery.lane is not None for one in settled) or len(self._waiting) >= _MOST:
            self._urgent.set()

    async def wait(self, settled: Sequence[Settled]) -> None:
        """Return once these are written."""
        self.put(settled)
        self._urgent.set()
        places = {id(one) for one in settled}
        while any(id(one) in places for one in self._waiting):
            await self._written.wait()

    async def flush(self, seconds: float) -> None:
        """Return once all that ended is written, at the latest after ``seconds``: what is not is delivered again."""
        with anyio.move_on_after(seconds):
            while self._waiting:
                self._urgent.set()
                await self._written.wait()

    async def run(self) -> None:
        """Until cancelled."""
        pause = 0.05
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            while self._waiting:
                some, self._urgent = self._waiting[:_MOST], anyio.Event()
                try:
                    await self._outbox.settle(some)
                except CdmdError as error:
                    if self.problem is None:
                        self._log.warning("deliveries_not_noted", error=error)
                    self.problem = f"what was delivered cannot be noted: {error}"
                    await self._clock.sleep(pause)
                    pause = min(_LONGEST_PAUSE, pause * 2)
                    continue
                self.problem, pause = None, 0.05
                del self._waiting[: len(some)]
                self._written.set()
                self._written = anyio.Event()
                self._done(some)
                with anyio.move_on_after(_REST):
                    await self._urgent.wait()
