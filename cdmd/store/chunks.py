"""Many values, few statements: rows inserted and looked up in chunks of fixed sizes, so that their statements stay prepared.

A statement for each would give the interpreter lock away for each and wait for it again (tests/bench/bench_store.py).
"""

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]

_CHUNKS: Final = (128, 32, 8, 1)
_LISTS: Final = (1, 8, 32, 64, 128, 256, 500)
_VARIABLES: Final = _LISTS[-1]


def insert_many(connection: sqlite3.Connection, head: str, rows: Sequence[Sequence[Any]], *, tail: str = "") -> int:
    """``head VALUES (...), (...) tail`` for all ``rows``; how many there are because of it."""
    done = written = 0
    for size in _CHUNKS:
        while len(rows) - done >= size:
            one = f"({', '.join('?' * len(rows[done]))})"
            chunk = rows[done : done + size]
            text = f"{head} VALUES {', '.join([one] * size)} {tail}"
            written += connection.execute(text, list(chain.from_iterable(chunk))).rowcount
            done += size
    return written


def select_in(connection: sqlite3.Connection, sql: str, values: Sequence[Any], *, before: Sequence[Any] = ()) -> list[Row]:
    """The rows of ``sql``, whose ``{}`` becomes placeholders behind those of ``before``, for all ``values`` in chunks."""
    found: list[Row] = []
    for chunk, marks in in_chunks(values):
        found += connection.execute(sql.format(marks), [*before, *chunk]).fetchall()
    return found


def gather(connection: sqlite3.Connection, sql: str, values: Sequence[Any], decoder: msgspec.json.Decoder[list[T]]) -> list[T]:
    """As ``select_in``, for an ``sql`` that brings all of a chunk as one JSON text.

    Every row that is fetched gives the interpreter away and must wait for it again: beside a busy event loop two thousand
    rows took most of a second, one takes nothing (tests/bench/end_to_end.py).
    """
    found: list[T] = []
    for chunk, marks in in_chunks(values):
        found += decoder.decode(connection.execute(sql.format(marks), chunk).fetchone()[0])
    return found


def gather_bodies(
    connection: sqlite3.Connection, sql: str, values: Sequence[Any], decoder: msgspec.json.Decoder[list[T]]
) -> tuple[list[T], bytes]:
    """The same for an ``sql`` that also brings the rows' bodies, one after the other, as they are.

    In the JSON text they would be hexadecimal: twice as long, and dear to read.
    """
    found, bodies = list[T](), list[bytes]()
    for chunk, marks in in_chunks(values):
        listed, joined = connection.execute(sql.format(marks), chunk).fetchone()
        found += decoder.decode(listed)
        bodies.append(joined or b"")
    return found, b"".join(bodies)


def in_chunks(values: Sequence[Any]) -> Iterator[tuple[Sequence[Any], str]]:
    """``values`` in chunks that one statement can take, each with its placeholders (padded, so that few statements differ)."""
    for start in range(0, len(values), _VARIABLES):
        chunk = list(values[start : start + _VARIABLES])
        wanted = next(size for size in _LISTS if len(chunk) <= size)
        chunk += chunk[-1:] * (wanted - len(chunk))
        yield chunk, ", ".join("?" * wanted)
