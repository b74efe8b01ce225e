"""The part of the journal that this daemon applies, where several do. Not here: which part that is, and who says so."""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol, TypeAlias

from cdmd.contracts import Divided, Journal
from cdmd.models import Journaled, Seq

Read: TypeAlias = tuple[list[Journaled], Seq]
"""Entries in order, and up to where that is all."""


class Share(NamedTuple):
    """``lanes`` of the ``number`` that there are, each with up to where it is applied.

    Up to ``undivided`` all is the first lane's: it arrived when there was only one.
    """

    lanes: Mapping[int, Seq]
    number: int
    undivided: Seq = Seq(0)

    @property
    def begins(self) -> Seq:
        """Behind which entry there is something to do."""
        return min(self.lanes.values(), default=Seq(0))

    @property
    def divisor(self) -> int:
        """Of how many entries about one is for this daemon."""
        return -(-self.number // max(1, len(self.lanes)))

    def holds(self, one: Journaled) -> bool:
        """Whether it is for this daemon to apply, and not applied yet."""
        position = self.lanes.get(0 if one.seq <= self.undivided else one.entry.part % self.number)
        return position is not None and one.seq > position


class Shares(Protocol):
    """What says which part that is: ``resumes`` where events that were parked are brought back here."""

    resumes: bool

    @property
    def own(self) -> Seq:
        """Up to where that part is applied, as the store has it."""
        ...

    async def agreed(self) -> Share:
        """The part from now on. Nothing of the one before is under way any more."""
        ...

    async def changed(self) -> None:
        """Return when it may be another one."""
        ...

    def refused(self) -> None:
        """Something of it was not written, because it is another one by now (``NotOurs``)."""
        ...


async def stretch(
    journal: Journal,
    share: Share | None,
    after: Seq,
    limit: int,
    trying: Callable[[Callable[[], Awaitable[Read]]], Awaitable[Read]],
) -> tuple[list[Journaled], Seq]:
    """What comes behind ``after``, and up to where it was read: about ``limit`` entries of our own, if others apply the rest.

    A node's batches are no smaller for there being others, so that no more statements are made for an event. ``trying`` asks
    again for as long as the journal cannot answer.
    """
    if share is None:
        return await trying(lambda: _whole(journal, after, limit))
    held = list[Journaled]()
    for _ in range(share.divisor):
        found, upto = await trying(lambda: _of(journal, share, after, limit))  # noqa: B023 - asked at once
        held += filter(share.holds, found)
        stays, after = upto == after, upto
        if stays or after >= journal.head or len(held) >= limit:
            break
    return held, after


async def _of(journal: Journal, share: Share, after: Seq, limit: int) -> Read:
    """What is read to have that share: it alone where the journal can, which is not how what is undivided lies there."""
    if isinstance(journal, Divided) and after >= share.undivided:
        found = await journal.read_lanes(share.lanes.keys(), share.number, after, limit=limit)
        if found is not None:
            return found
    return await _whole(journal, after, limit)


async def _whole(journal: Journal, after: Seq, limit: int) -> Read:
    found = await journal.read(after, limit=limit)
    return found, found[-1].seq if found else after
