"""Profiles made anew: their activities become other chains, what is said of them changes. Functions for the writer's thread."""

from collections.abc import Iterator
from typing import Final

import msgspec

from cdmd.models import Changes, ProfileKey, Regrouped, Seq
from cdmd.store.rows import activity_row, read_activity
from cdmd.store.tables import Tables

_AT_ONCE: Final = 500
"""Activities that are in memory at once."""


def regroup(tables: Tables, changes: Changes) -> None:
    """Write ``changes.regrouped``, whose profiles and owners are written already. Raises ``Damaged``."""
    regrouped = changes.regrouped
    if regrouped is None:
        return
    for part in _parts(regrouped):
        _place(tables, part, regrouped)
    newest = [(max(seqs, default=None), key) for key, seqs in sorted(regrouped.chains.items())]
    tables.run_many("chain_ahead", newest)
    tables.run_in("drop_merges", sorted(regrouped.chains))
    keys = msgspec.json.encode(sorted(regrouped.chains)).decode()
    tables.run_many("disown", [(*pair, keys) for pair in regrouped.disowned])


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


def _place(tables: Tables, part: dict[Seq, tuple[ProfileKey, Seq | None]], regrouped: Regrouped) -> None:
    """Rewrite what is other than it was, and nothing else: a row is a page."""
    links, rows = [], []
    for *row, before in tables.rows_in("chained", sorted(part)):
        one = read_activity(row)
        key, ahead = part[one.seq]
        rule = regrouped.rules.get(one.seq, one.rule)
        if (one.profile, one.rule) != (key, rule):
            seq, _, _, sum_, body, _ = activity_row(msgspec.structs.replace(one, profile=key, rule=rule), None)
            rows.append((key, ahead, sum_, body, seq))
        elif before != ahead:
            links.append((ahead, one.seq))
    tables.run_many("place", rows)
    tables.run_many("link", links)
