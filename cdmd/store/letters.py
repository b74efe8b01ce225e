"""What an administrator does with dead letters: try again, give up, let them expire. Functions for the writer's thread.

Every one of them moves the counters with it, so that nothing is dropped in silence: dead - 1 and parked + 1, or dead - 1 and
filtered + 1.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

import msgspec

from cdmd.contracts import DeadLetterFilter
from cdmd.models import Count, DeadLetter, Digest, Micros, Parked, Seen, SeenVerdict, Seq
from cdmd.store import seen
from cdmd.store.batches import add_counts, add_totals, drop_dead, put_parked
from cdmd.store.rows import parked_row, read_letter
from cdmd.store.tables import Row, Tables

Digests: TypeAlias = Callable[[str, str], Digest]
_SLICE: Final = 100
"""Letters at once: each may be as large as a request."""


def parameters(which: DeadLetterFilter) -> dict[str, Any]:
    """The filter as parameters of the statement ``dead_letters``. In a type glob only ``*`` is special."""
    seqs = None if which.seqs is None else msgspec.json.encode(list(which.seqs)).decode()
    return {"connector": which.connector, "type": which.type, "code": which.code, "seqs": seqs, "limit": which.limit}


def revive(tables: Tables, which: DeadLetterFilter, *, now: datetime, due: Micros, digests: Digests) -> int:
    """Dead letters become parked events that are due; returns how many."""
    with tables.transaction():
        letters = _read(tables.rows("dead_letters", parameters(which)))
        totals = take(tables, letters, SeenVerdict.PARKED, Count.PARKED, now=now, digests=digests)
        put_parked(tables, [parked_row(_waiting(letter, due)) for letter in letters], totals)
        add_totals(tables, totals)
    return len(letters)


def discard(tables: Tables, which: DeadLetterFilter, *, now: datetime, digests: Digests) -> int:
    """Dead letters go for good; returns how many."""
    with tables.transaction():
        return _give_up(tables, _read(tables.rows("dead_letters", parameters(which))), now=now, digests=digests)


def expire(tables: Tables, before: Micros, *, now: datetime, digests: Digests) -> int:
    """Dead letters older than ``before`` go for good, a slice at a time; returns how many went (0: there are no more)."""
    with tables.transaction():
        return _give_up(tables, _read(tables.rows("old_dead_letters", (before, _SLICE))), now=now, digests=digests)


def _read(rows: Sequence[Row]) -> list[DeadLetter]:
    return [read_letter(row) for row in rows]


def _give_up(tables: Tables, letters: Sequence[DeadLetter], *, now: datetime, digests: Digests) -> int:
    add_totals(tables, take(tables, letters, SeenVerdict.FILTERED, Count.FILTERED, now=now, digests=digests))
    return len(letters)


def take(
    tables: Tables,
    letters: Sequence[DeadLetter],
    verdict: SeenVerdict,
    count: str,
    *,
    now: datetime,
    digests: Digests,
) -> Counter[str]:
    """Out of the dead letters, into ``count``; what is remembered of them says ``verdict`` from now on."""
    totals: Counter[str] = Counter()
    drop_dead(tables, [letter.seq for letter in letters], totals)
    counts: Counter[tuple[str, str]] = Counter()
    for letter in letters:
        connector = letter.entry.event.connector
        counts.update({(connector, count): 1, (connector, Count.DEAD): -1})
    add_counts(tables, counts)
    seqs = {digests(*named): letter.seq for letter in letters if (named := letter.entry.occurrence) is not None}
    decided(tables, seqs, SeenVerdict.DEAD, verdict, now=now)
    return totals


def decided(tables: Tables, seqs: Mapping[Digest, Seq], was: SeenVerdict, verdict: SeenVerdict, *, now: datetime) -> None:
    """What is remembered of these occurrences as ``was``, by the entry at their sequence, is ``verdict`` from now on."""
    found, where = seen.find(tables, list(seqs))
    changed = {
        digest: Seen(one.seq, verdict, one.content)
        for digest, one in found.items()
        if one.verdict == was and one.seq == seqs[digest]
    }
    seen.remember(tables, changed, where=where, now=now)


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
