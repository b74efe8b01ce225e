"""Changes one at a time, and the end of all of them."""

import anyio
import pytest

from cdmd.errors import Ending
from cdmd.kit.changing import Changing

pytestmark = pytest.mark.anyio


async def test_the_end_refuses_what_comes_and_waits_for_the_change_that_goes_on() -> None:
    changing, begun, happened = Changing(), anyio.Event(), list[str]()

    async def change() -> None:
        async with changing.change():
            begun.set()
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(Ending):
                changing.check()
            happened.append("noticed")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(change)
        await begun.wait()
        async with changing.last():
            happened.append("ended")
            assert changing.busy
    assert (happened, changing.busy) == (["noticed", "ended"], False)
    with pytest.raises(Ending):
        async with changing.change():
            pass


async def test_the_end_does_not_wait_for_ever_for_a_change_that_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.kit.changing._PATIENCE", 0.01)
    changing, go_on = Changing(), anyio.Event()

    async def change() -> None:
        async with changing.change():
            await go_on.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(change)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(5):
            async with changing.last():
                assert changing.busy
        assert changing.busy, "it has its turn all the same"
        go_on.set()
    assert not changing.busy
