"""By which digests a store remembers: a new one by those of ``Digester.numbered``, an older one by what it has."""

import pickle
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from cdmd.models import Changes, Seen, SeenVerdict, Seq
from cdmd.store.files import StateDirectory
from cdmd.store.keys import Digester
from cdmd.store.opening import Opened, Server, open_state
from cdmd.store.postgres.nodes import Nodes
from cdmd.store.postgres.shared import SharedStore
from cdmd.store.restoring import backup, restore
from cdmd.store.stored import KEY_CHECK
from tests.store.contract_store import give
from tests.store.postgres import Database
from tests.store.samples import HandClock

pytestmark = pytest.mark.anyio
KEY = b"k" * 32
OLDER, NEWER = Digester(KEY, numbered=False), Digester(KEY)
NAMED = ("shop", "evt-1020")
CHECK = NEWER.occurrence(*KEY_CHECK).hex()
AS_IT_WAS = (f"UPDATE meta SET value = '{CHECK}' WHERE name = 'key_check'", "DELETE FROM meta WHERE name = 'key_check'")
"""What a version left that knew only the older ones, and one that did not remember any key's check."""


class Place:
    """A state directory, and the database of its store where that is on a server."""

    def __init__(self, folder: Path, database: Database | None) -> None:
        self._folder, self._database = folder, database

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Opened]:
        server = None if self._database is None else Server(self._database.url, None)
        async with (
            StateDirectory(self._folder).hold() as state,
            open_state(state, clock=HandClock(), new_id=lambda: "one", random=lambda _: KEY, server=server) as found,
        ):
            yield found

    async def run(self, sql: str) -> Any:
        return await anyio.to_thread.run_sync(self._run if self._database is None else self._database.run, sql)

    def _run(self, sql: str) -> Any:
        with closing(sqlite3.connect(self._folder / "store.db", isolation_level=None)) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(tmp_path / "state", request.getfixturevalue("database") if request.param == "postgres" else None)


async def remember(opened: Opened, digester: Digester) -> None:
    await give(opened.store, Changes(seen={digester.occurrence(*NAMED): Seen(Seq(1), SeenVerdict.FILTERED, 1)}))


async def knows(opened: Opened) -> bool:
    """The store itself, the daemon, and a process that was handed how to name occurrences."""
    source, id_ = NAMED
    traced = await opened.store.trace(id_, source=source)
    found = [await opened.store.seen([one.occurrence(*NAMED)]) for one in (opened.digester, *sent(opened.digester))]
    assert len({len(one) for one in (traced, *found)}) == 1, "all of them, or none"
    return bool(traced)


def sent(digester: Digester) -> list[Digester]:
    return [pickle.loads(pickle.dumps(digester))]


async def test_a_new_store_begins_with_digests_that_begin_alike_and_keeps_them(place: Place) -> None:
    for again in (False, True):
        async with place.opened() as opened:
            assert opened.digester.occurrence(*NAMED) == NEWER.occurrence(*NAMED) != OLDER.occurrence(*NAMED)
            assert await knows(opened) == again
            await remember(opened, NEWER)
    assert await place.run("SELECT value FROM meta WHERE name = 'key_check'") != [(CHECK,)], "an older version starts nothing"


@pytest.mark.parametrize("as_it_was", AS_IT_WAS, ids=["key", "no key"])
async def test_an_older_store_knows_what_it_remembers_and_goes_on_with_those_digests(place: Place, as_it_was: str) -> None:
    async with place.opened():
        pass
    await place.run(as_it_was)
    for again in (False, True, True):
        async with place.opened() as opened:
            assert opened.digester.occurrence(*NAMED) == OLDER.occurrence(*NAMED)
            assert await knows(opened) == again
            await remember(opened, OLDER)
    assert await place.run("SELECT value FROM meta WHERE name = 'key_check'") == [(CHECK,)]


async def test_a_backup_of_an_older_store_is_remembered_by_what_it_has_where_there_was_a_newer_one(tmp_path: Path) -> None:
    old, new, file = Place(tmp_path / "old", None), Place(tmp_path / "new", None), tmp_path / "file"
    async with old.opened():
        pass
    await old.run(AS_IT_WAS[0])
    async with old.opened() as opened:
        await remember(opened, OLDER)
        await backup(opened.journal, opened.store, opened.feeds, file, clock=HandClock(), version="1")
    async with new.opened() as opened:
        assert opened.digester.numbered
    await anyio.to_thread.run_sync(restore, file, StateDirectory(tmp_path / "new"))
    async with new.opened() as opened:
        assert await knows(opened)
        assert not opened.digester.numbered


async def test_several_nodes_keep_to_what_an_older_store_has(database: Database) -> None:
    clock, digest = HandClock(), NEWER.occurrence
    for numbered in (True, False):
        for leads in (True, False):
            nodes = Nodes("a" if leads else "b", ["process"], tenure=1 if leads else None)
            opening = SharedStore.open_among(database.url, clock=clock, journal_id="one", digest=digest, nodes=nodes, lanes=2)
            async with opening as store:
                assert store.numbered == numbered
        await anyio.to_thread.run_sync(database.run, AS_IT_WAS[0])
