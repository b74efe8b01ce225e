"""The part of the journal that this daemon applies, where several do. Not here: which part that is, and who says so."""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol

from cdmd.contracts import Journal
from cdmd.models import Journaled, Seq


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


async def stretch(
    journal: Journal,
    share: Share | None,
    after: Seq,
    limit: int,
    trying: Callable[[Callable[[], Awaitable[list[Journaled]]]], Awaitable[list[Journaled]]],
) -> tuple[list[Journaled], Seq]:
    """What comes behind ``after``, and up to where it was read: about ``limit`` entries of our own, if others apply the rest.

    A node's batches are no smaller for there being others, so that no more statements are made for an event. ``trying`` asks
    again for as long as the journal cannot answer.
    """
    held = list[Journaled]()
    for _ in range(1 if share is None else share.divisor):
        found = await trying(lambda: journal.read(after, limit=limit))  # noqa: B023 - asked at once
        held += found if share is None else filter(share.holds, found)
        after = found[-1].seq if found else after
        if not found or after >= journal.head:
            break
    return held, after
