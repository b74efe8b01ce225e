"""Bulk gives way to events that arrive one by one, and to nothing else."""

from collections.abc import Callable

import anyio
import pytest
from anyio.lowlevel import checkpoint

from cdmd.intake.courtesy import AHEAD, AHEAD_OF_ANOTHER, Courtesy
from cdmd.models import Entry, Event
from cdmd.testing import ManualClock

pytestmark = pytest.mark.anyio
AT_ONCE = ("load", AHEAD + 1)
SECONDS = 0.25
"""How often it looks, and how long bulk rests at most."""


class World:
    """``busy``: so many seconds pass while the bulk's last batch is applied."""

    def __init__(self, **options: int) -> None:
        self.clock, self.asked, self.busy = ManualClock(), list[tuple[str, int]](), 0.0
        self.courtesy = Courtesy(self.clock, self.credit, **options)

    async def credit(self, connector: str, limit: int) -> None:
        self.asked.append((connector, limit))
        self.clock.advance(self.busy)

    def arrive(self, count: int, connector: str = "shop") -> bool:
        event = Event(id="1", source=connector, type="x", received=self.clock.now())
        return self.courtesy.journaled([Entry(event)] * count)

    async def rested(self) -> float:
        """How long the bulk rested before its next batch."""
        done, before = list[bool](), None

        async def go_on() -> None:
            await self.courtesy.give_way("load")
            done.append(True)

        async with anyio.create_task_group() as group:
            group.start_soon(go_on)
            for _ in range(10):
                await checkpoint()
            before = self.clock.monotonic()
            while not done:
                self.clock.advance(0.01)
                for _ in range(10):
                    await checkpoint()
        return round(self.clock.monotonic() - before, 2)


async def test_where_nothing_arrives_bulk_goes_on_while_its_last_batch_is_applied() -> None:
    world = World()
    for _ in range(3):
        world.clock.advance(SECONDS)
        assert await world.rested() == 0
    assert world.asked == [AT_ONCE] * 3


async def test_while_events_arrive_bulk_is_applied_first_and_rests_as_long_as_it_worked() -> None:
    world = World()
    await world.rested()
    world.clock.advance(SECONDS)
    world.arrive(3)
    world.busy = 0.1
    await world.rested()
    assert world.asked == [AT_ONCE, ("load", 1)]
    world.arrive(100)
    world.clock.advance(0.03)
    assert await world.rested() == pytest.approx(0.13, abs=0.011)
    assert world.asked == [AT_ONCE, ("load", 1), ("load", 1)]
    world.busy = 60.0
    world.arrive(10_000)
    assert await world.rested() == pytest.approx(SECONDS, abs=0.011)


@pytest.mark.parametrize(
    "arrive",
    [
        lambda world: world.arrive(2),
        lambda world: world.arrive(1_000, "load"),
        lambda world: world.arrive(0),
    ],
    ids=["a few", "its own", "state without events"],
)
async def test_bulk_does_not_give_way_to(arrive: Callable[[World], None]) -> None:
    world = World()
    await world.rested()
    for _ in range(3):
        world.clock.advance(SECONDS)
        arrive(world)
        assert not world.courtesy.wanted
        assert await world.rested() == 0
    assert world.asked == [AT_ONCE] * 4


async def test_what_arrives_one_by_one_is_live_and_what_bulk_brings_is_not() -> None:
    world = World()
    assert world.arrive(3, "load")
    await world.rested()
    assert not world.arrive(3, "load")
    assert world.arrive(1)
    assert not world.arrive(0)


async def test_when_no_more_events_arrive_bulk_goes_on_as_before() -> None:
    world = World()
    await world.rested()
    world.arrive(100)
    world.clock.advance(SECONDS)
    assert world.courtesy.wanted
    world.clock.advance(SECONDS)
    assert not world.courtesy.wanted
    assert await world.rested() == 0


async def test_where_another_process_applies_it_more_of_bulk_is_made_ahead_but_while_events_arrive() -> None:
    world = World(ahead=AHEAD_OF_ANOTHER)
    await world.rested()
    world.arrive(100)
    world.clock.advance(SECONDS)
    await world.rested()
    assert world.asked == [("load", AHEAD_OF_ANOTHER + 1), ("load", 1)]
