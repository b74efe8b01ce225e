"""Work beside the events outlives its own faults."""

from pathlib import Path

import anyio
import anyio.abc
import pytest

from cdmd.daemon.background import Background
from cdmd.daemon.running import Running
from cdmd.testing import ManualClock
from tests.daemon.doubles import World

pytestmark = pytest.mark.anyio


async def test_work_that_meets_a_fault_of_ours_is_told_of_and_begins_again_after_a_while() -> None:
    clock, began = ManualClock(), anyio.Event()
    background, faults = Background(clock), [KeyError("joe@example.com")]

    async def work(*, task_status: "anyio.abc.TaskStatus[None]") -> None:
        task_status.started()
        if faults:
            raise faults.pop()
        began.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        await tasks.start(background.run, work, "counting")
        await anyio.wait_all_tasks_blocked()
        (problem,) = background.problems.values()
        assert problem.startswith("counting met a fault of ours and began again: it raised KeyError in ")
        assert "joe@example.com" not in problem
        assert not began.is_set()
        with anyio.fail_after(5):
            while not began.is_set():
                clock.advance(30)
                await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()


async def test_work_that_is_done_is_not_begun_again() -> None:
    begun = []

    async def work(*, task_status: "anyio.abc.TaskStatus[None]") -> None:
        begun.append(1)
        assert len(begun) == 1

    await Background(ManualClock()).run(work, "keying")
    assert begun == [1]


async def test_status_warns_of_it(tmp_path: Path) -> None:
    async with World(tmp_path, "").parts() as parts:
        parts.background.problems["counting"] = "counting met a fault"
        assert "counting met a fault" in (await Running(parts).status()).warnings
