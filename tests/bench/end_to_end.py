"""All of the way: webhook, journal, one extension, deduplication, two identifiers, three indicators, activity.

Against the intake alone in the same run. Sustained: as fast as 64 connections go until all is applied. Backlog: the journal
filled while nothing applies it, then the daemon started. Paced: 4,000/s, whose acknowledgements must stay quick.
Run: python -m tests.bench.end_to_end [--long] [--audiences] [--own] [--folder FOLDER].
"""

import random
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio

from cdmd.contracts import Append
from cdmd.control.client import Client
from cdmd.models import Entry, encode_entry
from cdmd.store.files import StateDirectory
from cdmd.testing import DaemonProcess
from tests.bench.figures import Report, cpu_seconds, options, processes, resident_mib, working_folder
from tests.bench.intake import measure
from tests.bench.load import Generator, Plan
from tests.bench.prepared import copied, event, open_in
from tests.bench.setup import CONFIG, OWN, RICH, with_extension

PACE = 4_000
_LOOK = 0.1
"""Seconds between two looks at what is left: each takes the daemon a millisecond of what it is measured at."""


class Daemon(DaemonProcess):
    """The whole daemon on a copy of a prepared state."""

    def __init__(self, folder: Path, kept: Path, profiles: int, *, rich: bool = False, own: bool = False) -> None:
        folder.mkdir(parents=True)
        super().__init__(folder, (RICH if rich else CONFIG) + (OWN if own else ""), environment=with_extension(folder))
        copied(kept, profiles, self.state_dir, rich=rich)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def pids(self) -> list[int]:
        return processes(self.pid, Client([str(self.socket)]))

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def shop(self) -> dict[str, Any]:
        """The connector's row of ``status``."""
        document = Client([str(self.socket)]).get("/v1/status")
        return next(row for row in document["connectors"] if row["name"] == "shop")

    def until_applied(self, *, left: int = 0, seconds: float = 60) -> dict[str, Any]:
        """Wait until no more than ``left`` events are behind."""
        until = time.monotonic() + seconds
        while (row := self.shop())["backlog"] > left:
            assert time.monotonic() < until, f"the backlog is still {row['backlog']}"
            time.sleep(_LOOK)
        return row


def sustained(report: Report, daemon: Daemon, *, seconds: float, profiles: int) -> float:
    """Load as fast as it goes, then the rest: events a second from the first request to the last event applied."""
    load = Generator(Plan(port=daemon.port, events=int(20_000 * seconds), seconds=seconds, profiles=profiles, run="sustained"))
    cpu, began = cpu_seconds(*daemon.pids), time.perf_counter()
    outcome = load.go()
    behind = daemon.shop()["backlog"]
    row = daemon.until_applied()
    took, used = time.perf_counter() - began, cpu_seconds(*daemon.pids) - cpu
    assert row["applied"] >= outcome.answered, row
    assert not outcome.failed, outcome
    report.note(
        f"sustained: acknowledged {outcome.rate:,.0f}/s ({outcome.times()}), {behind:,} behind at"
        f" the end, all applied after {took:.1f} s; {used / outcome.answered * 1e6:.0f} µs CPU per event"
    )
    return outcome.answered / took


async def _fill_journal(state: Path, events: int, profiles: int, rich: bool) -> None:
    rng = random.Random(5)
    with StateDirectory(state).held():
        async with open_in(state) as opened:
            for start in range(0, events, 100):
                customers = [(n, rng.randrange(profiles)) for n in range(start, start + 100)]
                entries = [Entry(event(n, one, "backlog", rich=rich)) for n, one in customers]
                counts = {"received": 100, "accepted": 100}
                encoded = [encode_entry(entry) for entry in entries]
                await opened.journal.append([Append(connector="shop", entries=entries, encoded=encoded, counts=counts)])


def backlog(report: Report, folder: Path, kept: Path, *, events: int, profiles: int, rich: bool, own: bool) -> float:
    """Events a second from the first one applied by a daemon that finds them in its journal."""
    daemon = Daemon(folder, kept, profiles, rich=rich, own=own)
    anyio.run(_fill_journal, daemon.state_dir, events, profiles, rich)
    with daemon:
        began, first = time.perf_counter(), daemon.shop()["backlog"]
        cpu = cpu_seconds(*daemon.pids)
        daemon.until_applied()
        took, used = time.perf_counter() - began, cpu_seconds(*daemon.pids) - cpu
        each, memory = used / first * 1e6, resident_mib(*daemon.pids)
        report.note(f"backlog: {first:,} events in {took:.1f} s, {each:.0f} µs CPU per event, {memory:.0f} MiB")
        return first / took


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    parser = options("end_to_end", long_help="1,000,000 profiles and 10 s instead of 50,000 and 2 s")
    parser.add_argument("--audiences", action="store_true", help="3 identifiers, 5 indicators (2 windowed) and 3 audiences")
    parser.add_argument("--own", action="store_true", help="the store is written by a process of its own")
    given = parser.parse_args(arguments)
    profiles, seconds, waiting = (1_000_000, 10.0, 100_000) if given.long else (50_000, 2.0, 30_000)
    what = "3 identifiers, 5 indicators, 3 audiences" if given.audiences else "2 identifiers, 3 indicators"
    report = Report(f"End to end ({profiles:,} profiles; 1 extension, dedupe, {what}, activity)")
    report.note(f"at {datetime.now(UTC):%Y-%m-%dT%H:%MZ}, the load generator on the same machine")
    with working_folder(given.folder) as folder:
        kept = given.folder or folder
        alone, alone_cpu, _ = measure("durable", folder / "alone", seconds=min(seconds, 3.0))
        report.note(f"intake alone: {alone.rate:,.0f}/s, {alone_cpu:.0f} µs CPU per event")
        paced_alone, *_ = measure("durable", folder / "paced", seconds=seconds, rate=PACE)
        with Daemon(folder / "daemon", kept, profiles, rich=given.audiences, own=given.own) as daemon:
            whole = sustained(report, daemon, seconds=seconds, profiles=profiles)
            load = Generator(
                Plan(port=daemon.port, rate=PACE, events=int(PACE * seconds), seconds=seconds, profiles=profiles, run="paced")
            )
            paced = load.go()
            daemon.until_applied()
            report.note(f"memory: {resident_mib(*daemon.pids):.0f} MiB")
        worked_off = backlog(
            report, folder / "backlog", kept, events=waiting, profiles=profiles, rich=given.audiences, own=given.own
        )
    report.line("sustained, all applied", whole, "1/s", at_least=5_000)
    report.line("of the intake alone", whole / alone.rate)
    report.line("backlog worked off", worked_off, "1/s", at_least=10_000)
    report.note(f"paced at {PACE:,}/s: really {paced.rate:,.0f}/s, {paced.times()}")
    report.note(f"the intake alone at that pace: {paced_alone.times()}")
    report.line("acknowledgement p99 while both stages run", paced.p99, "ms", at_most=40)
    report.line("of the intake alone", paced.p99 / paced_alone.p99)
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
