"""Promise P1 on a real ext4: it is shut down under a loaded daemon without flushing anything, and mounted again."""

import fcntl
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.acceptance.checks import lost, shortcomings
from tests.acceptance.daemons import HOLDING, daemon, mutant
from tests.acceptance.recording import HURRIED, HURRYING
from tests.acceptance.senders import Ledger, Load
from tests.sizes import size

CUTS = size("CDMD_CUTS", short=6, long=200)
SEED = int(os.environ.get("CDMD_SEED", "20261124"))
_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSHING_THE_LOG = 2
_MIB = 64

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60 + 6 * CUTS)]


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=60)


@contextmanager
def _mounted(image: Path, folder: Path) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    _run("mount", "-o", "loop,commit=1", image, folder)
    try:
        yield folder
    finally:
        _run("umount", folder)


def _power_off(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(handle, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSHING_THE_LOG))
    finally:
        os.close(handle)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A file with an ext4 in it that can be mounted and shut down here; else the test is skipped."""
    path = tmp_path / "disk"
    if os.geteuid() != 0:
        pytest.skip("mounting a loop device needs root")
    try:
        with path.open("wb") as file:
            file.truncate(_MIB * 2**20)
        _run("mkfs.ext4", "-q", "-F", path)
        with _mounted(path, tmp_path / "trial") as folder:
            _power_off(folder)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no loop device with an ext4 that can be shut down here: {type(error).__name__}")
    return path


def _cut_often(folder: Path, image: Path, *, cuts: int, plugins: Sequence[str] = ()) -> tuple[list[str], int]:
    """What was lost, and how many events had been acknowledged."""
    chance, ledger, findings, checked = Random(SEED), Ledger(), list[str](), 0
    place = folder / "mounted"
    config = f'[daemon]\nstate_dir = "{place}/state"\n' + HURRIED
    one = daemon(folder / "daemon", plugins=[HOLDING, HURRYING, *plugins], config=config)
    one.state_dir = place / "state"
    with Load(ledger, seed=SEED) as load:
        for _ in range(cuts):
            with _mounted(image, place), one:
                ledger.cut_off(now=False)
                load.to(one.url)
                ledger.acknowledgement_after(ledger.last_acknowledgement, seconds=60)
                threading.Event().wait(chance.uniform(0.05, 0.5))
                # A sync that is under way while the file system is shut down may come back as if it had worked.
                ledger.cut_off(now=True)
                _power_off(place)
                threading.Event().wait(0.02)
                one.kill()
                load.hold()
            with _mounted(image, place):
                promised = ledger.promised()
                findings += lost(one.state_dir, promised[checked:])
                checked = len(promised)
            if findings:
                return findings, checked
        with _mounted(image, place), one:
            ledger.cut_off(now=False)
            load.to(one.url)
            findings += [] if load.settle(seconds=60) else ["not everything was acknowledged in the end"]
            findings += shortcomings(one, ledger.promised())
    return findings, len(ledger.acknowledged)


def test_a_file_system_that_goes_away_takes_nothing_acknowledged_with_it(tmp_path: Path, image: Path) -> None:
    findings, acknowledged = _cut_often(tmp_path, image, cuts=CUTS)
    sys.stdout.write(f"seed {SEED}: {CUTS} cuts of a real ext4, {acknowledged} acknowledged, {len(findings)} findings\n")
    assert not findings, "\n".join(findings)
    assert acknowledged > 20 * CUTS


def test_real_cuts_catch_a_journal_that_does_not_sync_its_commits(tmp_path: Path, image: Path) -> None:
    findings, acknowledged = _cut_often(tmp_path, image, cuts=10, plugins=[mutant("lazy_sync")])
    sys.stdout.write(f"lazy_sync, {acknowledged} acknowledged: {findings}\n")
    assert findings
