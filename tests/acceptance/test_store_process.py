"""Promises P1, P2 and P9 where the store is written by a process of its own: either of the two is killed at any moment."""

import os
import random
import signal
import sys
import threading
from pathlib import Path

import pytest

from cdmd.control.client import Client
from cdmd.testing import DaemonProcess
from tests.acceptance.checks import shortcomings
from tests.acceptance.daemons import HOLDING, daemon
from tests.acceptance.killing import kill_often
from tests.acceptance.senders import Ledger, Load
from tests.acceptance.workload import CONFIG
from tests.sizes import size

KILLS = size("CDMD_STORE_KILLS", short=4, long=300)
OWN = f'{CONFIG}\n[store]\nprocess = "own"\n'

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60 + 4 * KILLS)]


def test_nothing_is_lost_or_doubled_when_the_daemon_is_killed(tmp_path: Path) -> None:
    report = kill_often(tmp_path, kills=KILLS, seed=7, config=OWN)
    sys.stdout.write(f"{report}\n")
    assert not report.findings, str(report)


def test_nothing_is_lost_or_doubled_when_the_stores_process_is_killed_and_it_is_started_again(tmp_path: Path) -> None:
    chance, ledger, seen = random.Random(7), Ledger(), list[int]()
    one = daemon(tmp_path, plugins=[HOLDING], config=OWN)
    with Load(ledger, seed=7, senders=4) as load, one:
        load.to(one.url)
        for _ in range(KILLS):
            ledger.acknowledgement_after(0.0, seconds=60)
            threading.Event().wait(chance.uniform(0.05, 0.6))
            seen.append(_writer(one, without=seen))
            os.kill(seen[-1], signal.SIGKILL)
        assert load.settle(seconds=60)
        last = _writer(one, without=seen)
        assert shortcomings(one, ledger.promised(), seconds=60) == []
    assert set(ledger.answers) == {200}, "an acknowledgement depends on the journal only"
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)


def _writer(one: DaemonProcess, *, without: list[int]) -> int:
    """The process that writes the store, another than these."""
    for _ in range(1000):
        found = Client([str(one.socket)]).get("/v1/status")["store"]["process"]
        if found is not None and found not in without:
            return int(found)
        threading.Event().wait(0.02)
    raise AssertionError("no process was started")
