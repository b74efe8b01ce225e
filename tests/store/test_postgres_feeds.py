"""Big tables of connectors in PostgreSQL: the contract, who may write, and the way there and back as a file."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import psycopg
import pytest
from anyio.to_thread import run_sync as in_thread

from cdmd.errors import Damaged, Followed, NotDurable
from cdmd.store.feeds import MOST_BLOCKS, SqliteFeeds
from cdmd.store.postgres.connecting import connect, migrate
from cdmd.store.postgres.feeds import PostgresFeeds, write_file
from cdmd.store.postgres.store import MIGRATIONS
from tests.store.contract_feeds import FeedsContract, Reopen, written
from tests.store.postgres import Database, Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


@pytest.fixture
def database(server: Server) -> Database:
    found = server.database()
    with connect(found.url) as connection:
        migrate(connection, MIGRATIONS)
    return found


def opened(
    database: Database, tenure: int | None = 1, file: Path = Path("/nowhere")
) -> AbstractAsyncContextManager[PostgresFeeds]:
    return PostgresFeeds.open(database.url, tenure=tenure, file=file)


class TestPostgresFeeds(FeedsContract):
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def reopen(self, database: Database) -> Reopen:
        return lambda: opened(database)


async def test_who_was_followed_by_another_one_writes_nothing_and_removes_nothing(database: Database) -> None:
    async with opened(database, 1) as late, opened(database, 2) as next_:
        first = await written(late, b"first")
        under_way = await late.begin("supplier", "register", keep=first)
        second = await written(next_, b"second", keep=first)
        for attempt in (
            lambda: late.begin("supplier", "register", keep=None),
            lambda: late.tidy("supplier", "register", keep=None),
            lambda: late.forget("supplier"),
            lambda: late.rename("acme", "supplier"),
        ):
            with pytest.raises(NotDurable, match="another node works with the tables of supplier"):
                await attempt()
        for writing in (late.put(under_way, 0, [b"x"]), late.finish(under_way)):
            with pytest.raises(NotDurable, match="removed while it was written"):
                await writing
        third = await next_.begin("supplier", "register", keep=second)
        with pytest.raises(NotDurable, match="another node works"):
            await late.put(third, 0, [b"x"])
        assert await next_.get(second, [0]) == [b"second"]
        assert await written(late, b"theirs", connector="shop"), "each connector by itself"
    async with opened(database, None) as reader:
        assert await reader.get(second, [0]) == [b"second"]
        assert await written(reader, b"fetched by one that does not lead", connector="shop")
        assert await reader.settled()


async def test_who_fetches_no_more_writes_no_table_whoever_leads(database: Database) -> None:
    async with opened(database, None) as other, opened(database, None) as node, opened(database, 9) as leading:
        late, next_ = other.fenced(5), node.fenced(6)
        first = await written(late, b"first")
        under_way = await late.begin("supplier", "register", keep=first)
        await late.put(under_way, 0, [b"half"])
        await next_.hold(["supplier"])
        for attempt in (
            lambda: late.hold(["supplier"]),
            lambda: late.begin("supplier", "register", keep=None),
            lambda: late.tidy("supplier", "register", keep=None),
            lambda: late.put(under_way, 1, [b"x"]),
            lambda: late.finish(under_way),
            lambda: late.rename("acme", "supplier"),
            lambda: late.forget("supplier"),
        ):
            with pytest.raises(Followed, match="another node fetches for supplier"):
                await attempt()
        second = await written(next_, b"second", keep=first)
        assert (await next_.get(first, [0]), await next_.get(second, [0])) == ([b"first"], [b"second"])
        assert await written(late, b"theirs", connector="shop"), "each connector by itself"
        await leading.fenced(7).hold(["supplier"])
        with pytest.raises(Followed, match="another node fetches"):
            await next_.begin("supplier", "register", keep=second)
        assert await leading.forget("supplier") == 2, "who leads has tokens of its own kind"


async def test_what_is_damaged_is_said(database: Database) -> None:
    async with opened(database) as feeds:
        first, second = await written(feeds, b"zero", b"one"), await written(feeds, b"two", table="other")
        await feeds.begin("supplier", "third", keep=None)
        assert await feeds.verify() == []
        change = f"UPDATE blocks SET body = 'x' WHERE id = {first * MOST_BLOCKS + 1}"
        await in_thread(database.run, change)
        await in_thread(database.run, f"DELETE FROM blocks WHERE id = {second * MOST_BLOCKS}")
        assert [line.removesuffix(" of supplier is not as it was written") for line in await feeds.verify()] == [
            "feeds: the table register",
            "feeds: the table other",
        ]
        with pytest.raises(Damaged):
            await feeds.get(first, [1])


async def test_a_server_that_is_away_is_no_fault_of_what_is_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database) as feeds:
        await in_thread(database.run, "DROP TABLE feed_holders")
        with pytest.raises(Damaged):
            await feeds.begin("supplier", "register", keep=None)

        def away(**_: object) -> None:
            raise psycopg.OperationalError("connection refused")

        monkeypatch.setattr(feeds, "_connect", away)
        assert (await feeds.verify())[0].startswith("feeds: they cannot be read: ")
    with pytest.raises(NotDurable):
        await in_thread(write_file, "postgresql://nobody@/nowhere?host=/nowhere", None, Path("/nowhere/feeds.db"))


async def test_a_file_of_this_machine_is_brought_once_and_goes_back_as_one(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "feeds.db"
    async with SqliteFeeds.open(path) as file:
        kept = await written(file, *[b"%d" % number for number in range(150)])
        await file.begin("supplier", "register", keep=kept)
    async with opened(database, file=path) as feeds:
        assert (await feeds.size(kept), await feeds.get(kept, [149, 0])) == (150, [b"149", b"0"])
        assert await feeds.begin("supplier", "register", keep=kept) > kept + 1
        assert await feeds.verify() == []
    assert await in_thread(lambda: list(tmp_path.iterdir())) == []
    async with SqliteFeeds.open(path) as file:
        assert await written(file, b"of another machine") == kept
    async with opened(database, file=path) as feeds:
        assert await feeds.size(kept) == 150, "what is there stays"
    assert await in_thread(write_file, database.url, None, path) == 1
    async with SqliteFeeds.open(path) as file:
        assert (await file.size(kept), await file.get(kept, [149]), await file.verify()) == (150, [b"149"], [])
