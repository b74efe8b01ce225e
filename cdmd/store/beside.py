"""What is written beside the journal's entries in their transaction: the connectors' state, and the door's counters.

Functions for the writer's thread. Not here: the entries themselves (``journal``, ``blocks``).
"""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from cdmd.contracts import Append
from cdmd.store.sql import load_queries

_SQL: Final = load_queries("journal")


def put_beside(connection: sqlite3.Connection, appends: Sequence[Append]) -> None:
    """The connectors' state and the door's counters, in the transaction of their entries."""
    for append in appends:
        if append.state:
            _put_state(connection, append.connector, append.state)
    counts = counts_of(appends)
    if counts:
        connection.execute(_SQL["add_counts"], (counts,))


def counts_of(appends: Sequence[Append]) -> str:
    """What all of them counted, each counter once: ``[[connector, name, value], ...]`` as JSON, else empty."""
    counts: Counter[tuple[str, str]] = Counter()
    for append in appends:
        for name, value in append.counts.items():
            counts[append.connector, name] += value
    return msgspec.json.encode([(*key, value) for key, value in counts.items()]).decode() if counts else ""


def _put_state(connection: sqlite3.Connection, connector: str, state: Mapping[bytes, bytes | None]) -> None:
    kept = [(connector, key, value) for key, value in state.items() if value is not None]
    gone = [(connector, key) for key, value in state.items() if value is None]
    if kept:
        connection.executemany(_SQL["put_state"], kept)
    if gone:
        connection.executemany(_SQL["drop_state"], gone)
