"""Suppliers' files with the real daemon and the real sshd: killed at any moment, no row is lost and none counts twice."""

import random
import threading
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from cdmd.testing import DaemonProcess
from tests.peers.sshd import MISSING, Sshd, sshd
from tests.sizes import size

KILLS, ROWS = size("CDMD_KILLS", short=8, long=200), 6_000

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.timeout(180 + 3 * KILLS),
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]
CONFIG = """
format = {{ type = "csv" }}
stable_for = "0s"
every = "1s"
{more}
[connectors.sup.event]
type = "customer.delivered"
identifiers = {{ email = "{{email}}" }}
data = {{ n = "{{n}}" }}
[connectors.shop]
type = "webhook"
verify = "none"
[indicators.rows]
on = ["customer.delivered"]
compute = "count"
"""


def configured(server: Sshd, area: Path, more: str = "") -> str:
    return server.connector(area) + CONFIG.format(more=more)


def rows(first: int, count: int) -> str:
    return "email,n\n" + "".join(f"u{number}@example.com,{number}\n" for number in range(first, first + count))


def row_of(one: DaemonProcess) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in one.control.get("/v1/status")["connectors"] if row["name"] == "sup")
    return found


def wait(holds: Any, *, seconds: float = 60.0) -> None:
    end, pause = monotonic() + seconds, threading.Event()
    while not holds():
        if monotonic() > end:
            raise TimeoutError("it does not come true")
        pause.wait(0.05)


def test_killed_at_any_moment_no_row_is_lost_and_none_counts_twice(tmp_path: Path) -> None:
    area, chance = tmp_path / "in", random.Random(1)
    area.mkdir()
    with sshd(tmp_path / "sshd") as server:
        one = DaemonProcess(tmp_path, configured(server, area), environment=server.environment)
        for number in range(3):
            (area / f"{number}.csv").write_text(rows(number * ROWS, ROWS))
        for _ in range(KILLS):
            one.start()
            threading.Event().wait(chance.uniform(0.3, 1.8))
            one.kill()
        with one:
            wait(lambda: row_of(one)["applied"] == 3 * ROWS)
            one.settle()
            found = row_of(one)
            counted = {key: found[key] for key in ("received", "accepted", "applied", "repeats", "dead_letters", "backlog")}
            assert counted == dict.fromkeys(("received", "accepted", "applied"), 3 * ROWS) | dict.fromkeys(
                ("repeats", "dead_letters", "backlog"), 0
            )
            wait(lambda: {row["state"] for row in one.ask("files")} == {"done"})
            for number in (0, ROWS, 3 * ROWS - 1):
                assert one.ask("profile", "show", f"email:u{number}@example.com")["indicators"] == {"rows": 1}


def on_the_disk(folder: Path, canary: bytes) -> list[str]:
    return [file.name for file in folder.rglob("*") if file.is_file() and canary in file.read_bytes()]


def test_of_a_file_about_everybody_only_rows_about_known_people_touch_the_disk(tmp_path: Path) -> None:
    area = tmp_path / "in"
    area.mkdir()
    with sshd(tmp_path / "sshd") as server:
        config = configured(server, area, 'known_only = true\nmax_bad = "100%"')
        with DaemonProcess(tmp_path, config, environment=server.environment) as one:
            one.send("/hooks/shop", {"type": "seen", "id": "1", "identifiers": {"email": "known@example.com"}})
            one.settle()
            strangers = "".join(f"canary{number}@example.com,{number}\n" for number in range(3000))
            (area / "all.csv").write_text("email,n\n" + strangers + "known@example.com,7\n" + "canary,with,too,many\n")
            wait(lambda: [row["state"] for row in one.ask("files")] == ["done"])
            one.settle()
            (found,) = one.ask("files")
            assert (found["accepted"], found["filtered"], found["bad"]) == (1, 3000, 1)
            assert one.ask("profile", "show", "email:known@example.com")["indicators"] == {"rows": 1}
            assert on_the_disk(one.state_dir, b"canary") == []
            assert b"canary" not in one.log_file.read_bytes()
        assert on_the_disk(one.state_dir, b"canary") == []


def test_a_host_key_that_changed_fails_its_connector_and_no_other(tmp_path: Path) -> None:
    area = tmp_path / "in"
    area.mkdir()
    (area / "a.csv").write_text(rows(0, 3))
    with sshd(tmp_path / "sshd") as server, sshd(tmp_path / "other", kinds=["ed25519"]) as other:
        config = configured(server, area).replace(server.fingerprint, other.fingerprint)
        with DaemonProcess(tmp_path, config, environment=server.environment) as one:
            wait(lambda: row_of(one)["state"] == "failed")
            assert f'write host_key = "{server.fingerprint}" into connectors.sup' in row_of(one)["error"]
            one.send("/hooks/shop", {"type": "seen", "id": "1", "identifiers": {"email": "joe@example.com"}})
            one.configure(configured(server, area))
            assert one.cdmctl("reload").returncode == 0
            wait(lambda: row_of(one)["applied"] == 3)
