"""What a second node changes: the same backlog worked off by one node that does all, and by it and another one.

Called by ``tests.bench.cluster``. All share this machine's cores with the servers and the generator, so the rate of two says
that a second one takes nothing away, not how much it adds; how the work is shared, and how many statements it takes, does not
depend on the machine. PostgreSQL counts them, all that any node runs: pg_stat_statements, a part of Debian's postgresql. What
nodes run by the clock, however much comes, is told by itself: it is counted while nothing comes, and taken off.
"""

import json
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from cdmd.testing import DaemonProcess
from tests.bench.figures import Report, cpu_seconds
from tests.bench.load import Generator, Plan
from tests.bench.setup import CONFIG
from tests.cluster.servers import NatsServer
from tests.store.postgres import Database, Server

LANES = 16
COUNTING = "pg_stat_statements"
"""What the server has to load."""
_IDLE = 8.0


class Shared(NamedTuple):
    """Of a run: events a second, the share of each node, statements and processor time of all nodes for an event.

    ``cpu`` is what it takes to apply one, ``taking`` what it took before, while none was applied: to acknowledge it, and to
    tell other nodes. ``idle``: statements a second while nothing comes.
    """

    rate: float
    shares: list[float]
    statements: float
    cpu: float
    taking: float
    idle: float


def compare(
    report: Report, folder: Path, nats: NatsServer, server: Server, *, plan: Plan, environment: Mapping[str, str]
) -> tuple[float, float]:
    """Print the figures of one and two nodes; returns seconds of CPU for an event: to take it, and what two took more."""
    one, two = (_run(folder / f"of{count}", count, nats, server, plan=plan, environment=environment) for count in (1, 2))
    report.line("one node: applied a second", one.rate, "1/s")
    report.line("two nodes: applied a second", two.rate, "1/s")
    report.line("  of the one node's", two.rate / one.rate, at_least=0.9)
    report.line("  the larger node's share of the events", max(two.shares), at_most=0.6)
    report.line("one node: statements for a thousand events", one.statements * 1e3)
    report.line("two nodes: statements for a thousand events", two.statements * 1e3)
    report.line("  of the one node's", two.statements / one.statements, at_most=1.25)
    report.line("one node: statements a second while nothing comes", one.idle)
    report.line("two nodes: statements a second while nothing comes", two.idle)
    report.line("CPU of an event in both nodes, of the one node's", two.cpu / one.cpu, at_most=1.25)
    return one.taking, max(0.0, two.cpu + two.taking - one.cpu - one.taking)


def _run(folder: Path, count: int, nats: NatsServer, server: Server, *, plan: Plan, environment: Mapping[str, str]) -> Shared:
    database = server.database()
    with _nodes(folder, count, nats, database, environment) as nodes:
        leads = nodes[0]
        plan.port = int(leads.url.rpartition(":")[2])
        _agreed(leads, count)
        pids = [one.process.pid for one in nodes if one.process is not None]
        before = _statements(database)
        server.freeze()  # what comes meanwhile waits, so that batches are as full as they get
        at_first = cpu_seconds(*pids)
        outcome = Generator(plan).go()
        spent, began = cpu_seconds(*pids), time.perf_counter()
        server.thaw()
        _applied(leads)
        took, cpu = time.perf_counter() - began, cpu_seconds(*pids) - spent
        assert not outcome.failed, outcome
        applied = _visible(nodes, outcome.answered)
        spent_on_all, took_all = _statements(database) - before, time.perf_counter() - began
        idle = _idle(database)
        statements = (spent_on_all - idle * took_all) / outcome.answered
        return Shared(
            outcome.answered / took,
            [number / outcome.answered for number in applied],
            statements,
            cpu / outcome.answered,
            (spent - at_first) / outcome.answered,
            idle,
        )


@contextmanager
def _nodes(
    folder: Path, count: int, nats: NatsServer, database: Database, environment: Mapping[str, str]
) -> Iterator[list[DaemonProcess]]:
    told = f'[journal]\nreserve = "1MiB"\nurl = "{nats.url}"\nname = "{folder.name}"\npartitions = {LANES}\n'
    told += f"[store]\nurl = {json.dumps(database.url)}\n{CONFIG}"
    made = list[DaemonProcess]()
    with ExitStack() as stack:
        for number in range(count):
            place = folder / str(number)
            place.mkdir(parents=True)
            one = DaemonProcess(
                place, told, environment=environment, options=("--role", "process" if number else "all"), patience=120
            )
            if made:
                keys = one.state_dir / "keys"
                keys.mkdir(parents=True, mode=0o700)
                one.state_dir.chmod(0o700)
                shutil.copy(made[0].state_dir / "keys/digest.key", keys / "digest.key")
            made.append(stack.enter_context(one))
        yield made


def _applied(leads: DaemonProcess) -> None:
    """Return when nothing waits; asked seldom, because that costs the same processors."""
    pause, until = threading.Event(), time.monotonic() + 300
    while leads.control.get("/v1/status")["journal"]["backlog"]:
        assert time.monotonic() < until, "not everything was applied"
        pause.wait(0.2)


def _visible(nodes: Sequence[DaemonProcess], events: int) -> list[int]:
    """How many of them each node has made visible, once these are all."""
    pause, until = threading.Event(), time.monotonic() + 30
    while sum(found := [_counted(one) for one in nodes]) != events:
        assert time.monotonic() < until, found
        pause.wait(0.2)
    return found


def _counted(one: DaemonProcess) -> int:
    text = one.control.text("/v1/metrics")
    line = next(line for line in text.splitlines() if line.startswith("cdmd_event_visible_seconds_count"))
    return int(float(line.rpartition(" ")[2]))


def _statements(database: Database) -> int:
    database.run(f"CREATE EXTENSION IF NOT EXISTS {COUNTING} SCHEMA public")
    ((calls,),) = database.run(f"SELECT sum(calls) FROM public.{COUNTING}")
    return int(calls)


def _idle(database: Database) -> float:
    """Statements a second, by the clock alone."""
    before, began = _statements(database), time.perf_counter()
    threading.Event().wait(_IDLE)
    return (_statements(database) - before) / (time.perf_counter() - began)


def _agreed(leads: DaemonProcess, count: int) -> None:
    """Return when so many nodes have as many lanes each."""
    pause, until = threading.Event(), time.monotonic() + 60
    while [len(row["lanes"]) for row in leads.control.get("/v1/status")["nodes"]] != [LANES // count] * count:
        assert time.monotonic() < until, "the nodes did not share the lanes"
        pause.wait(0.05)
