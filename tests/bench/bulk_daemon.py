"""The real daemon that watches a supplier's area, and what can be seen of it from outside while it works.

Its loop's lag is measured inside, by a connector of a plugin that does nothing but look at the clock.
"""

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, Self

from cdmd.testing import DaemonProcess
from tests.bench.figures import cpu_seconds, processes, quantile, resident_mib
from tests.bench.setup import CONNECTOR, OWN
from tests.peers.sshd import Sshd

_AREA = """
format = {{ type = "csv" }}
stable_for = "0s"
every = "1s"
{more}
[connectors.{name}.event]
identifiers = {{ customer_no = "{{customer_no}}", email = "{{email}}" }}
traits = {{ first_name = "{{first_name}}", last_name = "{{last_name}}", phone = "{{phone}}", postcode = "{{postcode}}", \
city = "{{city}}", country = "{{country}}", segment = "{{segment}}", newsletter = "{{newsletter}}" }}
data = {{ points = "{{points}}" }}
"""
_METER = '''
"""Looks at the loop's clock every few milliseconds, and writes how late it was."""
import asyncio
import cdmd
import msgspec

class Meter:
    type = "bench-meter"
    class Settings(msgspec.Struct):
        file: str
    def __init__(self, name, settings):
        self.settings = settings
    async def run(self, source):
        loop, late = asyncio.get_running_loop(), []
        with open(self.settings.file, "a", buffering=1 << 16) as out:
            while True:
                due = loop.time() + 0.005
                await asyncio.sleep(0.005)
                late.append(loop.time() - due)
                if len(late) >= 100:
                    out.write("".join(f"{loop.time():.4f} {one:.6f}\\n" for one in late))
                    out.flush()
                    late = []

@cdmd.hookimpl
def cdmd_connectors():
    return [Meter]
'''


class Area(DaemonProcess):
    """The daemon with ``sup``, a watcher of ``area``, one of ``ours`` beside it, and the webhook connector ``shop``."""

    def __init__(self, folder: Path, server: Sshd, *, more: str = "", own: bool = False) -> None:
        self.area, self._ours, self._lag = folder / "area", folder / "ours", folder / "lag"
        for made in (folder, self.area, self._ours, folder / "modules"):
            made.mkdir()
        self._lag.touch()
        (folder / "modules" / "bench_meter.py").write_text(_METER)
        config = server.connector(self.area) + _AREA.format(name="sup", more=more)
        config += server.connector(self._ours, name="ours") + _AREA.format(name="ours", more="")
        config += f'[connectors.meter]\ntype = "bench-meter"\nfile = "{self._lag}"\n{CONNECTOR}'
        config += OWN if own else ""
        plugins, paths = {"bench-meter": "bench_meter"}, [folder / "modules"]
        super().__init__(folder, config, environment=server.environment, plugins=plugins, paths=paths)

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self.process is not None
        return self.process.pid

    @property
    def pids(self) -> list[int]:
        """Of all its processes."""
        return processes(self.pid, self.control)

    @property
    def port(self) -> int:
        """Of its listener."""
        return int(self.url.rpartition(":")[2])

    def give(self, file: Path, name: str, *, to: str = "sup") -> None:
        """Lay the file into the area as ``name``, at once whole."""
        folder = self.area if to == "sup" else self._ours
        (folder / name).hardlink_to(file)

    def row(self, name: str = "sup") -> dict[str, Any]:
        """A connector's row of ``status``."""
        rows = self.control.get("/v1/status")["connectors"]
        found: dict[str, Any] = next(row for row in rows if row["name"] == name)
        return found

    def file(self, name: str, connector: str) -> dict[str, Any]:
        """What is known of a file; it is looked for at once where it was not yet read."""
        rows = self.control.get("/v1/shelves/files")
        found: dict[str, Any] = next((row for row in rows if row["name"] == name), {"state": "unseen"})
        if found["state"] in {"unseen", "seen", "settling", "ready"}:
            self.control.post(f"/v1/connectors/{connector}/poll")
        return found

    def again(self) -> None:
        """Stop it and start it, so that its memory is counted anew."""
        self.stop()
        self.start()

    def until_applied(self, count: int, *, name: str = "sup", seconds: float = 600.0) -> None:
        """Wait until that many of the connector's events are in the store."""
        until, pause = time.monotonic() + seconds, threading.Event()
        while (row := self.row(name))["applied"] < count:
            assert time.monotonic() < until, f"{row['applied']} of {count} events are applied"
            assert row["state"] != "failed", row["error"]
            pause.wait(0.1)

    def until_done(self, name: str, *, connector: str = "sup", seconds: float = 600.0) -> dict[str, Any]:
        """Wait until that file is done with, and all that came of it is in the store."""
        until, pause = time.monotonic() + seconds, threading.Event()
        while (found := self.file(name, connector))["state"] != "done":
            assert time.monotonic() < until, f"{name} is still {found['state']}"
            assert found["state"] not in {"quarantined", "gone", "blocked"}, found["reason"]
            pause.wait(0.05)
        self.settle(seconds=60)
        return found


class Watch:
    """What the daemon used and how late its loop was, from now on."""

    def __init__(self, daemon: Area) -> None:
        self._daemon, self._lag = daemon, daemon.folder / "lag"
        self._from = self._lag.stat().st_size
        self._cpu, self._began = cpu_seconds(*daemon.pids), time.perf_counter()

    def said(self) -> "Seen":
        """Until now."""
        seconds, used = time.perf_counter() - self._began, cpu_seconds(*self._daemon.pids) - self._cpu
        with self._lag.open() as lines:
            lines.seek(self._from)
            late = sorted(float(line.split()[1]) for line in lines if line.endswith("\n"))
        return Seen(seconds, used, resident_mib(*self._daemon.pids), late)


class Seen:
    """Seconds by the clock and of the processors, memory at its highest (MiB), and how late the loop was (seconds, sorted)."""

    def __init__(self, seconds: float, cpu: float, mib: float, late: list[float]) -> None:
        self.seconds, self.cpu, self.mib = seconds, cpu, mib
        self.lag = (quantile(late, 0.99) if late else 0.0) * 1e3
        self.longest = (late[-1] if late else 0.0) * 1e3

    def __str__(self) -> str:
        return (
            f"{self.seconds:.2f} s, {self.cpu:.2f} CPU s, {self.mib:.0f} MiB, loop lag p99 {self.lag:.1f} ms "
            f"(longest {self.longest:.0f} ms)"
        )


class Storing:
    """How long it takes from the journal into the store, looked at in the databases every few milliseconds while it lasts."""

    def __init__(self, daemon: Area) -> None:
        self._state, self._over = daemon.state_dir, threading.Event()
        self._seen: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._first = self._head()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def p99(self) -> float:
        """Seconds, over all events that came into the journal meanwhile."""
        with sqlite3.connect(f"file:{self._state}/journal.db?mode=ro", uri=True) as journal:
            blocks = journal.execute("SELECT first, last, written FROM blocks WHERE first > ?", (self._first,)).fetchall()
        journal.close()
        waited, samples = [], iter(self._seen)
        sample = next(samples, None)
        for first, last, written in blocks:
            while sample is not None and sample[1] < last:
                sample = next(samples, None)
            if sample is None:
                break
            waited += [sample[0] - written / 1e6] * (last - first + 1)
        return quantile(sorted(waited), 0.99)

    def _head(self) -> int:
        with sqlite3.connect(f"file:{self._state}/journal.db?mode=ro", uri=True) as journal:
            ((head,),) = journal.execute("SELECT coalesce(max(last), 0) FROM blocks")
        journal.close()
        return int(head)

    def _look(self) -> None:
        store = sqlite3.connect(f"file:{self._state}/store.db?mode=ro", uri=True)
        while not self._over.wait(0.01):
            ((position,),) = store.execute("SELECT seq FROM positions WHERE lane = 0")
            self._seen.append((time.time(), position))
        store.close()
