import asyncio

import anyio
import anyio.lowlevel
import pytest

from cdmd.kit.deadlines import Deadlines

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


async def test_what_ends_in_time_is_left_alone() -> None:
    deadlines = Deadlines(0.05)
    with deadlines.of_current_task():
        await anyio.lowlevel.checkpoint()
    await anyio.sleep(0.1)


async def test_who_is_still_inside_when_the_time_is_up_gets_a_timeout() -> None:
    deadlines = Deadlines(0.02)
    with pytest.raises(TimeoutError), anyio.fail_after(5), deadlines.of_current_task():
        await anyio.sleep_forever()
    assert asyncio.current_task().cancelling() == 0


async def test_one_timer_serves_those_that_came_later() -> None:
    deadlines, ended = Deadlines(0.05), []

    async def call(number: int, wait: float) -> None:
        await anyio.sleep(wait)
        began = anyio.current_time()
        try:
            with deadlines.of_current_task():
                await anyio.sleep_forever()
        except TimeoutError:
            ended.append((number, anyio.current_time() - began))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(call, number, number * 0.02)
    assert [number for number, _ in ended] == [0, 1, 2]
    assert all(0.045 < seconds < 20 for _, seconds in ended)


async def test_one_that_lingers_after_its_timeout_does_not_hold_up_the_next() -> None:
    deadlines, ended, lingers, release = Deadlines(0.02), [], anyio.Event(), anyio.Event()

    async def stubborn() -> None:
        async def linger() -> None:
            with deadlines.of_current_task():
                try:
                    await anyio.sleep_forever()
                except asyncio.CancelledError:
                    lingers.set()
                    await release.wait()
                    raise

        with pytest.raises(TimeoutError):
            await linger()

    async def plain() -> None:
        await lingers.wait()
        with pytest.raises(TimeoutError), deadlines.of_current_task():
            await anyio.sleep_forever()
        ended.append("plain")
        release.set()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(stubborn)
            group.start_soon(plain)
    assert ended == ["plain"]


async def test_a_cancellation_from_outside_stays_one() -> None:
    deadlines, seen = Deadlines(5.0), []

    async def call() -> None:
        try:
            with deadlines.of_current_task():
                await anyio.sleep_forever()
        except BaseException as error:
            seen.append(type(error))
            raise

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    assert seen == [asyncio.CancelledError]


async def test_an_error_from_inside_passes_through() -> None:
    deadlines = Deadlines(5.0)
    with pytest.raises(LookupError), deadlines.of_current_task():
        raise LookupError


async def test_what_was_let_go_of_by_another_that_was_due_does_not_end() -> None:
    class One:
        due = 0

        def __init__(self, other: "One | None") -> None:
            self.other, self.ended = other, anyio.Event()

        def expire(self) -> None:
            deadlines.remove(self)
            if self.other is not None:
                deadlines.remove(self.other)
            self.ended.set()

    deadlines, last = Deadlines(0.02), One(None)
    second = One(None)
    for one in (One(second), second, last):
        deadlines.add(one)
    with anyio.fail_after(30):
        await last.ended.wait()
    assert not second.ended.is_set()
