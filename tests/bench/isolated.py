"""What an extension costs in a process of its own, beside the same within the daemon: per event, and how many a second.

Run: python -m tests.bench.isolated [--long]. The extension adds a value and waits for nobody; events go through the extensions'
own dispatch, 64 calls at once, in rounds that alternate. Nothing is stored.
"""

import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import anyio

from cdmd.contracts import Extension
from cdmd.extensions import Extensions, Limits, Registered
from cdmd.isolation import Isolated, describe
from cdmd.isolation.messages import Begin
from cdmd.kit.clock import SystemClock
from cdmd.plugins.described import Apart, Isolation
from cdmd.supervisor import Supervisor
from cdmd.testing import extension_context, make_event
from tests.bench import enriching
from tests.bench.figures import Report, cpu_seconds, options

SHORT, LONG, ROUNDS, AT_ONCE = 10_000, 50_000, 3, 256
MODULE = "tests.bench.enriching"


class Round(NamedTuple):
    """Events a second, and µs of CPU per event: of this process, and of the other."""

    rate: float
    ours: float
    theirs: float


@asynccontextmanager
async def isolated() -> AsyncIterator[tuple[list[Extension], int]]:
    """The extension in a process of its own, and that process."""
    found = (await anyio.to_thread.run_sync(Apart, Isolation(name="bench", value=MODULE), {}, describe)).brought()
    supervisor = Supervisor(clock=SystemClock(), random=lambda: 0.5)
    one = Isolated(
        Begin(plugin="bench", value=MODULE, event_bytes=Limits().event_bytes),
        found.extensions,
        supervisor=supervisor,
        started=lambda ready: None,
        blame=lambda extension, text: None,
    )
    async with supervisor:
        supervisor.start("bench", one.live, kind="isolated")
        await one.settled.wait()
        pid = one.state().pid
        assert pid is not None, one.state()
        yield one.extensions(), pid


async def measured(extensions: Extensions, count: int, pid: int) -> Round:
    """That many events, so many at a time."""
    event = make_event("order.paid", identifiers={"email": "joe@example.com"}, data={"total": 99.5, "items": list(range(20))})
    left, running, done = count, 0, anyio.Event()

    def ended() -> None:
        nonlocal running
        running -= 1
        more()

    def more() -> None:
        nonlocal left, running
        while left and running < AT_ONCE:
            left, running = left - 1, running + 1
            extensions.start(event, ended=ended)
        if not running:
            done.set()

    ours, theirs, begun = time.process_time(), cpu_seconds(pid), time.perf_counter()
    more()
    await done.wait()
    seconds = time.perf_counter() - begun
    return Round(count / seconds, (time.process_time() - ours) / count * 1e6, (cpu_seconds(pid) - theirs) / count * 1e6)


async def _run(count: int) -> tuple[list[Round], list[Round]]:
    inside, apart = list[Round](), list[Round]()
    async with extension_context({}) as context, isolated() as (others, pid):
        one = Extensions([Registered("bench", enriching.enriches, context)], clock=SystemClock())
        other = Extensions([Registered("bench", found, context) for found in others], clock=SystemClock())
        async with one, other:
            for _ in range(ROUNDS):
                inside.append(await measured(one, count, os.getpid()))
                apart.append(await measured(other, count, pid))
    return inside, apart


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    given = options("isolated", long_help="50,000 events a round instead of 10,000").parse_args(arguments)
    sys.path.insert(0, str(Path.cwd()))
    inside, apart = anyio.run(_run, LONG if given.long else SHORT, backend_options={"use_uvloop": True})
    report = Report("an extension in a process of its own")
    best, other = max(inside), max(apart)
    report.note(f"within the daemon: {best.rate:,.0f} events/s, {best.ours:.0f} µs of CPU per event")
    report.note(f"in a process of its own: {other.rate:,.0f} events/s (by the clock: less beside other work)")
    report.line("the daemon's CPU per event, more than within it", other.ours - best.ours, "µs", at_most=60)
    report.line("the other process's CPU per event", other.theirs, "µs", at_most=120)
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
