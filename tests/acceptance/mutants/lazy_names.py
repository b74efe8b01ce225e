"""Syncs no naming of people, though an extension may answer otherwise when it is asked again.

Nor anything else of the store for a while, so that a cut takes more back.
"""

from contextlib import nullcontext

from cdmd.store import applying
from tests.acceptance import hurrying

applying.synced_commits = lambda _connection, _plan: nullcontext()  # type: ignore[assignment]
hurrying.upkeep.SYNC_EVERY = 60.0  # type: ignore[misc]
hurrying.upkeep.PRUNE_EVERY = 60.0  # type: ignore[misc]
