"""Taking people's data out of the store for good: the store's side of erasure and retention."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from cdmd.models import Activity, Attempt, Delivery, Entry, Merge, ProfileKey, ProfileState, Seq

Pair = tuple[str, str]
BEGINNING: Final = Seq(-(2**62))
"""Before the first activity of all: what an earlier journal brought may have numbers below one."""


class Holding(NamedTuple):
    """What to look for: journal entries ``seqs``, and whatever has one of ``texts`` in it.

    Texts are in lower case; None: everything has to be looked at.
    """

    texts: Sequence[bytes] | None
    seqs: Collection[Seq] = ()


class Hidden(NamedTuple):
    """Whom nobody finds any more: the profiles' numbers, all identifiers that they had, and how many of what went."""

    keys: Sequence[ProfileKey]
    pairs: Sequence[Pair]
    counts: Mapping[str, int]


class ActivityPage(NamedTuple):
    """Those of some consecutive activities that were looked for, and the last one that was looked at (None: the end).

    ``orphans`` belong to profiles that were hidden, ``held`` are others that have one of the texts in them.
    """

    orphans: Sequence[Activity]
    held: Sequence[Activity]
    last: Seq | None


class SplitPage(NamedTuple):
    """What some consecutive profiles say of whom they are kept apart from, as far as they do (``ProfileState.apart``).

    ``last`` is the last one that was looked at (None: the end).
    """

    said: Mapping[ProfileKey, Sequence[tuple[int, int]]]
    last: ProfileKey | None


class RevisedPage(NamedTuple):
    """How many of some consecutive rows are others now or gone, and the place of the last one looked at (None: the end)."""

    changed: int
    last: int | None


class Forgetting(Protocol):
    """Each call is one transaction of the store, and changes nothing where it is repeated. Raise ``NotDurable``, ``Damaged``.

    What is removed is overwritten, not only unlinked; ``settled`` makes sure of the write-ahead log.
    """

    async def hide(self, pairs: Sequence[Pair]) -> Hidden:
        """Remove the profiles that own these, with their identifiers, merges, memberships and moves: nobody finds them again.

        Their numbers are never given again. Their activities are orphans then.
        """
        ...

    async def hide_some(self, keys: Sequence[ProfileKey], which: Callable[[ProfileState], bool]) -> Hidden:
        """The same of those of the profiles ``keys`` that are merged into no other one and are ``which``, as they are then."""
        ...

    async def forget_deliveries(self) -> int:
        """Drop what waits for targets, and what was attempted, about profiles that are hidden; how many rows went."""
        ...

    async def drop_deliveries(self, theirs: Callable[[Delivery], bool], *, after: int, limit: int) -> RevisedPage:
        """Drop those of ``limit`` that wait behind the place ``after`` which are ``theirs``."""
        ...

    async def blank_attempts(self, theirs: Callable[[Attempt], bool], *, after: int, limit: int) -> RevisedPage:
        """Of those of ``limit`` attempts behind the place ``after`` which are ``theirs`` only figures stay."""
        ...

    async def activities(self, holding: Holding, *, after: Seq, limit: int) -> ActivityPage:
        """Look through ``limit`` activities behind ``after``."""
        ...

    async def waiting(self) -> set[Seq]:
        """The numbers of all events that are parked now."""
        ...

    async def revise_activities(self, seqs: Sequence[Seq], revise: Callable[[Activity], Activity | None]) -> int:
        """Exchange these activities for what ``revise`` leaves of them; returns how many are others or gone."""
        ...

    async def drop_activities(self, seqs: Sequence[Seq]) -> int:
        """Remove these activities; that they were applied stays known, and what was counted of them too. How many went."""
        ...

    async def revise_waiting(self, seqs: Sequence[Seq], revise: Callable[[Entry], Entry | None]) -> int:
        """The same for dead letters and parked events; what goes counts as suppressed from then on."""
        ...

    async def splits(self, *, after: ProfileKey, limit: int) -> SplitPage:
        """Look through ``limit`` profiles behind ``after`` for those that are kept apart from somebody."""
        ...

    async def revise_merges(self, revise: Callable[[Merge], Merge], *, after: int, limit: int) -> RevisedPage:
        """Exchange ``limit`` merges behind the place ``after`` for what ``revise`` leaves of them: the same where it is all."""
        ...

    async def identifiers(self, *, after: tuple[int, str], limit: int) -> list[tuple[tuple[int, str], Pair]]:
        """Identifiers behind a place in their order: the place, and (kind, value)."""
        ...

    async def settled(self) -> bool:
        """Empty the write-ahead log, so that nothing removed lies in it; False while somebody reads: try again."""
        ...
