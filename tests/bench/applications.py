"""What an event costs in a batch of 500 calls, against single requests to the same server: write key, mapped, journal synced.

Run: python -m tests.bench.applications [--long] [--folder FOLDER]. Nothing is applied here: what an event costs after its
answer is the same either way. Both are sent over as many connections; what single requests cost that share their commits with
those of many other connections is told beside it.
"""

from pathlib import Path
from typing import NamedTuple

from tests.bench.figures import Report, cpu_seconds, options, working_folder
from tests.bench.load import WRITE_KEY, Generator, Plan
from tests.bench.server import Server

BATCH = 500
CONNECTIONS = 4
"""Of the sender, in either way: with many more, single requests share their commits, as the calls of a batch do."""

MANY = 64
CONFIG = f"""
[queue]
max_events = 50000
[connectors.shop]
type = "application"
write_keys = ["{WRITE_KEY}"]
"""


class Cost(NamedTuple):
    """Microseconds an event: of the server's processors, and of the sender's waiting on one connection."""

    cpu: float
    waiting: float


def measure(calls: int, folder: Path, *, connections: int, events: int) -> Cost:
    """Send so many events in requests of ``calls``; the waiting is measured on one connection afterwards."""
    with Server("durable", folder, config=CONFIG) as server:
        Generator(Plan(port=server.port, events=max(1, 2_000 // calls), calls=calls, seconds=5, run="warm")).go()
        load = Generator(
            Plan(port=server.port, events=events // calls, calls=calls, seconds=60, connections=connections, run="load")
        )
        before = cpu_seconds(server.pid)
        outcome = load.go()
        used = cpu_seconds(server.pid) - before
        alone = Generator(
            Plan(port=server.port, events=max(20, 500 // calls), calls=calls, seconds=60, connections=1, run="one")
        ).go()
    assert not outcome.failed, f"{outcome.failed} answers were not 200"
    assert not alone.failed
    return Cost(used / (outcome.answered * calls) * 1e6, alone.seconds / (alone.answered * calls) * 1e6)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    given = options("applications", long_help="200,000 events instead of 20,000").parse_args(arguments)
    events = 200_000 if given.long else 20_000
    report = Report(f"Direct applications: batches of {BATCH} calls against single requests (600 B a call, FULL)")
    with working_folder(given.folder) as folder:
        single = measure(1, folder / "single", connections=CONNECTIONS, events=events)
        sharing = measure(1, folder / "sharing", connections=MANY, events=events)
        batch = measure(BATCH, folder / "batch", connections=CONNECTIONS, events=events)
    for name, cost in (
        (f"single requests on {CONNECTIONS} connections", single),
        (f"single requests on {MANY} connections", sharing),
        (f"batches of {BATCH} on {CONNECTIONS} connections", batch),
    ):
        report.note(f"{name:<36} {cost.cpu:6.1f} µs CPU an event   {cost.waiting:8.1f} µs of waiting on one connection")
    report.line("an event in a batch waits, of what a single one does", batch.waiting / single.waiting, at_most=0.2)
    report.line("an event in a batch costs, of a single one's server CPU", batch.cpu / single.cpu, at_most=0.2)
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
