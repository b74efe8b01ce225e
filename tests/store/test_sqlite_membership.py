"""The store's side of audiences, and of looking for people, in SQLite."""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from cdmd.models import Changes, ProfileKey
from cdmd.store.store import SqliteStore
from tests.store.contract_directory import DirectoryContract
from tests.store.contract_membership import MembershipContract, notice, owning
from tests.store.contract_store import DIGESTER, give, profile
from tests.store.samples import HandClock

pytestmark = pytest.mark.anyio

Opening: TypeAlias = Callable[[], AbstractAsyncContextManager[SqliteStore]]


@pytest.fixture
def reopen(tmp_path: Path) -> Opening:
    def opening() -> AbstractAsyncContextManager[SqliteStore]:
        return SqliteStore.open(tmp_path / "store.db", clock=HandClock(), journal_id="one", digest=DIGESTER.occurrence)

    return opening


class TestSqliteMembership(MembershipContract):
    pytestmark = pytest.mark.anyio


class TestSqliteDirectory(DirectoryContract):
    pytestmark = pytest.mark.anyio


async def test_only_the_last_moves_are_kept(reopen: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.store.audiences.NOTICES", 3)
    async with reopen() as store:
        for number in range(1, 6):
            await give(store, Changes(profiles={ProfileKey(number): profile(number)}, notices=[notice(number)]))
        assert [one.profile for one in await store.membership.notices(limit=9)] == [5, 4, 3]


async def test_members_that_are_miscounted_are_damage(reopen: Opening, tmp_path: Path) -> None:
    async with reopen() as store:
        people = {ProfileKey(1): profile(1)}
        await give(store, Changes(profiles=people, owners=owning(people), notices=[notice(1)]))
        assert await store.verify() == []
        with sqlite3.connect(tmp_path / "store.db") as connection:
            connection.execute("DELETE FROM members")
        connection.close()
        assert await store.verify() == ["store: the audience gold should have 1 members, but there are 0"]
