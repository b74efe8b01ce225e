"""Profiles made anew: their activities become other chains, what is said of them changes. Functions for the writer's thread."""

import sqlite3
from collections.abc import Iterator
from typing import Final

import msgspec

from cdmd.models import Changes, ProfileKey, Regrouped, Seq
from cdmd.store.chunks import in_chunks, select_in
from cdmd.store.rows import activity_row, read_activity
from cdmd.store.sql import load_queries

_SQL: Final = load_queries("store")
_AT_ONCE: Final = 500
"""Activities that are in memory at once."""


def regroup(connection: sqlite3.Connection, changes: Changes) -> None:
    """Write ``changes.regrouped``, whose profiles and owners are written already. Raises ``Damaged``."""
    regrouped = changes.regrouped
    if regrouped is None:
        return
    for part in _parts(regrouped):
        _place(connection, part, regrouped)
    newest = [(max(seqs, default=None), key) for key, seqs in sorted(regrouped.chains.items())]
    connection.executemany(_SQL["chain_ahead"], newest)
    for chunk, marks in in_chunks(sorted(regrouped.chains)):
        connection.execute(_SQL["drop_merges"].format(marks), chunk)
    keys = msgspec.json.encode(sorted(regrouped.chains)).decode()
    connection.executemany(_SQL["disown"], [(*pair, keys) for pair in regrouped.disowned])


def _parts(regrouped: Regrouped) -> Iterator[dict[Seq, tuple[ProfileKey, Seq | None]]]:
    """Some activities at a time, each with its profile and the one before it."""
    part: dict[Seq, tuple[ProfileKey, Seq | None]] = {}
    for key, seqs in regrouped.chains.items():
        ordered = sorted(seqs)
        for before, seq in zip([None, *ordered], ordered, strict=False):
            part[seq] = (key, before)
            if len(part) == _AT_ONCE:
                yield part
                part = {}
    yield part


def _place(connection: sqlite3.Connection, part: dict[Seq, tuple[ProfileKey, Seq | None]], regrouped: Regrouped) -> None:
    """Rewrite what is other than it was, and nothing else: a row is a page."""
    links, rows = [], []
    for *row, before in select_in(connection, _SQL["chained"], sorted(part)):
        one = read_activity(row)
        key, ahead = part[one.seq]
        rule = regrouped.rules.get(one.seq, one.rule)
        if (one.profile, one.rule) != (key, rule):
            seq, _, _, sum_, body = activity_row(msgspec.structs.replace(one, profile=key, rule=rule))
            rows.append((key, ahead, sum_, body, seq))
        elif before != ahead:
            links.append((ahead, one.seq))
    connection.executemany(_SQL["place"], rows)
    connection.executemany(_SQL["link"], links)
