"""Stored activities and profiles that say something of somebody, looked through a little at a time so that nobody else waits.

Not here: what is done about them (``removing``), and what is said of them beforehand (``governing``).
"""

from collections.abc import AsyncGenerator, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

import anyio.to_thread

from cdmd.batches.parting import Unsaying
from cdmd.contracts import BEGINNING, ActivityPage, Clock, Forgetting, Store
from cdmd.models import Activity, ProfileKey, Seq
from cdmd.privacy.erasure import Forgotten

_PAGE: Final = 2_000
_REST: Final = 1.0
_LEAST_REST: Final = 0.002
"""Half of the time at most: senders must not notice (tests/bench/erasure.py)."""


class Mentions(NamedTuple):
    """Of some consecutive activities: those of people whom nobody finds any more, others that name the person, and the last."""

    orphans: Sequence[Activity]
    named: Sequence[Seq]
    last: Seq


async def mentions(forgetting: Forgetting, forgotten: Forgotten, clock: Clock) -> AsyncGenerator[Mentions, None]:
    """All of them, with a rest after each page. What ``forgotten`` learns between two pages counts for the second.

    Raises ``NotDurable`` and ``Damaged``.
    """
    after = BEGINNING
    while True:
        began = clock.monotonic()
        page = await forgetting.activities(forgotten.holding, after=after, limit=_PAGE)
        if page.last is None:
            return
        named = await anyio.to_thread.run_sync(_named, page, forgotten)
        yield Mentions(page.orphans, named, page.last)
        after = page.last
        await rest(clock, began)


async def unsay(store: Store, digests: AbstractSet[int], clock: Clock, *, both: bool = False) -> int:
    """Take out of all profiles what splits said of these (``Unsaying``), wherever it stands; returns of how many.

    Raises ``NotDurable`` and ``Damaged``.
    """
    count, after = 0, ProfileKey(0)
    while True:
        began = clock.monotonic()
        page = await store.forgetting.kept_apart(digests, after=after, limit=_PAGE)
        if page.last is None:
            return count
        if page.keys:
            unsaying = Unsaying(page.keys, digests, both=both)
            await store.apply(unsaying.wanted, unsaying)
            count += unsaying.changed
        after = page.last
        await rest(clock, began)


async def rest(clock: Clock, began: float) -> None:
    """Let others have their turn for as long as it took since ``began`` (``clock.monotonic``)."""
    await clock.sleep(max(_LEAST_REST, (clock.monotonic() - began) * _REST))


def _named(page: ActivityPage, forgotten: Forgotten) -> list[Seq]:
    held = (one for one in page.held if one.seq not in forgotten.seqs)
    return [one.seq for one in held if forgotten.left_of_activity(one) is not one]
