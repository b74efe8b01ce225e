"""An erasure among many customers: how long until it is in force, and until the person is out of every file.

Run: python -m tests.bench.erasure [--long] [--folder FOLDER].
"""

import threading
import time

from cdmd.control.client import Client
from cdmd.errors import NotFound
from tests.bench.end_to_end import Daemon
from tests.bench.figures import Report, options, resident_mib, working_folder

_PEOPLE = 5
_IN_FORCE = 1.0
_COMPLETE = 15 * 60.0


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    given = options("erasure", long_help="1,000,000 profiles instead of 50,000").parse_args(arguments)
    profiles = 1_000_000 if given.long else 50_000
    report = Report(f"Erasures among {profiles:,} profiles")
    with working_folder(given.folder) as folder, Daemon(folder / "daemon", given.folder or folder, profiles) as daemon:
        asking = Client([str(daemon.socket)], timeout=60.0)
        took = [_in_force(asking, f"email:joe{number}@example.com") for number in range(0, _PEOPLE * 7, 7)]
        complete = _until_complete(asking)
        memory = resident_mib(daemon.pid)
        daemon.stop()
    report.note(f"in force after {', '.join(f'{one:.2f}' for one in took)} s; {memory:.0f} MiB afterwards")
    report.line("asked to in force, the longest", max(took), "s", at_most=_IN_FORCE)
    report.line(f"asked to complete, {_PEOPLE} people at once", complete, "s", at_most=_COMPLETE)
    return report.beyond


def _in_force(asking: Client, identifier: str) -> float:
    """From the request until nobody finds the person."""
    asking.get("/v1/profile", {"identifier": identifier})
    began = time.perf_counter()
    asking.post("/v1/erasures", {"identifier": identifier})
    took = time.perf_counter() - began
    try:
        asking.get("/v1/profile", {"identifier": identifier})
    except NotFound:
        return took
    raise AssertionError("an erasure that was answered is not in force")


def _until_complete(asking: Client) -> float:
    began, pause = time.perf_counter(), threading.Event()
    while any(row["done"] is None for row in asking.get("/v1/erasures")):
        pause.wait(0.2)
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
