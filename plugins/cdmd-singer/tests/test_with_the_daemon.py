"""The tap under the real daemon, which is killed while records come."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cdmd.testing import DaemonProcess

HERE = Path(__file__).parents[1]
CONFIG = """
[connectors.crm]
type = "singer"
command = ["{python}", "{tap}"]
config = {{ starts = "{starts}", numbers = {{ to = {to}, every = 7, pad = {pad}, pause = {pause}, told = "{told}" }} }}
secrets = {{ token = "env:TAP_TOKEN" }}
[connectors.crm.streams.contacts.event]
type = "contact"
identifiers = {{ customer_no = "c-{{n}}" }}
data = {{ n = "{{n}}" }}
"""


def daemon(folder: Path, *, to: int, pad: int = 1, pause: float = 0.0, command: Path | None = None) -> DaemonProcess:
    given = {
        "python": sys.executable,
        "tap": command or HERE / "tests" / "tap.py",
        "starts": folder / "starts",
        "told": folder / "told",
    }
    config = CONFIG.format(to=to, pad=pad, pause=pause, **given)
    paths = [HERE, HERE.parents[1]]
    environment = {"TAP_TOKEN": "s3cret-of-the-tap"}
    return DaemonProcess(folder, config, plugins={"singer": "cdmd_singer"}, paths=paths, environment=environment)


def eventually(look: Callable[[], Any], *, seconds: float = 25.0) -> Any:
    """What ``look`` finds once it finds something: asked of the daemon again and again until a deadline."""
    until, pause = time.monotonic() + seconds, threading.Event()
    while not (found := look()):
        assert time.monotonic() < until, "it did not happen in time"
        pause.wait(0.02)
    return found


def events(running: DaemonProcess) -> int:
    return int(running.control.get("/v1/status")["totals"]["events"])


def told(folder: Path, count: int) -> bool:
    """Whether the tap has told that many records; it does not wait for them to be stored."""
    file = folder / "told"
    return file.exists() and f"\n{count}\n" in file.read_text()


def row(running: DaemonProcess) -> Any:
    (found,) = [one for one in running.control.get("/v1/status")["connectors"] if one["name"] == "crm"]
    return found


@pytest.mark.timeout(120)
def test_nothing_is_lost_or_doubled_when_the_daemon_is_killed_while_records_come(tmp_path: Path) -> None:
    """The tap itself writes down which STATE it was started from: it must never be one that is ahead of the store."""
    to = 1000
    running = daemon(tmp_path, to=to, pad=30_000, pause=0.004)
    stored = [0]
    for share in (155, 365, 560, 740):
        with running:
            eventually(partial(told, tmp_path, share))
            running.kill()
        with DaemonProcess(tmp_path, environment=running.environment) as alone:  # without the connector: what is stored?
            alone.settle()
            stored.append(events(alone))
        running = daemon(tmp_path, to=to, pad=30_000, pause=0.004)
    with running:
        eventually(lambda: events(running) >= to)
        running.settle()
        assert events(running) == to
        assert row(running)["dead_letters"] == 0
        for n in (1, 7, 500, to):
            (only,) = running.ask("profile", "show", f"customer_no:c-{n}")["activities"]
            assert (only["source"], only["data"]) == ("crm.contacts", {"n": n})
    starts = [int(line) for line in (tmp_path / "starts").read_text().split()]
    assert len(starts) == 5
    assert all(start <= there for start, there in zip(starts, stored, strict=True)), (starts, stored)
    assert starts == sorted(starts)
    assert starts[-1] > 0, "a run goes on from where the last one was"


def test_a_tap_that_fails_shows_as_degraded_with_its_status_and_no_secret(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import json, sys\n"
        "token = json.load(open(sys.argv[sys.argv.index('--config') + 1]))['token']\n"
        "sys.stderr.write(token)\n"
        "sys.exit(f'refused: {token}')\n"
    )
    with daemon(tmp_path, to=1, command=bad) as running:
        error = eventually(lambda: row(running)["error"])
        assert "discovery: the tap ended with status 1" in error
        assert running.control.get("/v1/status")["state"] == "degraded"
        shown = json.dumps(running.ask("status")) + running.cdmctl("config", "show", check=False).stdout
        assert "s3cret" not in shown + running.log_file.read_text()


def test_a_tap_does_not_outlive_a_daemon_that_is_killed(tmp_path: Path) -> None:
    pids, running = tmp_path / "pids", daemon(tmp_path, to=1)
    wanted = f'steps = [["hang", "{pids}"]], starts = '
    running.configure(running.config_file.read_text().replace("starts = ", wanted))
    with running:
        eventually(pids.exists)
        running.kill()
    tap, child = pids.read_text().split()
    os.kill(int(child), signal.SIGKILL)  # what a tap itself started is not held to it
    stat = Path("/proc") / tap / "stat"
    eventually(lambda: not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_what_the_readme_shows_is_a_whole_configuration(tmp_path: Path) -> None:
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", (HERE / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    running = daemon(tmp_path, to=1)
    command = [sys.executable, "-m", "cdmd", "check", "--config", str(running.config_file)]
    for text, status in ((shown, 0), (shown.replace("secrets", "secretz"), 6)):
        running.configure(text.replace("credential:crm", "env:TAP_TOKEN"))
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=running.environment, timeout=60)
        assert done.returncode == status, done.stdout + done.stderr
    assert "connectors.crm.secretz" in done.stdout + done.stderr
