"""Commits a batch's effects a moment before, and apart from, what says that they happened (the ids seen and the position)."""

from cdmd.store.store import SqliteStore
from tests.acceptance.mutants.apart import commit_apart

commit_apart(SqliteStore)
