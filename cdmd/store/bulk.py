"""A store as tables that are copied whole into another store, whatever database either is in.

Tables and columns are what the databases say they have, so that a new one is moved or named here as not moved: what is neither
is refused, and fails a test. Not here: any SQL, and when what is copied (``cdmd.moving``).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from typing_extensions import override

from cdmd.errors import CdmdError
from cdmd.models import LANE, Seq
from cdmd.store.moves import MOVE
from cdmd.store.sql import Migration
from cdmd.store.tables import Row

_WIDTH: Final = 2**128
META: Final = "meta"
POSITIONS: Final = "positions"
PROGRESS: Final = "moving_progress"
"""Where a store that is being filled remembers how far it is; it goes with the end of that."""
STAY: Final[Mapping[str, str]] = {
    "migrations": "which steps of its own schema a database has taken",
    "seen": "in PostgreSQL the parent of the tables of what was seen: it has no rows of its own",
    "nodes": "which daemons apply now: each says so itself",
    "reports": "how those are: they say so again",
    "lost_nodes": "which of them were lost",
    "errands": "what they ask each other",
    "duties": "who fetches and sends now: each node says so itself",
    "generations": "tables of connectors: they go as a file beside the store",
    "blocks": "the same",
    "feed_holders": "who works with those",
    PROGRESS: "how far a store is filled",
}
"""Tables that are not moved, each with the reason."""
STAY_COLUMNS: Final[Mapping[tuple[str, str], str]] = {
    ("positions", "token"): "who may write a lane: whoever opens the store next",
    ("positions", "version"): "counts what was written by whom",
    ("positions", "node"): "whose a lane is now",
}
"""Columns that are not moved, each with the reason."""
_ENCODE: Final = msgspec.msgpack.Encoder().encode


class Table(NamedTuple):
    """Its columns in their order, and those of its primary key."""

    columns: tuple[str, ...]
    key: tuple[str, ...]


class Tally(NamedTuple):
    """How many rows, and a digest of all of them, in whatever order they came."""

    rows: int = 0
    digest: int = 0

    def plus(self, other: "Tally") -> "Tally":
        """Of both together."""
        return Tally(self.rows + other.rows, (self.digest + other.digest) % _WIDTH)

    @override
    def __str__(self) -> str:
        return f"{self.rows} rows, digest {self.digest:032x}"


class Bulk(Protocol):
    """For one thread at a time. What the database refuses is raised as ``broken``, which ``why`` puts into words."""

    broken: type[Exception]

    def why(self, error: Exception) -> str:
        """The reason, which quotes nothing of what was written."""
        ...

    def close(self) -> None:
        """Give the connection up."""
        ...

    def tables(self) -> dict[str, Table]:
        """All tables."""
        ...

    def count(self, name: str) -> int:
        """How many rows a table has."""
        ...

    def size(self) -> int:
        """Bytes that all of it takes."""
        ...

    def each(self, name: str, table: Table, *, after: Row | None = None) -> Iterator[Row]:
        """The rows behind a key, in its order, without holding all of them."""
        ...

    def meta(self) -> dict[str, str]:
        """What the store knows of itself; empty where none was made yet."""
        ...

    def users(self) -> list[str]:
        """The names of the daemons that apply to it now, as far as nobody else keeps them out."""
        ...

    def numbers(self) -> dict[str, int]:
        """The greatest number that was ever given out in each table whose numbers are never given again."""
        ...

    def say(self, move: str | None) -> None:
        """Remember that under ``MOVE``, or forget it and how far it was filled."""
        ...

    # ---- for the one that is filled ----------------------------------------------------------------------------------

    def begin(self, seen: Iterable[str], move: str) -> None:
        """Make the tables of what was seen, empty all tables, and ``say(move)``, all at once."""
        ...

    def progress(self) -> dict[str, Row]:
        """The last key of each table that was begun."""
        ...

    def put(self, name: str, table: Table, rows: Sequence[Row], *, last: Row) -> None:
        """Add rows and remember that their last key is ``last``, both or none."""
        ...

    def empty(self, name: str) -> None:
        """Remove all rows of a table and what is remembered of its progress."""
        ...

    def give_on(self, numbers: Mapping[str, int]) -> None:
        """Give out numbers behind these, and behind all that are there."""
        ...


_POSITIONS: Final = Table(("lane", "seq"), ("lane",))


def check_schema(what: str, version: int, migrations: Sequence[Migration]) -> None:
    """What is moved has today's schema, so that it is not changed for that. Raises ``CdmdError``."""
    if version != (newest := migrations[-1].number):
        raise CdmdError(
            f"{what} has schema {version}, and this cdmd moves {newest}: start this version of cdmd with it once, and stop it"
        )


def moved(source: Mapping[str, Table], target: Mapping[str, Table]) -> dict[str, Table]:
    """What is moved of the tables of two stores. Raises ``CdmdError`` on what one of them has and nobody accounts for."""
    strange = [name for name in source.keys() ^ target.keys() if name not in STAY]
    shared = [name for name in source if name in target and name not in STAY]
    for name in shared:
        strange += [
            f"{name}.{column}"
            for column in set(source[name].columns) ^ set(target[name].columns)
            if (name, column) not in STAY_COLUMNS
        ]
    if strange:
        raise CdmdError(f"this cdmd does not know how to move: {', '.join(sorted(strange))}")
    return {name: _common(name, source[name], target[name]) for name in shared}


def _common(name: str, source: Table, target: Table) -> Table:
    columns = [one for one in source.columns if one in target.columns and (name, one) not in STAY_COLUMNS]
    return Table(tuple(columns), source.key)


def rows_of(bulk: Bulk, name: str, table: Table, *, after: Row | None = None) -> Iterator[Row]:
    """The rows to be moved. What a store says of its own move is none; several lanes are one. Raises as ``reached``."""
    if name == POSITIONS:
        seq = reached(bulk)
        return iter([] if seq is None or after is not None else [(LANE, seq)])
    rows = bulk.each(name, table, after=after)
    return (row for row in rows if row[0] != MOVE) if name == META else rows


def reached(bulk: Bulk) -> Seq | None:
    """How far all of the store is applied. Raises ``CdmdError`` where its lanes are not equally far.

    What one of them applied ahead of the others would be applied behind them again, and its sums with it.
    """
    seqs = {seq for lane, seq in bulk.each(POSITIONS, _POSITIONS) if lane >= LANE}
    if len(seqs) > 1:
        raise CdmdError(
            "the store's lanes have not come equally far, and one for a single daemon has one position: start the nodes that "
            "it is divided among, wait until the backlog is 0, stop them, and run the command again"
        )
    return Seq(seqs.pop()) if seqs else None


def tally(rows: Iterable[Sequence[Any]]) -> Tally:
    """128-bit BLAKE2b of each row, summed."""
    count = total = 0
    for row in rows:
        total += int.from_bytes(hashlib.blake2b(_ENCODE(row), digest_size=16).digest(), "big")
        count += 1
    return Tally(count, total % _WIDTH)


def key_of(table: Table, row: Row) -> Row:
    """A row's key."""
    return tuple(row[table.columns.index(one)] for one in table.key)
