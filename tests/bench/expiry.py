"""What it costs senders when 100,000 customers leave an audience at once by the clock.

The same daemon at the same pace over the same profiles, once with all of them due and once with nobody due: the time of
acknowledgements, how long the sweep took, and what each profile cost.
Run: python -m tests.bench.expiry [--long] [--folder FOLDER].
"""

import secrets
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec

from cdmd.batches.rules import Rules
from cdmd.config.schema import AudienceSettings, IdentitySettings, IndicatorSettings
from cdmd.control.client import Client
from cdmd.identity.identifiers import Kinds
from cdmd.kit.clock import SystemClock
from cdmd.models import Seq
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.projection import Projection
from cdmd.store.files import StateDirectory
from cdmd.store.opening import open_state
from cdmd.testing import DaemonProcess
from tests.bench.figures import Report, cpu_seconds, options, working_folder
from tests.bench.load import Generator, Plan
from tests.bench.prepared import INDICATORS, counted, decision, event
from tests.bench.setup import CONFIG

PACE = 1_000
OTHERS = 20_000
WINDOWED = (
    CONFIG + '[indicators.lately]\non = ["order.*"]\nwindow = "1h"\n[audiences.active]\nwhere = "indicators.lately >= 1"\n'
)
_BATCH = 20_000


async def _fill(folder: Path, profiles: int, ago: timedelta) -> None:
    """So many had an order so long ago and are in the audience; others, whom the load is about, had none."""
    moment = datetime.now(UTC) - ago
    audiences = Audiences(
        {"active": AudienceSettings(where="indicators.lately >= 1")},
        Projection(INDICATORS | {"lately": IndicatorSettings(on=("order.*",), window="1h")}),
    )
    with StateDirectory(folder).held():
        opening = open_state(
            StateDirectory(folder), clock=SystemClock(), new_id=lambda: uuid.uuid4().hex, random=secrets.token_bytes
        )
        async with opening as opened:
            made = Rules(
                journal_id=opened.journal.id, kinds=Kinds(IdentitySettings()), audiences=audiences, digester=opened.digester
            )
            for start in range(0, OTHERS + profiles, _BATCH):
                kind = "seen" if start < OTHERS else "order.paid"
                made_then = {"time": moment, "received": moment, "type": kind}
                events = [
                    (Seq(n - OTHERS - profiles), msgspec.structs.replace(event(n, n, "old"), **made_then))
                    for n in range(start, start + _BATCH)
                ]
                decided = decision(opened, made, events, position=None)
                await opened.store.apply(decided.wanted, decided)
            await counted(opened, audiences)
            await opened.store.sync()


def measured(folder: Path, *, profiles: int, seconds: float, due: bool) -> tuple[Any, float, float]:
    """The load's outcome, the daemon's CPU seconds, and how long the sweep took (0: nobody was due)."""
    folder.mkdir()
    daemon = DaemonProcess(folder, WINDOWED)
    anyio.run(_fill, daemon.state_dir, profiles, timedelta(hours=2 if due else 0))
    with daemon:
        client, began = Client([str(daemon.socket)]), time.perf_counter()
        plan = Plan(
            port=int(daemon.url.rpartition(":")[2]),
            rate=PACE,
            events=int(PACE * seconds),
            seconds=seconds,
            profiles=OTHERS,
            run="p",
        )
        assert daemon.process is not None
        outcome, cpu = Generator(plan).go(), cpu_seconds(daemon.process.pid)
        while due and client.get("/v1/status")["audiences"]["expiry_lag_seconds"] > 0:
            time.sleep(0.2)
        took = time.perf_counter() - began if due else 0.0
        (row,) = client.get("/v1/audiences")
        assert (row["members"] >= profiles) is not due, row
        return outcome, cpu, took


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    given = options("expiry", long_help="30 s instead of 10 s of load").parse_args(arguments)
    profiles, seconds = 100_000, 30.0 if given.long else 10.0
    report = Report(f"{profiles:,} customers leave an audience by the clock, while {PACE:,} events a second come")
    with working_folder(given.folder) as folder:
        quiet, *_ = measured(folder / "quiet", profiles=profiles, seconds=seconds, due=False)
        busy, _, took = measured(folder / "due", profiles=profiles, seconds=seconds, due=True)
    report.note(f"nobody due: really {quiet.rate:,.0f}/s, {quiet.times()}")
    report.note(f"everybody due: really {busy.rate:,.0f}/s, {busy.times()}; the last one left after {took:.1f} s")
    report.line("acknowledgement p99, of that with nobody due", busy.p99 / quiet.p99, at_most=1.2)
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
