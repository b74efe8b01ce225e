"""What a batch costs in PostgreSQL beside SQLite, in the same run: ``python -m tests.bench.postgres [PROFILES]``.

The server runs beside the bench, on a socket, without waiting for a disk; on a machine of its own the way there comes on top,
once for each statement: therefore their number. Not collected by pytest.
"""

import os
import sys
import tempfile
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import anyio
import psycopg

from cdmd.contracts import Store
from cdmd.kit.clock import SystemClock
from cdmd.store.postgres.store import PostgresStore
from cdmd.store.store import SqliteStore
from tests.bench.bench_store import Load
from tests.store.postgres import running

EVENTS: Final = 10_000
_TICK: Final = os.sysconf("SC_CLK_TCK")


class Counting(psycopg.Connection[tuple[Any, ...]]):
    """A connection that counts what it runs."""

    statements = 0

    def execute(self, query: Any, *said: Any, **options: Any) -> Any:
        """Counted."""
        Counting.statements += 1
        return super().execute(query, *said, **options)


def servers_cpu() -> float:
    """Seconds of all processes that are PostgreSQL's, here."""
    spent = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition(") ")
        except OSError:
            continue
        if name.endswith("(postgres"):
            spent += sum(map(int, rest.split()[11:13])) / _TICK
    return spent


async def measure(name: str, opening: AbstractAsyncContextManager[Store], load: Load, batch: int) -> None:
    """Print a line: what an event costs without its decision."""
    async with opening as store:
        for first in range(1, load.profiles + 1, 10_000):
            await store.apply(*load.filling(first, min(10_000, load.profiles + 1 - first)))
        jobs = [load.batch(batch) for _ in range(EVENTS // batch)]
        load.deciding, Counting.statements = 0.0, 0
        server, cpu, wall = servers_cpu(), time.process_time(), time.perf_counter()
        for job in jobs:
            await store.apply(*job)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu - load.deciding
        server = servers_cpu() - server
    cpu, server = cpu / EVENTS * 1e6, server / EVENTS * 1e6
    figures = f"{cpu:6.1f} µs CPU per event, the server's {server:6.1f} µs, {EVENTS / wall:8,.0f} events/s"
    print(f"  {name:10} b={batch:4}: {figures}, {Counting.statements / len(jobs):4.1f} statements a batch", flush=True)


async def main() -> None:
    """Both, in batches of two sizes."""
    profiles = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    psycopg.connect = Counting.connect  # type: ignore[assignment]
    print(f"{profiles} profiles")
    with tempfile.TemporaryDirectory() as folder, running() as server:
        for batch in (100, 1_000):
            said = {"clock": SystemClock(), "journal_id": "x", "digest": Load(1).digester.occurrence}
            await measure("sqlite", SqliteStore.open(Path(folder) / f"s{batch}.db", **said), Load(profiles), batch)
            await measure("postgresql", PostgresStore.open(server.database().url, **said), Load(profiles), batch)


if __name__ == "__main__":
    anyio.run(main)
