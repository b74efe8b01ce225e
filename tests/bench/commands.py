"""What it costs to be asked: `cdmctl status` and the metrics with a thousand connectors, a tail beside a thousand events/s.

Judged by processor time, which others on the machine do not lengthen: of the command and of the daemon together for an answer;
for a tail the share of a core that it takes of the daemon, for that much less is left to take events with.
Run: python -m tests.bench.commands [--long] [--folder FOLDER].
"""

import http.client
import json
import os
import pty
import resource
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from cdmd.testing import DaemonProcess
from tests.bench.end_to_end import Daemon
from tests.bench.figures import Report, cpu_seconds, options, quantile, working_folder
from tests.bench.load import Generator, Outcome, Plan

CONNECTORS = 1_000
PACE = 1_000
ASKED = 9


def connectors(count: int) -> str:
    """So many webhooks."""
    return "".join(f'[connectors.shop_{number}]\ntype = "webhook"\nverify = "none"\n' for number in range(count))


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _drawn(daemon: DaemonProcess) -> float:
    """CPU seconds of a status that is drawn on a terminal."""
    before = _children()
    shown, terminal = pty.openpty()
    command = [sys.executable, "-m", "cdmd.cli.control_commands", "--socket", str(daemon.socket), "status"]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, env=daemon.environment):
        os.close(terminal)
        with suppress(OSError):
            while os.read(shown, 65_536):
                pass
        os.close(shown)
    return _children() - before


def _looking(daemon: DaemonProcess) -> tuple[list[float], list[float]]:
    """Milliseconds of each look at the console's overview, and what somebody else waits for an answer meanwhile, sorted."""
    pages: list[float] = []
    waits: list[float] = []
    done = threading.Event()

    def wait_beside() -> None:
        other = http.client.HTTPConnection("127.0.0.1", int(daemon.url.rpartition(":")[2]))
        while not done.is_set():
            began = time.perf_counter()
            other.request("GET", "/livez")
            other.getresponse().read()
            waits.append((time.perf_counter() - began) * 1e3)
        other.close()

    beside = threading.Thread(target=wait_beside)
    beside.start()
    for _ in range(ASKED):
        began = time.perf_counter()
        with daemon.control.raw("GET", "/console/", body=None, headers={"host": "localhost"}) as page:
            assert page.whole()
        pages.append((time.perf_counter() - began) * 1e3)
    done.set()
    beside.join()
    return pages, sorted(waits)


def asking(report: Report, folder: Path) -> None:
    """A thousand connectors that have all taken and refused something."""
    folder.mkdir()
    with DaemonProcess(folder, connectors(CONNECTORS), patience=60) as daemon:
        assert daemon.process is not None
        pid = daemon.process.pid
        for number in range(0, CONNECTORS, 10):
            daemon.send(f"/hooks/shop_{number}", {"id": f"e{number}", "type": "seen"})
            subprocess.run(  # a body that is none: refused, with its reason
                ["curl", "-s", "-o", "/dev/null", "-d", "{", f"{daemon.url}/hooks/shop_{number}"], check=False, timeout=10
            )
        daemon.settle()
        took, used = [], []
        for _ in range(ASKED):
            began, ours, theirs = time.perf_counter(), _children(), cpu_seconds(pid)
            daemon.cdmctl("status")
            took.append(time.perf_counter() - began)
            used.append(_children() - ours + cpu_seconds(pid) - theirs)
        drawn = [_drawn(daemon) for _ in range(ASKED)]
        before = cpu_seconds(pid)
        for _ in range(ASKED):
            daemon.control.text("/v1/metrics")
        metrics = (cpu_seconds(pid) - before) / ASKED
        pages, waits = _looking(daemon)
    report.note(f"cdmctl status took {min(took):.2f} s at best, {statistics.median(took):.2f} s in the middle")
    report.line(f"cdmctl status with {CONNECTORS:,} connectors, CPU", statistics.median(used), "s", at_most=0.25)
    report.line("the same on a terminal, the command's CPU", statistics.median(drawn), "s", at_most=0.25)
    report.note(
        f"beside the page others waited up to {waits[-1]:.0f} ms for an answer, 99 % of them {quantile(waits, 0.99):.1f} ms"
    )
    report.line("the console's overview of them", statistics.median(pages), "ms", at_most=100)
    report.line("the metrics of them, the daemon's CPU", metrics, "s", at_most=0.25)


def _loaded(daemon: Daemon, seconds: float, profiles: int, run: str) -> tuple[Outcome, float]:
    """What the load generator saw, and the share of a core that the daemon took."""
    plan = Plan(port=daemon.port, rate=PACE, events=int(PACE * seconds), seconds=seconds, profiles=profiles, run=run)
    load = Generator(plan)
    before = cpu_seconds(daemon.pid)
    outcome = load.go()
    daemon.until_applied()
    return outcome, (cpu_seconds(daemon.pid) - before) / seconds


def tailing(report: Report, daemon: Daemon, folder: Path, *, seconds: float, profiles: int) -> None:
    """The same load without and with somebody who looks, in turns."""
    alone, watched, shown, lost = [], [], 0, 0
    _loaded(daemon, 1.0, profiles, "warm")
    for turn in range(3):
        alone.append(_loaded(daemon, seconds, profiles, f"alone{turn}"))
        with (folder / f"tail{turn}").open("a+b") as out:
            command = [sys.executable, "-m", "cdmd.cli.control_commands", "--socket", str(daemon.socket), "tail", "--json"]
            with subprocess.Popen(command, stdout=out, env=daemon.environment) as tail:
                for beat in range(60):
                    if out.seek(0, 2):
                        break
                    _loaded(daemon, 0.2, profiles, f"attached{turn}-{beat}")
                out.truncate(0)
                watched.append(_loaded(daemon, seconds, profiles, f"watched{turn}"))
                time.sleep(0.5)
                tail.terminate()
            out.seek(0)
            lines = [json.loads(line) for line in out if line.startswith(b"{") and line.endswith(b"}\n")]
        shown += sum(line.get("stage") == "applied" for line in lines)
        lost += sum(line.get("lost", 0) for line in lines)
    more = statistics.median(share for _, share in watched) - statistics.median(share for _, share in alone)
    for name, found in (("alone", alone), ("watched", watched)):
        report.note(f"{name}: {'; '.join(f'{100 * share:.0f} % of a core, {outcome.times()}' for outcome, share in found)}")
    report.note(
        f"a tail was shown {shown:,} events of {3 * int(PACE * seconds):,} when they were applied, {lost:,} lines were left out"
    )
    report.line(f"a tail beside {PACE:,} events/s: intake is slowed by", 100 * more, "%", at_most=5)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    given = options("commands", long_help="1,000,000 profiles and 10 s instead of 50,000 and 4 s").parse_args(arguments)
    profiles, seconds = (1_000_000, 10.0) if given.long else (50_000, 4.0)
    report = Report("What it costs to be asked")
    with working_folder(given.folder) as folder:
        asking(report, folder / "asked")
        with Daemon(folder / "daemon", given.folder or folder, profiles) as daemon:
            tailing(report, daemon, folder, seconds=seconds, profiles=profiles)
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
