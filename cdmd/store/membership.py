"""Profiles by audience, by what is due, and one after the other (``cdmd.contracts.Membership``). Reads only, but for one.

Pages of whole profiles and activities are unpacked in a worker thread: a thousand take milliseconds.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeAlias

import anyio.to_thread
import msgspec
from typing_extensions import override

from cdmd.contracts import AudienceTotals, History, Member, Membership
from cdmd.models import Activity, Merge, Micros, Notice, ProfileKey, ProfileState, Seq
from cdmd.store import looking
from cdmd.store.directory import read_notice
from cdmd.store.rows import read_activity, read_profile
from cdmd.store.tables import Reading, Row

Write: TypeAlias = Callable[[str, Sequence[object]], Awaitable[int]]
"""Runs one statement by its name on the writer's thread."""


class StoredMembership(Membership):
    """Over the readers' connections; ``write`` runs one statement on the writer's."""

    def __init__(self, reading: Reading, write: Write) -> None:
        self._reading, self._write = reading, write

    @override
    async def overdue(self, upto: Micros, *, limit: int) -> list[ProfileKey]:
        return [ProfileKey(key) for (key,) in await self._reading.rows("overdue", (upto, limit))]

    @override
    async def first_due_profile(self) -> Micros | None:
        ((at,),) = await self._reading.rows("first_due")
        return None if at is None else Micros(at)

    @override
    async def profiles(self, *, after: ProfileKey, limit: int) -> list[tuple[ProfileKey, ProfileState]]:
        rows = await self._reading.rows("profiles_after", (after, limit))
        return _profiles(rows) if limit == 1 else await anyio.to_thread.run_sync(_profiles, rows)

    @override
    async def newest(self, keys: Sequence[ProfileKey]) -> dict[ProfileKey, Seq]:
        return {ProfileKey(key): Seq(seq) for key, seq in await self._reading.rows_in("newest_in", keys)}

    @override
    async def merges(self, keys: Sequence[ProfileKey]) -> list[Merge]:
        return await looking.merges(self._reading, keys)

    @override
    async def history(self, heads: Sequence[Seq], *, until: Collection[Seq] = (), each: int) -> History:
        said = {"heads": _listed(heads), "until": _listed(until), "each": each}
        rows = await self._reading.rows("history", said)
        stop = frozenset(until)
        rest = [Seq(row[5]) for row in rows if row[5] is not None and row[5] not in stop]
        return History([read_activity(row[:5]) for row in rows], rest)

    @override
    async def activities(self, *, after: Seq, upto: Seq, limit: int) -> list[Activity]:
        rows = await self._reading.rows("activities_upto", (after, upto, limit))
        return await anyio.to_thread.run_sync(lambda: [read_activity(row) for row in rows])

    @override
    async def audiences(self) -> list[AudienceTotals]:
        names = AudienceTotals.__struct_fields__
        return [AudienceTotals(**dict(zip(names, row, strict=True))) for row in await self._reading.rows("audiences")]

    @override
    async def members(self, audience: str, *, after: ProfileKey, limit: int) -> list[Member]:
        rows = await self._reading.rows("members", (audience, after, limit))
        return [Member(key=ProfileKey(key), since=Micros(since), state=read_profile((key, *row))) for key, since, *row in rows]

    @override
    async def notices(self, *, audience: str | None = None, limit: int) -> list[Notice]:
        rows = await self._reading.rows("notices", {"audience": audience, "limit": limit})
        return [read_notice(row) for row in rows]

    @override
    async def drop_audience(self, name: str) -> None:
        await self._write("drop_audience", (name,))


def _listed(seqs: Collection[Seq]) -> str:
    return msgspec.json.encode(list(seqs)).decode()


def _profiles(rows: Sequence[Row]) -> list[tuple[ProfileKey, ProfileState]]:
    return [(ProfileKey(row[0]), read_profile(row)) for row in rows]
