"""A store copied into another one, and compared with it. It blocks: for a thread."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from typing_extensions import override

from cdmd.errors import CdmdError
from cdmd.store.bulk import STAY, Bulk, Table, Tally, key_of, moved, rows_of, tally
from cdmd.store.moves import MOVE, Move, decode_move, encode_move
from cdmd.store.tables import Row

Told: TypeAlias = Callable[[str, int], None]
"""What is being done, and how many rows that was by now."""

_ROWS: Final = 2_000
_BYTES: Final = 8 * 2**20
_SEEN: Final = "seen_"


class Difference(NamedTuple):
    """A table that is not the same in both."""

    name: str
    source: Tally
    target: Tally

    @override
    def __str__(self) -> str:
        return f"{self.name} has {self.source} where it came from, and {self.target} where it went"


def claim(meta: Mapping[str, str], move: Move, *, where: str) -> bool:
    """Whether what lies there was begun by an earlier run. Raises ``CdmdError`` where it may not be written over."""
    said = decode_move(meta[MOVE]) if MOVE in meta else None
    owner = said.journal_id if said is not None else meta.get("journal_id")
    if owner is None:
        return False
    if owner != move.journal_id:
        raise CdmdError(f"{where} holds another installation's store: name an empty database or schema, or another directory")
    if said is None:
        raise CdmdError(f"{where} already holds this installation's store: nothing is written over it")
    return not said.gone


def copy_store(source: Bulk, target: Bulk, move: Move, *, resume: bool, told: Told) -> None:
    """Copy what is not there yet. Raises ``CdmdError`` on tables that nobody accounts for."""
    seen = {name for name in source.tables() if name.startswith(_SEEN)}
    if not resume or seen != {name for name in target.tables() if name.startswith(_SEEN)}:
        target.begin(sorted(seen), encode_move(move))
    progress = target.progress()
    for name, table in moved(source.tables(), target.tables()).items():
        copy_table(source, target, name, table, after=progress.get(name), told=told)
    target.give_on(source.numbers())


def copy_table(source: Bulk, target: Bulk, name: str, table: Table, *, after: Row | None = None, told: Told) -> None:
    """Copy the rows of a table behind ``after``."""
    done = 0
    for rows in _batches(rows_of(source, name, table, after=after)):
        target.put(name, table, rows, last=key_of(table, rows[-1]))
        done += len(rows)
        told(f"store: {name}", done)


def compare_stores(source: Bulk, target: Bulk, *, told: Told) -> tuple[dict[str, Tally], list[Difference]]:
    """What each table of the source comes to, and those that are not the same in the target.

    Raises ``CdmdError`` where numbers that were given out would be given out again.
    """
    tallies, differences = dict[str, Tally](), list[Difference]()
    for name, table in moved(source.tables(), target.tables()).items():
        told(f"store: {name} is compared", 0)
        tallies[name], there = tally(rows_of(source, name, table)), tally(rows_of(target, name, table))
        if tallies[name] != there:
            differences.append(Difference(name, tallies[name], there))
    given, numbers = source.numbers(), target.numbers()
    again = [name for name in numbers if numbers[name] < given.get(name, 0)]
    if again:
        raise CdmdError(f"numbers of {', '.join(again)} would be given out again")
    return tallies, differences


def sizes(source: Bulk) -> dict[str, int]:
    """How many rows each table has that would be moved."""
    return {name: source.count(name) for name in source.tables() if name not in STAY}


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch, size = list[Row](), 0
    for row in rows:
        batch.append(row)
        size += sum(len(value) for value in row if isinstance(value, bytes | str))
        if len(batch) >= _ROWS or size >= _BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
