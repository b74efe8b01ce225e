"""Whoever changes what is live does it alone; once the way down has begun nobody does any more.

Not here: what is changed, and what a change that is cut off leaves: whoever ends all of it takes what is there.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from cdmd.errors import Ending


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
        """Refuse whatever comes from now on, and wait until what goes on has noticed."""
        self._over = True
        async with self._lock:
            yield
