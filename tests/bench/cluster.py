"""What an event costs with the journal on NATS and the store in PostgreSQL, beside the embedded daemon in the same run.

The whole daemon each time: webhook, journal, one extension, two identifiers, three indicators, activity. Then what the first
run left is moved to the servers (``cdmd migrate``). All of it is on this machine, over loopback and a socket, and PostgreSQL
waits for no disk, so the figures are processor time and ratios; on machines of their own the way there comes on top, once for
each commit of the journal and each statement of a batch.

The last lines are an estimate on paper of how far many nodes go, from what was measured here. One node takes all events and
writes them; each applies its lanes and reads no others. So the one that leads spends on an event what taking it costs and its
part of what applying costs; all that two nodes spent more than one is counted for it, too. So n nodes apply
1 / (taking + (event - taking) / n + more) a second, and never more than 1 / (taking + more). Its assumptions: events spread
evenly over nodes; a node is one process that has a core to itself; a batch has the same statements however many nodes there
are; PostgreSQL's work spreads over its cores, and its disk, the network and the NATS servers are not what ends it.
Run: python -m tests.bench.cluster [--long].
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anyio

from cdmd.config.sharing import JournalSettings
from cdmd.config.storing import StoreSettings
from cdmd.kit.clock import SystemClock
from cdmd.moving.migration import Plan as Move
from cdmd.moving.migration import migrate
from cdmd.moving.places import Installation
from cdmd.store.files import StateDirectory
from cdmd.testing import DaemonProcess
from tests.bench.figures import Report, cpu_seconds, options
from tests.bench.load import Generator, Plan
from tests.bench.nodes import COUNTING, compare
from tests.bench.postgres import servers_cpu
from tests.bench.setup import CONFIG, with_extension
from tests.cluster.servers import NatsServer, serving
from tests.store.postgres import Database, running

NODES = (1, 2, 5, 10, 20, 50, 100)


class Cost:
    """Processor seconds of a run: the daemon's, PostgreSQL's, the NATS server's."""

    def __init__(self, pid: int, nats: NatsServer | None) -> None:
        self._look: list[Callable[[], float]] = [lambda: cpu_seconds(pid)]
        if nats is not None:
            self._look += [servers_cpu, lambda: cpu_seconds(nats.pid)]
        self._began = [look() for look in self._look]

    def spent(self, events: int) -> list[float]:
        """Microseconds each for an event."""
        return [(look() - began) / events * 1e6 for look, began in zip(self._look, self._began, strict=True)]


def applied(one: DaemonProcess) -> int:
    """How many of the connector's events are."""
    (row,) = one.control.get("/v1/status")["connectors"]
    return int(row["applied"])


def run(report: Report, one: DaemonProcess, plan: Plan, *, name: str, nats: NatsServer | None = None) -> list[float]:
    """One daemon under load until all is applied; microseconds of an event, the daemon's first, and events a second."""
    with one:
        assert one.process is not None
        plan.port = int(one.url.rpartition(":")[2])
        cost, began = Cost(one.process.pid, nats), time.perf_counter()
        outcome = Generator(plan).go()
        one.settle(seconds=300, held=True)
        took = time.perf_counter() - began
        assert not outcome.failed, outcome
        assert applied(one) >= outcome.answered
        found = [*cost.spent(outcome.answered), outcome.answered / took]
        one.stop()
    report.note(f"{name}: {outcome.answered:,} events, acknowledged {outcome.rate:,.0f}/s ({outcome.times()})")
    return found


def move(report: Report, source: Path, target: Path, nats: NatsServer, database: Database) -> None:
    """What the embedded run left, to the servers."""
    there = JournalSettings(url=nats.url, name="moved"), StoreSettings(url=database.url)
    plan = Move(
        source=Installation(StateDirectory(source), JournalSettings(), StoreSettings()),
        target=Installation(StateDirectory(target), *there),
        clock=SystemClock(),
        told=lambda _what, _count: None,
    )
    began = time.perf_counter()
    parts = anyio.run(migrate, plan).parts
    took = time.perf_counter() - began
    rows = sum(one.rows for one in parts["store"].values())
    report.note(f"moved and compared in {took:.1f} s: {rows:,} rows and {parts['journal']['entries'].rows:,} journaled events")


def main(arguments: list[str] | None = None) -> int:
    """Print the figures."""
    given = options("cluster", long_help="20 s instead of 4").parse_args(arguments)
    plan = Plan(port=0, events=200_000, seconds=20.0 if given.long else 4.0, profiles=20_000)
    report = Report("One node on NATS and PostgreSQL, beside the embedded daemon")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "nats") as nats, running(preloads=COUNTING) as server:
        folders = [Path(folder) / name for name in ("embedded", "servers")]
        for one in folders:
            one.mkdir()
        environment = with_extension(Path(folder))
        alone = run(report, DaemonProcess(folders[0], CONFIG, environment=environment), plan, name="embedded")
        database = server.database()
        places = f'[journal]\nreserve = "1MiB"\nurl = "{nats.url}"\n[store]\nurl = "{database.url}"\n'
        daemon = DaemonProcess(folders[1], places + CONFIG, environment=environment)
        shared = run(report, daemon, plan, name="on servers", nats=nats)
        ((commits,),) = database.run("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
        move(report, folders[0] / "state", Path(folder) / "moved", nats, server.database())
        together = Report("A second node that applies, beside one that does all")
        taking, more = compare(together, Path(folder), nats, server, plan=plan, environment=environment)
    daemon_cpu, store_cpu, journal_cpu, rate = shared
    report.line("embedded: CPU of an event", alone[0], "µs")
    report.line("on servers: CPU of an event in the daemon", daemon_cpu, "µs")
    report.line("  in PostgreSQL", store_cpu, "µs")
    report.line("  in the NATS server", journal_cpu, "µs")
    report.line("  all three of the embedded one's", (daemon_cpu + store_cpu + journal_cpu) / alone[0])
    report.line("applied a second, embedded", alone[1], "1/s")
    report.line("applied a second, on servers (of the same two cores)", rate, "1/s")
    report.line("PostgreSQL's transactions in all", commits)
    report.line("taking an event on the node that leads: CPU of an event", taking * 1e6, "µs")
    report.line("what two nodes spend more than one: CPU of an event", more * 1e6, "µs")
    for number in NODES:
        rate = 1e6 / (taking * 1e6 + max(0.0, daemon_cpu - taking * 1e6) / number + (more * 1e6 if number > 1 else 0))
        report.note(f"on paper {number} nodes apply {rate:,.0f}/s, {rate * store_cpu / 1e6:.1f} cores of PostgreSQL")
    return report.beyond + together.beyond


if __name__ == "__main__":
    raise SystemExit(main())
