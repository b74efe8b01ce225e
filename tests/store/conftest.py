"""One PostgreSQL for the tests of a process that ask for it."""

from tests.store.postgres import database, server

__all__ = ["database", "server"]
