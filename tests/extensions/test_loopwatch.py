import threading
import time

import anyio
import anyio.lowlevel
import pytest

from cdmd.extensions import LoopWatch, Registered, extension
from cdmd.kit.clock import SystemClock

pytestmark = pytest.mark.anyio


def busy(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@extension(on="*")
async def blocks(event, context):
    busy(0.4)


async def watched(what):
    noticed, reported = [], []
    reported_on = anyio.Event()

    def report(stall):
        reported.append((stall, threading.current_thread()))
        reported_on.set()

    watch = LoopWatch(
        [Registered("acme", blocks, object())],
        clock=SystemClock(),
        notice=lambda stall: noticed.append((stall, threading.current_thread())),
        report=report,
        limit=0.1,
    )
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            await tasks.start(lambda *, task_status: watch.run(task_status=task_status))
            await anyio.lowlevel.checkpoint()
            await what()
            await reported_on.wait()
            tasks.cancel_scope.cancel()
    return watch, noticed, reported


async def test_an_extension_that_blocks_the_loop_is_named_while_it_does():
    watch, noticed, reported = await watched(lambda: blocks.function(None, None))
    stall, thread = noticed[0]
    assert (stall.plugin, stall.extension, stall.file) == ("acme", "acme.blocks", "tests/extensions/test_loopwatch.py")
    assert thread is not threading.main_thread()
    assert len(noticed) == 1, "one stall is told once"
    final, thread = reported[0]
    assert thread is threading.main_thread()
    assert final.seconds >= stall.seconds
    assert watch.longest >= 0.2
    assert "blocked the event loop" in stall.describe()
    assert f"test_loopwatch.py:{stall.line}" in stall.describe()


async def test_a_stall_that_is_nobodys_is_told_without_a_name():
    async def ours():
        busy(0.4)

    _, noticed, _ = await watched(ours)
    assert noticed[0][0].plugin is None
