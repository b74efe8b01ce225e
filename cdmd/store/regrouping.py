"""Profiles made anew: their activities become other chains, what is said of them changes. Functions for the writer's thread."""

from collections.abc import Iterator, Mapping
from itertools import islice
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
    newest: dict[ProfileKey, Seq] = {}
    for part in _parts(regrouped):
        _place(tables, part, regrouped, newest)
    tables.run_many("chain_ahead", [(newest.get(key), key) for key in sorted(regrouped.chains)])
    tables.run_many("drop_merge", sorted(regrouped.parted))
    keys = msgspec.json.encode(sorted(regrouped.chains)).decode()
    tables.run_many("disown", [(*pair, keys) for pair in regrouped.disowned])


def _parts(regrouped: Regrouped) -> Iterator[Mapping[Seq, ProfileKey]]:
    """Some activities at a time, each with its profile, in the order of each profile's chain."""
    ordered = ((seq, key) for key, seqs in regrouped.chains.items() for seq in sorted(seqs))
    while part := dict(islice(ordered, _AT_ONCE)):
        yield part


def _place(tables: Tables, part: Mapping[Seq, ProfileKey], regrouped: Regrouped, newest: dict[ProfileKey, Seq]) -> None:
    """Rewrite what is other than it was, and nothing else: a row is a page. What is gone by now is in no chain.

    ``newest`` is each profile's last one so far.
    """
    links, rows = [], []
    found = {Seq(row[0]): row for row in tables.rows_in("chained", sorted(part))}
    for seq, key in part.items():
        if seq not in found:
            continue
        *row, before = found[seq]
        one, ahead = read_activity(row), newest.get(key)
        newest[key] = seq
        rule = regrouped.rules.get(seq, one.rule)
        if (one.profile, one.rule) != (key, rule):
            _, _, _, sum_, body, _ = activity_row(msgspec.structs.replace(one, profile=key, rule=rule), None)
            rows.append((key, ahead, sum_, body, seq))
        elif before != ahead:
            links.append((ahead, seq))
    tables.run_many("place", rows)
    tables.run_many("link", links)
