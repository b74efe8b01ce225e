"""Whoever changes what is live does it alone; once the way down has begun nobody does any more.

Not here: what is changed, and what a change that is cut off leaves: whoever ends all of it takes what is there.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio

from cdmd.errors import Ending

_PATIENCE: Final = 6.0
"""Seconds: longer than a child that does not end, and what it was answered, are waited for."""


class Changing:
    """``change`` for each change, ``last`` for the end of all; a long change asks ``check`` after each of its steps."""

    def __init__(self) -> None:
        self._lock, self._over = anyio.Lock(), False

    @property
    def busy(self) -> bool:
        """Whether a change is being made."""
        return self._lock.locked()

    def check(self) -> None:
        """Raise ``Ending`` where nothing is to be changed any more."""
        if self._over:
            raise Ending("the daemon is stopping; nothing is changed now")

    @asynccontextmanager
    async def change(self) -> AsyncIterator[None]:
        """Wait for one's turn. Raises ``Ending``."""
        async with self._lock:
            self.check()
            yield

    @asynccontextmanager
    async def last(self) -> AsyncIterator[None]:
        """Refuse whatever comes from now on, and wait until what goes on has noticed: a few seconds at most."""
        self._over = True
        with anyio.move_on_after(_PATIENCE) as waiting:
            await self._lock.acquire()
        try:
            yield
        finally:
            if not waiting.cancelled_caught:
                self._lock.release()
