"""One batch against the tables: what is known about it before anything is decided, and how what was decided is written.

Functions for the writer's thread, inside its transaction. Look-ups take the whole batch in few statements; writes are sorted
and many rows a statement (tests/bench/bench_store.py).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

from cdmd.errors import Damaged
from cdmd.models import (
    LANE,
    Activity,
    Changes,
    Digest,
    Known,
    ProfileKey,
    Profiles,
    Seq,
    Wanted,
    pack_profile,
    to_micros,
)
from cdmd.store import seen
from cdmd.store.audiences import write_audiences
from cdmd.store.outgoing import write_outgoing
from cdmd.store.regrouping import regroup
from cdmd.store.rows import (
    activity_row,
    identifier_row,
    identifiers_in,
    letter_row,
    merge_row,
    newcomer_rows,
    parked_row,
    profile_row,
    read_profiles,
)
from cdmd.store.tables import Tables

Pair: TypeAlias = tuple[str, str]
_NONE: Final[Mapping[str, Pair]] = {}


class Found(NamedTuple):
    """What was looked up: for ``decide``, in which table each remembered digest lies, and which were asked for.

    ``newest`` is the newest activity of each profile, where it has one.
    """

    known: Known
    where: Mapping[Digest, str]
    asked: AbstractSet[Digest]
    newest: Mapping[ProfileKey, Seq]


def look_up(tables: Tables, wanted: Wanted) -> Found:
    """Everything ``wanted``; an identifier's owner is the profile at the end of its merges. Raises ``Damaged``."""
    remembered, where = seen.find(tables, wanted.digests)
    newest: dict[ProfileKey, Seq] = {}
    owners, profiles = _people(tables, wanted.identifiers, newest)
    ((following,),) = tables.rows("next_profile")
    if wanted.profiles:
        profiles.lay(_profiles(tables, set(wanted.profiles), newest))
    parked = frozenset(seq for (seq,) in tables.rows_in("still_parked", sorted(wanted.parked)))
    known = Known(remembered, owners, profiles, ProfileKey(following), parked, newest)
    return Found(known, where, frozenset(wanted.digests), newest)


def _people(tables: Tables, pairs: Sequence[Pair], newest: dict[ProfileKey, Seq]) -> tuple[dict[Pair, ProfileKey], Profiles]:
    """The owners after their merges, with their profiles, whose newest activities go into ``newest``.

    Where nobody else writes, one kind of identifiers after the other: what the profiles found so far say is theirs need not be
    asked. Of a million profiles each identifier that is asked for is a page that is read (tests/bench/growth.py --long).
    """
    profiles = Profiles()
    if not tables.alone:
        return _winners(tables, owners_of(tables, pairs), profiles, newest), profiles
    owners, told = dict[Pair, ProfileKey](), set[ProfileKey]()
    wanted, kinds = _by_kind(pairs), _numbers(tables)
    for kind, values in wanted.items():
        left = {value: pair for value, pair in values.items() if pair not in owners}
        if left and kind in kinds:
            owners |= _winners(tables, _owners(tables, kinds[kind], left), profiles, newest)
            for key in profiles.bodies.keys() - told:
                for one in identifiers_in(profiles.bodies[key][1]):
                    if (pair := wanted.get(one.kind, _NONE).get(one.value)) is not None:
                        owners[pair] = key
            told |= profiles.bodies.keys()
    return owners, profiles


def _winners(
    tables: Tables, owners: dict[Pair, ProfileKey], profiles: Profiles, newest: dict[ProfileKey, Seq]
) -> dict[Pair, ProfileKey]:
    """The owners after their merges, whose profiles go into ``profiles``."""
    gone: dict[ProfileKey, ProfileKey] = {}
    while missing := set(owners.values()) - profiles.bodies.keys():
        found = _profiles(tables, missing, newest)
        moved = {key: ProfileKey(state.merged_into) for key, state in found.states.items() if state.merged_into is not None}
        if len(found) < len(missing) or missing & gone.keys():
            raise Damaged("the store is damaged: identifiers belong to profiles that are not there; cdmd verify says more")
        gone |= moved
        profiles.bodies |= found.bodies
        if moved:
            owners = {pair: _winner(key, gone) for pair, key in owners.items()}
    return owners


def _winner(key: ProfileKey, gone: Mapping[ProfileKey, ProfileKey]) -> ProfileKey:
    """Where its merges end, as far as that is known: others may have merged it more than once since it was looked up."""
    met = {key}
    while (after := gone.get(key)) is not None and after not in met:
        met.add(key := after)
    return key


def owners_of(tables: Tables, pairs: Sequence[Pair]) -> dict[Pair, ProfileKey]:
    """Whose these identifiers were when they were last written; merges come on top of it."""
    kinds = _numbers(tables)
    asked = [_owners(tables, kinds[kind], values) for kind, values in _by_kind(pairs).items() if kind in kinds]
    return {pair: profile for found in asked for pair, profile in found.items()}


def _by_kind(pairs: Iterable[Pair]) -> dict[str, dict[str, Pair]]:
    """The very pairs by their values, for each kind."""
    wanted: dict[str, dict[str, Pair]] = defaultdict(dict)
    for pair in pairs:
        wanted[pair[0]][pair[1]] = pair
    return wanted


def _owners(tables: Tables, kind: int, values: Mapping[str, Pair]) -> dict[Pair, ProfileKey]:
    # By the very pairs that events are looked up with: what is the same need not be compared.
    found = tables.owners(kind, sorted(values))
    return {pair: profile for value, profile in found if (pair := values.get(value)) is not None}


def _profiles(tables: Tables, keys: Iterable[ProfileKey], newest: dict[ProfileKey, Seq]) -> Profiles:
    rows = []
    for row, last in tables.people(sorted(keys)):
        rows.append(row)
        if last is not None:
            newest[row[0]] = last
    return read_profiles(rows)


def write(tables: Tables, changes: Changes, found: Found, *, now: datetime) -> None:
    """All of ``changes`` in sorted, many-row statements. ``now`` decides in which table new digests lie."""
    activities, newest = _chained(tables, changes.activities, found)
    tables.insert("put_activities", [*activities, *write_people(tables, changes, newest)])
    regroup(tables, changes)
    write_audiences(tables, changes)
    _write_seen(tables, changes, found, now=now)
    tables.insert("put_merges", list(map(merge_row, changes.merges)))
    came, living, known = len(changes.newcomers), Profiles.of(changes.profiles).living(), Profiles.of(found.known.profiles)
    before = known.living().intersection(changes.profiles)
    totals = Counter(
        events=len(changes.activities) + came,
        activities=len(changes.activities) + came,
        profiles=len(living) - len(before) + came,
    )
    _write_waiting(tables, changes, totals)
    _write_sources(tables, changes)
    if changes.outgoing is not None:
        write_outgoing(tables, changes.outgoing, now=to_micros(now))
    add_counts(tables, changes.counts)
    add_totals(tables, totals)
    if changes.position is not None:
        tables.run("set_position", (changes.position, LANE))


def _chained(
    tables: Tables, activities: Iterable[Activity], found: Found
) -> tuple[list[tuple[Any, ...]], dict[ProfileKey, Seq]]:
    """The activities' rows, each with the one before it of its profile, and which is each profile's newest then."""
    ordered = sorted(activities, key=_seq)
    newest = dict(found.newest)
    unasked = {one.profile for one in ordered if one.profile is not None}.difference(found.known.profiles)
    there = sorted(key for key in unasked if key < found.known.next_profile)
    newest.update(tables.rows_in("newest_in", there))
    rows, ahead = [], dict[ProfileKey, Seq]()
    for one in ordered:
        if (profile := one.profile) is None:
            rows.append(activity_row(one, None))
        else:
            rows.append(activity_row(one, newest.get(profile)))
            newest[profile] = ahead[profile] = one.seq
    return rows, ahead


def write_people(tables: Tables, changes: Changes, newest: Mapping[ProfileKey, Seq]) -> list[tuple[Any, ...]]:
    """Profiles and whose identifiers are; ``newest`` is the newest activity of each profile that has a new one.

    Returned are the rows of the newcomers' activities.
    """
    came, activities = newcomer_rows(changes.newcomers)
    held = Profiles.of(changes.profiles)
    bodies = held.bodies | {key: (state.public, pack_profile(state)) for key, state in held.states.items()}
    people = [profile_row(key, public, body, newest.get(key)) for key, (public, body) in bodies.items()]
    if people:
        tables.insert("put_profiles", sorted([*people, *came], key=_first))
    else:
        tables.insert("add_profiles", came)
    moved = sorted(newest.keys() - bodies.keys())
    tables.run_many("chain_ahead", [(newest[key], key) for key in moved])
    tables.insert("put_identifiers", _identifier_rows(tables, changes))
    return activities


def _identifier_rows(tables: Tables, changes: Changes) -> list[tuple[Any, ...]]:
    """Whose identifiers are by now, in the order of their table: to sort each kind by itself takes half the time."""
    owned = defaultdict[str, list[tuple[str, ProfileKey]]](list)
    for one in changes.newcomers:
        key = one.key
        for kind, value in one.pairs:
            owned[kind].append((value, key))
    for (kind, value), key in changes.owners.items():
        owned[kind].append((value, key))
    kinds = _kinds(tables, owned.keys())
    ordered = sorted((kinds[kind], sorted(values)) for kind, values in owned.items())
    return [identifier_row(kind, value, key) for kind, values in ordered for value, key in values]


def _kinds(tables: Tables, names: AbstractSet[str]) -> dict[str, int]:
    known = _numbers(tables)
    missing = sorted(names - known.keys())
    if missing:
        tables.run_many("add_kind", [(name,) for name in missing])
        known = _numbers(tables)
    return known


def _numbers(tables: Tables) -> dict[str, int]:
    return dict(tables.rows("kinds"))


def _write_seen(tables: Tables, changes: Changes, found: Found, *, now: datetime) -> None:
    """A digest that was not asked for may be remembered all the same: it keeps its row."""
    where = dict(found.where)
    unasked = [digest for digest in changes.seen if digest not in found.asked]
    if unasked:
        where |= seen.find(tables, unasked)[1]
    seen.remember(tables, changes.seen, where=where, now=now)


def _write_waiting(tables: Tables, changes: Changes, totals: Counter[str]) -> None:
    parked, dead = list(map(parked_row, changes.parked)), list(map(letter_row, changes.dead))
    if changes.unparked or parked:
        drop_parked(tables, [*changes.unparked, *(one.seq for one in changes.parked)], totals)
        put_parked(tables, parked, totals)
    if dead:
        drop_dead(tables, [one.seq for one in changes.dead], totals)
        tables.insert("put_dead", dead)
        totals["dead_letters"] += len(dead)


def put_parked(tables: Tables, rows: Sequence[tuple[Any, ...]], totals: Counter[str]) -> None:
    """Insert rows of ``parked_row`` and count them."""
    tables.insert("put_parked", rows)
    totals.update(parked=len(rows), parked_bytes=sum(row[3] for row in rows))


def drop_parked(tables: Tables, seqs: Sequence[Seq], totals: Counter[str]) -> None:
    """Remove what is parked at ``seqs``, where there is something."""
    places = sorted(set(seqs))
    for count, size in tables.rows_in("count_parked", places):
        totals.update(parked=-count, parked_bytes=-size)
    tables.run_in("drop_parked", places)


def drop_dead(tables: Tables, seqs: Sequence[Seq], totals: Counter[str]) -> None:
    """Remove the dead letters at ``seqs``, where there are any."""
    totals["dead_letters"] -= tables.run_in("drop_dead", sorted(set(seqs)))


def _write_sources(tables: Tables, changes: Changes) -> None:
    """The sources met, for a trace that names none. A counter's connector stands for one that only had filtered events."""
    met = {one.event.source for one in changes.activities} | {one.source for one in changes.newcomers}
    met |= {one.entry.event.source for one in changes.dead} | {one.entry.event.source for one in changes.parked}
    met |= {connector for connector, _ in changes.counts}
    new = met - {name for (name,) in tables.rows("sources")}
    tables.run_many("add_source", [(name,) for name in sorted(new)])


def add_counts(tables: Tables, counts: Mapping[tuple[str, str], int]) -> None:
    """Add to the counters of (connector, name), in their order: others may add to them at the same time."""
    tables.run_many("add_count", [(*key, value) for key, value in sorted(counts.items())])


def add_totals(tables: Tables, totals: Mapping[str, int]) -> None:
    """Add to the running totals, in their order."""
    tables.run_many("add_total", [(value, name) for name, value in sorted(totals.items()) if value])


def _seq(one: Activity) -> Seq:
    return one.seq


def _first(row: Sequence[Any]) -> Any:
    return row[0]
