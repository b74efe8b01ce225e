"""By which digests a store remembers: a new one by those of the newest form, an older one by what it has."""

import pickle
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from cdmd.errors import Damaged
from cdmd.models import Changes, Digest, Seen, SeenVerdict, Seq
from cdmd.store.files import StateDirectory
from cdmd.store.keys import FORMS, NEWEST, Digester
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
OF = {form: Digester(KEY, form=form) for form in FORMS}
NEWER = OF[NEWEST]
NAMED = [("shop", id_) for id_ in ("evt-1020", "evt-1020:paid", "evt-12")]
CHECK = NEWER.occurrence(*KEY_CHECK).hex()
AS_IT_WAS = {
    "no key": ("DELETE FROM meta WHERE name = 'key_check'", ""),
    **{
        form or "key": (f"UPDATE meta SET value = '{CHECK}{form}' WHERE name = 'key_check'", form)
        for form in FORMS
        if form != NEWEST
    },
}
"""What versions left that knew only older forms, and one that did not remember any key's check; with the form of each."""

PAIRS = [
    ("row:1020", "row:1999"), ("1020:paid", "1999:sent"), ("a-4-\n1020\n", "a-4-\n1021 of"),
    ("1020:paid", "2020:paid"), ("1020:2", "1021:2"), ("x020", "x021"),
]  # fmt: skip


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
    await give(opened.store, Changes(seen={digest: Seen(Seq(1), SeenVerdict.FILTERED, 1) for digest in digests(digester)}))


def digests(digester: Digester) -> list[Digest]:
    return [digester.occurrence(*one) for one in NAMED]


async def knows(opened: Opened) -> bool:
    """The store itself, the daemon, and a process that was handed how to name occurrences."""
    traced = [one for source, id_ in NAMED for one in await opened.store.trace(id_, source=source)]
    found = [await opened.store.seen(digests(one)) for one in (opened.digester, *sent(opened.digester))]
    assert {len(one) for one in (traced, *found)} in ({0}, {len(NAMED)}), "all of them, or none"
    return bool(traced)


def sent(digester: Digester) -> list[Digester]:
    return [pickle.loads(pickle.dumps(digester))]


async def test_a_new_store_begins_with_digests_that_begin_alike_and_keeps_them(place: Place) -> None:
    for again in (False, True):
        async with place.opened() as opened:
            assert digests(opened.digester) == digests(NEWER)
            assert await knows(opened) == again
            await remember(opened, NEWER)
    assert await place.run("SELECT value FROM meta WHERE name = 'key_check'") != [(CHECK,)], "an older version starts nothing"


@pytest.mark.parametrize("as_it_was", AS_IT_WAS.values(), ids=AS_IT_WAS.keys())
async def test_an_older_store_knows_what_it_remembers_and_goes_on_with_those_digests(
    place: Place, as_it_was: tuple[str, str]
) -> None:
    sql, form = as_it_was
    async with place.opened():
        pass
    await place.run(sql)
    for again in (False, True, True):
        async with place.opened() as opened:
            assert digests(opened.digester) == digests(OF[form])
            assert await knows(opened) == again
            await remember(opened, OF[form])
    assert await place.run("SELECT value FROM meta WHERE name = 'key_check'") == [(CHECK + form,)]


async def test_a_store_of_a_form_that_is_not_known_is_refused(place: Place) -> None:
    async with place.opened():
        pass
    await place.run(f"UPDATE meta SET value = '{CHECK}:another' WHERE name = 'key_check'")
    with pytest.raises(Damaged, match="another digest key"):
        async with place.opened():
            pass


@pytest.mark.parametrize(("form", "together"), [("", 0), (":numbered", 1), (":last_number", 3)])
def test_ids_go_together_by_the_number_that_a_form_looks_for(form: str, together: int) -> None:
    found = {id_: OF[form].occurrence("a", id_) for two in PAIRS for id_ in two}
    assert len(set(found.values())) == len(found), "and are none the less all different"
    assert [found[one][:6] == found[other][:6] for one, other in PAIRS] == [at < together for at in range(len(PAIRS))]


async def test_a_backup_of_an_older_store_is_remembered_by_what_it_has_where_there_was_a_newer_one(tmp_path: Path) -> None:
    old, new, file = Place(tmp_path / "old", None), Place(tmp_path / "new", None), tmp_path / "file"
    async with old.opened():
        pass
    await old.run(AS_IT_WAS["key"][0])
    async with old.opened() as opened:
        await remember(opened, OF[""])
        await backup(opened.journal, opened.store, opened.feeds, file, clock=HandClock(), version="1")
    async with new.opened() as opened:
        assert opened.digester.form == NEWEST
    await anyio.to_thread.run_sync(restore, file, StateDirectory(tmp_path / "new"))
    async with new.opened() as opened:
        assert await knows(opened)
        assert opened.digester.form == ""


async def test_several_nodes_keep_to_what_an_older_store_has(database: Database) -> None:
    clock, digest = HandClock(), NEWER.occurrence
    for form in (NEWEST, ""):
        for leads in (True, False):
            nodes = Nodes("a" if leads else "b", ["process"], tenure=1 if leads else None)
            opening = SharedStore.open_among(database.url, clock=clock, journal_id="one", digest=digest, nodes=nodes, lanes=2)
            async with opening as store:
                assert store.form == form
        await anyio.to_thread.run_sync(database.run, AS_IT_WAS["key"][0])
