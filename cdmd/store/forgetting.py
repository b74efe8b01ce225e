"""Taking people's data out of the store for good (``cdmd.contracts.Forgetting``).

What is left of it where it lay, and in the database's own logs, each database deals with in its own way (``Settle``). Not here:
what goes, which the functions that are handed in decide.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeAlias

import anyio.to_thread
import msgspec
from typing_extensions import override

from cdmd.contracts import ActivityPage, Clock, Forgetting, Hidden, Holding, RevisedPage, SplitPage
from cdmd.models import (
    Activity,
    Attempt,
    Count,
    DeadLetter,
    Delivery,
    Digest,
    Entry,
    Merge,
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
from cdmd.store.outgoing import blank_attempts, erase_deliveries, erase_outgoing
from cdmd.store.rows import (
    activity_row,
    letter_row,
    merge_row,
    parked_row,
    parted_by,
    read_activity,
    read_attempt,
    read_letter,
    read_merge,
    read_parked,
    read_profile,
    read_queued,
)
from cdmd.store.tables import Reading, Row, Tables, Write

Settle: TypeAlias = Callable[[], Awaitable[bool]]


class StoredForgetting(Forgetting):
    """Over the readers' connections and the store's writer."""

    def __init__(self, reading: Reading, write: Write, settle: Settle, *, clock: Clock, digests: letters.Digests) -> None:
        self._reading, self._write, self._settle, self._clock, self._digests = reading, write, settle, clock, digests

    @override
    async def hide(self, pairs: Sequence[Pair]) -> Hidden:
        return await self._write(partial(_hide, pairs))

    @override
    async def hide_some(self, keys: Sequence[ProfileKey], which: Callable[[ProfileState], bool]) -> Hidden:
        return await self._write(partial(_hide_some, keys, which))

    @override
    async def forget_deliveries(self) -> int:
        # Looked up beside: over a million of them it takes most of a second.
        gone = [ProfileKey(key) for (key,) in await self._reading.rows("outbox.of_the_hidden")]
        return await self._write(partial(_forget_deliveries, gone)) if gone else 0

    @override
    async def drop_deliveries(self, theirs: Callable[[Delivery], bool], *, after: int, limit: int) -> RevisedPage:
        rows = await self._reading.rows("outbox.outbox_after", (after, limit))
        places = await anyio.to_thread.run_sync(_places, rows, lambda row: theirs(read_queued(row).delivery))
        return RevisedPage(await self._write(partial(erase_deliveries, places)) if places else 0, rows[-1][0] if rows else None)

    @override
    async def blank_attempts(self, theirs: Callable[[Attempt], bool], *, after: int, limit: int) -> RevisedPage:
        rows = await self._reading.rows("outbox.attempts_after", (after, limit))
        places = await anyio.to_thread.run_sync(_places, rows, lambda row: theirs(read_attempt(row[1:])))
        return RevisedPage(await self._write(partial(blank_attempts, places)) if places else 0, rows[-1][0] if rows else None)

    @override
    async def activities(self, holding: Holding, *, after: Seq, limit: int) -> ActivityPage:
        rows = await self._reading.rows("activities_after", (after, limit))
        return await anyio.to_thread.run_sync(_looked_through, rows, holding)

    @override
    async def waiting(self) -> set[Seq]:
        return {Seq(seq) for (seq,) in await self._reading.rows("parked_seqs")}

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
    async def splits(self, *, after: ProfileKey, limit: int) -> SplitPage:
        rows = await self._reading.rows("profiles_after", (after, limit))
        said = await anyio.to_thread.run_sync(_parted, rows)
        return SplitPage(said, ProfileKey(rows[-1][0]) if rows else None)

    @override
    async def revise_merges(self, revise: Callable[[Merge], Merge], *, after: int, limit: int) -> RevisedPage:
        rows = await self._reading.rows("merges_after", (after, limit))
        places = await anyio.to_thread.run_sync(_places, rows, lambda row: revise(one := read_merge(row[1:])) is not one)
        changed = await self._write(partial(_revise_merges, places, revise)) if places else 0
        return RevisedPage(changed, rows[-1][0] if rows else None)

    @override
    async def identifiers(self, *, after: tuple[int, str], limit: int) -> list[tuple[tuple[int, str], Pair]]:
        rows = await self._reading.rows("identifiers_after", (*after, limit))
        return [((kind, value), (name, value)) for kind, name, value in rows]

    @override
    async def settled(self) -> bool:
        return await self._settle()


def _looked_through(rows: Sequence[Row], holding: Holding) -> ActivityPage:
    texts, orphans, held = holding.texts, list[Activity](), list[Activity]()
    for *row, has_owner in rows:
        if not has_owner:
            orphans.append(read_activity(row))
        elif texts is None or any(text in row[4].lower() for text in texts):
            held.append(read_activity(row))
    return ActivityPage(orphans, held, Seq(rows[-1][0]) if rows else None)


def _parted(rows: Sequence[Row]) -> dict[ProfileKey, list[tuple[int, int]]]:
    return {ProfileKey(row[0]): apart for row in rows if (apart := parted_by(row))}


def _places(rows: Sequence[Row], chosen: Callable[[Row], bool]) -> list[int]:
    """Where those are that are ``chosen``: the first of each row."""
    return [row[0] for row in rows if chosen(row)]


def _revise_merges(places: Sequence[int], revise: Callable[[Merge], Merge], tables: Tables) -> int:
    with tables.transaction():
        rows = tables.rows_in("merges_at", places)
        for place, *row in rows:
            *_, kept, body = merge_row(revise(read_merge(row)))
            tables.run("revise_merge", (kept, body, place))
    return len(rows)


def _hide(pairs: Sequence[Pair], tables: Tables) -> Hidden:
    with tables.transaction():
        return _hidden(dict(look_up(tables, Wanted((), pairs)).known.profiles), tables)


def _hide_some(keys: Sequence[ProfileKey], which: Callable[[ProfileState], bool], tables: Tables) -> Hidden:
    with tables.transaction():
        states = _states(tables, keys).items()
        return _hidden({key: state for key, state in states if state.merged_into is None and which(state)}, tables)


def _hidden(found: dict[ProfileKey, ProfileState], tables: Tables) -> Hidden:
    """Those who are ``found`` and whoever was merged into them. What these had is its winner's."""
    people = found | _states(tables, [ProfileKey(member) for state in found.values() for member in state.members])
    had = [(one.kind, one.value, key) for key, state in found.items() for one in state.identifiers]
    went = tables.run_many("erase_identifier", had)
    tables.run_many("not_due", [(state.due, key) for key, state in people.items() if state.due is not None])
    keys = sorted(people)
    _leave(tables, keys)
    if keys:
        tables.run("keep_last_profile")
    for name in ("erase_notices", "erase_merges", "erase_profiles"):
        tables.run_in(name, keys)
    add_totals(tables, {"profiles": -len(found)})
    counts = {"profiles": len(keys), "identifiers": went, "deliveries and attempts": erase_outgoing(tables, keys)}
    return Hidden(keys, [(kind, value) for kind, value, _ in had], counts)


def _forget_deliveries(profiles: Sequence[ProfileKey], tables: Tables) -> int:
    with tables.transaction():
        return erase_outgoing(tables, profiles)


def _states(tables: Tables, keys: Sequence[ProfileKey]) -> dict[ProfileKey, ProfileState]:
    return {ProfileKey(row[0]): read_profile(row) for row in tables.rows_in("profiles", sorted(set(keys)))}


def _leave(tables: Tables, keys: Sequence[ProfileKey]) -> None:
    for _, audience in tables.rows("audience_ids"):
        if left := tables.run_many("leave", [(audience, key) for key in keys]):
            tables.run("audience_moved", (-left, audience))


def _revise_activities(
    seqs: Sequence[Seq],
    revise: Callable[[Activity], Activity | None],
    tables: Tables,
    *,
    now: datetime,
    digests: letters.Digests,
) -> int:
    changed = 0
    with tables.transaction():
        gone: list[Activity] = []
        for row in tables.rows_in("activities", sorted(seqs)):
            one = read_activity(row)
            left = revise(one)
            if left is None:
                gone.append(one)
            elif left is not one:
                seq, _, _, kept, body, _ = activity_row(left, None)
                tables.run("revise_activity", (kept, body, seq))
                changed += 1
        cut_out(tables, gone)
        add_totals(tables, {"activities": -len(gone)})
        letters.decided(tables, _named(gone, digests), SeenVerdict.APPLIED, SeenVerdict.SUPPRESSED, now=now)
    return changed + len(gone)


def _drop_activities(seqs: Sequence[Seq], tables: Tables) -> int:
    with tables.transaction():
        gone = [read_activity(row) for row in tables.rows_in("activities", sorted(seqs))]
        cut_out(tables, gone)
        add_totals(tables, {"activities": -len(gone)})
    return len(gone)


def _named(gone: Sequence[Activity], digests: letters.Digests) -> dict[Digest, Seq]:
    """Their occurrences. One that was named briefly is another one by now, and is left alone by its sequence."""
    return {digests(one.event.source, one.event.id): one.seq for one in gone}


def _revise_waiting(
    seqs: Sequence[Seq],
    revise: Callable[[Entry], Entry | None],
    tables: Tables,
    *,
    now: datetime,
    digests: letters.Digests,
) -> int:
    with tables.transaction():
        dead = [read_letter(row) for row in tables.rows_in("dead_letters_at", sorted(seqs))]
        parked = [read_parked(row) for row in tables.rows_in("parked_at", sorted(seqs))]
        gone = [one for one in dead if revise(one.entry) is None]
        totals = letters.take(tables, gone, SeenVerdict.SUPPRESSED, Count.SUPPRESSED, now=now, digests=digests)
        add_totals(tables, totals)
        left = [one for one in parked if revise(one.entry) is None]
        _forget_parked(tables, left, digests=digests, now=now)
        changed = len(gone) + len(left)
        changed += sum(_rewritten(tables, one, revise(one.entry)) for one in dead)
        changed += sum(_rewritten(tables, one, revise(one.entry)) for one in parked)
    return changed


def _forget_parked(tables: Tables, gone: Sequence[Parked], *, digests: letters.Digests, now: datetime) -> None:
    totals: Counter[str] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    drop_parked(tables, [one.seq for one in gone], totals)
    for one in gone:
        connector = one.entry.event.connector
        counts.update({(connector, Count.SUPPRESSED): 1, (connector, Count.PARKED): -1})
    add_counts(tables, counts)
    add_totals(tables, totals)
    seqs = {digests(*named): one.seq for one in gone if (named := one.entry.occurrence) is not None}
    letters.decided(tables, seqs, SeenVerdict.PARKED, SeenVerdict.SUPPRESSED, now=now)


def _rewritten(tables: Tables, one: DeadLetter | Parked, entry: Entry | None) -> bool:
    """Whether it stays, and is another one now."""
    if entry is None or entry is one.entry:
        return False
    left = msgspec.structs.replace(one, entry=entry)
    if isinstance(left, DeadLetter):
        *_, kept, body = letter_row(left)
        tables.run("revise_letter", (kept, body, one.seq))
    else:
        _, _, _, size, kept, body, _ = parked_row(left)
        ((_, before),) = tables.rows_in("count_parked", [one.seq])
        tables.run("revise_parked", (size, kept, body, one.seq))
        add_totals(tables, {"parked_bytes": size - before})
    return True
