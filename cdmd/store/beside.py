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
    """The connectors' state and the door's counters, in the transaction of their entries; each counter is written once."""
    counts: Counter[tuple[str, str]] = Counter()
    for append in appends:
        connector = append.connector
        for name, value in append.counts.items():
            counts[connector, name] += value
        if append.state:
            _put_state(connection, connector, append.state)
    if counts:
        rows = [(*key, value) for key, value in counts.items()]
        connection.execute(_SQL["add_counts"], (msgspec.json.encode(rows).decode(),))


def _put_state(connection: sqlite3.Connection, connector: str, state: Mapping[bytes, bytes | None]) -> None:
    kept = [(connector, key, value) for key, value in state.items() if value is not None]
    gone = [(connector, key) for key, value in state.items() if value is None]
    if kept:
        connection.executemany(_SQL["put_state"], kept)
    if gone:
        connection.executemany(_SQL["drop_state"], gone)
