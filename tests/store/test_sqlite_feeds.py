"""The feeds in SQLite: the contract, and what the disk can do to them."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.to_thread import run_sync as in_thread

from cdmd.errors import CdmdError, Damaged, NotDurable
from cdmd.store.feeds import MOST_BLOCKS, SqliteFeeds, _drop_some, verify_feeds
from tests.store.contract_feeds import FeedsContract, Reopen, written
from tests.store.samples import Disk

pytestmark = pytest.mark.anyio


class TestSqliteFeeds(FeedsContract):
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Reopen:
        def opening() -> AbstractAsyncContextManager[SqliteFeeds]:
            return SqliteFeeds.open(tmp_path / "feeds.db")

        return opening


def change(path: Path, sql: str, *parameters: object) -> None:
    with sqlite3.connect(path) as connection:
        assert connection.execute(sql, parameters).rowcount
    connection.close()


def blocks_in(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        ((count,),) = connection.execute("SELECT count(*) FROM blocks")
    finally:
        connection.close()
    return int(count)


async def test_all_of_it_is_private(tmp_path: Path) -> None:
    async with SqliteFeeds.open(tmp_path / "feeds.db") as feeds:
        await written(feeds, b"a")
        assert feeds.path == tmp_path / "feeds.db"
        assert await in_thread(lambda: {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}) == {0o600}


async def test_a_generation_of_many_blocks_is_removed_in_pieces(tmp_path: Path) -> None:
    async with SqliteFeeds.open(tmp_path / "feeds.db") as feeds:
        await written(feeds, *[b"%d" % number for number in range(700)])
        await feeds.forget("supplier")
        await written(feeds)
    assert await in_thread(blocks_in, tmp_path / "feeds.db") == 0


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("UPDATE blocks SET body = x'00' WHERE id % ? = 1", "the table register of supplier is not as it was written"),
        ("DELETE FROM blocks WHERE id % ? = 1", "the table register of supplier is not as it was written"),
        ("DELETE FROM generations WHERE id < ?", "3 blocks belong to no table"),
    ],
)
async def test_damage_is_found_and_told(tmp_path: Path, sql: str, told: str) -> None:
    path = tmp_path / "feeds.db"
    async with SqliteFeeds.open(path) as feeds:
        generation = await written(feeds, b"zero", b"one", b"two")
        await feeds.begin("supplier", "other", keep=None)  # one that is being written is no damage
        assert await feeds.verify() == []
    await in_thread(change, path, sql, MOST_BLOCKS)
    assert await in_thread(verify_feeds, path) == [f"feeds: {told}"]
    async with SqliteFeeds.open(path) as feeds:
        if "generations" not in sql:
            with pytest.raises(Damaged, match="block 1 is not as it was written"):
                await feeds.get(generation, [0, 1])


async def test_a_file_that_is_no_database_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "feeds.db"
    await in_thread(path.write_bytes, b"no database" * 100)
    with pytest.raises(Damaged, match="feeds"):
        async with SqliteFeeds.open(path):
            pass
    assert "cannot be read" in (await in_thread(verify_feeds, path))[0]


async def test_a_full_disk_is_told_and_what_was_finished_stays(tmp_path: Path) -> None:
    disk = Disk()
    async with SqliteFeeds.open(tmp_path / "feeds.db", connect=disk.connect) as feeds:
        first = await written(feeds, b"first")
        second = await feeds.begin("supplier", "register", keep=first)
        disk.full = True
        with pytest.raises(NotDurable, match="feeds"):
            await feeds.put(second, 0, [b"x" * 100_000])
        disk.full = False
        assert await feeds.get(first, [0]) == [b"first"]
        await feeds.put(second, 0, [b"second"])
        assert await feeds.finish(second) == 1


WRITES = """
import anyio, sys
from pathlib import Path
from cdmd.store.feeds import SqliteFeeds
async def main():
    async with SqliteFeeds.open(Path(sys.argv[1])) as feeds:
        keep = None
        while True:
            one = await feeds.begin("supplier", "register", keep=keep)
            await feeds.put(one, 0, [b"%d" % one * 1000] * 20)
            print(one, await feeds.finish(one), flush=True)
            keep = one
anyio.run(main)
"""


def killed_while_writing(path: Path) -> int:
    """The last generation that the killed process was told to be finished."""
    with subprocess.Popen([sys.executable, "-c", WRITES, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(5)]
        os.kill(child.pid, signal.SIGKILL)
        told += child.stdout.readlines()
    return int(told[-1].split()[0])


async def test_what_was_finished_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "feeds.db"
    for _ in range(3):
        last = await in_thread(killed_while_writing, path)
        async with SqliteFeeds.open(path) as feeds:
            assert await feeds.verify() == []
            assert await feeds.size(last) == 20
            assert await feeds.get(last, [19]) == [b"%d" % last * 1000]


async def test_what_a_kill_left_of_one_that_was_being_removed_is_no_damage(tmp_path: Path) -> None:
    """Seen to fail where it counted as finished until its last blocks went."""
    path = tmp_path / "feeds.db"
    async with SqliteFeeds.open(path) as feeds:
        first = await written(feeds, *[b"x"] * 300)
        await feeds._write(partial(_drop_some, first))
    async with SqliteFeeds.open(path) as feeds:
        assert await feeds.verify() == []
        assert await feeds.size(first) is None
        await feeds.tidy("supplier", "register", keep=None)
        assert await feeds.verify() == []


async def test_nothing_is_removed_while_a_backup_is_taken(tmp_path: Path) -> None:
    async with SqliteFeeds.open(tmp_path / "feeds.db") as feeds:
        first = await written(feeds, b"first")
        async with anyio.create_task_group() as tasks, feeds.unremoved():
            tasks.start_soon(feeds.forget, "supplier")
            await anyio.wait_all_tasks_blocked()
            assert await feeds.get(first, [0]) == [b"first"]
        assert await feeds.size(first) is None


async def test_a_directory_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(CdmdError, match="feeds"):
        async with SqliteFeeds.open(tmp_path / "nowhere" / "feeds.db"):
            pass
