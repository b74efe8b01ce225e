"""Taking activities out of the chains of their profiles: each chain goes on over what went (migration 0003).

A chain rides on its activities' own rows and has no index, so the one behind what goes is found from its newest on.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from cdmd.models import Activity, ProfileKey, Seq
from cdmd.store.chunks import in_chunks
from cdmd.store.sql import load_queries

_SQL: Final = load_queries("store")


def cut_out(connection: sqlite3.Connection, gone: Sequence[Activity]) -> None:
    """Delete these activities. Of a profile that is not there any more there is no chain to mend."""
    by_profile: dict[ProfileKey, set[Seq]] = defaultdict(set)
    for one in gone:
        if one.profile is not None:
            by_profile[one.profile].add(one.seq)
    for key, seqs in by_profile.items():
        newest = connection.execute(_SQL["newest_one"], (key,)).fetchone()
        if newest is not None:
            _mend(connection, key, newest[0], seqs)
    for chunk, marks in in_chunks(sorted(one.seq for one in gone)):
        connection.execute(_SQL["erase_activities"].format(marks), chunk)


def _mend(connection: sqlite3.Connection, key: ProfileKey, newest: Seq | None, gone: set[Seq]) -> None:
    """Walk down the chain until all that goes was passed, and let what stays name what comes behind it."""
    left, seq, last = set(gone), newest, None
    while seq is not None and left:
        (before,) = connection.execute(_SQL["before"], (seq,)).fetchone() or (None,)
        if seq in left:
            left.discard(seq)
            while before in left:
                left.discard(before)
                (before,) = connection.execute(_SQL["before"], (before,)).fetchone() or (None,)
            if last is None:
                connection.execute(_SQL["chain_ahead"], (before, key))
            else:
                connection.execute(_SQL["chain_over"], (before, last))
        else:
            last = seq
        seq = before
