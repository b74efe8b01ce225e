"""What goes out: how late, how fast, and whether a long outbox makes a delivery dearer.

Run: python -m tests.bench.deliveries [--folder FOLDER] [--long]. The daemon, its sender and its receiver are real processes on
loopback, sharing the machine's cores.
"""

import asyncio
import base64
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from cdmd.store.files import StateDirectory
from cdmd.testing import DaemonProcess
from tests.bench.figures import Report, cpu_seconds, options, working_folder
from tests.bench.load import Generator, Plan
from tests.bench.setup import CONFIG, PLUGIN

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
TARGET = f"""
[targets.crm]
type = "webhook"
url = "http://127.0.0.1:{{port}}/hook"
secret = "{SECRET}"
events = ["order.*"]
concurrency = 8
max_waiting = 2000000
max_bytes = "4GiB"
"""
RATE = 500
RUNS = (("warm", 2), ("a", 10))
"""The first is not counted."""

FAST, SHORT, LONG = 10_000, 1_000, 1_000_000


def receiver() -> None:
    """As a process: answers 204, and writes when each event arrived (its id, monotonic seconds) when it is ended."""
    arrived: list[tuple[str, float]] = []
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    connections = 0

    class Hook(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            nonlocal connections
            connections += 1
            self.transport, self.rest = transport, b""

        def data_received(self, data: bytes) -> None:
            self.rest += data
            while (end := self.rest.find(b"\r\n\r\n")) >= 0:
                head = self.rest[:end].lower()
                at = head.index(b"content-length: ") + 16
                length = int(head[at : head.find(b"\r\n", at) if head.find(b"\r\n", at) > 0 else None])
                if len(self.rest) < end + 4 + length:
                    return
                body, self.rest = self.rest[end + 4 : end + 4 + length], self.rest[end + 4 + length :]
                at = body.find(b'"id":"') + 6
                arrived.append((body[at : body.index(b'"', at)].decode(), time.monotonic()))
                self.transport.write(answer)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Hook, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line == "count\n":
                print(len(arrived), flush=True)
            elif line == "tell\n":
                print(json.dumps({"arrived": arrived, "connections": connections}), flush=True)
                arrived.clear()

    asyncio.run(run())


class Receiver:
    """The same from outside."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", "from tests.bench.deliveries import receiver; receiver()"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ask(self, what: str) -> Any:
        """``count`` of what arrived, or ``tell`` all of it and begin anew."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return json.loads(self._line())

    def end(self) -> None:
        """It is gone."""
        self.process.terminate()
        with self.process:  # which waits, and closes the pipes
            pass

    def wait(self, count: int, *, seconds: float = 120.0) -> None:
        """Return when so much has arrived."""
        until = time.monotonic() + seconds
        while self.ask("count") < count:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.ask('count')} of {count} arrived")
            time.sleep(0.01)


@contextmanager
def received() -> Iterator[Receiver]:
    one = Receiver()
    try:
        yield one
    finally:
        one.end()


def order(number: int) -> bytes:
    """An order as the benches' connector takes it, without a signature."""
    customer = {"email": f"u{number % 5000}@example.com", "id": number % 5000, "first_name": "Joe", "city": "Lund"}
    made = {"id": f"e{number}", "status": "paid", "created_at": "2026-11-23T10:00:00Z", "total": 9.5, "currency": "SEK"}
    return json.dumps({**made, "customer": customer, "note": "x" * 300}).encode()


def config(port: int, *more: str) -> str:
    unsigned = CONFIG.replace('verify = "standard-webhooks"', 'verify = "none"')
    kept = "\n".join(line for line in unsigned.splitlines() if not line.startswith("secrets"))
    return kept + TARGET.format(port=port) + "".join(more)


async def steadily(url: str, first: int, count: int, rate: float) -> dict[str, float]:
    """Send at that rate over 16 connections; when each was sent (monotonic)."""
    sent: dict[str, float] = {}
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=16)) as client:
        began, waiting = time.monotonic(), asyncio.Semaphore(64)

        async def one(number: int) -> None:
            async with waiting:
                sent[f"e{number}:paid"] = time.monotonic()
                await client.post(url, content=order(number), headers={"content-type": "application/json"})

        async with asyncio.TaskGroup() as tasks:
            for number in range(first, first + count):
                await asyncio.sleep(max(0.0, began + (number - first) / rate - time.monotonic()))
                tasks.create_task(one(number))
    return sent


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, round(share * (len(values) - 1)))]


def through(report: Report, folder: Path) -> None:
    """Webhook received, extended, stored, delivered. Late counts from when a request was due."""
    plans = [Plan(port=0, connections=16, events=RATE * seconds, seconds=60.0, rate=RATE, run=run) for run, seconds in RUNS]
    with (
        received() as hook,
        DaemonProcess(folder, CONFIG + TARGET.format(port=hook.port), patience=60.0, **extended(folder)) as daemon,
    ):
        assert daemon.process is not None
        port = int(daemon.url.rpartition(":")[2])
        for plan in plans:
            generator = Generator(msgspec.structs.replace(plan, port=port))
            hook.ask("tell")
            used = cpu_seconds(daemon.process.pid)
            outcome = generator.go()
            hook.wait(plan.events)
            used = cpu_seconds(daemon.process.pid) - used
            told = hook.ask("tell")
    late = [at - outcome.begun - int(name.split("-")[1].partition(":")[0]) / RATE for name, at in told["arrived"]]
    report.note(
        f"{len(late):,} events at {RATE}/s, {told['connections']} connections to the receiver; answers: {outcome.times()}"
    )
    report.note(f"{used / len(late) * 1e6:.0f} µs of the daemon's CPU for each")
    report.line("webhook due to delivery received, p50", percentile(late, 0.5) * 1000, "ms", at_most=20.0)
    report.line("webhook due to delivery received, p99", percentile(late, 0.99) * 1000, "ms", at_most=100.0)


def extended(folder: Path) -> dict[str, Any]:
    """What a daemon is started with that has the benches' extension."""
    (folder / "bench_discount.py").write_text(PLUGIN)
    return {"plugins": {"bench": "bench_discount"}, "paths": [folder]}


def waiting(folder: Path, count: int, *, hook: Receiver) -> tuple[float, float, float]:
    """Out of an outbox of so many: deliveries a second of wall time, µs of the daemon's CPU for each, its memory in MiB."""
    daemon = DaemonProcess(folder, config(hook.port, "enabled = false\n"), patience=60.0)
    with daemon:
        asyncio.run(steadily(f"{daemon.url}/hooks/shop", 0, SHORT, 400))
        daemon.settle()
    grow(StateDirectory(folder / "state").store, "crm", count)
    (folder / "cdmd.toml").write_text((folder / "cdmd.toml").read_text().replace("enabled = false", "enabled = true"))
    with daemon:
        assert daemon.process is not None
        wanted = min(count, FAST)
        hook.wait(wanted // 10)
        before, began, at = cpu_seconds(daemon.process.pid), time.monotonic(), hook.ask("count")
        hook.wait(wanted)
        seconds, used, done = time.monotonic() - began, cpu_seconds(daemon.process.pid) - before, hook.ask("count") - at
        resident = memory(daemon.process.pid)
    hook.ask("tell")
    return done / seconds, used / done * 1e6, resident


def memory(process: int) -> float:
    """MiB that are resident."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def grow(store: Path, target: str, count: int) -> None:
    """Fill the target's outbox to ``count`` by its own rows, again and again."""
    connection = sqlite3.connect(store)
    with connection:
        (number,) = connection.execute("SELECT id FROM targets WHERE name = ?", (target,)).fetchone()
        (there,) = connection.execute("SELECT count(*) FROM outbox WHERE target = ?", (number,)).fetchone()
        while there < count:
            some = min(there, count - there)
            connection.execute(
                "INSERT INTO outbox (id, target, due, lane, profile, sum, body)"
                " SELECT id, target, due, lane, profile, sum, body FROM outbox WHERE target = ? ORDER BY n LIMIT ?",
                (number, some),
            )
            there += some
        size = "(SELECT sum(length(body)) FROM outbox WHERE target = :number)"
        row = {"there": there, "number": number}
        connection.execute(f"UPDATE targets SET waiting = :there, bytes = {size} WHERE id = :number", row)
    connection.close()


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    given = options("deliveries", long_help="an outbox of 1,000,000 instead of 100,000").parse_args(arguments)
    report = Report("deliveries: received to delivered, out of a short and a long outbox")
    with working_folder(given.folder) as folder:
        for name in ("through", "fast", "short", "long"):
            (folder / name).mkdir()
        through(report, folder / "through")
        long = LONG if given.long else LONG // 10
        with received() as hook:
            rate, each, _ = waiting(folder / "fast", FAST, hook=hook)
            report.line(f"deliveries a second to a fast receiver, 8 at once, of {FAST:,}", rate, "/s", at_least=2000.0)
            report.note(f"{each:.0f} µs of the daemon's CPU for each")
        with received() as hook:
            short_rate, short_each, short_memory = waiting(folder / "short", FAST, hook=hook)
        with received() as hook:
            long_rate, long_each, long_memory = waiting(folder / "long", long, hook=hook)
        report.note(f"of {FAST:,}: {short_rate:.0f}/s, {short_each:.0f} µs; of {long:,}: {long_rate:.0f}/s, {long_each:.0f} µs")
        report.line(f"memory with an outbox of {long:,} against {FAST:,}", long_memory / short_memory, "times", at_most=1.25)
        report.line(f"CPU of a delivery, outbox of {long:,} against {FAST:,}", long_each / short_each, "times", at_most=1.25)
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
