"""Taking people out of the SQLite store: the contract, and what is left in its files."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from cdmd.contracts import Holding
from cdmd.models import Seq
from cdmd.store.sqlite_tables import SqliteTables
from cdmd.store.store import SqliteStore
from tests.store.contract_forgetting import ForgettingContract, owner
from tests.store.contract_store import DIGESTER, applied, give
from tests.store.samples import HandClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def reopen(tmp_path: Path) -> Callable[[], AbstractAsyncContextManager[SqliteStore]]:
    def opening() -> AbstractAsyncContextManager[SqliteStore]:
        return SqliteStore.open(tmp_path / "store.db", clock=HandClock(), journal_id="one", digest=DIGESTER.occurrence)

    return opening


class TestSqliteForgetting(ForgettingContract):
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Callable[[], AbstractAsyncContextManager[SqliteStore]]:
        def opening() -> AbstractAsyncContextManager[SqliteStore]:
            return SqliteStore.open(tmp_path / "store.db", clock=HandClock(), journal_id="one", digest=DIGESTER.occurrence)

        return opening


async def test_nothing_of_what_went_lies_in_free_space_or_in_the_log(
    reopen: Callable[[], AbstractAsyncContextManager[SqliteStore]], tmp_path: Path
) -> None:
    async with reopen() as store:
        await give(store, applied(*range(1, 301)))
        await store.forgetting.hide([owner(n) for n in range(100, 200)])
        page = await store.forgetting.activities(Holding([]), after=Seq(0), limit=999)
        await store.forgetting.revise_activities([one.seq for one in page.orphans], lambda one: None)
        reading = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM profiles").fetchone()
        assert (tmp_path / "store.db-wal").stat().st_size
        await give(store, applied(301))
        assert not await store.forgetting.settled(), "somebody reads"
        reading.close()
        assert await store.forgetting.settled()
        assert (tmp_path / "store.db-wal").stat().st_size == 0
        kept = (tmp_path / "store.db").read_bytes()
        assert b"user150@example.com" not in kept
        assert b"user250@example.com" in kept


async def test_of_many_who_are_hidden_at_once_each_identifier_is_looked_for_once(
    reopen: Callable[[], AbstractAsyncContextManager[SqliteStore]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, looked = SqliteTables.run_many, list[int]()

    def counting(self: SqliteTables, name: str, rows: Sequence[Sequence[Any]], *, table: str = "") -> int:
        looked.extend([len(rows)] if name == "erase_identifier" else [])
        return run(self, name, rows, table=table)

    async with reopen() as store:
        await give(store, applied(*range(1, 101)))
        monkeypatch.setattr(SqliteTables, "run_many", counting)
        await store.forgetting.hide([owner(n) for n in range(1, 101)])
        assert looked == [100]
