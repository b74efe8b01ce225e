"""What a state directory holds, read from copies of its databases so that nothing is mended by looking."""

import shutil
import sqlite3
import tomllib
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psycopg

from cdmd.store.blocks import Block, unpack
from cdmd.store.rows import read_activity, read_letter, read_parked


class Held(NamedTuple):
    """How often each id lies in a state directory, and where."""

    journal: Counter[str]
    activities: Counter[str]
    dead: Counter[str]
    parked: Counter[str]


def journaled(state: Path) -> Counter[str]:
    """Ids in the journal with how often each is there."""
    rows = _rows(state / "journal.db", "SELECT last, first, written, checksum, body FROM blocks")
    return Counter(entry.event.id for row in rows for entry in unpack(Block(*row)))


def held(state: Path) -> Held:
    """Everything; of a store on a server what lies there. Raises sqlite3.Error, psycopg.Error and ``Damaged``."""
    store = state / "store.db"
    return Held(
        journaled(state),
        Counter(read_activity(row).event.id for row in _rows(store, "SELECT seq, profile, time, sum, body FROM activities")),
        Counter(
            read_letter(row).entry.event.id
            for row in _rows(store, "SELECT seq, connector, type, code, since, sum, body FROM dead_letters")
        ),
        Counter(
            read_parked(row).entry.event.id for row in _rows(store, "SELECT seq, connector, due, bytes, sum, body FROM parked")
        ),
    )


def _rows(database: Path, sql: str) -> list[tuple[object, ...]]:
    if database.name == "store.db" and database.with_name("store.elsewhere").exists():
        configured = tomllib.loads((database.parents[1] / "cdmd.toml").read_text())
        with psycopg.connect(configured["store"]["url"]) as server:
            return server.execute(sql.encode()).fetchall()
    with TemporaryDirectory() as folder:
        copy = Path(folder) / database.name
        for suffix in ("", "-wal"):
            if (origin := database.with_name(database.name + suffix)).exists():
                shutil.copy(origin, copy.with_name(origin.name))
        connection = sqlite3.connect(copy)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()
