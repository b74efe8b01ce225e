"""Bulk over SFTP, in the real daemon, from OpenSSH's sshd: a first load, a nightly register, and webhooks beside a load.

Against sqlite-utils, dlt and duckdb with the same files in the same run (the extra ``bench``; what is missing is said). All
files are computed from a seed. Run: python -m tests.bench.bulk [--long] [--own] [--folder FOLDER]. Needs sshd (openssh-server).
"""

import time
from pathlib import Path

from tests.bench import bulk_peers
from tests.bench.bulk_daemon import Area, Seen, Storing, Watch
from tests.bench.bulk_files import ours, register
from tests.bench.bulk_registers import knowing
from tests.bench.figures import Report, options, working_folder
from tests.bench.load import Generator, Outcome, Plan
from tests.peers.sshd import MISSING, Sshd, sshd

REGISTER = 'mode = "snapshot"\nkey = ["customer_no"]'
PACE = 500
"""Webhooks a second beside a load."""


def first_load(report: Report, server: Sshd, folder: Path, file: Path, count: int, *, own: bool = False) -> float:
    """Rows a second of a file of ``count`` new customers, all of them known in the end."""
    report.note(f"\n  First load of {count:,} customers ({file.stat().st_size >> 20} MiB) with identity resolution")
    with Area(folder / "first", server, own=own) as daemon:
        watch = Watch(daemon)
        daemon.give(file, "customers.csv")
        daemon.until_done("customers.csv")
        seen = watch.said()
        assert daemon.row()["applied"] == count
    report.note(f"{seen}; {seen.cpu / count * 1e6:.0f} µs CPU a row")
    report.line("rows through the journal, all applied", count / seen.seconds, "1/s", at_least=15_000)
    report.line("memory at its highest", seen.mib, "MiB", at_most=200)
    report.line("loop lag p99", seen.lag, "ms")
    return seen.seconds


def peer(report: Report, which: str, folder: Path, *files: Path) -> bulk_peers.Ran | None:
    """What a peer took for the same; said where it cannot run here."""
    if (why := bulk_peers.missing(which)) is not None:
        report.note(f"{which} left out: {why}")
        return None
    ran = bulk_peers.run(which, folder / f"{which}-{files[0].stem}", *files)
    report.note(f"{which}: {ran.seconds:.2f} s, {ran.cpu:.2f} CPU s, {ran.mib:.0f} MiB")
    return ran


def loading(report: Report, server: Sshd, folder: Path, kept: Path, count: int, *, own: bool = False) -> None:
    """The first load and who else loads it."""
    file = register(kept, count)
    took = first_load(report, server, folder, file, count, own=own)
    for which, least in (("sqlite-utils", 1.0), ("dlt", 2.0)):
        if (ran := peer(report, which, folder, file)) is not None:
            report.line(f"as fast as {which}", ran.seconds / took, "x", at_least=least)


def nightly(report: Report, server: Sshd, folder: Path, kept: Path, count: int, *, loaded: bool = True) -> Seen:
    """The register a night later, until its changes are in the store; with ``loaded`` all its customers are in that."""
    report.note(f"\n  Nightly register of {count:,} rows, 1.2 % of them changed, landed")
    first, second = register(kept, count), register(kept, count, night=1)
    changes = count // 100 + 2 * (count // 1000)
    area = Area(folder / f"nightly{count}{'' if loaded else '-laid'}", server, more=REGISTER)
    if not loaded:
        began = time.perf_counter()
        knowing(area.state_dir, first, key="customer_no")
        report.note(
            f"the register before is laid down in {time.perf_counter() - began:.0f} s, and nobody of it is in the store"
        )
    with area as daemon:
        if loaded:
            watch = Watch(daemon)
            daemon.give(first, "customers-1.csv")
            daemon.until_done("customers-1.csv", seconds=1_800)
            report.note(f"the first register: {watch.said()}")
            daemon.again()
        watch = Watch(daemon)
        daemon.give(second, "customers-2.csv")
        found = daemon.until_done("customers-2.csv")
        seen = watch.said()
        assert found["accepted"] == changes, found
    report.note(str(seen))
    limits = (5.0, 200) if count <= 1_000_000 else (25.0, 350)
    report.line("from the file's arrival to its last change in the store", seen.seconds, "s", at_most=limits[0])
    report.line("memory at its highest", seen.mib, "MiB", at_most=limits[1])
    report.line("loop lag p99", seen.lag, "ms", at_most=10)
    if (ran := peer(report, "duckdb", folder, first, second)) is not None:
        report.line("the time of duckdb, which has the files at hand and lands nothing", seen.seconds / ran.seconds, "x")
    return seen


def known_only(report: Report, server: Sshd, folder: Path, kept: Path, count: int) -> None:
    """A register about everybody, of whom one of a hundred is ours."""
    report.note(f"\n  A register of {count:,} rows about everybody, 1 % of them ours (known_only)")
    with Area(folder / "known", server, more=f"known_only = true\n{REGISTER}") as daemon:
        daemon.give(ours(kept, count), "ours.csv", to="ours")
        daemon.until_done("ours.csv", connector="ours")
        for night in (0, 1):
            watch = Watch(daemon)
            daemon.give(register(kept, count, night=night), f"customers-{night}.csv")
            found = daemon.until_done(f"customers-{night}.csv")
            seen = watch.said()
            report.note(f"night {night}: {seen}; kept {found['accepted']}, {found['filtered']} about nobody we know")
            report.line("rows looked at", count / seen.seconds, "1/s")


def beside(report: Report, server: Sshd, folder: Path, kept: Path, count: int, seconds: float, *, own: bool = False) -> None:
    """Webhooks while a file loads, against the same webhooks alone."""
    report.note(f"\n  {PACE} webhooks a second while {count:,} rows load")
    with Area(folder / "beside", server, own=own) as daemon:
        alone = _webhooks(daemon, seconds, "alone")
        daemon.settle(seconds=60)
        daemon.give(register(kept, count), "customers.csv")
        daemon.until_applied(1)
        with Storing(daemon) as storing:
            loaded = _webhooks(daemon, seconds, "loaded")
            behind = count - daemon.row()["applied"]
        p99 = storing.p99()
        daemon.until_done("customers.csv")
    report.note(f"alone: {alone.times()}; beside the load: {loaded.times()}" + ("" if behind else "; the load ended before"))
    report.line("acknowledgement p99 beside the load / alone", loaded.p99 / alone.p99, "x", at_most=2.0)
    report.line("journaled to stored, p99", p99, "s", at_most=1.0)


def _webhooks(daemon: Area, seconds: float, run: str) -> Outcome:
    plan = Plan(port=daemon.port, events=int(PACE * seconds), seconds=seconds, rate=PACE, connections=16, run=run)
    outcome = Generator(plan).go()
    assert not outcome.failed, outcome
    return outcome


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    parser = options("bulk", long_help="1,000,000 rows instead of 100,000, and registers of five times as many")
    parser.add_argument("--only", choices=("load", "nightly", "known", "beside"), help="one part of it")
    parser.add_argument("--own", action="store_true", help="load and beside: the store is written by a process of its own")
    given = parser.parse_args(arguments)
    count, seconds = (1_000_000, 20.0) if given.long else (100_000, 3.0)
    report = Report("Bulk files over SFTP, in the real daemon")
    if MISSING is not None:
        report.note(f"left out: {MISSING}")
        return 0
    with working_folder(given.folder) as folder, sshd(folder / "sshd") as server:
        kept = given.folder or folder
        if given.only in {None, "load"}:
            loading(report, server, folder, kept, count, own=given.own)
        if given.only in {None, "nightly"}:
            nightly(report, server, folder, kept, count)
            if given.long:
                one, five = (nightly(report, server, folder, kept, rows, loaded=False) for rows in (count, 5 * count))
                report.line("five times the rows, times the CPU", five.cpu / one.cpu, "x", at_most=6.0)
        if given.only in {None, "known"}:
            known_only(report, server, folder, kept, count)
        if given.only in {None, "beside"}:
            beside(report, server, folder, kept, count, seconds, own=given.own)
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
