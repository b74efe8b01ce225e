"""Where an acknowledgement's time goes: the intake without sockets, with more behind it at each step.

Each request is handed to a connection as it came from the wire; the transport only notes its answer. ``bare``, ``mapping``,
``durable`` and ``own`` are those of ``server``; ``nowhere`` is the whole intake on a journal that keeps nothing and has no
thread, so that ``durable`` less ``nowhere`` is what another thread and the disk cost. What is missing from ``intake`` is the
kernel's and the loop's part of a connection. Run: python -m tests.bench.pieces
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio

from cdmd.cli.daemon_run import tune_interpreter
from cdmd.cli.loading import load_all
from cdmd.config.schema import Config
from cdmd.contracts import Append
from cdmd.intake.edge import Edge
from cdmd.kit.bounded_http import Limits
from cdmd.kit.clock import SystemClock
from cdmd.kit.connections import Connection
from cdmd.kit.exchanges import Shared
from cdmd.models import Seq
from tests.bench.figures import Report, working_folder
from tests.bench.load import Plan, requests
from tests.bench.server import Bare, MapsOnly, _connector, durable
from tests.bench.setup import CONFIG

STEPS = ("bare", "mapping", "nowhere", "durable", "own")
CONNECTIONS, ROUND, ROUNDS = 64, 5_000, 8


class _Wire:
    """A transport that has no other end. ``waiting`` is woken by every answer."""

    waiting: "asyncio.Future[None] | None" = None

    def __init__(self) -> None:
        self.free = True

    def write(self, data: bytes) -> None:
        assert data.startswith(b"HTTP/1.1 200"), data
        self.free = True
        if _Wire.waiting is not None and not _Wire.waiting.done():
            _Wire.waiting.set_result(None)

    def get_extra_info(self, name: str) -> None:
        """Nobody."""

    def is_closing(self) -> bool:
        return False


class _Nowhere:
    """A journal that keeps nothing."""

    def __init__(self) -> None:
        self._head = 0

    def append(self, appends: Sequence[Append]) -> Coroutine[Any, Any, Seq]:
        first, self._head = Seq(self._head + 1), self._head + sum(len(append.entries) for append in appends)
        return self._taken(first)

    async def _taken(self, first: Seq) -> Seq:
        await asyncio.sleep(0)
        return first


async def _handler(step: str, folder: Path, config: Config, stack: AsyncExitStack) -> Any:
    if step == "bare":
        return Bare()
    opening = durable(config, folder, own=step == "own")
    source: Any = MapsOnly(config) if step == "mapping" else await stack.enter_async_context(opening)
    if step == "nowhere":
        source._intake.queue._journal = _Nowhere()
    edge = Edge(clock=SystemClock(), ready=lambda: (True, ["ok"]), degraded=print)
    edge.swap([(_connector(config), source)])
    return edge


async def _round(connections: Sequence[tuple[Connection, _Wire]], sent: Iterator[bytes]) -> None:
    """Every connection sends again as soon as it has its answer, until all is sent and answered."""
    more = True
    while more or not all(wire.free for _, wire in connections):
        idle = True
        for connection, wire in connections if more else ():
            if wire.free:
                request = next(sent, None)
                if request is None:
                    more = False
                    break
                wire.free = idle = False
                connection.data_received(request)
        _Wire.waiting = asyncio.get_running_loop().create_future() if idle and more else None
        await (_Wire.waiting or asyncio.sleep(0))


async def _measured(step: str, folder: Path) -> tuple[float, float]:
    (folder / "cdmd.toml").write_text(CONFIG)
    config = load_all(folder / "cdmd.toml").config
    async with AsyncExitStack() as stack:
        shared = Shared(await _handler(step, folder / "state", config, stack), Limits())
        shared.date = b"date: Mon, 30 Nov 2026 09:00:00 GMT\r\n"
        pairs = [(Connection(shared, set(), encrypted=False), _Wire()) for _ in range(CONNECTIONS)]
        for connection, wire in pairs:
            connection.connection_made(wire)
        tune_interpreter()
        found: list[tuple[float, float]] = []
        for number in range(ROUNDS):
            prepared = list(requests(Plan(port=0, events=ROUND, run=f"round{number}")))
            cpu, began = time.thread_time(), time.perf_counter()
            await _round(pairs, iter(prepared))
            found.append(((time.thread_time() - cpu) / ROUND * 1e6, (time.perf_counter() - began) / ROUND * 1e6))
    return min(found)[0], min(wall for _, wall in found)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; nothing in it has a budget. The least of some rounds, because others disturb every one."""
    report = Report(f"Where an acknowledgement's time goes ({CONNECTIONS} connections, no sockets; least of {ROUNDS} rounds)")
    before = 0.0
    with working_folder(None) as folder:
        for step in STEPS:
            inside = Path(tempfile.mkdtemp(dir=folder))
            cpu, wall = anyio.run(_measured, step, inside, backend="asyncio", backend_options={"use_uvloop": True})
            report.note(f"{step:<8} {cpu:5.1f} µs CPU of the loop (+{cpu - before:4.1f}), {wall:5.1f} µs")
            before = cpu
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
