"""A damaged state directory is reported at the start or by ``verify``; it is never a traceback and never served as whole."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance.checks import run_verify
from tests.acceptance.daemons import daemon, start_fault, wait_until_applied
from tests.acceptance.looking import held
from tests.acceptance.senders import Ledger, Load

SEED = int(os.environ.get("CDMD_SEED", "20261124"))
DAMAGES = int(os.environ.get("CDMD_DAMAGES", "8"))
ADVICE = ("cdmd restore", "cdmd verify", "put the copy of keys/digest.key", "put your copy of it there")
_WAL_HEADER, _FRAME_HEADER, _PAGE = 32, 24, 4096

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60 + 3 * DAMAGES)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> DaemonProcess:
    """A daemon that was stopped, with some hundred events in its state directory."""
    return _filled(daemon(tmp_path_factory.mktemp("whole")), kill=False)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> DaemonProcess:
    """One that was killed when its mark was up to date: its write-ahead logs are still there."""
    return _filled(daemon(tmp_path_factory.mktemp("killed")), kill=True)


def _filled(one: DaemonProcess, *, kill: bool) -> DaemonProcess:
    ledger = Ledger()
    with Load(ledger, seed=SEED, pause=0.002) as load, one:
        load.to(one.url)
        threading.Event().wait(1.0)
        assert load.settle(seconds=60)
        wait_until_applied(one, seconds=60)
        if kill:
            _wait_for_mark(one)
            one.kill()
        else:
            one.stop()
    return one


def _wait_for_mark(one: DaemonProcess) -> None:
    """The timer writes it every second; its head is the daemon's once it reaches what the journal holds."""
    head = sum(held(one.state_dir).journal.values())
    for _ in range(100):
        if json.loads((one.state_dir / "mark").read_bytes())["head"] >= head:
            return
        threading.Event().wait(0.05)
    pytest.fail("the mark was not written")


def _copy(one: DaemonProcess, folder: Path) -> Path:
    shutil.copytree(one.state_dir, folder, ignore=shutil.ignore_patterns("*.sock"))
    return folder


def _opened(one: DaemonProcess, folders: list[Path]) -> list[dict[str, Any]]:
    """What the daemon makes of each; an end of another kind than ours fails here."""
    command = [sys.executable, "-m", "tests.acceptance.reopening", str(one.config_file), *map(str, folders)]
    ran = subprocess.run(command, capture_output=True, text=True, env=one.environment, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "Traceback" not in ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def _silently_less(found: dict[str, Any], activities: dict[str, int]) -> bool:
    return found["error"] is None and not found["faults"] and found["activities"] != activities


def _flip(file: Path, place: int, chance: Random) -> None:
    with file.open("r+b") as raw:
        raw.seek(place)
        old = raw.read(1)[0]
        raw.seek(place)
        raw.write(bytes([old ^ 1 << chance.randrange(8)]))


def _flip_event(file: Path, chance: Random) -> None:
    """One bit of an event's row, in every copy of it that the file holds (one of them is the row)."""
    content = file.read_bytes()
    connection = sqlite3.connect(file)
    table = "blocks" if file.name == "journal.db" else "activities"
    rows = [body for (body,) in connection.execute(f"SELECT body FROM {table}") if len(body) < 3000]
    connection.close()
    body = chance.choice(rows)
    inside, bit, found = chance.randrange(16, len(body)), 1 << chance.randrange(8), 0
    start = content.find(body)
    changed = bytearray(content)
    while start >= 0:
        changed[start + inside] ^= bit
        found, start = found + 1, content.find(body, start + 1)
    assert found
    file.write_bytes(changed)


@pytest.mark.parametrize("database", ["journal", "store"])
def test_every_flipped_bit_of_an_event_is_reported(tmp_path: Path, whole: DaemonProcess, database: str) -> None:
    chance, folders = Random(SEED), []
    for number in range(DAMAGES):
        folders.append(_copy(whole, tmp_path / str(number)))
        _flip_event(folders[-1] / f"{database}.db", chance)
    results = _opened(whole, folders)
    assert len(results) == DAMAGES
    for number, found in enumerate(results):
        assert found["error"] or found["faults"], f"seed {SEED}: nobody noticed damage {number}"
    command = [sys.executable, "-m", "cdmd", "verify", "--state-dir", str(folders[0])]
    verify = subprocess.run(command, capture_output=True, text=True, env=whole.environment, timeout=60, check=False)
    assert verify.returncode == 1
    assert "checksum" in verify.stdout
    assert "cdmd restore" in verify.stdout
    assert "Traceback" not in verify.stderr


def test_a_flipped_bit_in_the_live_write_ahead_log_never_shortens_the_journal_in_silence(
    tmp_path: Path, killed: DaemonProcess
) -> None:
    chance, folders, activities = Random(SEED), [], dict(held(killed.state_dir).activities)
    log = (killed.state_dir / "journal.db-wal").read_bytes()
    step = _FRAME_HEADER + _PAGE
    live = [at for at in range(_WAL_HEADER, len(log) - step + 1, step) if log[at + 8 : at + 16] == log[16:24]]
    assert live
    for number in range(DAMAGES):
        folders.append(_copy(killed, tmp_path / str(number)))
        _flip(folders[-1] / "journal.db-wal", chance.choice(live) + chance.randrange(step), chance)
    results = _opened(killed, folders)
    reported = sum(found["error"] is not None for found in results)
    sys.stdout.write(f"seed {SEED}: {reported} of {DAMAGES} flips in {len(live)} live frames reported at the start\n")
    assert [number for number, found in enumerate(results) if _silently_less(found, activities)] == []
    assert reported
    assert all("cdmd restore" in found["error"] for found in results if found["error"])


def test_the_harness_notices_a_journal_that_was_shortened_without_a_mark(tmp_path: Path, killed: DaemonProcess) -> None:
    folder, activities = _copy(killed, tmp_path / "state"), dict(held(killed.state_dir).activities)
    for name in ("mark", "store.db", "store.db-wal", "store.db-shm"):
        (folder / name).unlink(missing_ok=True)
    _flip(folder / "journal.db-wal", _WAL_HEADER + _FRAME_HEADER + 100, Random(SEED))
    assert _silently_less(_opened(killed, [folder])[0], activities)


def _cut(file: Path) -> None:
    with file.open("r+b") as raw:
        raw.truncate(file.stat().st_size // 2 // _PAGE * _PAGE)


def _cut_journal(state: Path) -> None:
    _cut(state / "journal.db")


def _cut_store(state: Path) -> None:
    _cut(state / "store.db")


def _empty_journal(state: Path) -> None:
    (state / "journal.db").write_bytes(b"")


def _no_database(state: Path) -> None:
    (state / "journal.db").write_bytes(b"this is no database at all" * 400)


def _no_journal(state: Path) -> None:
    (state / "journal.db").unlink()


def _no_journal_and_no_mark(state: Path) -> None:
    (state / "journal.db").unlink()
    (state / "mark").unlink()


def _no_key(state: Path) -> None:
    (state / "keys" / "digest.key").unlink()


def _torn_mark(state: Path) -> None:
    (state / "mark").write_bytes(b'{"journal_id":"')


@pytest.mark.parametrize(
    "damage",
    [_cut_journal, _cut_store, _empty_journal, _no_database, _no_journal, _no_journal_and_no_mark, _no_key, _torn_mark],
    ids=lambda damage: damage.__name__.strip("_").replace("_", " "),
)
def test_a_state_directory_that_is_not_whole_is_not_served(
    tmp_path: Path, whole: DaemonProcess, damage: Callable[[Path], None]
) -> None:
    one = daemon(tmp_path / "damaged")
    _copy(whole, one.state_dir)
    damage(one.state_dir)
    verify = run_verify(one)
    said = start_fault(one)
    try:
        assert "Traceback" not in verify.stderr
        if said is None:
            assert verify.returncode == 1, "it was started, and verify found nothing"
            return
        assert one.process is not None
        assert one.process.returncode == 1
        assert "Traceback" not in said
        assert any(what in said for what in ADVICE), said
    finally:
        if said is None:
            one.stop()


def test_the_journal_of_another_daemon_is_refused(tmp_path: Path, whole: DaemonProcess, killed: DaemonProcess) -> None:
    one = daemon(tmp_path / "mixed")
    _copy(whole, one.state_dir)
    for name in ("journal.db", "journal.db-wal"):
        shutil.copy(killed.state_dir / name, one.state_dir)
    said = start_fault(one)
    assert said is not None
    assert "is not the one" in said
    assert "cdmd restore" in said
    assert "Traceback" not in said
    (one.state_dir / "mark").unlink()
    again = start_fault(one)
    assert again is not None
    assert "belongs to another journal" in again


def test_a_store_that_is_gone_is_made_again_from_the_journal(tmp_path: Path, whole: DaemonProcess) -> None:
    folder, activities = _copy(whole, tmp_path / "state"), dict(held(whole.state_dir).activities)
    (folder / "store.db").unlink()
    (found,) = _opened(whole, [folder])
    assert (found["error"], found["faults"]) == (None, [])
    parked = set(found["parked"])
    assert found["activities"].keys() | parked >= activities.keys()
