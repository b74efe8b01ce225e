"""Taking people's data out of the store for good (``cdmd.contracts.Forgetting``).

What is deleted is overwritten with zeros where it lay (``secure_delete``, from a database's creation); the write-ahead log is
emptied at the end. Not here: what goes, which the functions that are handed in decide.
"""

import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final, Protocol, TypeVar

import anyio.to_thread
import msgspec
from typing_extensions import override

from cdmd.contracts import ActivityPage, Clock, Forgetting, Hidden, Holding
from cdmd.models import (
    Activity,
    Count,
    DeadLetter,
    Digest,
    Entry,
    Parked,
    ProfileKey,
    ProfileState,
    SeenVerdict,
    Seq,
    Wanted,
)
from cdmd.store import letters
from cdmd.store.batches import Pair, add_counts, add_totals, drop_parked, look_up
from cdmd.store.chains import cut_out
from cdmd.store.chunks import Row, in_chunks, select_in
from cdmd.store.database import Readers, emptied, transaction
from cdmd.store.outgoing import erase_outgoing, of_the_hidden
from cdmd.store.rows import activity_row, letter_row, parked_row, read_activity, read_letter, read_parked, read_profile
from cdmd.store.sql import load_queries

T = TypeVar("T")
_SQL: Final = load_queries("store")


class Write(Protocol):
    """Runs a function on the writer's thread (``SqliteStore._write``)."""

    def __call__(self, fn: Callable[[sqlite3.Connection], T]) -> Awaitable[T]:
        """Its result. Raises ``NotDurable`` and ``Damaged``."""
        ...


class SqliteForgetting(Forgetting):
    """Over the readers' connections and the store's writer."""

    def __init__(self, readers: Readers, write: Write, *, clock: Clock, digests: letters.Digests) -> None:
        self._readers, self._write, self._clock, self._digests = readers, write, clock, digests

    @override
    async def hide(self, pairs: Sequence[Pair]) -> Hidden:
        return await self._write(partial(_hide, pairs))

    @override
    async def forget_deliveries(self) -> int:
        return await self._write(_forget_deliveries)

    @override
    async def activities(self, holding: Holding, *, after: Seq, limit: int) -> ActivityPage:
        rows = await self._readers.rows(_SQL["activities_after"], (after, limit))
        return await anyio.to_thread.run_sync(_looked_through, rows, holding)

    @override
    async def revise_activities(self, seqs: Sequence[Seq], revise: Callable[[Activity], Activity | None]) -> int:
        forget = partial(_revise_activities, seqs, revise, now=self._clock.now(), digests=self._digests)
        return await self._write(forget)

    @override
    async def drop_activities(self, seqs: Sequence[Seq]) -> int:
        return await self._write(partial(_drop_activities, seqs))

    @override
    async def revise_waiting(self, seqs: Sequence[Seq], revise: Callable[[Entry], Entry | None]) -> int:
        forget = partial(_revise_waiting, seqs, revise, now=self._clock.now(), digests=self._digests)
        return await self._write(forget)

    @override
    async def identifiers(self, *, after: tuple[int, str], limit: int) -> list[tuple[tuple[int, str], Pair]]:
        rows = await self._readers.rows(_SQL["identifiers_after"], (*after, limit))
        return [((kind, value), (name, value)) for kind, name, value in rows]

    @override
    async def settled(self) -> bool:
        return await self._write(emptied)


def _looked_through(rows: Sequence[Row], holding: Holding) -> ActivityPage:
    texts, orphans, held = holding.texts, list[Activity](), list[Activity]()
    for *row, has_owner in rows:
        if not has_owner:
            orphans.append(read_activity(row))
        elif texts is None or any(text in row[4].lower() for text in texts):
            held.append(read_activity(row))
    return ActivityPage(orphans, held, Seq(rows[-1][0]) if rows else None)


def _hide(pairs: Sequence[Pair], connection: sqlite3.Connection) -> Hidden:
    with transaction(connection):
        found = look_up(connection, Wanted((), pairs)).known.profiles
        people = found | _members(connection, found)
        had = dict.fromkeys((one.kind, one.value) for state in people.values() for one in state.identifiers)
        owned = [(*pair, key) for pair in had for key in found]
        went = connection.executemany(_SQL["erase_identifier"], owned).rowcount if owned else 0
        for key, state in people.items():
            if state.due is not None:
                connection.execute(_SQL["not_due"], (state.due, key))
            _leave(connection, key)
        keys = sorted(people)
        if keys:
            connection.execute(_SQL["keep_last_profile"])
        for chunk, marks in in_chunks(keys):
            for name in ("erase_notices", "erase_merges", "erase_profiles"):
                connection.execute(_SQL[name].format(marks), chunk)
        add_totals(connection, {"profiles": -len(found)})
        told = erase_outgoing(connection, keys)
    return Hidden(keys, list(had), {"profiles": len(keys), "identifiers": went, "deliveries and attempts": told})


def _forget_deliveries(connection: sqlite3.Connection) -> int:
    with transaction(connection):
        return erase_outgoing(connection, of_the_hidden(connection))


def _members(connection: sqlite3.Connection, found: Mapping[ProfileKey, ProfileState]) -> dict[ProfileKey, ProfileState]:
    """The profiles that were merged into these."""
    keys = sorted({member for state in found.values() for member in state.members})
    return {ProfileKey(row[0]): read_profile(row) for row in select_in(connection, _SQL["profiles"], keys)}


def _leave(connection: sqlite3.Connection, key: ProfileKey) -> None:
    for _, audience in connection.execute(_SQL["audience_ids"]).fetchall():
        if connection.execute(_SQL["leave"], (audience, key)).rowcount:
            connection.execute(_SQL["audience_moved"], (-1, audience))


def _revise_activities(
    seqs: Sequence[Seq],
    revise: Callable[[Activity], Activity | None],
    connection: sqlite3.Connection,
    *,
    now: datetime,
    digests: letters.Digests,
) -> int:
    changed = 0
    with transaction(connection):
        gone: list[Activity] = []
        for row in select_in(connection, _SQL["activities"], sorted(seqs)):
            one = read_activity(row)
            left = revise(one)
            if left is None:
                gone.append(one)
            elif left is not one:
                seq, _, _, kept, body = activity_row(left)
                connection.execute(_SQL["revise_activity"], (kept, body, seq))
                changed += 1
        cut_out(connection, gone)
        add_totals(connection, {"activities": -len(gone)})
        letters.decided(connection, _named(gone, digests), SeenVerdict.APPLIED, SeenVerdict.SUPPRESSED, now=now)
    return changed + len(gone)


def _drop_activities(seqs: Sequence[Seq], connection: sqlite3.Connection) -> int:
    with transaction(connection):
        gone = [read_activity(row) for row in select_in(connection, _SQL["activities"], sorted(seqs))]
        cut_out(connection, gone)
        add_totals(connection, {"activities": -len(gone)})
    return len(gone)


def _named(gone: Sequence[Activity], digests: letters.Digests) -> dict[Digest, Seq]:
    """Their occurrences. One that was named briefly is another one by now, and is left alone by its sequence."""
    return {digests(one.event.source, one.event.id): one.seq for one in gone}


def _revise_waiting(
    seqs: Sequence[Seq],
    revise: Callable[[Entry], Entry | None],
    connection: sqlite3.Connection,
    *,
    now: datetime,
    digests: letters.Digests,
) -> int:
    with transaction(connection):
        dead = [read_letter(row) for row in select_in(connection, _SQL["dead_letters_at"], sorted(seqs))]
        parked = [read_parked(row) for row in select_in(connection, _SQL["parked_at"], sorted(seqs))]
        gone = [one for one in dead if revise(one.entry) is None]
        totals = letters.take(connection, gone, SeenVerdict.SUPPRESSED, Count.SUPPRESSED, now=now, digests=digests)
        add_totals(connection, totals)
        left = [one for one in parked if revise(one.entry) is None]
        _forget_parked(connection, left, digests=digests, now=now)
        changed = len(gone) + len(left)
        changed += sum(_rewritten(connection, one, revise(one.entry)) for one in dead)
        changed += sum(_rewritten(connection, one, revise(one.entry)) for one in parked)
    return changed


def _forget_parked(connection: sqlite3.Connection, gone: Sequence[Parked], *, digests: letters.Digests, now: datetime) -> None:
    totals: Counter[str] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    drop_parked(connection, [one.seq for one in gone], totals)
    for one in gone:
        connector = one.entry.event.connector
        counts.update({(connector, Count.SUPPRESSED): 1, (connector, Count.PARKED): -1})
    add_counts(connection, counts)
    add_totals(connection, totals)
    seqs = {digests(*named): one.seq for one in gone if (named := one.entry.occurrence) is not None}
    letters.decided(connection, seqs, SeenVerdict.PARKED, SeenVerdict.SUPPRESSED, now=now)


def _rewritten(connection: sqlite3.Connection, one: DeadLetter | Parked, entry: Entry | None) -> bool:
    """Whether it stays, and is another one now."""
    if entry is None or entry is one.entry:
        return False
    left = msgspec.structs.replace(one, entry=entry)
    if isinstance(left, DeadLetter):
        *_, kept, body = letter_row(left)
        connection.execute(_SQL["revise_letter"], (kept, body, one.seq))
    else:
        _, _, _, size, kept, body, _ = parked_row(left)
        ((_, before),) = connection.execute(_SQL["count_parked"].format("?"), (one.seq,))
        connection.execute(_SQL["revise_parked"], (size, kept, body, one.seq))
        add_totals(connection, {"parked_bytes": size - before})
    return True
