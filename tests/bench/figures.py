"""How a bench says what it found: one line for each figure, beside what it is held against in the same run."""

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cdmd.control.client import Client

TICKS = os.sysconf("SC_CLK_TCK")


class Report:
    """Lines of figures; a limit makes a verdict. ``at_least`` and ``at_most`` are the budgets of DESIGN.md, section 6."""

    def __init__(self, title: str) -> None:
        self.beyond = 0
        print(f"\n{title}\n{'-' * len(title)}", flush=True)

    def note(self, text: str) -> None:
        """A line without a verdict."""
        print(f"  {text}", flush=True)

    def line(
        self, what: str, value: float, unit: str = "", *, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        """One figure and its verdict."""
        verdict, bound = "", ""
        if at_least is not None:
            bound, good = f">= {_number(at_least)}", value >= at_least
        elif at_most is not None:
            bound, good = f"<= {_number(at_most)}", value <= at_most
        if bound:
            self.beyond += not good
            verdict = "within" if good else "BEYOND"
        print(f"  {what:<66} {_number(value):>10} {unit:<10} {bound:<12} {verdict}".rstrip(), flush=True)


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def cpu_seconds(*pids: int) -> float:
    """User and system time that processes and their threads have used."""
    found = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum((int(fields[11]) + int(fields[12])) / TICKS for fields in found)


def family(pid: int) -> list[int]:
    """A process and those that it has started."""
    started = [int(one) for file in Path(f"/proc/{pid}/task").glob("*/children") for one in file.read_text().split()]
    return [pid, *started]


def resident_mib(*pids: int) -> float:
    """Resident memory of processes, each at its highest; the files (programs, libraries) that they share are counted once."""
    highest, files = [_kib(pid, "VmHWM") for pid in pids], [_kib(pid, "RssFile") for pid in pids]
    return (sum(highest) - sum(sorted(files)[:-1])) / 1024


def _kib(pid: int, name: str) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


def processes(pid: int, control: Client) -> list[int]:
    """A daemon's, and the one that writes its store, where there is one."""
    writer = control.get("/v1/status")["store"]["process"]
    return [pid] if writer is None else [pid, writer]


def quantile(sorted_values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of them lie."""
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


def options(what: str, *, long_help: str) -> argparse.ArgumentParser:
    """The options that every bench has."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.bench.{what}")
    parser.add_argument("--long", action="store_true", help=long_help)
    parser.add_argument(
        "--folder",
        type=Path,
        help="where databases are made and prepared ones are kept for the next run (default: a temporary one)",
    )
    return parser


@contextmanager
def working_folder(parent: Path | None) -> Iterator[Path]:
    """A fresh folder that goes again, below ``parent`` or where this is run: a temporary file system would sync nothing."""
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=parent or Path.cwd()) as folder:
        yield Path(folder)
