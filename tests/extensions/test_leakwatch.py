"""What grows and stays is noticed, and the plugin's line that keeps it is named; nothing else is."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from cdmd.extensions import Leak, LeakWatch
from cdmd.extensions.leakwatch import Growth, LeakLimits
from cdmd.kit.clock import SystemClock
from cdmd.kit.memory import resident

pytestmark = pytest.mark.anyio

MIB = 2**20
LIMITS = LeakLimits(warm_up=10, every=1, least=10 * MIB, share=0.5, pause=100)
AT_ONCE = LeakLimits(warm_up=0.05, every=0.01, least=MIB, share=0.0, enough=8 * MIB, trace=2.0, pause=600, smallest=MIB // 8)


def looks(*sizes: int, begun: float = 0.0) -> list[int]:
    growth = Growth(LIMITS, begun)
    return [growth.look(10 + second, size * MIB) // MIB for second, size in enumerate(sizes)]


def test_growth_is_what_stays_beyond_the_most_of_the_warm_up() -> None:
    growth = Growth(LIMITS, 0.0)
    assert [growth.look(second, size * MIB) for second, size in ((1, 90), (5, 100), (9, 80))] == [0, 0, 0]
    assert [growth.look(second, 151 * MIB) // MIB for second in (10, 11, 12)] == [0, 0, 51]
    growth.begin(13, 151 * MIB)
    assert [growth.look(second, 400 * MIB) for second in (14, 100)] == [0, 0], "a pause"


def test_what_comes_and_goes_is_no_growth() -> None:
    assert looks(100, 160, 160, 100, 160, 160, 140) == [0] * 7
    assert looks(100, 150, 150, 150, 150) == [0] * 5, "half as much again is allowed"


async def seen(keep: Callable[[], object], *, owner: Callable[[str], str | None] | None = None) -> tuple[Leak | None, int]:
    """What is told once the process grows while ``keep`` is called again and again."""
    told: list[Any] = []
    watch = LeakWatch(
        owner=owner or {__name__: "acme"}.get,
        resident=resident,
        clock=SystemClock(),
        report=lambda leak, grown: told.append((leak, grown)),
        limits=AT_ONCE,
    )
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch.run)
            while True:
                keep()
                await anyio.sleep(0.005)
                if told:
                    break
            tasks.cancel_scope.cancel()
    return told[0]


async def test_the_line_that_keeps_what_the_process_grew_by_is_named() -> None:
    kept: list[Any] = []

    def keep() -> None:
        for _ in range(10):
            json.loads(json.dumps(["x" * 1000] * 100))  # made and let go of
        kept.append(json.loads(json.dumps([str(n) * 50 for n in range(2000)])))  # kept, though made in json's own files

    leak, grown = await seen(keep)
    assert leak is not None
    line = keep.__code__.co_firstlineno + 3
    assert (leak.plugin, leak.file, leak.line) == ("acme", "tests/extensions/test_leakwatch.py", line)
    assert leak.kept > MIB
    assert grown > MIB
    assert f"test_leakwatch.py:{line} kept" in leak.describe()
    assert not tracemalloc.is_tracing()


async def test_what_no_plugin_made_is_nobodys_leak() -> None:
    kept: list[bytes] = []
    leak, grown = await seen(lambda: kept.append(bytes([1]) * MIB), owner=lambda module: None)
    assert (leak, grown > MIB) == (None, True)


async def test_where_somebody_traces_already_nothing_is_disturbed() -> None:
    kept: list[bytes] = []
    tracemalloc.start()
    try:
        leak, _ = await seen(lambda: kept.append(bytes([1]) * MIB))
        assert leak is None
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
