"""What somebody raises to end the process ends the task that raised it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from cdmd.kit.steadfast import SteadfastLoop, steadfast


def run(work: Callable[[], Coroutine[Any, Any, Any]], told: list[BaseException]) -> Any:
    return anyio.run(work, backend_options=steadfast(told.append))


@pytest.mark.parametrize("what", [SystemExit, KeyboardInterrupt])
def test_a_task_beside_that_would_end_the_process_ends_alone(what: type[BaseException]) -> None:
    told: list[BaseException] = []

    async def ends() -> None:
        raise what

    async def work() -> str:
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(asyncio.sleep(0.02, "answered"))
            beside = asyncio.gather(ends(), return_exceptions=True)
            assert isinstance((await beside)[0], what)
        return await answer

    assert run(work, told) == "answered"
    assert [type(one) for one in told] == [what]


def test_so_does_a_callback_and_nothing_that_was_to_be_called_then_is_left_out() -> None:
    told: list[BaseException] = []

    def ends() -> None:
        raise SystemExit

    async def work() -> None:
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        loop.call_soon(ends)
        loop.call_soon(came.set)
        await came.wait()

    run(work, told)
    assert len(told) == 1


def test_it_ends_with_what_it_was_run_for() -> None:
    told: list[BaseException] = []

    async def work() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run(work, told)
    assert told == []


def test_once_that_is_over_ctrl_c_ends_what_is_still_waited_for() -> None:
    """A thread that somebody left, say: nothing else follows signals by then."""
    told: list[BaseException] = []
    loop = SteadfastLoop(told.append)

    def ends(what: type[BaseException]) -> None:
        raise what

    async def left(what: type[BaseException]) -> str:
        loop.call_soon(ends, what)
        return await asyncio.sleep(0.02, "waited for")

    loop.run_until_complete(asyncio.sleep(0))
    assert loop.run_until_complete(left(SystemExit)) == "waited for"
    waits = loop.create_task(left(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(waits)
    assert loop.run_until_complete(waits) == "waited for"
    loop.close()
    assert [type(one) for one in told] == [SystemExit]
