"""Stored activities and profiles that say something of somebody, looked through a little at a time so that nobody else waits.

Not here: what is done about them (``removing``), and what is said of them beforehand (``governing``).
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from functools import partial
from itertools import chain
from typing import Final, NamedTuple, TypeAlias

import anyio.to_thread

from cdmd.batches.parting import Keying, Unsaying, unnamed
from cdmd.contracts import BEGINNING, ActivityPage, Clock, Forgetting, Store
from cdmd.identity.keeping_apart import Splits
from cdmd.models import Activity, Attempt, Delivery, Merge, ProfileKey, Seq
from cdmd.privacy.erasure import Forgotten

Apart: TypeAlias = Sequence[tuple[int, int]]
_PAGE: Final = 2_000
_TOLD: Final = 200
_REST: Final = 1.0
_LEAST_REST: Final = 0.002
"""Half of the time at most: senders must not notice (tests/bench/erasure.py)."""


class Mentions(NamedTuple):
    """Of some consecutive activities: those of people whom nobody finds any more, others that name the person, and the last."""

    orphans: Sequence[Activity]
    named: Sequence[Activity]
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


async def unsay(store: Store, digests: AbstractSet[int], splits: Splits, clock: Clock, *, both: bool = False) -> int:
    """Take out of all profiles what splits said of these (``Unsaying``), wherever it stands; returns of how many.

    Raises ``NotDurable`` and ``Damaged``.
    """
    return await said_anew(
        store,
        clock,
        lambda apart: not digests.isdisjoint(chain(*splits.said(apart))),
        lambda keys: Unsaying(keys, digests, splits=splits, both=both),
    )


async def said_anew(
    store: Store, clock: Clock, which: Callable[[Apart], bool], how: Callable[[list[ProfileKey]], Unsaying | Keying]
) -> int:
    """Apply ``how`` to all profiles that say ``which``; of how many it was changed. Raises ``NotDurable`` and ``Damaged``."""
    count = 0
    async with aclosing(said(store, clock)) as pages:
        async for page in pages:
            if keys := [key for key, apart in page.items() if which(apart)]:
                saying = how(keys)
                await store.apply(saying.wanted, saying)
                count += saying.changed
    return count


async def unname(store: Store, digests: AbstractSet[int], splits: Splits, clock: Clock) -> int:
    """Take out of everything kept of others what splits and merges say of these (``Splits``); returns how much said it.

    Until nothing is found: a rebuild may write what it read before. Raises ``NotDurable`` and ``Damaged``.
    """
    count = 0
    revise = partial(unnamed, digests, splits)
    while found := await merges(store, revise, clock) + await unsay(store, digests, splits, clock):
        count += found
    return count


async def said(store: Store, clock: Clock) -> AsyncGenerator[Mapping[ProfileKey, Apart], None]:
    """What all profiles say of whom they are kept apart from, with a rest after each page that was looked through.

    Raises ``NotDurable`` and ``Damaged``.
    """
    after = ProfileKey(0)
    while True:
        began = clock.monotonic()
        page = await store.forgetting.splits(after=after, limit=_PAGE)
        if page.last is None:
            return
        if page.said:
            yield page.said
        after = page.last
        await rest(clock, began)


async def merges(store: Store, revise: Callable[[Merge], Merge], clock: Clock) -> int:
    """Exchange all merges for what ``revise`` leaves of them; how many are others. Raises ``NotDurable`` and ``Damaged``."""
    count, after = 0, 0
    while True:
        began = clock.monotonic()
        page = await store.forgetting.revise_merges(revise, after=after, limit=_PAGE)
        if page.last is None:
            return count
        count, after = count + page.changed, page.last
        await rest(clock, began)


async def untell(store: Store, forgotten: Forgotten, keys: AbstractSet[ProfileKey], clock: Clock) -> int:
    """Drop what is told of other people's activities that named the person, or of the profiles ``keys`` and names them.

    Returns how many deliveries and attempts that were. Raises ``NotDurable`` and ``Damaged``.
    """

    def theirs(one: Delivery | Attempt) -> bool:
        said = (one.body or b"") + (one.answer or b"") if isinstance(one, Attempt) else one.body
        return one.seq in forgotten.others or (one.profile in keys and forgotten.in_row(b"", said))

    count = 0
    for forget in (store.forgetting.drop_deliveries, store.forgetting.blank_attempts):
        after: int | None = 0
        while after is not None:
            began = clock.monotonic()
            changed, after = await forget(theirs, after=after, limit=_TOLD)
            count += changed
            await rest(clock, began)
    return count


async def rest(clock: Clock, began: float) -> None:
    """Let others have their turn for as long as it took since ``began`` (``clock.monotonic``)."""
    await clock.sleep(max(_LEAST_REST, (clock.monotonic() - began) * _REST))


def _named(page: ActivityPage, forgotten: Forgotten) -> list[Activity]:
    held = (one for one in page.held if one.seq not in forgotten.seqs)
    return [one for one in held if forgotten.left_of_activity(one) is not one]
