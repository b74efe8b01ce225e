"""Promises P1, P2 and P9 under kill -9, and the mutants that show that these tests bite."""

import os
import sys
from pathlib import Path

import pytest

from tests.acceptance.daemons import mutant
from tests.acceptance.killing import kill_often, kill_until_found
from tests.sizes import size

KILLS = size("CDMD_KILLS", short=16, long=1000)
SEED = int(os.environ.get("CDMD_SEED", "20261124"))

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60 + 3 * KILLS)]


def test_nothing_acknowledged_is_lost_and_nothing_has_a_double_effect_however_often_the_daemon_is_killed(
    tmp_path: Path,
) -> None:
    report = kill_often(tmp_path, kills=KILLS, seed=SEED)
    sys.stdout.write(f"{report}\n")
    assert not report.findings, str(report)
    assert report.kills == KILLS
    # How soon is for the bench: what is promised is two seconds, on a machine that does nothing else.
    assert max(report.restarts) < 60.0, str(report)


@pytest.mark.parametrize(
    ("name", "each", "kills", "said"),
    [
        ("acknowledge_early", 3, 24, "neither journal nor store"),
        ("remember_early", 6, 72, "neither journal nor store"),
        ("position_first", 3, 24, "should have"),
        ("effects_first", 3, 24, "should have"),
        ("apply_twice", 2, 8, "times an activity is too much"),
        ("prune_journaled", 3, 24, "neither journal nor store"),
    ],
)
def test_the_loop_catches_a_daemon_that(tmp_path: Path, name: str, each: int, kills: int, said: str) -> None:
    report = kill_until_found(tmp_path, kills=kills, each=each, seed=SEED, plugins=[mutant(name)], said=said)
    sys.stdout.write(f"{name}: {report.findings[:1]} with {report}\n"[:300] + "\n")
    assert any(said in finding for finding in report.findings), str(report)
