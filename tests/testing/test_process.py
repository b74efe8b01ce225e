"""The real daemon as plugin authors start it."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import cdmd.testing
from cdmd.errors import CdmdError
from cdmd.testing import DaemonProcess

CONFIG = """
[connectors.shop]
type = "webhook"
verify = "none"
event = { id = "{id}", type = "order.paid", identifiers = { email = "{email}" } }
"""
EVENT = {"id": "1", "email": "joe@example.com"}


def test_it_starts_takes_an_event_shows_it_and_stops(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, CONFIG) as daemon:
        assert daemon.send("/hooks/shop", EVENT) == {"accepted": 1, "filtered": 0}
        daemon.settle(held=True)
        assert daemon.ask("profile", "show", "email:joe@example.com")["identifiers"][0]["value"] == "joe@example.com"
        assert daemon.control.get("/v1/status")["totals"]["events"] == 1
        assert daemon.stop() == 0
        assert daemon.url == ""


def test_it_may_be_killed_and_started_again_on_what_it_left(tmp_path: Path) -> None:
    daemon = DaemonProcess(tmp_path, CONFIG)
    with daemon:
        daemon.send("/hooks/shop", EVENT)
        assert daemon.kill() is None
        with pytest.raises(CdmdError, match="does not run"):
            daemon.send("/hooks/shop", EVENT)
    with daemon:
        daemon.settle()
        assert daemon.ask("status")["totals"]["events"] == 1


def test_an_answer_other_than_200_is_an_error_with_its_status(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, CONFIG) as daemon:
        with pytest.raises(CdmdError, match="/hooks/shop answered 400"):
            daemon.send("/hooks/shop", b"{")
        with pytest.raises(CdmdError, match="/nowhere answered 404"):
            daemon.send("/nowhere", {})
        assert daemon.process is not None
        daemon.process.kill()
        daemon.process.wait(60)
        with pytest.raises(CdmdError, match="cannot be reached"):
            daemon.send("/hooks/shop", EVENT)


def test_a_configuration_that_is_wrong_ends_with_what_the_daemon_said(tmp_path: Path) -> None:
    with pytest.raises(CdmdError, match="shopp"):
        DaemonProcess(tmp_path, '[connectors.a]\ntype = "shopp"\n').start()


def test_a_daemon_that_hangs_at_its_start_is_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import threading; threading.Event().wait()"]
    hanging = DaemonProcess(tmp_path, command=command, patience=0.5)
    begun = time.monotonic()
    with pytest.raises(CdmdError, match="did not start"):
        hanging.start()
    assert time.monotonic() - begun < 40
    assert hanging.process is not None
    assert hanging.process.returncode == -signal.SIGKILL


def test_what_never_started_cannot_be_stopped(tmp_path: Path) -> None:
    with pytest.raises(CdmdError, match="was not started"):
        DaemonProcess(tmp_path).kill()
    with pytest.raises(CdmdError, match="does not run"):
        DaemonProcess(tmp_path).send("/", {})


def test_settling_has_a_deadline_and_names_what_is_open(tmp_path: Path) -> None:
    plugin = tmp_path / "waits.py"
    plugin.write_text(
        "import cdmd\n\n@cdmd.extension(on='order.*')\nasync def wait(event, context):\n    raise cdmd.RetryLater(60)\n\n"
        "@cdmd.hookimpl\ndef cdmd_extensions():\n    return [wait]\n"
    )
    with DaemonProcess(tmp_path, CONFIG, plugins={"waits": "waits"}, paths=[tmp_path]) as daemon:
        assert {row["name"]: row["state"] for row in daemon.ask("plugins")} == {"builtin": "enabled", "waits": "enabled"}
        daemon.send("/hooks/shop", EVENT)
        daemon.settle()
        with pytest.raises(CdmdError, match="1 event"):
            daemon.settle(held=True, seconds=0.3)


def test_an_installed_plugin_is_not_announced_a_second_time(tmp_path: Path) -> None:
    info = tmp_path / "site" / "there-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: there\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[cdmd]\nthere = json\n")
    code = (
        "from pathlib import Path; from cdmd.testing import DaemonProcess; import sys;"
        "DaemonProcess(Path(sys.argv[1]), plugins={'there': 'json', 'new': 'json'})"
    )
    root = str(Path(cdmd.testing.__file__).parents[2])
    path = f"{tmp_path / 'site'}:{root}"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env={"PYTHONPATH": path}, check=True, timeout=60)
    (written,) = (tmp_path / "plugins").glob("*/entry_points.txt")
    assert written.read_text() == "[cdmd]\nnew = json\n"


def test_an_environment_of_its_own_reaches_the_daemon_and_files_a_reload(tmp_path: Path) -> None:
    verified = CONFIG.replace('verify = "none"', 'verify = "bearer"\nsecrets = ["env:SHOP"]')
    with DaemonProcess(tmp_path, verified, environment={"SHOP": "t0ken-of-the-shop"}) as daemon:
        with pytest.raises(CdmdError, match="401"):
            daemon.send("/hooks/shop", EVENT)
        assert daemon.send("/hooks/shop", EVENT, headers={"authorization": "Bearer t0ken-of-the-shop"})["accepted"] == 1
        daemon.configure(CONFIG)
        daemon.cdmctl("reload")
        assert daemon.send("/hooks/shop", EVENT)["accepted"] == 1


def test_who_reads_the_configuration_while_it_is_changed_reads_one_or_the_other_whole(tmp_path: Path) -> None:
    daemon = DaemonProcess(tmp_path, CONFIG)
    with daemon.config_file.open() as file:
        before = daemon.config_file.read_text()
        daemon.configure("")
        assert file.read() == before
    assert CONFIG in before
    assert CONFIG not in daemon.config_file.read_text()
    assert daemon.config_file.stat().st_mode & 0o777 == 0o600


def test_the_names_resolve_on_first_use_and_others_do_not() -> None:
    for name in cdmd.testing.__all__:
        assert getattr(cdmd.testing, name) is getattr(cdmd.testing, name)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = cdmd.testing.nonsense


def test_no_thread_is_left_of_a_start(tmp_path: Path) -> None:
    before = threading.active_count()
    with DaemonProcess(tmp_path, CONFIG):
        assert threading.active_count() == before
