"""The store over tables, whatever database they are in: what is the same in every dialect.

Profiles, activities and all that a batch changes go in one transaction with the journal position. Not here: any decision
(``apply`` is handed the function), the tables' details (``batches``, ``seen``, ``rows``), and what one database does in its own
way: how it is opened, how hard it syncs, what its errors mean.
"""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

import msgspec
from typing_extensions import override

from cdmd.contracts import (
    Audit,
    Clock,
    DeadLetterCause,
    DeadLetterFilter,
    Decide,
    Derive,
    ProfileFound,
    Store,
    StoreTotals,
    Trace,
)
from cdmd.models import Changes, DeadLetter, Digest, Micros, Parked, ProfileKey, Seen, Seq, Wanted, from_micros
from cdmd.store import deriving, letters, looking, seen
from cdmd.store.abreast import Abreast
from cdmd.store.batches import Found, look_up, write
from cdmd.store.directory import StoredDirectory, read_audit
from cdmd.store.forgetting import Settle, StoredForgetting
from cdmd.store.membership import StoredMembership
from cdmd.store.outbox import StoredOutbox
from cdmd.store.remote import OwnProcess
from cdmd.store.rows import read_letter, read_parked
from cdmd.store.tables import Reading, Tables
from cdmd.store.writer import Writer

T = TypeVar("T")
NOTE: Final = "note: "
KEY_CHECK: Final = ("", "the key that this store's digests are made with")
"""Under a source that no connector can have, so that no renaming touches it; and there is no number in it, so that it
has one digest, whatever the form of a store's is."""


class StoredStore(Store):
    """``Store`` over tables. ``failure`` says why the last write did not come about, None when it did.

    ``here``: on this machine's disk, whose trouble is the daemon's own. What is elsewhere may be away for a while.
    ``process``: what writes it, if not the daemon itself. ``form``: that of the digests that it remembers by
    (``cdmd.store.keys.FORMS``).
    """

    outbox: StoredOutbox
    here: ClassVar[bool] = True
    process: OwnProcess | None = None
    form: str

    def __init__(self, writer: Writer[Tables], *, clock: Clock, digests: letters.Digests) -> None:
        self._clock, self._digests = clock, digests
        self._abreast = Abreast(writer, whole=self._apply, put=self._put)
        self._writer = writer
        self._reading: Reading
        self._position = Seq(0)
        self.failure: str | None = None

    def _ask(self, reading: Reading, *, settle: Settle) -> None:
        """What is asked beside the batches is asked there; ``settle`` is ``Forgetting.settled``."""
        self._reading = reading
        self.membership = StoredMembership(reading, self._one)
        self.directory = StoredDirectory(reading)
        self.outbox = StoredOutbox(reading, self._write, self._beside)
        self.forgetting = StoredForgetting(reading, self._write, settle, clock=self._clock, digests=self._digests)

    @property
    @override
    def position(self) -> Seq:
        return self._position

    @property
    @abstractmethod
    def synced(self) -> Seq:
        """The last position that is known to be on the disk."""

    # ---- writing -----------------------------------------------------------------------------------------------------

    @override
    async def apply(self, wanted: Wanted, decide: Decide) -> Changes:
        """As promised; after ``NotDurable`` read ``position`` again before the batch is repeated.

        Raises ``NotDurable``, ``Damaged``, ValueError on changes that contradict what is stored, and what ``decide`` raises;
        nothing of the batch is written then.
        """
        changes = await self._mapped(self._abreast.apply(wanted, decide))
        self.outbox.wrote(changes.outgoing)
        return changes

    def _apply(self, wanted: Wanted, decide: Decide, tables: Tables) -> Changes:
        """All of a batch in one transaction."""
        with tables.transaction():
            found = look_up(tables, wanted)
            changes = decide(found.known)
            write(tables, changes, found, now=self._clock.now())
        self._moved(changes.position)
        return changes

    def _put(self, tables: Tables, changes: Changes, found: Found) -> None:
        """What was decided, in a transaction of its own."""
        with tables.transaction():
            write(tables, changes, found, now=self._clock.now())
        self._moved(changes.position)

    def _moved(self, position: Seq | None) -> None:
        if position is not None:
            self._position = max(self._position, position)

    @override
    async def derive(self, more: Derive, *, after: ProfileKey, limit: int) -> ProfileKey | None:
        return await self._write(partial(deriving.derive, more=more, after=after, limit=limit))

    async def _one(self, name: str, said: Sequence[Any]) -> int:
        return await self._beside(partial(_run, name, said))

    @override
    async def note(self, name: str, value: str, *, target: str | None = None) -> None:
        await self._one("note", (NOTE + name, value))

    @override
    async def noted(self, name: str) -> str | None:
        rows = await self._reading.rows("meta", (NOTE + name,))
        return rows[0][0] if rows else None

    @override
    async def revive(self, which: DeadLetterFilter, *, now: Micros) -> int:
        return await self._write(partial(letters.revive, which=which, now=from_micros(now), due=now, digests=self._digests))

    @override
    async def discard(self, which: DeadLetterFilter, *, now: Micros) -> int:
        return await self._write(partial(letters.discard, which=which, now=from_micros(now), digests=self._digests))

    @override
    async def expire(self, *, dead_before: Micros, seen_before: Micros) -> int:
        expired, now = 0, self._clock.now()
        while (forgotten := await self._write(partial(_forget_seen, seen_before))) is not None:
            expired += forgotten
        while went := await self._write(partial(letters.expire, before=dead_before, now=now, digests=self._digests)):
            expired += went
        return expired

    @override
    async def audit(self, row: Audit) -> None:
        await self._one("audit", msgspec.structs.astuple(row))

    async def _write(self, fn: Callable[[Tables], T]) -> T:
        async with self._abreast.alone():
            return await self._mapped(self._writer.run(fn))

    async def _beside(self, fn: Callable[[Tables], T]) -> T:
        """What gets on with whoever else writes, where there is somebody."""
        return await self._write(fn)

    @abstractmethod
    async def _mapped(self, work: Awaitable[T]) -> T:
        """The outcome of ``work``. Puts into our words what the database refuses, and keeps ``failure``."""

    # ---- reading -----------------------------------------------------------------------------------------------------

    @override
    async def seen(self, digests: Sequence[Digest]) -> dict[Digest, Seen]:
        return await looking.seen(self._reading, digests)

    @override
    async def known(self, identifiers: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        return await looking.known(self._reading, identifiers)

    @override
    async def due(self, now: Micros, *, limit: int, without: Collection[Seq] = ()) -> list[Parked]:
        return await looking.due(self._reading, now, limit=limit, without=without)

    @override
    async def next_due(self) -> Micros | None:
        ((due,),) = await self._reading.rows("next_due")
        return None if due is None else Micros(due)

    @override
    async def waiting_for(self) -> dict[str, int]:
        return dict(await self._reading.rows("waiting_for"))

    @override
    async def parked(self, *, limit: int) -> list[Parked]:
        return [read_parked(row) for row in await self._reading.rows("parked", (limit,))]

    @override
    async def profile(self, kind: str, value: str, *, activities: int) -> ProfileFound | None:
        return await looking.profile(self._reading, kind, value, activities=activities)

    @override
    async def trace(self, id: str, *, source: str | None = None) -> list[Trace]:
        return await looking.trace(self._reading, id, source=source, digests=self._digests)

    @override
    async def dead_letters(self, which: DeadLetterFilter) -> list[DeadLetter]:
        return [read_letter(row) for row in await self._reading.rows("dead_letters", letters.parameters(which))]

    @override
    async def dead_letter_causes(self, *, limit: int) -> list[DeadLetterCause]:
        return [DeadLetterCause(*row) for row in await self._reading.rows("dead_letter_causes", (limit,))]

    @override
    async def counts(self) -> dict[tuple[str, str], int]:
        return {(connector, name): value for connector, name, value in await self._reading.rows("counts")}

    @override
    async def totals(self) -> StoreTotals:
        ((size,),) = await self._reading.rows("bytes")
        return StoreTotals(**dict(await self._reading.rows("totals")), bytes=size)

    @override
    async def audits(self, *, limit: int) -> list[Audit]:
        return [read_audit(row) for row in await self._reading.rows("audits", (limit,))]


def _run(name: str, said: Sequence[Any], tables: Tables) -> int:
    with tables.transaction():
        return tables.run(name, said)


def _forget_seen(before: Micros, tables: Tables) -> int | None:
    with tables.transaction():
        return seen.forget_some(tables, before)
