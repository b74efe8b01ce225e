"""The store in PostgreSQL: the contract, and what a server can do to it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import pytest

from cdmd.store.postgres.store import PostgresStore
from cdmd.store.sql import load_queries
from tests.store.contract_directory import DirectoryContract
from tests.store.contract_forgetting import ForgettingContract
from tests.store.contract_membership import MembershipContract
from tests.store.contract_outbox import OutboxContract
from tests.store.contract_store import DIGESTER, StoreContract
from tests.store.postgres import Database
from tests.store.samples import HandClock

pytestmark = pytest.mark.anyio

_QUERIES = {name: load_queries(f"postgres/{name}") for name in ("outbox", "store")}
Reopen: TypeAlias = Callable[[], AbstractAsyncContextManager[PostgresStore]]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def reopen(database: Database, clock: HandClock) -> Reopen:
    def opening() -> AbstractAsyncContextManager[PostgresStore]:
        return PostgresStore.open(database.url, clock=clock, journal_id="one", digest=DIGESTER.occurrence)

    return opening


class TestPostgresStore(StoreContract):
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def reopen(self, database: Database, clock: HandClock) -> Reopen:
        def opening() -> AbstractAsyncContextManager[PostgresStore]:
            return PostgresStore.open(database.url, clock=clock, journal_id="one", digest=DIGESTER.occurrence)

        return opening


NOBODYS = (
    *("meta", "migrations", "kinds", "sources", "counts", "totals", "audit", "audiences", "targets", "seen"),
    *("positions", "nodes", "lost_nodes", "reports", "duties", "generations", "feed_holders"),
)
"""Tables of which an erasure takes nothing away."""


async def test_every_table_that_may_hold_something_of_people_is_vacuumed(reopen: Reopen, database: Database) -> None:
    async with reopen() as store:
        assert await store.forgetting.settled()
        rows = database.run(
            "SELECT relname FROM pg_stat_user_tables WHERE schemaname = current_schema() AND last_vacuum IS NULL ORDER BY 1"
        )
    assert {name for (name,) in rows if not name.startswith("seen_")} == set(NOBODYS)


@pytest.mark.parametrize(("queries", "name"), [("outbox", "of_the_hidden"), ("store", "lost_owners")])
async def test_what_is_of_no_profile_is_found_without_reading_all_profiles_for_each_row(
    reopen: Reopen, database: Database, queries: str, name: str
) -> None:
    async with reopen():
        plan = [line for (line,) in database.run(f"EXPLAIN {_QUERIES[queries][name]}")]
    assert any("Anti Join" in line for line in plan)
    assert not any("SubPlan" in line for line in plan)


class TestPostgresMembership(MembershipContract):
    pytestmark = pytest.mark.anyio


class TestPostgresDirectory(DirectoryContract):
    pytestmark = pytest.mark.anyio


class TestPostgresOutbox(OutboxContract):
    pytestmark = pytest.mark.anyio


class TestPostgresForgetting(ForgettingContract):
    pytestmark = pytest.mark.anyio
