"""A thousand idle pollers in the real daemon; and a real server that counts what comes over its limit in any window."""

import time
from bisect import bisect_left
from pathlib import Path
from typing import Any

from cdmd.testing import DaemonProcess
from tests.acceptance.served_api import ServedApi
from tests.bench.declared import contacts
from tests.bench.figures import Report, cpu_seconds, resident_mib
from tests.connectors.rest.api import Api, Asked

POLLERS = 1000
EVERY = 300.0
"""Seconds between two looks where nobody says how fresh it has to be."""

SETTLES = 12.0
"""Seconds until what the start and the first looks have left behind is collected: it is not what idling costs."""


class Timed(Api):
    """Notes when it was asked."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.moments: list[float] = []

    def respond(self, request: Asked) -> Any:
        self.moments.append(time.monotonic())
        return super().respond(request)

    def most_within(self, per: float) -> int:
        return max((bisect_left(self.moments, at + per) - place for place, at in enumerate(self.moments)), default=0)


def declared(url: str, *, limits: str, more: str = "", pollers: int = POLLERS) -> str:
    return "".join(contacts(f"crm_{number}", url, limits=limits, more=more) for number in range(pollers))


def _until(asked: Timed, count: int, *, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while len(asked.moments) < count and time.monotonic() < end:
        time.sleep(0.1)
    return len(asked.moments) >= count


def _used(folder: Path, more: str, *, seconds: float) -> tuple[float, float, float]:
    """The share of a core, looks per second, and MiB of a daemon with a thousand pollers, after their first look."""
    folder.mkdir()
    api = Timed(limit=10**9)
    with (
        ServedApi(api).served() as served,
        DaemonProcess(folder, declared(served.url, limits="100000/1s", more=more), patience=60) as daemon,
    ):
        assert daemon.process is not None
        if not _until(api, POLLERS, seconds=60):
            raise SystemExit(f"only {len(api.moments)} of {POLLERS} pollers looked within a minute")
        time.sleep(SETTLES)
        pid, before, asked, began = daemon.process.pid, cpu_seconds(daemon.process.pid), len(api.moments), time.monotonic()
        time.sleep(seconds)
        taken = time.monotonic() - began
        return (cpu_seconds(pid) - before) / taken, (len(api.moments) - asked) / taken, resident_mib(pid)


def measure(report: Report, folder: Path, *, seconds: float, whole: bool) -> None:
    """Into the report. ``whole``: at their usual pace for a whole round of looks, else what it costs is put together."""
    if whole:
        share, looks, memory = _used(folder / "usual", "", seconds=EVERY)
        report.note(f"{looks:.1f} looks a second in {EVERY:g} s")
    else:
        resting, none, memory = _used(folder / "resting", 'every = "1h"', seconds=seconds)
        busy, many, _ = _used(folder / "busy", 'freshness = "1m"', seconds=seconds)
        each = (busy - resting) / (many - none)
        share = resting + each * POLLERS / EVERY
        report.note(
            f"resting {100 * resting:.2f} % of a core, {1000 * each:.2f} ms a look ({many:.0f} looks a second measured)"
        )
    report.line(f"{POLLERS:,} idle pollers, a look every {EVERY:g} s each", 100 * share, "% of a core", at_most=2)
    report.line("the same: resident", memory, "MiB", at_most=250)
    _limited(report, folder / "limited", seconds=seconds)


def _limited(report: Report, folder: Path, *, seconds: float) -> None:
    """Ten connectors with pages to walk, that want more than their host allows them together."""
    folder.mkdir()
    api = Timed(limit=20, per=2.0)
    api.add(2000)
    with ServedApi(api).served() as served, DaemonProcess(folder, declared(served.url, limits="20/2s", pollers=10)):
        time.sleep(seconds)
    report.line("requests in any 2 s at a real server that allows 20", api.most_within(2.0), at_most=20)
    report.line("the same: refused by it", api.violations, at_most=0)
    report.line("the same: used of what it allows", 100 * len(api.moments) / (seconds * 10), "%", at_least=70)
