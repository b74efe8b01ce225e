import gc
import socket
import weakref
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from cdmd.contracts import DeadLetterFilter
from cdmd.daemon.disk import Disk
from cdmd.daemon.upkeep import collect_garbage, write_counts
from cdmd.errors import NotDurable, Overloaded
from cdmd.models import Count, Record, Seq
from tests.daemon.doubles import Fetcher, World, applied, fetched, record, until

pytestmark = pytest.mark.anyio

PULL = '[connectors.crm]\ntype = "fetcher"\n'


async def test_pruning_keeps_what_is_young_and_what_is_not_known_to_be_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, PULL)
    async with world.parts() as parts:
        await fetched(parts, "crm")
        await applied(parts)
        await parts.upkeep.prune()
        assert len(await parts.journal.read(Seq(0), limit=10)) == 1, "younger than journal.keep"
        world.clock.shift = timedelta(days=8)
        sync = parts.store.sync

        async def nothing_is_known_to_be_on_disk() -> Seq:
            return Seq(0)

        monkeypatch.setattr(parts.store, "sync", nothing_is_known_to_be_on_disk)
        await parts.upkeep.prune()
        assert (await parts.journal.statistics()).first == 1
        monkeypatch.setattr(parts.store, "sync", sync)
        await parts.upkeep.prune()
        statistics = await parts.journal.statistics()
        assert (statistics.first, statistics.head) == (2, 1)


async def test_dead_letters_expire_and_count_as_filtered(tmp_path: Path) -> None:
    world = World(tmp_path, PULL)
    async with world.parts() as parts:
        await until(parts, "crm", "running")
        source = Fetcher.made["crm"].source
        assert source is not None
        await source.emit([Record(value={"type": "x", "id": [1]}, received=world.clock.now(), fallback_id="f")])
        await applied(parts)
        assert len(await parts.store.dead_letters(DeadLetterFilter())) == 1
        world.clock.shift = timedelta(days=15)
        await parts.upkeep.prune()
        assert await parts.store.dead_letters(DeadLetterFilter()) == []
        counts = await parts.store.counts()
        assert (counts["crm", Count.FILTERED], counts["crm", Count.DEAD]) == (1, 0)


async def test_what_refers_to_itself_is_freed_by_the_timer_though_the_collector_looks_seldom() -> None:
    class Circle:
        def __init__(self) -> None:
            self.itself = self

    gc.disable()
    try:
        gone = weakref.ref(Circle())
        assert gone() is not None
        await collect_garbage()
        assert gone() is None
    finally:
        gc.enable()


async def test_counts_that_no_append_carried_are_written_and_survive(tmp_path: Path) -> None:
    world = World(tmp_path, PULL)
    async with world.parts() as parts:
        parts.tally.refused("crm", 3, "signature")
        await write_counts(parts.intake)
        assert parts.tally.unwritten() == []
    async with world.parts() as parts:
        assert (parts.tally.of("crm", "refused"), parts.tally.of("crm", "received")) == (3, 3)


async def test_counts_that_cannot_be_written_now_are_kept_and_told(tmp_path: Path) -> None:
    world = World(tmp_path, PULL)
    async with world.parts() as parts:
        parts.tally.refused("crm", 3, "signature")
        free, parts.disk.free = parts.disk.free, 0
        await parts.upkeep.once("counts", lambda: write_counts(parts.intake))
        assert parts.upkeep.problems["counts"].startswith("counts: the disk has 0 MiB free")
        assert parts.tally.of("crm", "refused") == 3
        parts.disk.free = free
        await parts.upkeep.once("counts", lambda: write_counts(parts.intake))
        assert parts.upkeep.problems == {}
        assert parts.tally.unwritten() == []


async def test_a_journal_that_failed_is_tried_again_without_anybody_sending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    async with world.parts() as parts:
        monkeypatch.setattr(parts.journal, "_failure", "disk I/O error")
        monkeypatch.setattr(parts.store, "failure", "disk I/O error")
        assert parts.readiness() == (False, ["disk I/O error", "disk I/O error"])
        free, parts.disk.free = parts.disk.free, 0
        await parts.upkeep.mend()
        assert parts.journal.failure is not None, "nothing is written below the reserve"
        parts.disk.free = free
        await parts.upkeep.mend()
        assert parts.readiness() == (True, ["ok"])
        head = parts.journal.head
        await parts.upkeep.mend()
        assert parts.journal.head == head


async def test_the_watchdog_is_fed_only_while_supervisor_and_store_are_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        world.environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        async with world.parts() as parts:
            await parts.upkeep.watchdog()
            assert systemd.recv(100) == b"WATCHDOG=1"
            monkeypatch.setattr(parts.upkeep, "_well", lambda: False)
            await parts.upkeep.watchdog()
            monkeypatch.setattr(parts.upkeep, "_well", lambda: True)

            async def hang() -> None:
                await anyio.sleep_forever()

            monkeypatch.setattr(parts.store, "next_due", hang)
            monkeypatch.setattr("cdmd.daemon.upkeep._ANSWER_WITHIN", 0.01)
            await parts.upkeep.once("watchdog", parts.upkeep.watchdog)
            assert parts.upkeep.problems == {"watchdog": "watchdog: TimeoutError"}
            with pytest.raises(BlockingIOError):
                systemd.recv(100)
            monkeypatch.setattr(type(parts.store), "here", False)  # another machine's silence is no reason to be restarted
            await parts.upkeep.watchdog()
            assert systemd.recv(100) == b"WATCHDOG=1"


async def test_a_store_on_a_server_that_is_away_does_not_make_the_daemon_unready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path).parts() as parts:
        parts.state = "running"
        parts.store.failure = "connection refused"
        assert parts.readiness() == (False, ["connection refused"])
        monkeypatch.setattr(type(parts.store), "here", False)
        assert parts.readiness() == (True, ["ok"])


async def test_every_timer_runs_and_one_that_fails_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MARK", "SYNC", "PRUNE", "DISK", "COUNTS"):
        monkeypatch.setattr(f"cdmd.daemon.upkeep.{name}_EVERY", 0.01)
    world = World(tmp_path, PULL)
    world.environment = {"WATCHDOG_USEC": "20000"}
    async with world.parts() as parts:
        failed, measured = anyio.Event(), anyio.Event()

        async def fail() -> None:
            failed.set()
            raise NotDurable("the mark cannot be written")

        measure = parts.disk.measure

        def measuring(now: float) -> None:
            measure(now)
            if failed.is_set():
                measured.set()

        monkeypatch.setattr(parts.journal, "write_mark", fail)
        monkeypatch.setattr(parts.disk, "measure", measuring)
        async with anyio.create_task_group() as tasks:
            await tasks.start(parts.upkeep.run)
            await measured.wait()
            await measured.wait()
            tasks.cancel_scope.cancel()
        assert parts.upkeep.problems["mark"] == "mark: the mark cannot be written"
        monkeypatch.undo()


async def test_nothing_is_acknowledged_below_the_reserve(tmp_path: Path) -> None:
    world = World(tmp_path, PULL)
    async with world.parts() as parts:
        await until(parts, "crm", "running")
        parts.disk.free = 0
        assert not parts.readiness()[0]
        with pytest.raises(Overloaded, match=r"less than journal\.reserve"):
            await parts.connectors.get("crm").source.emit([record("x")])


def test_days_left_are_told_by_the_growth_since_up_to_a_day(tmp_path: Path) -> None:
    disk = Disk(tmp_path, reserve=0)
    disk.measure(0.0)
    assert disk.days_left(0.0) is None
    (tmp_path / "store.db").write_bytes(b"x" * 1000)
    (tmp_path / "journal.db-wal").write_bytes(b"x" * 24)
    disk.measure(700.0)
    assert disk.log_bytes == {"journal": 24, "store": 0}
    disk.free = 1024 * 10
    assert disk.days_left(700.0) == pytest.approx(10 * 700 / 86_400)
    disk.reserve = disk.free * 2
    assert disk.days_left(700.0) == 0
    disk.kept = 0
    assert disk.days_left(700.0) is None
    disk.measure(700.0 + 90_000)
    assert disk.days_left(700.0 + 90_000) is None, "the samples are older than a day"


def test_room_for_a_while_never_touches_the_reserve(tmp_path: Path) -> None:
    disk = Disk(tmp_path, reserve=100)
    disk.free = 150
    assert disk.room() == 50
    disk.free = 90
    assert disk.room() == 0
