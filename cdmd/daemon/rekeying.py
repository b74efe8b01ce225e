"""Keys what splits said in versions that did not: without the key, whoever has a copy could try addresses against it.

Once, in the background: until it is done it is read as what it will be. Not here: what keys it (``identity.keeping_apart``).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import anyio
import anyio.abc
import structlog

from cdmd.batches.parting import Keying, keyed
from cdmd.contracts import Clock, Store
from cdmd.daemon.mentions import merges, said_anew
from cdmd.errors import CdmdError
from cdmd.identity.identifiers import Kinds
from cdmd.identity.keeping_apart import Splits, says_plainly
from cdmd.store.keys import Digester

_OWNER: Final = "daemon:identity"
_NOTE: Final = "splits"
_DONE: Final = "keyed"
_PAUSE: Final = 60.0
_BUSY: Final = 0.1


def splits_of(digester: Digester) -> Splits:
    """What keys them here: the same wherever the digest key is the same."""
    return Splits(digester.secret(_OWNER, "splits"))


class Rekeying:
    """``kinds`` are those configured, with the key."""

    def __init__(self, store: Store, *, kinds: Callable[[], Kinds], clock: Clock) -> None:
        self._store, self._kinds, self._clock = store, kinds, clock
        self._log: Any = structlog.get_logger()

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED) -> None:
        """Do it where it was not done yet."""
        task_status.started()
        while True:
            try:
                return await self.rekey()
            except CdmdError as error:
                self._log.warning("rekeying_failed", error=error)
                await self._clock.sleep(_PAUSE)

    async def rekey(self) -> None:
        """All profiles and merges. Raises ``NotDurable`` and ``Damaged``; then it has to be repeated."""
        if await self._store.noted(_NOTE) == _DONE:
            return
        splits, count = self._kinds().splits, 0
        # A merge meanwhile may bring some of it to where it was keyed already.
        while found := await self._profiles(splits) + await merges(self._store, partial(keyed, splits), self._clock):
            count += found
        while count and not await self._store.forgetting.settled():
            await self._clock.sleep(_BUSY)
        await self._store.note(_NOTE, _DONE)
        if count:
            self._log.info("splits_keyed", count=count)

    async def _profiles(self, splits: Splits) -> int:
        return await said_anew(self._store, self._clock, says_plainly, lambda keys: Keying(keys, splits=splits))
