from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest

from cdmd.testing import ManualClock

pytestmark = pytest.mark.anyio
START = datetime(2026, 11, 23, tzinfo=UTC)


async def test_time_stands_still_until_it_is_moved_and_then_both_clocks_move() -> None:
    clock = ManualClock(START)
    assert (clock.now(), clock.monotonic()) == (START, 0)
    clock.advance(1.5)
    assert (clock.now(), clock.monotonic()) == (START + timedelta(seconds=1.5), 1.5)


async def test_a_sleeper_wakes_when_the_clock_was_moved_far_enough_and_no_earlier() -> None:
    clock, woken = ManualClock(START), anyio.Event()

    async def sleeper() -> None:
        await clock.sleep(10)
        woken.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleeper)
        await anyio.wait_all_tasks_blocked()
        for _ in range(9):
            clock.advance(1)
            await anyio.wait_all_tasks_blocked()
        assert not woken.is_set()
        clock.advance(1)
        with anyio.fail_after(30):
            await woken.wait()


async def test_many_sleepers_wake_by_one_move() -> None:
    clock, woken = ManualClock(START), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for seconds in (0, 1, 2):
                tasks.start_soon(sleeper, seconds)
            await anyio.wait_all_tasks_blocked()
            assert woken == [0]
            clock.advance(2)
    assert sorted(woken) == [0, 1, 2]


async def test_a_sleeper_may_be_cancelled() -> None:
    clock = ManualClock(START)
    with anyio.move_on_after(0.01) as scope:
        await clock.sleep(1)
    assert scope.cancelled_caught
