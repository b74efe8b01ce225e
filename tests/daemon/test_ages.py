"""What is deleted for its age, and when nothing is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cdmd.config.schema import Config
from cdmd.daemon.upkeep import Agreement, Upkeep
from cdmd.errors import ClockDisturbed
from cdmd.models import Changes, Seq
from cdmd.store.journal import SqliteJournal
from cdmd.store.keys import Digester
from cdmd.store.store import SqliteStore
from tests.store.contract_store import give
from tests.store.samples import HandClock, append_of

pytestmark = pytest.mark.anyio


class TwoClocks(HandClock):
    """A wall clock that can be set, beside one that only goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.leapt = timedelta(0)

    def monotonic(self) -> float:
        return super().monotonic() - self.leapt.total_seconds()

    def leap(self, by: timedelta) -> None:
        self.moment += by
        self.leapt += by


class World(SimpleNamespace):
    clock: TwoClocks
    journal: SqliteJournal
    upkeep: Upkeep

    async def kept(self) -> int:
        return self.journal.head - (await self.journal.statistics()).first + 1


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    clock, unused = TwoClocks(), cast("Any", None)
    config = Config(state_dir=folder, control_socket=folder / "s")
    async with (
        SqliteJournal.open(folder / "journal.db", clock=clock, mark_path=folder / "mark", new_id=lambda: "one") as journal,
        SqliteStore.open(folder / "store.db", clock=clock, journal_id="one", digest=Digester(b"k" * 32).occurrence) as store,
    ):
        await journal.append([append_of(1, 2)])
        await give(store, Changes(position=Seq(2)))
        upkeep = Upkeep(
            config=lambda: config, journal=journal, store=store, intake=unused, disk=unused, clock=clock,
            systemd=unused, well=lambda: True,
        )  # fmt: skip
        yield World(clock=clock, journal=journal, upkeep=upkeep)


async def test_what_is_old_and_applied_leaves_the_journal(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.upkeep.prune()
        assert await w.kept() == 2
        w.clock.moment += timedelta(days=8)
        await w.upkeep.prune()
        assert await w.kept() == 0


@pytest.mark.parametrize("leap", [timedelta(days=10), timedelta(days=-400), timedelta(hours=2)])
async def test_nothing_is_deleted_for_its_age_after_the_wall_clock_leapt(tmp_path: Path, leap: timedelta) -> None:
    async with world(tmp_path) as w:
        w.clock.leap(leap)
        w.clock.moment += timedelta(days=8)
        with pytest.raises(ClockDisturbed, match="restart cdmd"):
            await w.upkeep.prune()
        assert await w.kept() == 2
        w.clock.leap(-leap)
        await w.upkeep.prune()
        assert await w.kept() == 0


async def test_a_little_now_and_then_never_adds_up(tmp_path: Path) -> None:
    """Seen to fail when a leap was all that the clocks had strayed since the start."""
    async with world(tmp_path) as w:
        for _ in range(24):
            w.clock.leap(timedelta(minutes=10))  # the machine is held, the steady clock with it
            w.clock.moment += timedelta(hours=8)
            await w.upkeep.prune()
        assert await w.kept() == 0


class Slept(TwoClocks):
    """The machine sleeps: one of its steady clocks goes on."""

    def boottime(self) -> float:
        return self.monotonic() + self.leapt.total_seconds()


def test_a_machine_that_slept_has_no_clock_that_leapt() -> None:
    clock = Slept()
    agreement = Agreement(clock)
    clock.leap(timedelta(days=3))
    assert agreement.disturbed() is None


async def test_a_clock_that_is_corrected_a_little_is_trusted(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.clock.leap(timedelta(minutes=59))
        w.clock.moment += timedelta(days=8)
        await w.upkeep.prune()
        assert await w.kept() == 0
