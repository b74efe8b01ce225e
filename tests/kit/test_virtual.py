"""The leaping clock itself: what it must not leap over."""

import threading

import anyio
import anyio.to_thread
import pytest

from tests.kit.virtual import VirtualClock

pytestmark = pytest.mark.anyio


async def test_time_stands_still_while_a_thread_works() -> None:
    clock = VirtualClock()
    done: list[float] = []

    async def work() -> None:
        await clock.sleep(5)
        await anyio.to_thread.run_sync(threading.Event().wait, 0.05)
        done.append(clock.monotonic())

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await clock.sleep(60)
            group.cancel_scope.cancel()

    await clock.run(main)
    assert (done, clock.monotonic()) == ([5], 60)
