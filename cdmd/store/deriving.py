"""Profiles given identifiers that follow from those they have, some of them at a time. Functions for the writer's thread."""

from cdmd.contracts import Derive
from cdmd.models import Changes, ProfileKey
from cdmd.store.batches import owners_of, write_people
from cdmd.store.rows import read_profile
from cdmd.store.tables import Tables


def derive(tables: Tables, more: Derive, *, after: ProfileKey, limit: int) -> ProfileKey | None:
    """See ``cdmd.contracts.Store.derive``. Raises ``Damaged``."""
    with tables.transaction():
        rows = tables.rows("profiles_after", (after, limit))
        states = {ProfileKey(row[0]): read_profile(row) for row in rows}
        found = {key: more(state) for key, state in states.items() if state.merged_into is None}
        owned = owners_of(tables, [(one.kind, one.value) for added in found.values() for one in added])
        changes = Changes()
        for key, added in found.items():
            new = [one for one in added if (one.kind, one.value) not in owned]
            if new:
                states[key].identifiers += new
                changes.profiles[key] = states[key]
                changes.owners.update({(one.kind, one.value): key for one in new})
        write_people(tables, changes, {})
    return max(states, default=None)
