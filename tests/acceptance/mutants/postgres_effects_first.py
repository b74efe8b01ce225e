"""Commits a batch's effects a moment before, and apart from, what says that they happened, in PostgreSQL."""

from cdmd.store.postgres.store import PostgresStore
from tests.acceptance.mutants.apart import commit_apart

commit_apart(PostgresStore)
