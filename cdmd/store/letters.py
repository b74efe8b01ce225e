"""What an administrator does with dead letters: try again, give up, let them expire. Functions for the writer's thread.

Every one of them moves the counters with it, so that nothing is dropped in silence: dead - 1 and parked + 1, or dead - 1 and
filtered + 1.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

import msgspec

from cdmd.contracts import DeadLetterFilter
from cdmd.models import Count, DeadLetter, Digest, Micros, Parked, Seen, SeenVerdict, Seq
from cdmd.store import seen
from cdmd.store.batches import add_counts, add_totals, drop_dead, put_parked
from cdmd.store.chunks import Row
from cdmd.store.database import transaction
from cdmd.store.rows import parked_row, read_letter
from cdmd.store.sql import load_queries

Digests: TypeAlias = Callable[[str, str], Digest]
_SQL: Final = load_queries("store")
_SLICE: Final = 100
"""Letters at once: each may be as large as a request."""


def parameters(which: DeadLetterFilter) -> dict[str, Any]:
    """The filter as parameters of the statement ``dead_letters``. In a type glob only ``*`` is special."""
    glob = which.type and "".join({"[": "[[]", "?": "[?]"}.get(letter, letter) for letter in which.type)
    seqs = None if which.seqs is None else msgspec.json.encode(list(which.seqs)).decode()
    return {"connector": which.connector, "type": glob, "code": which.code, "seqs": seqs, "limit": which.limit}


def revive(connection: sqlite3.Connection, which: DeadLetterFilter, *, now: datetime, due: Micros, digests: Digests) -> int:
    """Dead letters become parked events that are due; returns how many."""
    with transaction(connection):
        letters = _read(connection.execute(_SQL["dead_letters"], parameters(which)))
        totals = take(connection, letters, SeenVerdict.PARKED, Count.PARKED, now=now, digests=digests)
        put_parked(connection, [parked_row(_waiting(letter, due)) for letter in letters], totals)
        add_totals(connection, totals)
    return len(letters)


def discard(connection: sqlite3.Connection, which: DeadLetterFilter, *, now: datetime, digests: Digests) -> int:
    """Dead letters go for good; returns how many."""
    with transaction(connection):
        return _give_up(
            connection, _read(connection.execute(_SQL["dead_letters"], parameters(which))), now=now, digests=digests
        )


def expire(connection: sqlite3.Connection, before: Micros, *, now: datetime, digests: Digests) -> int:
    """Dead letters older than ``before`` go for good, a slice at a time; returns how many went (0: there are no more)."""
    with transaction(connection):
        return _give_up(
            connection, _read(connection.execute(_SQL["old_dead_letters"], (before, _SLICE))), now=now, digests=digests
        )


def _read(rows: sqlite3.Cursor) -> list[DeadLetter]:
    found: Sequence[Row] = rows.fetchall()
    return [read_letter(row) for row in found]


def _give_up(connection: sqlite3.Connection, letters: Sequence[DeadLetter], *, now: datetime, digests: Digests) -> int:
    add_totals(connection, take(connection, letters, SeenVerdict.FILTERED, Count.FILTERED, now=now, digests=digests))
    return len(letters)


def take(
    connection: sqlite3.Connection,
    letters: Sequence[DeadLetter],
    verdict: SeenVerdict,
    count: str,
    *,
    now: datetime,
    digests: Digests,
) -> Counter[str]:
    """Out of the dead letters, into ``count``; what is remembered of them says ``verdict`` from now on."""
    totals: Counter[str] = Counter()
    drop_dead(connection, [letter.seq for letter in letters], totals)
    counts: Counter[tuple[str, str]] = Counter()
    for letter in letters:
        connector = letter.entry.event.connector
        counts.update({(connector, count): 1, (connector, Count.DEAD): -1})
    add_counts(connection, counts)
    seqs = {digests(*named): letter.seq for letter in letters if (named := letter.entry.occurrence) is not None}
    decided(connection, seqs, SeenVerdict.DEAD, verdict, now=now)
    return totals


def decided(
    connection: sqlite3.Connection, seqs: Mapping[Digest, Seq], was: SeenVerdict, verdict: SeenVerdict, *, now: datetime
) -> None:
    """What is remembered of these occurrences as ``was``, by the entry at their sequence, is ``verdict`` from now on."""
    found, where = seen.find(connection, list(seqs), among=seen.tables(connection))
    changed = {
        digest: Seen(one.seq, verdict, one.content)
        for digest, one in found.items()
        if one.verdict == was and one.seq == seqs[digest]
    }
    seen.remember(connection, changed, where=where, now=now)


def _waiting(letter: DeadLetter, due: Micros) -> Parked:
    return Parked(
        seq=letter.seq,
        entry=letter.entry,
        extension="",
        attempts=letter.attempts,
        due=due,
        since=due,
        reason=letter.fault.code,
        retry=True,
    )
