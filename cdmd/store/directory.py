"""Looking for people, and for all that is kept of one (``cdmd.contracts.Directory``). Reads only."""

from collections.abc import Sequence
from typing import Final

import msgspec
from typing_extensions import override

from cdmd.contracts import Audit, Directory, Person
from cdmd.models import DeadLetter, Notice, Parked, ProfileKey, Seq
from cdmd.store.chunks import Row
from cdmd.store.looking import winner
from cdmd.store.rows import read_letter, read_parked
from cdmd.store.tables import Reading

_LAST: Final = "\U0010ffff"
"""No text that somebody wrote goes on with it, so it ends what begins with a prefix."""


class StoredDirectory(Directory):
    """Over the readers' connections."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    @override
    async def named(self, public: str) -> Person | None:
        rows = await self._reading.rows("public", (public,))
        found = await winner(self._reading, ProfileKey(rows[0][0])) if rows else None
        return None if found is None else Person(*found)

    @override
    async def starting(self, kind: str, prefix: str, *, after: str = "", limit: int) -> list[tuple[str, Person]]:
        said = {"kind": kind, "prefix": prefix, "beyond": prefix + _LAST, "after": after, "limit": limit}
        rows = await self._reading.rows("starting", said)
        found = [(value, await winner(self._reading, ProfileKey(key))) for value, key in rows]
        return [(value, Person(*owner)) for value, owner in found if owner is not None]

    @override
    async def letters(self, *, after: Seq, limit: int) -> list[DeadLetter]:
        return [read_letter(row) for row in await self._reading.rows("dead_letters_after", (after, limit))]

    @override
    async def parked(self, *, after: Seq, limit: int) -> list[Parked]:
        return [read_parked(row) for row in await self._reading.rows("parked_after", (after, limit))]

    @override
    async def moves(self, keys: Sequence[ProfileKey]) -> list[Notice]:
        rows = await self._reading.rows_in("notices_of", keys)
        return [read_notice(row[1:]) for row in sorted(rows)]

    @override
    async def audits(self, words: str) -> list[Audit]:
        return [read_audit(row) for row in await self._reading.rows("audits_about", (words,))]


def read_audit(row: Row) -> Audit:
    """The audit row in (time, uid, user, role, command, arguments, outcome)."""
    return msgspec.convert(dict(zip(Audit.__struct_fields__, row, strict=True)), Audit)


def read_notice(row: Row) -> Notice:
    """The notice in (id, audience, profile, public, entered, at, reason)."""
    return Notice(id=row[0], audience=row[1], profile=row[2], public=row[3], entered=bool(row[4]), at=row[5], reason=row[6])
