"""A plugin's own connectors, extension, command and hooks, installed beside the real daemon and used from outside."""

import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance import probe_plugin

CONFIG = """
[connectors.clock]
type = "ticker"
first = 7
[connectors.door]
type = "bell"
token = "env:BELL"
[plugins.probe]
stamp = "ok"
"""


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DaemonProcess]:
    """The daemon with the plugin installed: its module and its metadata on the path, as pip leaves them."""
    site = tmp_path / "site"
    metadata = site / "probe-0.3.dist-info"
    metadata.mkdir(parents=True)
    shutil.copy(probe_plugin.__file__, site / "probe_plugin.py")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: probe\nVersion: 0.3\n")
    (metadata / "entry_points.txt").write_text("[cdmd]\nprobe = probe_plugin\n")
    monkeypatch.chdir(tmp_path)
    paths = [str(site), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {"BELL": "ding", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with DaemonProcess(tmp_path, CONFIG, environment=environment) as running:
        yield running


def eventually(look: Callable[[], Any]) -> Any:
    """What ``look`` gives once it gives something; looked at for half a minute."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := look():
            return found
    raise TimeoutError("it never came")


def connector(daemon: DaemonProcess, name: str) -> dict[str, Any]:
    return next(row for row in daemon.ask("connectors") if row["name"] == name)


def test_a_plugins_pull_connector_fetches_idles_is_woken_and_goes_on_where_it_was(daemon: DaemonProcess) -> None:
    eventually(lambda: connector(daemon, "clock")["applied"] == 1)
    eventually(lambda: connector(daemon, "clock")["detail"] == "1 looks so far")
    daemon.cdmctl("poll", "clock")
    eventually(lambda: connector(daemon, "clock")["applied"] == 2)
    assert daemon.ask("profile", "show", "email:joe@example.com")["traits"] == {"ticks": 8}
    daemon.kill()
    daemon.start()
    eventually(lambda: connector(daemon, "clock")["applied"] == 3)
    assert daemon.ask("profile", "show", "email:joe@example.com")["traits"] == {"ticks": 9}


def test_a_plugins_push_connector_answers_its_route_and_its_extension_decides(daemon: DaemonProcess) -> None:
    headers = {"x-token": "ding"}
    with httpx.Client(base_url=daemon.url, headers=headers) as client:
        for name in ("ann@example.com", "drop@example.com", "reject@example.com"):
            assert client.put("/bells/door", content=name).text == "Accepted"
        assert client.post("/bells/door", content="x", headers={"x-token": "dong"}).status_code == 401
        assert client.get("/bells/door").headers["allow"] == "POST, PUT"
        assert client.post("/bells/door", content="x" * 101).status_code == 413
    row = eventually(lambda: (found := connector(daemon, "door"))["backlog"] == 0 and found)
    assert (row["received"], row["refused"], row["accepted"], row["applied"]) == (6, 3, 3, 1)
    assert (row["filtered"], row["dead_letters"]) == (1, 1)
    (activity,) = daemon.ask("profile", "show", "email:ann@example.com")["activities"]
    assert activity["data"] == {"stamp": "ok"}
    (letter,) = daemon.ask("dead-letters")
    assert (letter["source"], letter["message"]) == ("door", "probe.stamped: not right")


def test_a_plugin_is_a_row_its_command_is_found_and_its_hooks_are_called(daemon: DaemonProcess, tmp_path: Path) -> None:
    row = next(row for row in daemon.ask("plugins") if row["name"] == "probe")
    assert (row["version"], row["state"], row["error"]) == ("0.3", "enabled", None)
    assert row["brings"] == ["connector ticker", "connector bell", "extension probe.stamped"]
    assert daemon.ask("status")["state"] == "running"
    assert daemon.cdmctl("ring").stdout == "rung\n"
    assert "env:BELL" in daemon.cdmctl("config", "show").stdout
    assert daemon.stop() == 0
    assert (tmp_path / "probe.log").read_text().split() == ["startup", "shutdown"]


def test_all_about_a_plugin_is_shown_with_what_its_extensions_took_and_its_settings(daemon: DaemonProcess) -> None:
    with httpx.Client(base_url=daemon.url, headers={"x-token": "ding"}) as client:
        client.put("/bells/door", content="ann@example.com")
    daemon.settle()
    shown = daemon.ask("plugins", "info", "probe")
    (extension,) = shown["extensions"]
    assert (extension["name"], extension["on"], extension["on_failure"]) == ("probe.stamped", ["bell.*", "tick"], "store")
    assert (shown["calls"], shown["failures"]) == (extension["calls"], 0) == (2, 0)
    assert 0.01 < extension["seconds"] < 30
    assert "probe.stamped" in daemon.cdmctl("plugins", "info", "probe").stdout
    example = tomllib.loads(daemon.cdmctl("plugins", "info", "probe", "--example").stdout.replace("\n# ", "\n"))
    assert example["plugins"] == {"probe": {"stamp": "none"}}
    assert example["connectors"]["ticker"] == {"type": "ticker", "first": 1, "counted": "ticks"}
    unknown = daemon.cdmctl("plugins", "info", "nobody", check=False)
    assert (unknown.returncode, "there is no plugin nobody" in unknown.stderr) == (4, True)


def test_a_mistake_in_a_plugins_own_table_is_in_its_row_and_stops_nobody(daemon: DaemonProcess) -> None:
    daemon.stop()
    daemon.configure(CONFIG.replace("stamp =", "stmp ="))
    with daemon:
        row = next(row for row in daemon.ask("plugins") if row["name"] == "probe")
    assert (row["state"], row["error"]) == ("bad config", "plugins.probe.stmp: unknown key (did you mean stamp?)")


def test_a_plugins_settings_are_checked_like_ours(daemon: DaemonProcess) -> None:
    daemon.configure('[connectors.clock]\ntype = "ticker"\nfrist = 7\n[connectors.door]\ntype = "bell"\n')
    command = [sys.executable, "-m", "cdmd", "check", "--config", str(daemon.config_file)]
    checked = subprocess.run(command, capture_output=True, text=True, env=daemon.environment, check=False, timeout=60)
    assert checked.returncode == 6
    assert f"{daemon.config_file}: connectors.clock.frist: unknown key (did you mean first?)" in checked.stderr
    assert f"{daemon.config_file}: connectors.door.token: missing key" in checked.stderr


def test_a_plugin_that_cannot_be_imported_takes_only_its_own_connectors_down(daemon: DaemonProcess, tmp_path: Path) -> None:
    daemon.stop()
    (tmp_path / "site" / "probe_plugin.py").write_text("import no_such_module\n")
    daemon.configure(CONFIG + '[connectors.shop]\ntype = "webhook"\nverify = "none"\n')
    with daemon, httpx.Client(base_url=daemon.url) as client:
        assert client.post("/hooks/shop", json={"type": "x"}).json() == {"accepted": 1, "filtered": 0}
        held = client.post("/hooks/door", content="ann@example.com")
        assert (held.status_code, held.headers["retry-after"]) == (503, "60")
        status = daemon.ask("status")
        states = {row["name"]: row["state"] for row in status["connectors"]}
        assert (status["state"], states) == ("degraded", {"clock": "failed", "door": "failed", "shop": "running"})
        assert "the module no_such_module, which is not installed" in connector(daemon, "clock")["error"]
        reloaded = daemon.cdmctl("reload", check=False)
        assert (reloaded.returncode, "no_such_module" in reloaded.stdout) == (1, True)
        assert client.post("/hooks/shop", json={"type": "x"}).status_code == 200
