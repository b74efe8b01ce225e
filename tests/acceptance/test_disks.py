"""Promise P3: a full, failing, read-only or slow disk means no acknowledgement, and no restart once the cause is gone."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance.checks import run_verify, shortcomings
from tests.acceptance.daemons import HOLDING, asking, daemon, mutant, start_fault
from tests.acceptance.senders import Ledger, Load
from tests.acceptance.workload import CONFIG

SEED = int(os.environ.get("CDMD_SEED", "20261124"))
_BACK = 5.0
_OWN = '[journal]\nprocess = "own"\n'

pytestmark = [pytest.mark.acceptance]
in_either_way = pytest.mark.parametrize("own", [False, True], ids=["a thread writes", "a process of its own writes"])
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="failing calls are injected with strace")
Injected = Callable[[str], list[str]]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB, where a tmpfs can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "cdmd-test", str(place)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


def _on(place: Path, folder: Path, *, reserve: str, plugins: Sequence[str] = (), own: bool = False) -> DaemonProcess:
    journal = f'{_OWN if own else "[journal]"}\nreserve = "{reserve}"\n'
    config = f'[daemon]\nstate_dir = "{place}/state"\n{journal}{CONFIG}'
    one = daemon(folder / "daemon", plugins=[HOLDING, *plugins], config=config)
    one.state_dir = place / "state"
    return one


@contextmanager
def _started(one: DaemonProcess, folder: Path, rule: str, *, database: str = "journal") -> Iterator[DaemonProcess]:
    files = [one.state_dir / f"{database}.db{suffix}" for suffix in ("", "-wal")]
    one.start(wrapper=_injecting(folder, rule, files))
    with ExitStack() as stack:
        stack.push(one.__exit__)
        yield one


def _injecting(folder: Path, rule: str, files: Sequence[Path]) -> list[str]:
    """strace in the background, so that the process is the daemon and not strace; ``rule`` counts calls on ``files``."""
    traced = ["-e", f"trace={rule.partition(':')[0]}", "-e", f"inject={rule}", *[f"--trace-path={file}" for file in files]]
    return ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", str(folder / "calls"), *traced]


def _fill(place: Path) -> Path:
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def _wait_for(what: Callable[[], Any], *, seconds: float) -> Any:
    until = monotonic() + seconds
    while not (found := what()) and monotonic() < until:
        threading.Event().wait(0.05)
    return found


def _refusing(ledger: Ledger, *, seconds: float) -> bool:
    before = ledger.answers.get(503, 0)
    return bool(_wait_for(lambda: ledger.answers.get(503, 0) > before, seconds=seconds))


def _named(one: DaemonProcess) -> list[str]:
    """What the status warns of; it has to answer in time."""
    began = monotonic()
    status = asking(one).get("/v1/status")
    assert monotonic() - began < 10
    assert status["state"] in {"running", "degraded"}
    warnings: list[str] = status["warnings"]
    return warnings


def _silent(ledger: Ledger, *, seconds: float) -> bool:
    """Whether nothing is acknowledged for so long, while the senders go on."""
    return ledger.acknowledgement_after(monotonic(), seconds=seconds) is None


def test_below_its_reserve_nothing_is_acknowledged_and_above_it_all_is_again(tmp_path: Path, small_disk: Path) -> None:
    ledger = Ledger()
    with Load(ledger, seed=SEED, pause=0.005) as load, _on(small_disk, tmp_path, reserve="4MiB") as one:
        load.to(one.url)
        assert ledger.acknowledgement_after(0.0, seconds=60)
        filler = _fill(small_disk)
        assert _wait_for(lambda: any("journal.reserve" in line for line in _named(one)), seconds=60), _named(one)
        assert _refusing(ledger, seconds=60)
        assert _silent(ledger, seconds=0.7)
        filler.unlink()
        gone = monotonic()
        assert ledger.acknowledgement_after(gone, seconds=_BACK), _named(one)
        assert load.settle(seconds=60)
        assert shortcomings(one, ledger.promised()) == []
    assert ledger.without_retry_after == 0


def _full(folder: Path, place: Path, *, plugins: Sequence[str] = (), own: bool = False) -> list[str]:
    """A disk without a byte left, and then with some again; what was lost or wrong."""
    ledger = Ledger()
    with Load(ledger, seed=SEED) as load, _on(place, folder, reserve="0B", plugins=plugins, own=own) as one:
        load.to(one.url)
        assert ledger.acknowledgement_after(0.0, seconds=60)
        filler = _fill(place)
        assert _refusing(ledger, seconds=60)
        assert _wait_for(lambda: any("full" in line for line in _named(one)), seconds=60), _named(one)
        assert one.process is not None
        pid = one.process.pid
        filler.unlink()
        came = ledger.acknowledgement_after(monotonic(), seconds=_BACK)
        findings = [] if came else ["it does not acknowledge again"]
        findings += [] if load.settle(seconds=60) else ["not everything was acknowledged in the end"]
        assert one.process.pid == pid
        assert one.process.poll() is None
        findings += shortcomings(one, ledger.promised())
    return findings + ([f"{ledger.without_retry_after} refusals without Retry-After"] if ledger.without_retry_after else [])


@in_either_way
def test_a_full_disk_loses_nothing_and_is_recovered_from_without_a_restart(tmp_path: Path, small_disk: Path, own: bool) -> None:
    assert _full(tmp_path, small_disk, own=own) == []


def test_a_full_disk_catches_a_daemon_that_remembers_an_id_before_its_commit(tmp_path: Path, small_disk: Path) -> None:
    findings = _full(tmp_path, small_disk, plugins=[mutant("remember_early")])
    assert any("is missing" in finding for finding in findings), findings


@pytest.mark.parametrize("used", [True, False], ids=["used before", "new"])
def test_a_start_on_a_full_disk_ends_with_a_sentence(tmp_path: Path, small_disk: Path, used: bool) -> None:
    one = _on(small_disk, tmp_path, reserve="0B")
    if used:
        with one:
            one.stop()
    _fill(small_disk)
    said = start_fault(one)
    if said is None:  # nothing had to be written: it may run, and then it has to stop
        one.stop()
    else:
        assert one.process is not None
        assert one.process.returncode == 1
        assert "Traceback" not in said
        assert str(small_disk) in said
    assert "Traceback" not in run_verify(one).stderr


def test_a_start_on_a_read_only_disk_ends_with_a_sentence(tmp_path: Path, small_disk: Path) -> None:
    one = _on(small_disk, tmp_path, reserve="0B")
    with one:
        one.stop()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    said = start_fault(one)
    assert said is not None
    assert one.process is not None
    assert one.process.returncode == 1
    assert "Read-only file system" in said
    assert "Traceback" not in said
    assert "Traceback" not in run_verify(one).stderr


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    ledger = Ledger()
    one = daemon(tmp_path / "daemon")
    with Load(ledger, seed=SEED) as load, one:
        assert one.process is not None
        load.to(one.url)
        assert ledger.acknowledgement_after(0.0, seconds=60)
        subprocess.run(["prlimit", f"--pid={one.process.pid}", "--fsize=16384:unlimited"], check=True)
        assert _refusing(ledger, seconds=60)
        assert _wait_for(lambda: _named(one), seconds=60)
        assert _silent(ledger, seconds=0.5)
        subprocess.run(["prlimit", f"--pid={one.process.pid}", "--fsize=unlimited:unlimited"], check=True)
        assert ledger.acknowledgement_after(monotonic(), seconds=_BACK), _named(one)
        assert load.settle(seconds=60)
        assert shortcomings(one, ledger.promised()) == []
    assert ledger.without_retry_after == 0


@needs_strace
@in_either_way
@pytest.mark.parametrize(
    "rule",
    ["fdatasync:error=EIO:when=40..48", "pwrite64:error=EROFS:when=300..330"],
    ids=["sync fails", "read-only"],
)
def test_a_disk_that_fails_for_a_while_takes_nothing_acknowledged_with_it(tmp_path: Path, rule: str, own: bool) -> None:
    ledger = Ledger()
    one = daemon(tmp_path / "daemon", config=CONFIG + _OWN if own else CONFIG)
    with Load(ledger, seed=SEED) as load, _started(one, tmp_path, rule):
        load.to(one.url)
        assert ledger.acknowledgement_after(0.0, seconds=60)
        assert _refusing(ledger, seconds=60)
        failed = monotonic()
        assert ledger.acknowledgement_after(failed, seconds=_BACK)
        assert load.settle(seconds=60)
        assert shortcomings(one, ledger.promised()) == []
    assert ledger.without_retry_after == 0


@needs_strace
@pytest.mark.parametrize(
    "rule", ["fdatasync:error=EIO:when=40+", "pwrite64:error=EROFS:when=300+"], ids=["sync fails", "read-only"]
)
def test_a_disk_that_fails_for_good_is_named_and_never_acknowledged_on(tmp_path: Path, rule: str) -> None:
    ledger = Ledger()
    one = daemon(tmp_path / "daemon")
    with Load(ledger, seed=SEED, pause=0.005) as load, _started(one, tmp_path, rule):
        load.to(one.url)
        assert ledger.acknowledgement_after(0.0, seconds=60)
        assert _refusing(ledger, seconds=60)
        assert _silent(ledger, seconds=1.0)
        warnings = _named(one)
        assert any("the journal cannot" in line and "SQLITE_IOERR" in line for line in warnings), warnings
        load.hold()
        began = monotonic()
        one.stop(seconds=60)
        assert monotonic() - began < 30
        assert "Traceback" not in one.log_file.read_text()
        with one:
            load.to(one.url)
            assert load.settle(seconds=60)
            assert shortcomings(one, ledger.promised()) == []
    assert ledger.without_retry_after == 0


@needs_strace
def test_a_store_that_fails_for_a_while_is_named_and_holds_up_no_acknowledgement(tmp_path: Path) -> None:
    ledger = Ledger()
    one = daemon(tmp_path / "daemon")
    rule = "pwrite64:error=EIO:when=150..154"  # beyond what the making of a new store writes
    with Load(ledger, seed=SEED) as load, _started(one, tmp_path, rule, database="store"):
        load.to(one.url)
        warnings = _wait_for(lambda: _named(one), seconds=60)
        assert any("the store cannot" in line for line in warnings), warnings
        assert ledger.acknowledgement_after(monotonic(), seconds=60)
        assert ledger.answers.get(503, 0) == 0
        assert load.settle(seconds=60)
        assert shortcomings(one, ledger.promised()) == []


@needs_strace
def test_a_slow_disk_slows_the_answers_and_nothing_else(tmp_path: Path) -> None:
    ledger = Ledger()
    one = daemon(tmp_path / "daemon")
    with Load(ledger, seed=SEED) as load, _started(one, tmp_path, "fdatasync:delay_enter=200000"):
        load.to(one.url)
        for _ in range(5):
            assert ledger.acknowledgement_after(monotonic(), seconds=60)
            _named(one)
        assert ledger.answers.get(503, 0) == 0
        sys.stdout.write(f"{len(ledger.acknowledged)} acknowledged on a disk that takes 200 ms to sync\n")
        assert load.settle(seconds=60)
        assert shortcomings(one, ledger.promised()) == []


def _filled(one: DaemonProcess, events: int = 300) -> None:
    """Some megabytes, so that a backup is one, too."""
    for number in range(events):
        one.send(
            "/hooks/open",
            {"id": f"b{number}", "type": "big", "identifiers": {"email": "a@b.se"}, "data": {"x": os.urandom(4000).hex()}},
        )
    one.settle()


def _backup_config(state: Path, reserve: str) -> str:
    own = '[connectors.open]\ntype = "webhook"\nverify = "none"\n'
    return f'[daemon]\nstate_dir = "{state}"\n[journal]\nreserve = "{reserve}"\n{own}'


def test_a_backup_to_a_disk_that_is_too_small_leaves_nothing_there_and_says_what_to_do(
    tmp_path: Path, small_disk: Path
) -> None:
    """Seen to fail when nobody asked beforehand: that disk was written full first, and others write there, too."""
    with DaemonProcess(tmp_path, _backup_config(tmp_path / "state", "1MiB")) as one:
        _filled(one)
        filler = small_disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 2**20))
        done = one.cdmctl("backup", str(small_disk / "kept.tar"), check=False)
        assert done.returncode == 1
        assert f"there are 1 MiB in {small_disk}: make room or name a file on another disk; nothing was written" in done.stderr
        assert os.listdir(small_disk) == ["filler"]  # noqa: PTH208
        one.send("/hooks/open", {"id": "after", "type": "small"})
        filler.unlink()
        assert one.cdmctl("backup", str(small_disk / "kept.tar")).returncode == 0


def test_a_backup_never_takes_the_room_that_the_journal_needs(tmp_path: Path, small_disk: Path) -> None:
    """Seen to fail without the look beforehand: its copies took the disk below the reserve, and nothing was acknowledged."""
    with DaemonProcess(tmp_path, _backup_config(small_disk / "state", "6MiB")) as one:
        _filled(one)
        free = shutil.disk_usage(small_disk).free
        (small_disk / "filler").write_bytes(bytes(free - 8 * 2**20))
        done = one.cdmctl("backup", str(tmp_path / "kept.tar"), check=False)
        assert done.returncode == 1
        assert "beyond journal.reserve: make room" in done.stderr
        assert not (tmp_path / "kept.tar").exists()
        assert not list((small_disk / "state").glob("scratch*"))
        for number in range(20):
            one.send("/hooks/open", {"id": f"after{number}", "type": "small"})
        assert one.ask("status")["state"] == "running"
