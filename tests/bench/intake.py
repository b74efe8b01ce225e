"""Durable webhook intake: 600 B, Standard Webhooks, mapped, journal synced, 64 connections; against the same without a journal.

Both as it is by default, its writer a thread, and with the journal written by a process of its own (``own``).
And against listeners that do nothing. The limit of 0.4 is held against a plain asyncio + httptools listener (``listeners``): it
was set when such a one did 35,000/s. Until our own listener was taken for it here, which has become about three times as fast
since then: that would ask for more with every step that the listener gets faster by. So the ratio to our own one (``bare``) is
printed without a limit, as are those to the plain one on uvloop and to a bare ASGI application on uvicorn.
And against Node-RED that checks, maps and stores the same in SQLite, where npm can fetch it (``node_red``).
Run: python -m tests.bench.intake [--long] [--folder FOLDER].
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from tests.bench.figures import Report, cpu_seconds, family, options, resident_mib, working_folder
from tests.bench.load import Generator, Outcome, Plan
from tests.bench.node_red import Missing, NodeRed, installed
from tests.bench.server import KINDS, Server

OTHERS: Final = {
    "asyncio": "a plain asyncio + httptools listener that does nothing",
    "uvloop": "the same on uvloop",
    "uvicorn": "a bare ASGI application on uvicorn + httptools",
}
MOST: Final = {
    "bare": 100_000,
    "mapping": 60_000,
    "durable": 50_000,
    "own": 50_000,
    "asyncio": 60_000,
    "uvloop": 80_000,
    "uvicorn": 40_000,
}
"""Requests that are prepared for a second of each: more than it answers, so that all of them are measured for as long."""


class Found(NamedTuple):
    """What the load generator saw, the server's CPU µs an answer, and its memory in MiB."""

    seen: Outcome
    cpu: float
    memory: float

    def __str__(self) -> str:
        ours = f"{self.seen.rate:>8,.0f}/s  {self.cpu:5.1f} µs CPU  {self.seen.times()}  {self.memory:.0f} MiB"
        return f"{ours}  (client {self.seen.cpu:.1f} µs)"


def measure(kind: str, folder: Path, *, seconds: float, connections: int = 64, rate: float = 0.0) -> Found:
    """One of our own servers, or of the others' listeners."""
    module = "tests.bench.listeners" if kind in OTHERS else "tests.bench.server"
    with Server(kind, folder, module=module) as server:
        most = int((rate or (MOST[kind] if connections > 1 else 5_000)) * seconds)
        return _loaded(server.port, server.pid, most, seconds=seconds, connections=connections, rate=rate)


def measure_node_red(folder: Path, *, seconds: float) -> Found:
    """The peer. Raises ``Missing`` where it cannot be had."""
    with NodeRed(installed(), folder) as peer:
        found = _loaded(peer.port, peer.pid, int(10_000 * seconds), seconds=seconds)
        assert peer.stored() >= found.seen.answered, "it answers what it has not stored"
        return found


def _loaded(port: int, pid: int, most: int, *, seconds: float, connections: int = 64, rate: float = 0.0) -> Found:
    Generator(Plan(port=port, events=2_000, seconds=0.3, run="warm")).go()
    load = Generator(Plan(port=port, events=most, seconds=seconds, connections=connections, rate=rate))
    pids = family(pid)
    before = cpu_seconds(*pids)
    outcome = load.go()
    used = cpu_seconds(*pids) - before
    assert not outcome.failed, f"{outcome.failed} answers were not 200"
    return Found(outcome, used / outcome.answered * 1e6, resident_mib(*pids))


def _ratio(ours: Sequence[Found], theirs: Sequence[Found]) -> float:
    """The median over the rounds of our rate in theirs: what disturbs a round disturbs both."""
    return median(one.seen.rate / other.seen.rate for one, other in zip(ours, theirs, strict=True))


def _lines(report: Report, found: Mapping[str, Sequence[Found]], kind: str) -> None:
    """What the budget says of the durable server, or of the same whose journal is written by a process of its own."""
    fastest = max(found[kind], key=lambda one: one.seen.rate)
    report.line(f"{kind}: answers a second", fastest.seen.rate, "1/s", at_least=7_000)
    mapping = _ratio(found[kind], found["mapping"])
    report.line(f"{kind}: of the same server verifying and mapping without a journal", mapping, at_least=0.7)
    for other, what in OTHERS.items():
        report.line(f"{kind}: of {what}", _ratio(found[kind], found[other]), at_least=0.4 if other == "asyncio" else None)
    report.line(f"{kind}: of our own listener that does nothing", _ratio(found[kind], found["bare"]))
    report.line(f"{kind}: server CPU per event", fastest.cpu, "µs", at_most=140)
    report.line(f"{kind}: p99 at 64 connections, saturated", fastest.seen.p99, "ms", at_most=25)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    given = options("intake", long_help="five rounds of 3 s instead of three of 1.2 s").parse_args(arguments)
    rounds, seconds = (5, 3.0) if given.long else (3, 1.2)
    report = Report("Durable webhook intake (600 B, Standard Webhooks, mapped, FULL, 64 connections, load on the same machine)")
    found: dict[str, list[Found]] = {kind: [] for kind in (*KINDS, *OTHERS)}
    with working_folder(given.folder) as folder:
        for turn in range(rounds):
            for kind, several in found.items():
                several.append(measure(kind, folder / f"{kind}{turn}", seconds=seconds))
        one = measure("durable", folder / "single", seconds=min(seconds, 2.0), connections=1)
        try:
            peer = measure_node_red(folder / "node-red", seconds=seconds)
        except Missing as missing:
            peer = str(missing)
    best = {kind: max(several, key=lambda one: one.seen.rate) for kind, several in found.items()}
    for kind, fastest in best.items():
        report.note(f"{kind:<8} {fastest}")
    report.note(f"durable, 1 connection: {one.seen.times()}")
    report.note(f"Node-RED {peer}")
    for kind in ("durable", "own"):
        _lines(report, found, kind)
    seen = best["durable"].seen
    if isinstance(peer, Found):
        report.line("of Node-RED -> SQLite", seen.rate / peer.seen.rate, at_least=3)
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
