"""What happened at a source before its connector was here says nothing of how fresh it is; what came late since then does."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cdmd.daemon.kept import Kept
from cdmd.daemon.parts import Parts
from cdmd.errors import NotDurable
from cdmd.models import Record
from tests.daemon.doubles import Fetcher, World, until
from tests.daemon.test_live import change
from tests.daemon.test_overview import row

pytestmark = pytest.mark.anyio

PULL = '[connectors.crm]\ntype = "fetcher"\n'


def record(id: str, at: datetime) -> Record:
    value = {"id": id, "type": "seen", "time": at.isoformat(), "identifiers": {"email": "joe@example.com"}}
    return Record(value=value, received=at, fallback_id=id)


async def brought(parts: Parts, connector: str, **events: timedelta) -> float | None:
    """The connector's freshness after it has brought these, so long ago."""
    source = Fetcher.made[connector].source
    assert source is not None
    now = parts.clock.now()
    await source.emit([record(name, now - ago) for name, ago in events.items()])
    await parts.pipeline.drain(5)
    return (await row(parts, connector)).freshness_seconds


async def test_the_history_of_a_source_says_nothing_of_freshness_and_what_came_late_since_then_does(tmp_path: Path) -> None:
    """Seen to fail with all that comes counted, and with the beginning that no restart knows."""
    world, year = World(tmp_path, PULL), timedelta(days=365)
    async with world.parts() as parts:
        await until(parts, "crm", "running")
        assert ((await brought(parts, "crm", old=year)) or 0) < 60
        assert (await row(parts, "crm")).last_event is not None
        world.clock.shift += timedelta(hours=3)
        assert ((await brought(parts, "crm", late=timedelta(hours=2))) or 0) > 3600
    world.clock.shift += timedelta(hours=3)
    async with world.parts() as parts:
        await until(parts, "crm", "running")
        assert ((await brought(parts, "crm", down=timedelta(hours=4), older=year)) or 0) > 10_000


async def test_one_that_was_forgotten_begins_anew_and_a_renamed_one_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path, PULL)
    async with world.parts() as parts:
        await until(parts, "crm", "running")
        world.clock.shift += timedelta(hours=3)
        await change(world, parts, PULL.replace("crm", "sales") + 'was = ["crm"]\n')
        await until(parts, "sales", "running")
        assert ((await brought(parts, "sales", late=timedelta(hours=2))) or 0) > 3600
        await Fetcher.made["sales"].bring()
        await change(world, parts, "")
        await parts.connectors.forget("sales")
        world.clock.shift += timedelta(hours=3)
        await change(world, parts, PULL.replace("crm", "sales"))
        await until(parts, "sales", "running")
        world.clock.shift += timedelta(seconds=1)
        parts.pipeline.freshness._hours.clear()
        assert ((await brought(parts, "sales", older=timedelta(hours=2))) or 0) < 60


class Full:
    """A journal whose disk takes nothing."""

    async def append(self, appends: Any) -> None:
        raise NotDurable("the disk is full")


async def test_a_disk_that_keeps_no_beginning_stops_no_connector(tmp_path: Path) -> None:
    told: list[str] = []
    full: Any = Full()
    kept = Kept(full, clock=World(tmp_path, PULL).clock, tell=lambda name, at: told.append(name))
    await kept.begin(["crm"], lambda name: ())
    await kept.begin(["crm"], lambda name: ())
    assert told == ["crm"]
