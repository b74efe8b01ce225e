"""What an append costs in each kind of journal, in commits of some sizes: SQLite on this disk, a nats-server on loopback.

Run: ``python -m tests.bench.journals [ROWS]``. Not collected by pytest. ``each a message`` is what a journal on JetStream would
cost that gives every entry a message of its own, as many as the commit has under way at once.
"""

import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio

from cdmd.cluster.connection import Access, Link
from cdmd.cluster.journal import JetStreamJournal
from cdmd.cluster.place import Place
from cdmd.cluster.stream import Shape, Stream
from cdmd.contracts import Append
from cdmd.kit.clock import SystemClock
from cdmd.models import Entry, encode_entry
from cdmd.store.journal import SqliteJournal
from tests.cluster.servers import NatsServer, serving
from tests.store.samples import event

BATCHES = (1, 16, 200)
_TICKS = 100


def server_cpu(server: NatsServer) -> float:
    """Seconds that it has used."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def measured(name: str, rows: int, batch: int, work: Callable[[], Awaitable[object]], server: NatsServer | None) -> None:
    wall, cpu, there = time.perf_counter(), time.process_time(), server_cpu(server) if server else 0.0
    for _ in range(rows // batch):
        await work()
    took, cpu = time.perf_counter() - wall, (time.process_time() - cpu) / rows * 1e6
    more = f"{(server_cpu(server) - there) / rows * 1e6:6.1f} µs in the server" if server else ""
    print(f"{name:15} commits of {batch:3}: {rows / took:8.0f} entries/s, {cpu:6.1f} µs CPU each {more}", flush=True)


async def main(home: Path, server: NatsServer, rows: int) -> None:
    entry = Entry(event(1).enriched(more="y" * 350))
    encoded = encode_entry(entry)
    place = Place(access=Access(servers=(server.url,)))
    for batch in BATCHES:
        counted = Append(connector="shop", entries=[entry] * batch, encoded=[encoded] * batch, counts={"accepted": batch})
        here = SqliteJournal.open(home / f"{batch}.db", clock=SystemClock(), mark_path=home / f"a{batch}", new_id=lambda: "x")
        there = JetStreamJournal.open(place, clock=SystemClock(), mark_path=home / "b", new_id=lambda: "x")
        count = min(rows, 2_000 * batch)
        async with here as journal:
            await measured("sqlite", count, batch, partial(journal.append, [counted]), None)
        async with there as journal:
            await measured("jetstream", count, batch, partial(journal.append, [counted]), server)
        async with Link.open(place.access, name="bench") as link:
            stream = Stream(link, Shape(name=f"each{batch}", subjects=(f"each{batch}",)))
            await stream.ensure()
            await measured("each a message", count, batch, partial(each, stream, encoded, batch), server)


async def each(stream: Stream, encoded: bytes, batch: int) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(batch):
            tasks.start_soon(partial(stream.publish, stream.subject, encoded, headers={}))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "server") as running:
        anyio.run(main, Path(folder), running, int(sys.argv[1]) if len(sys.argv) > 1 else 60_000)
