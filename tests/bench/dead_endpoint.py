"""A million deliveries that wait for an endpoint that is dead: what they cost everybody else.

Run: python -m tests.bench.dead_endpoint [--folder FOLDER] [--long]. The daemon, its sender and the receiver that is alive are
real processes on loopback. The same load goes through before anything waits and beside all that waits.
"""

from typing import Any, NamedTuple

from cdmd.store.files import StateDirectory
from cdmd.testing import DaemonProcess
from tests.bench.deliveries import RATE, TARGET, Receiver, extended, grow, memory, percentile, received
from tests.bench.figures import Report, cpu_seconds, options, working_folder
from tests.bench.load import Generator, Plan
from tests.bench.setup import CONFIG

SHORT, LONG, ROOM, SECONDS = 100_000, 1_000_000, 1_000, 6
DEAD = """
[targets.dead]
type = "webhook"
url = "http://127.0.0.1:9/hook"
sign = false
events = ["order.*"]
max_waiting = {room}
max_bytes = "4GiB"
"""


class Seen(NamedTuple):
    """How late the living one was sent to (milliseconds, sorted), the daemon's µs of CPU for each event and its memory (MiB).

    And what ``status`` and ``/metrics`` say of the dead one.
    """

    late: list[float]
    cpu: float
    memory: float
    row: dict[str, Any]
    metrics: dict[str, float]


def loaded(daemon: DaemonProcess, hook: Receiver, run: str) -> Seen:
    """The load, once it is through."""
    assert daemon.process is not None
    plan = Plan(
        port=int(daemon.url.rpartition(":")[2]), connections=16, events=RATE * SECONDS, seconds=60.0, rate=RATE, run=run
    )
    generator = Generator(plan)
    hook.ask("tell")
    used = cpu_seconds(daemon.process.pid)
    outcome = generator.go()
    hook.wait(plan.events)
    daemon.settle()
    used = cpu_seconds(daemon.process.pid) - used
    told = hook.ask("tell")
    late = [at - outcome.begun - int(name.split("-")[1].partition(":")[0]) / RATE for name, at in told["arrived"]]
    rows = {row["name"]: row for row in daemon.ask("targets")}
    lines = [line.split() for line in daemon.cdmctl("metrics").stdout.splitlines() if 'target="dead"' in line]
    metrics = {name.partition("{")[0]: float(value) for name, value in lines}
    return Seen(sorted(one * 1000 for one in late), used / plan.events * 1e6, memory(daemon.process.pid), rows["dead"], metrics)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    given = options("dead_endpoint", long_help="1,000,000 that wait instead of 100,000").parse_args(arguments)
    count = LONG if given.long else SHORT
    report = Report(f"{count:,} deliveries wait for a dead endpoint")
    with working_folder(given.folder) as folder, received() as hook:
        text = CONFIG + TARGET.format(port=hook.port) + DEAD.format(room=count + ROOM)
        daemon = DaemonProcess(folder, text, patience=60.0, **extended(folder))
        with daemon:
            loaded(daemon, hook, "warm")
            before = loaded(daemon, hook, "before")
        grow(StateDirectory(folder / "state").store, "dead", count)
        with daemon:
            loaded(daemon, hook, "again")
            after = loaded(daemon, hook, "beside")
    report.note(f"beside {before.row['waiting']:,}: {_late(before)}, {before.memory:.0f} MiB")
    size = after.row["waiting_bytes"] / 2**20
    report.note(f"beside {after.row['waiting']:,} ({size:,.0f} MiB): {_late(after)}, {after.memory:.0f} MiB")
    report.note(f"state {after.row['state']}, {after.row['dropped']:,} had no room since {after.row['full_since']}")
    report.line("memory beside them against before", after.memory / before.memory, "times", at_most=1.25)
    # Not by the clock: others on the machine would be measured.
    report.line("CPU of an event beside them against before", after.cpu / before.cpu, "times", at_most=1.25)
    report.line("more than may wait", float(after.row["waiting"] - count - ROOM), "", at_most=0.0)
    report.line("dropped, and counted", float(after.row["dropped"]), "", at_least=1.0)
    unlike = after.metrics["cdmd_deliveries_pending"] - after.row["waiting"]
    report.line("waiting by /metrics, less waiting by status", abs(unlike), "", at_most=0.0)
    return report.beyond


def _late(seen: Seen) -> str:
    late = f"p50 {percentile(seen.late, 0.5):.1f} ms, p99 {percentile(seen.late, 0.99):.1f} ms"
    return f"{seen.cpu:.0f} µs each, the other one's {late}"


if __name__ == "__main__":
    raise SystemExit(main())
