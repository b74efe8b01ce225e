"""Taking activities out of the chains of their profiles: each chain goes on over what went (migration 0003).

A chain rides on its activities' own rows and has no index, so the one behind what goes is found from its newest on.
"""

from collections import defaultdict
from collections.abc import Sequence

from cdmd.models import Activity, ProfileKey, Seq
from cdmd.store.tables import Tables


def cut_out(tables: Tables, gone: Sequence[Activity]) -> None:
    """Delete these activities. Of a profile that is not there any more there is no chain to mend."""
    by_profile: dict[ProfileKey, set[Seq]] = defaultdict(set)
    for one in gone:
        if one.profile is not None:
            by_profile[one.profile].add(one.seq)
    for key, seqs in by_profile.items():
        for (newest,) in tables.rows("newest_one", (key,)):
            _mend(tables, key, newest, seqs)
    tables.run_in("erase_activities", sorted(one.seq for one in gone))


def _mend(tables: Tables, key: ProfileKey, newest: Seq | None, gone: set[Seq]) -> None:
    """Walk down the chain until all that goes was passed, and let what stays name what comes behind it."""
    left, seq, last = set(gone), newest, None
    while seq is not None and left:
        before = _before(tables, seq)
        if seq in left:
            left.discard(seq)
            while before in left:
                left.discard(before)
                before = _before(tables, before)
            if last is None:
                tables.run("chain_ahead", (before, key))
            else:
                tables.run("chain_over", (before, last))
        else:
            last = seq
        seq = before


def _before(tables: Tables, seq: Seq) -> Seq | None:
    """Of an activity that is not there nothing comes before."""
    return next((before for (before,) in tables.rows("before", (seq,))), None)
