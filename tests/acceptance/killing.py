"""The kill -9 loop: a loaded daemon is killed at random moments and started again, and nothing acknowledged may be gone.

``python -m tests.acceptance.killing --kills N --seed S`` runs it for as long as one likes.
"""

import os
import random
import signal
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple

import click
import pytest

from cdmd.control.client import Client
from cdmd.testing import DaemonProcess
from tests.acceptance.checks import lost, shortcomings
from tests.acceptance.daemons import HOLDING, daemon, start_fault
from tests.acceptance.senders import Ledger, Load
from tests.acceptance.workload import CONFIG

_EARLIEST: Final = 0.005
_LATEST: Final = 0.4
_FIRST_ACKNOWLEDGEMENT: Final = 10.0


def kill_until_found(folder: Path, *, kills: int, each: int, seed: int, plugins: Sequence[str], said: str) -> "Report":
    """Loops of ``each`` kills, every one on a state directory of its own, until a finding says ``said`` or all are done.

    A mutant may show first in another way: a lost event that an extension dropped is only a count that is short.
    """
    report = None
    for loop in range(kills // each):
        report = kill_often(folder / str(loop), kills=each, seed=seed + loop, plugins=plugins, settle=4)
        if any(said in finding for finding in report.findings):
            break
    assert report is not None
    return report


class Report(NamedTuple):
    """What came of a loop: ``findings`` is empty where nothing was lost or double; ``restarts`` in seconds to the first 2xx."""

    seed: int
    kills: int
    acknowledged: int
    restarts: Sequence[float]
    findings: Sequence[str]

    def __str__(self) -> str:
        times = sorted(self.restarts) or [0.0]
        figures = f"{times[len(times) // 2]:.2f} s in the middle, {times[-1]:.2f} s at most"
        said = f"seed {self.seed}: {self.kills} kills, {self.acknowledged} acknowledged, to first acknowledgement {figures}"
        return "\n".join([said, *(f"  {finding}" for finding in self.findings)])


def kill_often(
    folder: Path,
    *,
    kills: int,
    seed: int,
    plugins: Sequence[str] = (),
    senders: int = 4,
    settle: float = 20.0,
    config: str = CONFIG,
) -> Report:
    """Kill a daemon below ``folder`` so many times under load; ends at the first finding.

    ``settle`` is how long (seconds) it may work on what is left in the end.
    """
    chance, ledger = random.Random(seed), Ledger()
    one = daemon(folder, plugins=[HOLDING, *plugins], config=config)
    restarts: list[float] = []
    done, findings, checked = 0, list[str](), 0
    with Load(ledger, seed=seed, senders=senders) as load, one:
        load.to(one.url)
        ledger.acknowledgement_after(0.0, seconds=_FIRST_ACKNOWLEDGEMENT)
        while done < kills and not findings:
            threading.Event().wait(chance.uniform(_EARLIEST, _LATEST))
            one.kill()
            load.hold()
            done += 1
            promised = ledger.promised()
            findings += lost(one.state_dir, promised[checked:])
            checked = len(promised)
            began = monotonic()
            if findings or (fault := start_fault(one)):
                findings += [] if findings else [f"after a kill {fault}"]
                break
            load.to(one.url)
            came = ledger.acknowledgement_after(began, seconds=_FIRST_ACKNOWLEDGEMENT)
            restarts.append(_FIRST_ACKNOWLEDGEMENT if came is None else came - began)
            findings += [] if came is not None else ["nothing was acknowledged after a restart"]
        if not findings:
            findings += [] if load.settle(seconds=settle) else ["not everything was acknowledged in the end"]
            findings += shortcomings(one, ledger.promised(), seconds=settle)
    findings += [f"a sender was answered {status}" for status in ledger.answers if status not in {200, 503}]
    return Report(seed, done, len(ledger.acknowledged), restarts, findings)


def kill_writer_often(folder: Path, *, part: str, kills: int, seed: int, config: str) -> Ledger:
    """Kill the process of its own that writes ``part`` (store or journal) so often under load: nothing may be lost or double.

    What was answered comes back. The last process ends with the daemon.
    """
    chance, ledger, seen = random.Random(seed), Ledger(), list[int]()
    one = daemon(folder, plugins=[HOLDING], config=config)
    with Load(ledger, seed=seed, senders=4) as load, one:
        load.to(one.url)
        for _ in range(kills):
            ledger.acknowledgement_after(0.0, seconds=60.0)
            threading.Event().wait(chance.uniform(0.05, 0.6))
            seen.append(_writer(one, part, without=seen))
            os.kill(seen[-1], signal.SIGKILL)
        last = _writer(one, part, without=seen)  # another one is started when there is something to write
        assert load.settle(seconds=60.0)
        assert shortcomings(one, ledger.promised(), seconds=60.0) == []
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)
    return ledger


def _writer(one: DaemonProcess, part: str, *, without: Sequence[int]) -> int:
    """The process that writes it, another than these."""
    until = monotonic() + 60.0
    while monotonic() < until:
        found = Client([str(one.socket)]).get("/v1/status")[part]["process"]
        if found is not None and found not in without:
            return int(found)
        threading.Event().wait(0.02)
    raise TimeoutError("no process was started in time")


@click.command()
@click.option("--kills", default=30, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--senders", default=4, show_default=True)
@click.option("--plugin", multiple=True, help="A module with a mutant to load.")
def main(kills: int, seed: int, senders: int, plugin: tuple[str, ...]) -> None:
    """Kill it, say what came of it, and exit with 1 where something was lost or double."""
    with tempfile.TemporaryDirectory() as folder:
        report = kill_often(Path(folder), kills=kills, seed=seed, senders=senders, plugins=plugin)
    click.echo(str(report))
    raise SystemExit(1 if report.findings else 0)


if __name__ == "__main__":
    main()
