"""Promises P1, P2 and P9 where the journal is written by a process of its own: either of the two is killed at any moment."""

import sys
from pathlib import Path

import pytest

from tests.acceptance.killing import kill_often, kill_writer_often
from tests.acceptance.workload import CONFIG
from tests.sizes import size

KILLS = size("CDMD_JOURNAL_KILLS", short=3, long=300)
OWN = f'{CONFIG}\n[journal]\nprocess = "own"\n'

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120 + 4 * KILLS)]


def test_nothing_is_lost_or_doubled_when_the_daemon_is_killed(tmp_path: Path) -> None:
    report = kill_often(tmp_path, kills=KILLS, seed=11, config=OWN)
    sys.stdout.write(f"{report}\n")
    assert not report.findings, str(report)


def test_nothing_is_lost_or_doubled_when_the_journals_process_is_killed_and_it_is_started_again(tmp_path: Path) -> None:
    ledger = kill_writer_often(tmp_path, part="journal", kills=KILLS, seed=11, config=OWN)
    assert set(ledger.answers) <= {200, 503}, "what is not known to be written is not acknowledged"
