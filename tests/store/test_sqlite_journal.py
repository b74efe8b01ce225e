"""The journal in SQLite: the contract, and what the disk can do to it."""

import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio
import pytest
from anyio import from_thread

from cdmd.contracts import Append
from cdmd.errors import CdmdError, Damaged, NotDurable, SchemaUnknown
from cdmd.models import Entry, Event, Micros, Seq, encode_entry
from cdmd.store.blocks import pack, reach, unpack
from cdmd.store.journal import SqliteJournal
from cdmd.store.journal_checking import head_of, verify_journal
from cdmd.store.mark import Mark, Marker, read_mark
from tests.store.contract_journal import JournalContract
from tests.store.killing import run_and_kill
from tests.store.samples import Disk, HandClock, append_of, entry

pytestmark = pytest.mark.anyio

Reopen: TypeAlias = Callable[..., AbstractAsyncContextManager[SqliteJournal]]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def reopen(tmp_path: Path, clock: HandClock, disk: Disk) -> Reopen:
    def opening(**options: int) -> AbstractAsyncContextManager[SqliteJournal]:
        path, mark = tmp_path / "journal.db", tmp_path / "mark"
        return SqliteJournal.open(path, clock=clock, mark_path=mark, new_id=lambda: "one", connect=disk.connect, **options)

    return opening


class TestSqliteJournal(JournalContract):
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def reopen(self, tmp_path: Path, clock: HandClock) -> Reopen:
        def opening() -> AbstractAsyncContextManager[SqliteJournal]:
            path, mark = tmp_path / "journal.db", tmp_path / "mark"
            return SqliteJournal.open(path, clock=clock, mark_path=mark, new_id=lambda: "one")

        return opening


def damage(path: Path, sql: str, *parameters: object) -> None:
    with sqlite3.connect(path) as connection:
        assert connection.execute(sql, parameters).rowcount
    connection.close()


async def examine(home: Path, name: str = "journal.db") -> list[str]:
    return await anyio.to_thread.run_sync(verify_journal, home / name, home / "mark")


async def test_what_is_appended_while_it_is_looked_through_is_no_damage(
    reopen: Reopen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(connection: sqlite3.Connection) -> Seq:
        from_thread.run(journal.append, [append_of(int(journal.head) + 1)])
        from_thread.run(journal.write_mark)
        return head_of(connection)

    monkeypatch.setattr("cdmd.store.journal_checking.head_of", meanwhile)
    async with reopen() as journal:
        await journal.append([append_of(1, 2)])
        await journal.write_mark()
        assert await journal.verify() == []
        assert journal.head == 4


async def test_a_mark_that_cannot_be_understood_is_told_beside_what_else_is_wrong(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen() as journal:
        await journal.append([append_of(1, 2)])
    await anyio.Path(tmp_path / "mark").write_bytes(b"torn")
    await anyio.to_thread.run_sync(damage, tmp_path / "journal.db", "UPDATE blocks SET checksum = x'00'")
    told = await examine(tmp_path)
    assert ["cannot be understood" in line for line in told] == [True, False]


async def test_a_mark_that_was_written_just_before_it_is_read_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def just_before(path: Path) -> Mark | None:
        reached.append(Seq(2))
        from_thread.run(marker.write, Mark("one", Seq(2)))
        return read_mark(path)

    marker, reached = Marker(tmp_path / "mark"), [Seq(1)]
    monkeypatch.setattr("cdmd.store.mark.read_mark", just_before)
    await marker.check(lambda: Mark("one", reached[-1]))


def modes_in(home: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in home.iterdir()}


@asynccontextmanager
async def filled(reopen: Reopen, *, blocks: int = 5) -> AsyncIterator[SqliteJournal]:
    async with reopen() as journal:
        for n in range(1, blocks * 2, 2):
            await journal.append([append_of(n, n + 1)])
        yield journal


# ---- files ---------------------------------------------------------------------------------------------------------


async def test_files_are_private_whatever_the_umask(reopen: Reopen, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with filled(reopen):
            modes = modes_in(tmp_path)
    finally:
        os.umask(before)
    assert modes == {"journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600, "mark": 0o600}


async def test_a_file_that_others_may_read_is_made_private(reopen: Reopen, tmp_path: Path) -> None:
    async with filled(reopen):
        pass
    (tmp_path / "journal.db").chmod(0o644)
    async with reopen():
        assert (tmp_path / "journal.db").stat().st_mode & 0o777 == 0o600


async def test_a_newer_schema_is_refused(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen():
        pass
    damage_version = sqlite3.connect(tmp_path / "journal.db")
    damage_version.execute("PRAGMA user_version = 99")
    damage_version.close()
    with pytest.raises(SchemaUnknown, match="schema 99"):
        async with reopen():
            pass


async def test_a_file_that_is_no_database_is_damaged(reopen: Reopen, tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"not a database" * 100)
    with pytest.raises(Damaged, match="cdmd restore"):
        async with reopen():
            pass


async def test_a_directory_that_is_not_there_is_not_durable(tmp_path: Path, clock: HandClock) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(NotDurable, match="cannot be opened"):
        async with SqliteJournal.open(missing / "journal.db", clock=clock, mark_path=missing / "mark", new_id=lambda: "one"):
            pass


async def test_a_migration_that_fails_leaves_nothing_behind(reopen: Reopen, tmp_path: Path) -> None:
    blocked = sqlite3.connect(tmp_path / "journal.db")
    blocked.execute("CREATE TABLE state (x)")
    blocked.close()
    with pytest.raises(Damaged, match="state already exists"):
        async with reopen():
            pass
    left = sqlite3.connect(tmp_path / "journal.db")
    assert left.execute("SELECT name FROM sqlite_master").fetchall() == [("state",)]
    left.close()


async def test_a_closed_journal_takes_nothing(reopen: Reopen) -> None:
    async with reopen() as journal:
        pass
    with pytest.raises(NotDurable):
        await journal.append([append_of(1)])


# ---- the disk fails -----------------------------------------------------------------------------------------------


async def test_a_full_disk_acknowledges_nothing_and_recovers_without_a_restart(reopen: Reopen, disk: Disk) -> None:
    async with filled(reopen) as journal:
        disk.full = True
        big = [append_of(*range(100), state={b"cursor": b"moved"})]
        for _ in range(2):
            with pytest.raises(NotDurable, match="SQLITE_FULL"):
                await journal.append(big)
        assert "SQLITE_FULL" in str((await journal.statistics()).failure)
        assert journal.head == 10
        assert await journal.get("shop", [b"cursor"]) == {}
        disk.full = False
        assert await journal.append(big) == 11
        assert (await journal.statistics()).failure is None
    async with reopen() as journal:
        assert journal.head == 110
        assert await journal.verify() == []


@pytest.mark.parametrize("statement", ["COMMIT", "INSERT INTO blocks", "BEGIN"])
async def test_after_a_failure_the_journal_is_opened_anew_before_the_next_append(
    reopen: Reopen, disk: Disk, statement: str
) -> None:
    async with filled(reopen) as journal:
        disk.fail_on = statement
        with pytest.raises(NotDurable, match="disk I/O error"):
            await journal.append([append_of(11)])
        opened, disk.fail_on = disk.opened, None
        assert await journal.append([append_of(12)]) == 11
        assert disk.opened == opened + 1


async def test_a_commit_that_was_packed_while_one_before_it_failed_is_numbered_as_what_is_there(
    reopen: Reopen, disk: Disk
) -> None:
    async with filled(reopen) as journal:
        disk.fail_on = "INSERT INTO blocks"
        failing = journal.append([append_of(11, 12, 13)])
        with pytest.raises(NotDurable):
            await failing
        disk.fail_on = None
        first, second = journal.append([append_of(14, 15)]), journal.append([append_of(16)])
        assert (await first, await second) == (11, 13)
        journal._tail.clear()
        found = await journal.read(Seq(10), limit=9)
        assert [(one.seq, one.entry) for one in found] == [(11, entry(14)), (12, entry(15)), (13, entry(16))]
        assert await journal.verify() == []
        assert journal._begun == journal.head  # the next one is expected where it comes


async def test_every_commit_is_synced_also_after_a_failure(reopen: Reopen, disk: Disk) -> None:
    def synchronous(connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA synchronous").fetchone()[0])

    full = 2
    async with filled(reopen) as journal:
        assert await journal._writer.run(synchronous) == full
        disk.fail_on = "COMMIT"
        with pytest.raises(NotDurable):
            await journal.append([append_of(11)])
        disk.fail_on = None
        assert await journal._writer.run(synchronous) == full


async def test_what_cannot_be_checkpointed_anew_is_not_acknowledged(reopen: Reopen, disk: Disk) -> None:
    async with filled(reopen) as journal:
        disk.fail_on = "COMMIT"
        with pytest.raises(NotDurable):
            await journal.append([append_of(11)])
        disk.fail_on = "PRAGMA wal_checkpoint"
        with pytest.raises(NotDurable):
            await journal.append([append_of(11)])
        disk.fail_on = None
        assert await journal.append([append_of(11)]) == 11


async def test_a_journal_that_lost_acknowledged_entries_takes_no_more(reopen: Reopen, disk: Disk, tmp_path: Path) -> None:
    async with filled(reopen) as journal:
        disk.fail_on = "COMMIT"
        with pytest.raises(NotDurable):
            await journal.append([append_of(11)])
        disk.fail_on = None
        damage(tmp_path / "journal.db", "DELETE FROM blocks WHERE last > 4")
        damage(tmp_path / "journal.db", "UPDATE sqlite_sequence SET seq = 4")
        with pytest.raises(NotDurable, match="ends at 4, but 10 was acknowledged"):
            await journal.append([append_of(11)])
        assert "10 was acknowledged" in str((await journal.statistics()).failure)


async def test_a_journal_whose_tail_is_damaged_takes_no_more(reopen: Reopen, disk: Disk, tmp_path: Path) -> None:
    async with filled(reopen) as journal:
        disk.fail_on = "COMMIT"
        with pytest.raises(NotDurable):
            await journal.append([append_of(11)])
        disk.fail_on = None
        damage(tmp_path / "journal.db", "UPDATE blocks SET written = 1 WHERE last = 10")
        with pytest.raises(NotDurable, match="checksum"):
            await journal.append([append_of(11)])


async def test_entries_of_a_failed_commit_that_are_there_after_all_move_the_head_on(
    reopen: Reopen, disk: Disk, tmp_path: Path
) -> None:
    async with filled(reopen) as journal:
        disk.fail_on = "COMMIT"
        with pytest.raises(NotDurable):
            await journal.append([append_of(11)])
        disk.fail_on = None
        other = SqliteJournal.open(tmp_path / "journal.db", clock=HandClock(), mark_path=tmp_path / "other", new_id=lambda: "x")
        async with other as survivor:
            await survivor.append([append_of(11)])
        assert await journal.append([append_of(12)]) == 12
        assert [one.seq for one in await journal.read(Seq(9), limit=10)] == [10, 11, 12]


async def test_entries_that_are_there_after_all_are_read_once_anything_is_durable_again(
    reopen: Reopen, disk: Disk, tmp_path: Path
) -> None:
    async with filled(reopen) as journal:
        disk.fail_on = "COMMIT"
        with pytest.raises(NotDurable):
            await journal.append([append_of(11)])
        disk.fail_on = None
        other = SqliteJournal.open(tmp_path / "journal.db", clock=HandClock(), mark_path=tmp_path / "other", new_id=lambda: "x")
        async with other as survivor:
            await survivor.append([append_of(11)])
        await journal.append([append_of(state={b"cursor": b"1"})])
        assert journal.head == 11
        assert [one.seq for one in await journal.read(Seq(10), limit=10)] == [11]


async def test_pruning_and_forgetting_on_a_failing_disk_say_so(reopen: Reopen, disk: Disk) -> None:
    async with filled(reopen) as journal:
        disk.fail_on = "DELETE"
        with pytest.raises(NotDurable):
            await journal.forget("shop")
        with pytest.raises(NotDurable):
            await journal.prune(before=Micros(2**60), upto=Seq(10))
        disk.fail_on = None
        assert await journal.prune(before=Micros(2**60), upto=Seq(10)) == 10


async def test_statistics_answer_even_when_the_file_cannot_be_read(reopen: Reopen, tmp_path: Path) -> None:
    async with filled(reopen) as journal:
        connection = sqlite3.connect(tmp_path / "journal.db")
        connection.execute("ALTER TABLE blocks RENAME TO gone")
        connection.close()
        shown = await journal.statistics()
        assert shown.head == 10
        assert "cannot be read" in str(shown.failure)


# ---- damage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["body", "checksum", "written", "first"])
async def test_a_changed_block_is_noticed(reopen: Reopen, tmp_path: Path, column: str) -> None:
    async with filled(reopen):
        pass
    change = {"body": "zeroblob(length(body))", "checksum": "zeroblob(16)", "written": "written + 1", "first": "first + 1"}
    damage(tmp_path / "journal.db", f"UPDATE blocks SET {column} = {change[column]} WHERE last = 4")
    assert "do not match their checksum" in "".join(await examine(tmp_path))
    with pytest.raises(Damaged, match=r"checksum|missing"):
        async with reopen() as journal:
            await journal.read(Seq(0), limit=10)


async def test_damage_behind_the_synced_position_stops_the_start_only_when_it_matters(reopen: Reopen, tmp_path: Path) -> None:
    async with filled(reopen, blocks=100):
        pass
    damage(tmp_path / "journal.db", "UPDATE blocks SET written = 1 WHERE last = 20")
    async with reopen() as journal:
        await journal.check(Seq(20))
        with pytest.raises(Damaged, match="19 to 20"):
            await journal.check(Seq(18))


async def test_a_missing_block_is_noticed(reopen: Reopen, tmp_path: Path) -> None:
    async with filled(reopen):
        pass
    damage(tmp_path / "journal.db", "DELETE FROM blocks WHERE last = 4")
    damage(tmp_path / "journal.db", "DELETE FROM blocks WHERE last = 10")
    found = await examine(tmp_path)
    assert found == [
        "journal: the entries between 2 and 5 are missing",
        "journal: the entries between 8 and 10 are missing",
    ]


async def test_every_flipped_bit_in_a_stored_entry_is_noticed(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen() as journal:
        await journal.append([append_of(1)])
    path = tmp_path / "journal.db"
    whole = path.read_bytes()
    at = whole.index(b"user1@example.com")
    for bit in range(0, 17 * 8, 5):
        flipped = bytearray(whole)
        flipped[at + bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert await examine(tmp_path), bit


async def test_a_truncated_file_is_noticed(reopen: Reopen, tmp_path: Path) -> None:
    async with filled(reopen, blocks=200):
        pass
    path = tmp_path / "journal.db"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    assert await examine(tmp_path)
    with pytest.raises((Damaged, NotDurable)):
        async with reopen():
            pass


async def test_a_journal_below_its_mark_is_not_started(reopen: Reopen, tmp_path: Path) -> None:
    async with filled(reopen):
        pass
    damage(tmp_path / "journal.db", "DELETE FROM blocks WHERE last > 4")
    damage(tmp_path / "journal.db", "UPDATE sqlite_sequence SET seq = 4")
    with pytest.raises(Damaged, match="ends at 4, but it once reached 10"):
        async with reopen():
            pass
    assert "once reached 10" in "".join(await examine(tmp_path))
    (tmp_path / "mark").unlink()
    async with reopen() as journal:
        assert journal.head == 4


async def test_another_journal_in_its_place_is_not_started(reopen: Reopen, tmp_path: Path) -> None:
    async with filled(reopen):
        pass
    damage(tmp_path / "journal.db", "UPDATE meta SET value = 'another'")
    with pytest.raises(Damaged, match="not the one"):
        async with reopen():
            pass


async def test_a_mark_that_cannot_be_understood_is_damage(reopen: Reopen, tmp_path: Path) -> None:
    async with filled(reopen):
        pass
    (tmp_path / "mark").write_bytes(b"{")
    with pytest.raises(Damaged, match="cannot be understood"):
        async with reopen():
            pass


async def test_the_mark_follows_the_head_and_a_failing_disk_is_told(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen() as journal:
        await journal.append([append_of(1)])
        await journal.write_mark()
        assert b'"head":1' in (tmp_path / "mark").read_bytes()
        unchanged = (tmp_path / "mark").stat().st_mtime_ns
        await journal.write_mark()
        assert (tmp_path / "mark").stat().st_mtime_ns == unchanged
        (tmp_path / "mark.new").mkdir()
        await journal.append([append_of(2)])
        with pytest.raises(NotDurable, match="mark"):
            await journal.write_mark()
        (tmp_path / "mark.new").rmdir()


async def test_a_file_that_is_gone_cannot_be_verified(tmp_path: Path) -> None:
    assert "cannot be read" in (await examine(tmp_path / "missing"))[0]


async def test_a_damaged_block_is_never_handed_on(reopen: Reopen, tmp_path: Path) -> None:
    async with reopen(tail_events=1) as journal:
        assert journal.path == tmp_path / "journal.db"
        await journal.append([append_of(1, 2)])
        await journal.append([append_of(3)])
        damage(journal.path, "UPDATE blocks SET written = 1 WHERE last = 2")
        with pytest.raises(Damaged, match="1 to 2"):
            await journal.read(Seq(0), limit=10)


async def test_a_file_overwritten_while_it_runs_is_damaged(reopen: Reopen, tmp_path: Path) -> None:
    async with filled(reopen):
        pass
    async with reopen() as journal:
        with journal.path.open("r+b") as file:
            file.write(b"x" * 4_096)
        with pytest.raises(Damaged, match="cdmctl verify"):
            await journal.counts()


async def test_a_log_that_cannot_be_emptied_at_the_start_is_told(reopen: Reopen, disk: Disk, tmp_path: Path) -> None:
    disk.impatient = True
    async with filled(reopen):
        reader = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM blocks").fetchall()
        with pytest.raises(NotDurable, match="somebody else reads it"):
            async with reopen():
                pass
        reader.close()


# ---- the tail in memory, readers, backup --------------------------------------------------------------------------


async def test_entries_pushed_out_of_the_tail_come_from_the_disk(reopen: Reopen) -> None:
    async with reopen(tail_events=3) as journal:
        for n in range(1, 8):
            await journal.append([append_of(n)])
        for after in range(8):
            found = await journal.read(Seq(after), limit=2)
            assert [(one.seq, one.entry) for one in found] == [(n, entry(n)) for n in range(after + 1, min(after + 2, 7) + 1)]


async def test_the_tail_is_bounded_in_bytes(reopen: Reopen) -> None:
    async with reopen(tail_bytes=1_000) as journal:
        held = list[int]()
        for n in range(1, 30):
            await journal.append([append_of(n)])
            assert journal._tail.bytes <= 1_000
            held.append(len(journal._tail))
        assert 0 < max(held) < 10
        await journal.append([append_of(*range(30, 60))])
        assert [one.seq for one in await journal.read(Seq(0), limit=100)] == list(range(1, 60))


async def test_readers_and_the_appender_do_not_hinder_each_other(reopen: Reopen) -> None:
    async def look(journal: SqliteJournal) -> None:
        after = 0
        while after < 200:
            found = await journal.read(Seq(after), limit=7)
            assert [one.seq for one in found] == list(range(after + 1, after + 1 + len(found)))
            after += len(found)
            if not found:
                await journal.wait(Seq(after))

    async with reopen(tail_events=10) as journal:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(look, journal)
                for n in range(1, 201, 4):
                    await journal.append([append_of(n, n + 1, n + 2, n + 3)])


async def test_appends_that_fail_in_python_leave_the_journal_as_it_was(reopen: Reopen) -> None:
    async with filled(reopen) as journal:
        with pytest.raises(OverflowError):
            await journal.append([append_of(11), Append(connector="shop", state={b"x": 2**70})])
        assert await journal.append([append_of(11)]) == 11


async def test_a_backup_never_overwrites(reopen: Reopen, tmp_path: Path) -> None:
    async with filled(reopen) as journal:
        await journal.backup(tmp_path / "copy.db")
        with pytest.raises(CdmdError, match="File exists"):
            await journal.backup(tmp_path / "copy.db")
        assert await examine(tmp_path, "copy.db") == []


async def test_a_backup_that_fails_leaves_no_file(reopen: Reopen, tmp_path: Path) -> None:
    async with filled(reopen):
        pass
    async with reopen() as journal:
        with (tmp_path / "journal.db").open("r+b") as file:
            file.write(b"x" * 100)
        with pytest.raises(CdmdError, match="could not be copied"):
            await journal.backup(tmp_path / "copy.db")
        assert not (tmp_path / "copy.db").exists()


async def test_nothing_is_pruned_while_a_backup_holds_it(reopen: Reopen) -> None:
    pruned: list[int] = []

    async def prune(journal: SqliteJournal) -> None:
        pruned.append(await journal.prune(before=Micros(2**60), upto=Seq(10)))

    async with filled(reopen) as journal:
        async with anyio.create_task_group() as tasks, journal.unpruned():
            tasks.start_soon(prune, journal)
            for n in range(11, 17):
                await journal.append([append_of(n)])
            assert pruned == []
        assert pruned == [10]


async def test_a_cancelled_reader_breaks_nothing(reopen: Reopen) -> None:
    async with reopen(tail_events=1) as journal:
        for n in range(1, 30, 3):
            await journal.append([append_of(n, n + 1, n + 2)])
        for _ in range(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(journal.read, Seq(0), limit=30))
                await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        with anyio.fail_after(30):
            assert len(await journal.read(Seq(0), limit=30)) == 30


# ---- kill -9 ------------------------------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
import anyio
from cdmd.kit.clock import SystemClock
from cdmd.store.journal import SqliteJournal
from tests.store.samples import append_of

async def main():
    home = Path(sys.argv[1])
    opened = SqliteJournal.open(home / "journal.db", clock=SystemClock(), mark_path=home / "mark", new_id=lambda: "one")
    async with opened as journal:
        while True:
            numbers = range(journal.head + 1, journal.head + 4)
            await journal.append([append_of(*numbers, state={b"last": b"%d" % numbers[-1]})])
            print(journal.head, flush=True)

anyio.run(main)
"""


@pytest.mark.slow
async def test_what_was_acknowledged_before_a_kill_is_there_and_the_state_is_never_ahead(
    reopen: Reopen, tmp_path: Path
) -> None:
    for kill_after in (1, 7, 40):
        acknowledged = await run_and_kill(CHILD, tmp_path, lines=kill_after)
        async with reopen() as journal:
            assert journal.head >= acknowledged
            found = await journal.read(Seq(0), limit=100_000)
            assert [one.entry for one in found] == [entry(n) for n in range(1, journal.head + 1)]
            assert await journal.get("shop", [b"last"]) == {b"last": b"%d" % journal.head}
            assert await journal.verify() == []


async def test_a_read_is_bounded_in_bytes_however_large_the_entries_are(
    reopen: Reopen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdmd.store.journal._READ_BYTES", 1_000)
    async with reopen(tail_events=1) as journal:
        for n in range(1, 41, 2):
            await journal.append([append_of(n, n + 1)])
        sizes, after = [], Seq(0)
        while found := await journal.read(after, limit=1_000):
            sizes.append(len(found))
            after = found[-1].seq
        assert sum(sizes) == 40
        assert max(sizes) <= 4
        assert [one.seq for one in await journal.read(Seq(2), limit=3)] == [3, 4, 5]


def test_a_read_reaches_as_far_as_its_limits_and_always_one_block() -> None:
    blocks = [(2, 2, 600), (2, 4, 600), (2, 6, 10)]
    assert reach(blocks, limit=9, most=100) == 2
    assert reach(blocks, limit=9, most=1_200) == 4
    assert reach(blocks, limit=3, most=9_999) == 4
    assert reach(blocks, limit=9, most=9_999) == 6
    assert reach([], limit=9, most=9_999) == 0


def test_entries_that_are_as_they_were_written_but_cannot_be_read_are_told_as_damage() -> None:
    odd = Entry(Event(id="1", source="shop", type="x", received=None))  # type: ignore[arg-type]  # the fault
    with pytest.raises(Damaged, match=r"entries 5 to 5 are as they were written, but cannot be read: .*cdmd restore"):
        unpack(pack(Seq(5), [encode_entry(odd)], written=Micros(1)))
