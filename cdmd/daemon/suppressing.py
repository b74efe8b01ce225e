"""Keeps the suppression list: in the journal, so that it is on the disk before anybody is told, and in memory for who asks.

Not here: what the list means for an event (``cdmd.privacy``).
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final

import anyio
import msgspec

from cdmd.contracts import Append, Clock, Journal, Naming
from cdmd.models import to_micros
from cdmd.privacy.screening import Pair
from cdmd.privacy.suppressions import Suppression, Suppressions

OWNER: Final = "daemon:privacy"
"""Whose state it is; no connector can have this name."""

LISTED: Final = b"s/"
PURPOSE: Final = "suppressions"
"""What the list's own key is made for."""

_KEY_CHECK: Final = ("", "the key that this list is made with")
_ENCODE: Final = msgspec.msgpack.encode


class SuppressionList:
    """``load`` before anything listens."""

    def __init__(self, journal: Journal, suppressions: Suppressions, *, clock: Clock) -> None:
        self._journal, self._suppressions, self._clock = journal, suppressions, clock
        self._changing = anyio.Lock()

    def __len__(self) -> int:
        return len(self._suppressions)

    @property
    def key_check(self) -> str:
        """Another one for a list that was made with another key."""
        return key_check(self._suppressions)

    async def load(self) -> None:
        """Read the list. Raises ``NotDurable`` and ``Damaged``."""
        self._suppressions.load([digest async for digest, _ in self.rows()])

    async def rows(self) -> AsyncIterator[tuple[bytes, Suppression]]:
        """All of it: digests, and what is kept beside each."""
        async for key, value in self._journal.scan(OWNER, LISTED):
            yield key.removeprefix(LISTED), msgspec.msgpack.decode(value, type=Suppression)

    async def add(
        self, pairs: Iterable[Pair], naming: Naming, *, erased: bool = False, beside: Mapping[bytes, bytes | None] = {}
    ) -> int:
        """Put these on the list, with their digests, and ``beside`` into the same commit; returns how many were not on it.

        On the disk, then in force, when this returns. Raises ``NotDurable``; then nothing has changed.
        """
        async with self._changing:
            pairs = list(pairs)
            digests, new = self._digests(pairs, naming), sum(not self._suppressions.holds(pair) for pair in pairs)
            row = _ENCODE(Suppression(to_micros(self._clock.now()), erased))
            # Who was erased is to be erased again after a restore, whatever is said of them later.
            rows = digests if erased else self._suppressions.missing(digests)
            state = {LISTED + digest: row for digest in rows} | dict(beside)
            await self._journal.append([Append(connector=OWNER, state=state)])
            self._suppressions.change(added=digests)
            return new

    async def remove(self, pair: Pair, naming: Naming) -> bool:
        """Take it off the list, with its digests; whether it was on it. Raises ``NotDurable``."""
        async with self._changing:
            if not self._suppressions.holds(pair):
                return False
            digests = self._digests([pair], naming)
            await self._journal.append([Append(connector=OWNER, state={LISTED + digest: None for digest in digests})])
            self._suppressions.change(removed=digests)
            return True

    def _digests(self, pairs: Iterable[Pair], naming: Naming) -> set[bytes]:
        return {digest for pair in pairs for digest in self._suppressions.digests(pair, naming)}


def key_check(suppressions: Suppressions) -> str:
    """Another one for a list that was made with another key."""
    return suppressions.digest(_KEY_CHECK).hex()


def suppression_row(digest: bytes, one: Suppression) -> tuple[tuple[str, bytes], bytes]:
    """How the journal keeps one, by (owner, key)."""
    return (OWNER, LISTED + digest), _ENCODE(one)
