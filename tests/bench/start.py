"""From ``cdmd run`` to ready on a store of many profiles, and how long ``cdmctl status`` takes.

Run: python -m tests.bench.start [--long] [--folder FOLDER].
"""

import statistics
import time

from tests.bench.end_to_end import Daemon
from tests.bench.figures import Report, cpu_seconds, options, resident_mib, working_folder


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    given = options("start", long_help="1,000,000 profiles instead of 50,000").parse_args(arguments)
    profiles = 1_000_000 if given.long else 50_000
    report = Report(f"Start with {profiles:,} profiles")
    starts, cpu, asked = [], 0.0, []
    with working_folder(given.folder) as folder:
        daemon = Daemon(folder / "daemon", given.folder or folder, profiles)
        for _ in range(3):
            began = time.perf_counter()
            with daemon:
                starts.append(time.perf_counter() - began)
                cpu = cpu_seconds(daemon.pid)
                for _ in range(3):
                    began = time.perf_counter()
                    daemon.cdmctl("status")
                    asked.append(time.perf_counter() - began)
                memory = resident_mib(daemon.pid)
                daemon.stop()
    report.note(f"start: {', '.join(f'{one:.2f}' for one in starts)} s, {cpu:.2f} s of it CPU; {memory:.0f} MiB then")
    report.line("start to ready, the median of 3", statistics.median(starts), "s", at_most=1.5)
    report.line("cdmctl status, the median of 9", statistics.median(asked), "s", at_most=0.25)
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
