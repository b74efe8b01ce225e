"""Profiles by audience, by what is due, and one after the other: the store's side of audiences and of counting the past."""

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from cdmd.models import Activity, Merge, Micros, Notice, ProfileKey, ProfileState, Seq


class AudienceTotals(msgspec.Struct, frozen=True, kw_only=True):
    """An audience that somebody is or was in: how many are, and how its condition fared (see ``Failures``)."""

    name: str
    members: int
    missing: int
    failed: int
    fault: str | None


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A profile that is in an audience, and since when."""

    key: ProfileKey
    since: Micros
    state: ProfileState


class History(msgspec.Struct, frozen=True):
    """Some activities of a few profiles, and the ones to go on with (none: that was all)."""

    activities: Sequence[Activity]
    rest: Sequence[Seq]


class Membership(Protocol):
    """Reads of the store that never wait for a batch, but for ``drop_audience``. Raise ``NotDurable`` and ``Damaged``."""

    async def overdue(self, upto: Micros, *, limit: int) -> list[ProfileKey]:
        """Profiles whose ``due`` has come, the longest overdue first."""
        ...

    async def first_due_profile(self) -> Micros | None:
        """The earliest ``due`` of a profile."""
        ...

    async def profiles(self, *, after: ProfileKey, limit: int) -> list[tuple[ProfileKey, ProfileState]]:
        """Profiles behind ``after`` in the order of their keys, merged ones too."""
        ...

    async def newest(self, keys: Sequence[ProfileKey]) -> dict[ProfileKey, Seq]:
        """The newest activity of each of these profiles, of those that were merged into it not."""
        ...

    async def merges(self, keys: Sequence[ProfileKey]) -> list[Merge]:
        """The merges that these profiles won, in order of sequence."""
        ...

    async def history(self, heads: Sequence[Seq], *, until: Collection[Seq] = (), each: int) -> History:
        """From each of ``heads`` back along its profile's activities, at most ``each`` of them, to ``until`` exclusive."""
        ...

    async def activities(self, *, after: Seq, upto: Seq, limit: int) -> list[Activity]:
        """Activities of everybody behind ``after``, up to ``upto``, in order of sequence."""
        ...

    async def audiences(self) -> list[AudienceTotals]:
        """Every audience that somebody is or was in, by name."""
        ...

    async def members(self, audience: str, *, after: ProfileKey, limit: int) -> list[Member]:
        """Who is in, in the order of their keys."""
        ...

    async def notices(self, *, audience: str | None = None, limit: int) -> list[Notice]:
        """The last times that somebody entered or left, newest first."""
        ...

    async def drop_audience(self, name: str) -> None:
        """Forget an audience that nobody is in, with its figures."""
        ...
