"""One batch against the tables: what is known about it before anything is decided, and how what was decided is written.

Functions for the writer's thread, inside its transaction. Look-ups take the whole batch in few statements; writes are sorted
and many rows a statement (tests/bench/bench_store.py).
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from cdmd.errors import Damaged
from cdmd.models import LANE, Activity, Changes, Digest, Known, ProfileKey, ProfileState, Seq, Wanted, to_micros
from cdmd.store import seen
from cdmd.store.audiences import write_audiences
from cdmd.store.chunks import gather, gather_bodies, in_chunks, insert_many, select_in
from cdmd.store.outgoing import write_outgoing
from cdmd.store.regrouping import regroup
from cdmd.store.rows import activity_row, identifier_row, letter_row, merge_row, parked_row, profile_row, read_profile
from cdmd.store.sql import load_queries

Pair: TypeAlias = tuple[str, str]
Profiles: TypeAlias = dict[ProfileKey, ProfileState]
_SQL: Final = load_queries("store")
_OWNERS: Final = msgspec.json.Decoder(list[tuple[str, ProfileKey]])
_NEWEST: Final = msgspec.json.Decoder(list[tuple[ProfileKey, Seq]])
_PROFILES: Final = msgspec.json.Decoder(list[tuple[ProfileKey, str, str, int, Seq | None]])


class Found(NamedTuple):
    """What was looked up: for ``decide``, in which table each remembered digest lies, and which were asked for.

    ``newest`` is the newest activity of each profile, where it has one.
    """

    known: Known
    where: Mapping[Digest, str]
    asked: AbstractSet[Digest]
    newest: Mapping[ProfileKey, Seq]


def look_up(connection: sqlite3.Connection, wanted: Wanted) -> Found:
    """Everything ``wanted``; an identifier's owner is the profile at the end of its merges. Raises ``Damaged``."""
    remembered, where = seen.find(connection, wanted.digests, among=seen.tables(connection))
    newest: dict[ProfileKey, Seq] = {}
    owners, profiles = _winners(connection, owners_of(connection, wanted.identifiers), newest)
    ((following,),) = connection.execute(_SQL["next_profile"])
    if wanted.profiles:
        profiles = profiles | _profiles(connection, set(wanted.profiles), newest)
    parked = frozenset(seq for (seq,) in select_in(connection, _SQL["still_parked"], sorted(wanted.parked)))
    known = Known(remembered, owners, profiles, ProfileKey(following), parked, newest)
    return Found(known, where, frozenset(wanted.digests), newest)


def _winners(
    connection: sqlite3.Connection, owners: dict[Pair, ProfileKey], newest: dict[ProfileKey, Seq]
) -> tuple[dict[Pair, ProfileKey], Profiles]:
    """The owners after their merges, with their profiles, whose newest activities go into ``newest``."""
    profiles: Profiles = {}
    gone: set[ProfileKey] = set()
    while missing := set(owners.values()) - profiles.keys():
        found = _profiles(connection, missing, newest)
        moved = {key: ProfileKey(state.merged_into) for key, state in found.items() if state.merged_into is not None}
        if missing - found.keys() or missing & gone:
            raise Damaged("the store is damaged: identifiers belong to profiles that are not there; cdmd verify says more")
        gone |= moved.keys()
        profiles |= {key: state for key, state in found.items() if key not in moved}
        owners = {pair: moved.get(key, key) for pair, key in owners.items()}
    return owners, profiles


def owners_of(connection: sqlite3.Connection, pairs: Sequence[Pair]) -> dict[Pair, ProfileKey]:
    """Whose these identifiers were when they were last written; merges come on top of it."""
    kinds = dict(connection.execute(_SQL["kinds"]))
    wanted: dict[str, set[str]] = defaultdict(set)
    for kind, value in pairs:
        wanted[kind].add(value)
    return {
        (kind, value): profile
        for kind, values in wanted.items()
        if kind in kinds
        for value, profile in gather(connection, _SQL["owners"].replace("?", str(kinds[kind])), sorted(values), _OWNERS)
    }


def _profiles(connection: sqlite3.Connection, keys: Iterable[ProfileKey], newest: dict[ProfileKey, Seq]) -> Profiles:
    found: Profiles = {}
    rows, bodies = gather_bodies(connection, _SQL["gathered_profiles"], sorted(keys), _PROFILES)
    begin = 0
    for key, public, kept, length, last in rows:
        end = begin + length
        found[key] = read_profile((key, public, bytes.fromhex(kept), bodies[begin:end]))
        begin = end
        if last is not None:
            newest[key] = last
    return found


def write(connection: sqlite3.Connection, changes: Changes, found: Found, *, now: datetime) -> None:
    """All of ``changes`` in sorted, many-row statements. ``now`` decides in which table new digests lie."""
    activities, newest = _chained(connection, changes.activities, found)
    write_people(connection, changes, newest)
    regroup(connection, changes)
    write_audiences(connection, changes)
    _write_seen(connection, changes, found, now=now)
    insert_many(connection, "INSERT INTO activities (seq, profile, time, sum, body, before)", activities)
    insert_many(connection, "INSERT INTO merges (seq, winner, loser, sum, body)", list(map(merge_row, changes.merges)))
    totals = Counter(
        events=len(changes.activities),
        activities=len(changes.activities),
        profiles=sum((state.merged_into is None) - _was_living(found.known, key) for key, state in changes.profiles.items()),
    )
    _write_waiting(connection, changes, totals)
    _write_sources(connection, changes)
    if changes.outgoing is not None:
        write_outgoing(connection, changes.outgoing, now=to_micros(now))
    add_counts(connection, changes.counts)
    add_totals(connection, totals)
    if changes.position is not None:
        connection.execute(_SQL["set_position"], (changes.position, LANE))


def _was_living(known: Known, key: ProfileKey) -> bool:
    before = known.profiles.get(key)
    return before is not None and before.merged_into is None


def _chained(
    connection: sqlite3.Connection, activities: Iterable[Activity], found: Found
) -> tuple[list[tuple[Any, ...]], dict[ProfileKey, Seq]]:
    """The activities' rows, each with the one before it of its profile, and which is each profile's newest then."""
    ordered = sorted(activities, key=_seq)
    newest = dict(found.newest)
    unasked = {one.profile for one in ordered if one.profile is not None} - found.known.profiles.keys()
    there = sorted(key for key in unasked if key < found.known.next_profile)
    newest.update(gather(connection, _SQL["newest_of"], there, _NEWEST))
    rows, ahead = [], {}
    for one in ordered:
        if one.profile is None:
            rows.append((*activity_row(one), None))
        else:
            rows.append((*activity_row(one), newest.get(one.profile)))
            newest[one.profile] = ahead[one.profile] = one.seq
    return rows, ahead


def write_people(connection: sqlite3.Connection, changes: Changes, newest: Mapping[ProfileKey, Seq]) -> None:
    """Profiles and whose identifiers are; ``newest`` is the newest activity of each profile that has a new one."""
    insert_many(
        connection,
        "INSERT INTO profiles (id, public, sum, body, newest)",
        [(*profile_row(key, state), newest.get(key)) for key, state in sorted(changes.profiles.items(), key=_first)],
        # The public id never changes: naming it here would rewrite its index, half of the pages of a batch.
        tail="ON CONFLICT (id) DO UPDATE"
        " SET sum = excluded.sum, body = excluded.body, newest = coalesce(excluded.newest, newest)",
    )
    moved = sorted((key, seq) for key, seq in newest.items() if key not in changes.profiles)
    connection.executemany(_SQL["chain_ahead"], [(seq, key) for key, seq in moved])
    kinds = _kinds(connection, {kind for kind, _ in changes.owners})
    insert_many(
        connection,
        "INSERT INTO identifiers (kind, value, profile, sum)",
        sorted(identifier_row(kinds[kind], value, key) for (kind, value), key in changes.owners.items()),
        tail="ON CONFLICT (kind, value) DO UPDATE SET profile = excluded.profile, sum = excluded.sum",
    )


def _kinds(connection: sqlite3.Connection, names: set[str]) -> dict[str, int]:
    known = dict(connection.execute(_SQL["kinds"]))
    missing = sorted(names - known.keys())
    if missing:
        connection.executemany(_SQL["add_kind"], [(name,) for name in missing])
        known = dict(connection.execute(_SQL["kinds"]))
    return known


def _write_seen(connection: sqlite3.Connection, changes: Changes, found: Found, *, now: datetime) -> None:
    """A digest that was not asked for may be remembered all the same: it keeps its row."""
    where = dict(found.where)
    unasked = [digest for digest in changes.seen if digest not in found.asked]
    if unasked:
        where |= seen.find(connection, unasked, among=seen.tables(connection))[1]
    seen.remember(connection, changes.seen, where=where, now=now)


def _write_waiting(connection: sqlite3.Connection, changes: Changes, totals: Counter[str]) -> None:
    parked, dead = list(map(parked_row, changes.parked)), list(map(letter_row, changes.dead))
    if changes.unparked or parked:
        drop_parked(connection, [*changes.unparked, *(one.seq for one in changes.parked)], totals)
        put_parked(connection, parked, totals)
    if dead:
        drop_dead(connection, [one.seq for one in changes.dead], totals)
        insert_many(connection, "INSERT INTO dead_letters (seq, connector, type, code, since, sum, body)", dead)
        totals["dead_letters"] += len(dead)


def put_parked(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]], totals: Counter[str]) -> None:
    """Insert rows of ``parked_row`` and count them."""
    insert_many(connection, "INSERT INTO parked (seq, connector, due, bytes, sum, body, extension)", rows)
    totals.update(parked=len(rows), parked_bytes=sum(row[3] for row in rows))


def drop_parked(connection: sqlite3.Connection, seqs: Sequence[Seq], totals: Counter[str]) -> None:
    """Remove what is parked at ``seqs``, where there is something."""
    for chunk, marks in in_chunks(sorted(set(seqs))):
        ((count, size),) = connection.execute(_SQL["count_parked"].format(marks), chunk)
        totals.update(parked=-count, parked_bytes=-size)
        connection.execute(_SQL["drop_parked"].format(marks), chunk)


def drop_dead(connection: sqlite3.Connection, seqs: Sequence[Seq], totals: Counter[str]) -> None:
    """Remove the dead letters at ``seqs``, where there are any."""
    for chunk, marks in in_chunks(sorted(set(seqs))):
        totals["dead_letters"] -= connection.execute(_SQL["drop_dead"].format(marks), chunk).rowcount


def _write_sources(connection: sqlite3.Connection, changes: Changes) -> None:
    """The sources met, for a trace that names none. A counter's connector stands for one that only had filtered events."""
    met = {one.event.source for one in changes.activities}
    met |= {one.entry.event.source for one in changes.dead} | {one.entry.event.source for one in changes.parked}
    met |= {connector for connector, _ in changes.counts}
    new = met - {name for (name,) in connection.execute(_SQL["sources"])}
    connection.executemany(_SQL["add_source"], [(name,) for name in sorted(new)])


def add_counts(connection: sqlite3.Connection, counts: Mapping[tuple[str, str], int]) -> None:
    """Add to the counters of (connector, name)."""
    connection.executemany(_SQL["add_count"], [(*key, value) for key, value in counts.items()])


def add_totals(connection: sqlite3.Connection, totals: Mapping[str, int]) -> None:
    """Add to the running totals."""
    connection.executemany(_SQL["add_total"], [(value, name) for name, value in totals.items() if value])


def _seq(one: Activity) -> Seq:
    return one.seq


def _first(row: tuple[Any, ...]) -> Any:
    return row[0]
