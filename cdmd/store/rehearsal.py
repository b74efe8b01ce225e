"""What a rehearsal of all stored events keeps beside the store while it runs: it is thrown away, and nobody waits for it.

However many events there are, few of them are in memory. Not here: any decision (``advance`` is handed the function), and what
is done with the outcome.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeAlias, TypeVar

import msgspec

from cdmd.errors import CdmdError
from cdmd.models import Carried, Emerged, IdentifierState, Known, Merge, Micros, ProfileKey, ProfileState, Seq
from cdmd.store.chunks import in_chunks, select_in
from cdmd.store.database import Plan, connect_writer, transaction, why
from cdmd.store.sql import load_migrations, load_queries
from cdmd.store.writer import Writer

T = TypeVar("T")
Pair: TypeAlias = tuple[str, str]

_SQL: Final = load_queries("rehearsal")
_PLAN: Final = Plan(
    name="rehearsal", migrations=load_migrations("rehearsal"), synchronous="OFF", autocheckpoint=4_000, cache_kib=32_768
)
_FORMS: Final = msgspec.msgpack.Decoder(tuple[list[Pair], list[Pair]])
_STATE: Final = msgspec.msgpack.Decoder(ProfileState)
_MERGE: Final = msgspec.msgpack.Decoder(tuple[int, int, list[Pair], str])
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_BEGIN: Final = (-(2**62), "", "", -(2**62))


class Resolved(NamedTuple):
    """What a decision about some events comes to: whose each is (None: nobody's) and why, and the people it changes."""

    placed: Sequence[tuple[ProfileKey | None, str]]
    persons: Mapping[ProfileKey, ProfileState]
    owners: Mapping[Pair, ProfileKey]
    merges: Sequence[Merge]


Resolve: TypeAlias = Callable[[Known, Sequence[Carried]], Resolved]


class Figures(NamedTuple):
    """What a rehearsal comes to, in numbers. ``joined`` profiles become ``into``, ``split`` ones become ``parts``.

    ``changed`` profiles are not as they were, for whatever reason.
    """

    events: int
    before: int
    after: int
    joined: int
    into: int
    split: int
    parts: int
    changed: int


class Component(NamedTuple):
    """Stored profiles that have events of the same people, each with all its members; and who comes out of them, by key."""

    olds: Sequence[ProfileKey]
    members: frozenset[ProfileKey]
    persons: Mapping[ProfileKey, Emerged]


class SqliteRehearsal:
    """On a file of its own. Raises ``CdmdError`` where the disk does not play along."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = Writer(self._open, name="rehearsal")
        self._at: tuple[Any, ...] = _BEGIN

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator[Self]:
        """A new one at ``path``."""
        made = cls(path)
        async with made._writer:
            yield made

    def _open(self) -> sqlite3.Connection:
        connection = connect_writer(self._path, _PLAN, connect=sqlite3.connect)
        connection.execute("PRAGMA temp_store = FILE")
        return connection

    async def _run(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._writer.run(fn)
        except sqlite3.Error as error:
            raise CdmdError(f"the rehearsal cannot go on: {why(error)}") from error

    # ---- what there is -------------------------------------------------------------------------------------------------

    async def carry(self, events: Sequence[Carried], *, sights: bool = False) -> None:
        """Take these events in; ``sights``: they say when identifiers were seen."""
        await self._run(partial(_carry, events, _sights(events) if sights else {}))

    async def first_sights(self, pairs: Sequence[Pair]) -> list[tuple[Pair, ProfileKey, Micros]]:
        """When these identifiers were seen first on events of which profile, as far as events are kept."""
        rows = await self._run(lambda connection: select_in(connection, _SQL["firsts"], sorted(map(_text, pairs))))
        return [(_pair(text), ProfileKey(key), Micros(time)) for text, key, time in rows]

    async def hold(self, profiles: Mapping[ProfileKey, ProfileState]) -> None:
        """Take these stored profiles in."""
        rows = [
            (key, key, digest_of(state.identifiers)) if state.merged_into is None else (key, state.merged_into, None)
            for key, state in profiles.items()
        ]
        await self._run(partial(_many, "key", rows))

    # ---- who comes out -------------------------------------------------------------------------------------------------

    async def advance(self, resolve: Resolve, *, limit: int) -> int:
        """Let ``resolve`` decide about the next events; returns how many there were."""
        rows = await self._run(partial(_advance, resolve, at=self._at, limit=limit))
        if rows:
            self._at = rows[-1][:4]
        return len(rows)

    async def compare(self) -> None:
        """Find out which of the stored profiles are not as they were."""
        for name in ("index_carried", "index_profile", "index_joins"):
            await self._run(partial(_one, name))
        for name in ("shorten", "shorten_keys"):
            left = 1
            while left:
                left = await self._run(partial(_one, name))
        for name in ("link", "find_split", "find_joined", "find_otherwise"):
            await self._run(partial(_one, name))

    async def figures(self) -> Figures:
        """The outcome in numbers."""
        return Figures(*(await self._run(lambda connection: connection.execute(_SQL["figures"]).fetchone())))

    async def largest(self, *, joined: bool, limit: int) -> list[Sequence[ProfileKey]]:
        """The stored profiles of each of the largest joins, or each of those that fall into the most parts."""
        name = "largest_joined" if joined else "largest_split"
        found = await self._run(lambda connection: connection.execute(_SQL[name], (limit,)).fetchall())
        if not joined:
            return [[ProfileKey(key)] for (key,) in found]
        return [await self._listed("olds_of", [person]) for (person,) in found]

    async def persons_of(self, olds: Sequence[ProfileKey]) -> list[Emerged]:
        """Who comes out of these profiles."""
        return await self._run(partial(_emerged, await self._listed("persons_of", olds)))

    # ---- carrying it out -----------------------------------------------------------------------------------------------

    async def left(self) -> int:
        """How many changed profiles are not done with."""
        ((count,),) = await self._run(lambda connection: connection.execute(_SQL["count_changed"]).fetchall())
        return int(count)

    async def component(self, *, most: int) -> Component | None:
        """The next changed profiles that belong together; None when all is done. Of more than ``most``, no people are told."""
        rows = await self._run(lambda connection: connection.execute(_SQL["first_changed"]).fetchall())
        if not rows:
            return None
        olds: set[ProfileKey] = {ProfileKey(rows[0][0])}
        persons: set[ProfileKey] = set()
        while True:
            persons |= set(await self._listed("persons_of", sorted(olds)))
            more = set(await self._listed("olds_of", sorted(persons))) - olds
            if not more or len(olds) > most:
                break
            olds |= more
        members = frozenset(await self._listed("members", sorted(olds)))
        keys: list[ProfileKey] = [] if len(olds) > most else sorted(persons)
        found = await self._run(partial(_emerged, keys))
        return Component(sorted(olds), members, dict(zip(keys, found, strict=True)))

    async def strangers(self, pairs: Sequence[Pair], component: Component) -> set[Pair]:
        """Which of these identifiers are those of people outside the ``component``."""
        texts = sorted(map(_text, pairs))
        rows = await self._run(lambda connection: select_in(connection, _SQL["owners"], texts))
        return {_pair(text) for text, person in rows if person not in component.persons}

    async def done(self, olds: Sequence[ProfileKey]) -> None:
        """These are done with."""
        await self._run(partial(_each_chunk, "done", olds))

    async def _listed(self, name: str, keys: Sequence[ProfileKey]) -> list[ProfileKey]:
        rows = await self._run(lambda connection: select_in(connection, _SQL[name], keys))
        return [ProfileKey(key) for (key,) in rows]


def digest_of(identifiers: Iterable[IdentifierState]) -> bytes:
    """Stands for a set of identifiers."""
    named = sorted(_text((one.kind, one.value)) for one in identifiers)
    return blake2b("\1".join(named).encode(), digest_size=8).digest()


def _text(pair: Pair) -> str:
    return f"{pair[0]}\0{pair[1]}"


def _pair(text: str) -> Pair:
    kind, _, value = text.partition("\0")
    return kind, value


def _one(name: str, connection: sqlite3.Connection) -> int:
    return max(0, connection.execute(_SQL[name]).rowcount)


def _many(name: str, rows: Sequence[tuple[Any, ...]], connection: sqlite3.Connection) -> None:
    with transaction(connection):
        connection.executemany(_SQL[name], rows)


def _each_chunk(name: str, keys: Sequence[ProfileKey], connection: sqlite3.Connection) -> None:
    for chunk, marks in in_chunks(keys):
        connection.execute(_SQL[name].format(marks), chunk)


def _sights(events: Iterable[Carried]) -> dict[tuple[str, ProfileKey], int]:
    firsts: dict[tuple[str, ProfileKey], int] = {}
    for one in events:
        for pair in one.pairs:
            sight = _text(pair), one.profile
            firsts[sight] = min(one.time, firsts.get(sight, one.time))
    return firsts


def _carry(events: Sequence[Carried], firsts: Mapping[tuple[str, ProfileKey], int], connection: sqlite3.Connection) -> None:
    with transaction(connection):
        connection.executemany(_SQL["carry"], [(*one[:5], _ENCODE((one.pairs, one.derived))) for one in events])
        connection.executemany(_SQL["first"], [(*sight, time) for sight, time in sorted(firsts.items())])


def _read(row: Sequence[Any]) -> Carried:
    pairs, derived = _FORMS.decode(row[5])
    return Carried(row[0], row[1], row[2], Seq(row[3]), ProfileKey(row[4]), pairs, derived)


def _advance(resolve: Resolve, connection: sqlite3.Connection, *, at: tuple[Any, ...], limit: int) -> list[Carried]:
    events = [_read(row) for row in connection.execute(_SQL["next"], (*at, limit))]
    if events:
        with transaction(connection):
            resolved = resolve(_known(connection, events), events)
            _write(connection, events, resolved)
    return events


def _known(connection: sqlite3.Connection, events: Iterable[Carried]) -> Known:
    texts = sorted({_text(pair) for one in events for pair in one.pairs})
    owners = {_pair(text): ProfileKey(person) for text, person in select_in(connection, _SQL["owners"], texts)}
    states = {
        ProfileKey(key): _STATE.decode(body)
        for key, _, body in select_in(connection, _SQL["persons"], sorted(set(owners.values())))
    }
    ((following,),) = connection.execute(_SQL["next_person"])
    return Known({}, owners, states, ProfileKey(following))


def _write(connection: sqlite3.Connection, events: Sequence[Carried], resolved: Resolved) -> None:
    persons = [
        (key, state.merged_into, digest_of(state.identifiers), _ENCODE(state))
        for key, state in sorted(resolved.persons.items())
    ]
    connection.executemany(_SQL["person"], persons)
    connection.executemany(_SQL["own"], sorted((_text(pair), key) for pair, key in resolved.owners.items()))
    placed = [(key, rule, *one[:4]) for one, (key, rule) in zip(events, resolved.placed, strict=True)]
    connection.executemany(_SQL["place"], placed)
    joins = [(one.winner, _ENCODE((one.seq, one.time, list(one.identifiers), one.rule))) for one in resolved.merges]
    connection.executemany(_SQL["join"], joins)


def _emerged(persons: Sequence[ProfileKey], connection: sqlite3.Connection) -> list[Emerged]:
    return [_person(connection, key) for key in persons]


def _person(connection: sqlite3.Connection, key: ProfileKey) -> Emerged:
    """One of them with all that was joined to it."""
    parts = [part for (part,) in connection.execute(_SQL["whole_persons"].format("?", "?"), (key, key))]
    ((_, _, body),) = select_in(connection, _SQL["persons"], [key])
    events = [(_read(row[:6]), row[6]) for row in select_in(connection, _SQL["events_of"], parts)]
    events.sort(key=lambda pair: pair[0][:4])
    merges = [_merge(key, body) for (body,) in select_in(connection, _SQL["joins_of"], parts)]
    return Emerged(_STATE.decode(body), events, merges)


def _merge(key: ProfileKey, body: bytes) -> Merge:
    seq, time, identifiers, rule = _MERGE.decode(body)
    nobody = ProfileState("", 0, 0)
    return Merge(seq=Seq(seq), time=Micros(time), winner=key, loser=key, identifiers=identifiers, rule=rule, before=nobody)
