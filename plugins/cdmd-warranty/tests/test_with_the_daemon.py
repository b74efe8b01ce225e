"""The plugin inside the real daemon, against a contract service that fails, is slow, is away and comes back."""

import json
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cdmd.testing import DaemonProcess

from .contracts import ContractService, Reply, terms

HERE = Path(__file__).parents[1]
CONFIG = """
[connectors.tv]
type = "webhook"
verify = "none"
[connectors.tv.event]
id = "{id}"
type = "tv.runtime"
identifiers = { customer_no = "{customer}", serial = "{serial}" }
data = { hours = "{hours}" }

[plugins.warranty]
"""


def daemon(
    folder: Path, settings: str, *, plugin: str = "warranty", module: str = "cdmd_warranty", **environment: str
) -> DaemonProcess:
    """The daemon with one plugin; only that is announced to it, under the name ``plugin``."""
    config = CONFIG.replace("plugins.warranty", f"plugins.{plugin}") + settings
    if plugin != "warranty":  # it may be installed here, and would hold what its variant lets pass
        config += "\n[plugins.warranty]\nenabled = false\n"
    paths = [HERE, HERE / "tests", HERE.parents[1]]
    return DaemonProcess(folder, config, plugins={plugin: module}, paths=paths, environment=environment)


def send(running: DaemonProcess, id: str, *, serial: str | None = "TV-1") -> None:
    body = json.dumps({"id": id, "customer": "c-1", "serial": serial, "hours": 10001}).encode()
    request = urllib.request.Request(f"{running.url}/hooks/tv", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert json.load(answer) == {"accepted": 1, "filtered": 0}


def eventually(look: Callable[[], Any], *, seconds: float = 15.0) -> Any:
    """What ``look`` finds once it finds something: asked of the daemon again and again until a deadline."""
    until, pause = time.monotonic() + seconds, threading.Event()
    while not (found := look()):
        assert time.monotonic() < until, "it did not happen in time"
        pause.wait(0.05)
    return found


def activity(running: DaemonProcess, id: str) -> Callable[[], Any]:
    def look() -> Any:
        shown = running.cdmctl("profile", "show", "customer_no:c-1", "--json", check=False)
        assert shown.returncode in {0, 4}, shown.stderr
        rows = json.loads(shown.stdout)["activities"] if shown.returncode == 0 else []
        return next((row for row in rows if row["id"] == id), None)

    return look


def row(running: DaemonProcess) -> Any:
    (found,) = [one for one in running.ask("status")["connectors"] if one["name"] == "tv"]
    return found


def parked(running: DaemonProcess) -> bool:
    return bool(row(running)["parked"])


def test_the_terms_are_stored_with_the_event(tmp_path: Path) -> None:
    with (
        ContractService(lambda path: terms(until="2027-01-31") if path.endswith("TV-1") else Reply(status=404)) as service,
        daemon(tmp_path, f'url = "{service.url}"\ntoken = "env:TOKEN"\n', TOKEN="t0ken") as running,
    ):
        send(running, "covered")
        send(running, "uncovered", serial="TV-2")
        send(running, "plain", serial=None)
        data = {name: eventually(activity(running, name))["data"] for name in ("covered", "uncovered", "plain")}
    assert data["covered"] == {"hours": 10001, "warranty": {"covered": True, "until": "2027-01-31"}}
    assert data["uncovered"] == {"hours": 10001, "warranty": {"covered": False}}
    assert data["plain"] == {"hours": 10001}
    assert [one.headers["authorization"] for one in service.asked] == ["Bearer t0ken"] * 2


def test_it_is_the_same_in_a_process_of_its_own(tmp_path: Path) -> None:
    with (
        ContractService(terms(until="2027-01-31")) as service,
        daemon(tmp_path, f'url = "{service.url}"\nenabled = true\nisolate = true\n') as running,
    ):
        send(running, "1")
        assert eventually(activity(running, "1"))["data"]["warranty"] == {"covered": True, "until": "2027-01-31"}
        (found,) = [one for one in running.ask("plugins") if one["name"] == "warranty"]
    assert (found["state"], found["error"], found["process"]["state"]) == ("enabled", None, "running")


@pytest.mark.parametrize("trouble", [Reply(status=500), Reply(body=b"<html>"), Reply(status=503, headers={"Retry-After": "1"})])
def test_an_event_is_held_while_the_service_fails_and_enriched_when_it_is_well_again(tmp_path: Path, trouble: Reply) -> None:
    with ContractService(trouble) as service, daemon(tmp_path, f'url = "{service.url}"') as running:
        send(running, "1")
        eventually(lambda: parked(running))
        assert activity(running, "1")() is None
        service.reply = terms(until="2027-01-31")
        assert eventually(activity(running, "1"))["data"]["warranty"]["covered"] is True
        assert not parked(running)
        assert running.ask("status")["totals"]["events"] == 1


def test_a_slow_service_delays_no_other_event_and_its_own_is_held(tmp_path: Path) -> None:
    over = threading.Event()
    with ContractService(Reply(after=over)) as service, daemon(tmp_path, f'url = "{service.url}"') as running:
        send(running, "slow")
        service.wait_for(1)
        send(running, "plain", serial=None)
        eventually(activity(running, "plain"))
        eventually(lambda: "no answer within 2 s" in str(running.ask("plugins")))
        assert activity(running, "slow")() is None
        service.reply = terms()
        over.set()
        assert eventually(activity(running, "slow"))["data"]["warranty"] == {"covered": True}


def test_events_wait_for_a_service_that_is_away_over_a_crash_of_the_daemon(tmp_path: Path) -> None:
    with ContractService(terms()) as service:
        port = service.port
    running = daemon(tmp_path, f'url = "http://127.0.0.1:{port}"')
    with running:
        send(running, "1")
        eventually(lambda: parked(running))
        running.kill()
    with ContractService(terms(until="2027-01-31"), port=port), running:
        assert eventually(activity(running, "1"))["data"]["warranty"] == {"covered": True, "until": "2027-01-31"}
        assert running.ask("status")["totals"]["events"] == 1


def test_with_store_the_event_goes_on_without_the_terms(tmp_path: Path) -> None:
    with (
        ContractService(Reply(status=500)) as service,
        daemon(tmp_path, f'url = "{service.url}"', plugin="storing", module="variants:storing") as running,
    ):
        send(running, "1")
        assert eventually(activity(running, "1"))["data"] == {"hours": 10001}
        assert row(running)["parked"] == 0


def test_with_reject_the_event_becomes_a_dead_letter_that_can_be_retried(tmp_path: Path) -> None:
    with (
        ContractService(Reply(status=500)) as service,
        daemon(tmp_path, f'url = "{service.url}"', plugin="rejecting", module="variants:rejecting") as running,
    ):
        send(running, "1")
        (letter,) = eventually(lambda: running.ask("dead-letters", "list"))
        assert letter["code"] == "extension_failed"
        assert "ServiceFailed" in letter["message"]
        service.reply = terms()
        running.cdmctl("dead-letters", "retry", "--all", "--yes")
        assert eventually(activity(running, "1"))["data"]["warranty"] == {"covered": True}


def test_wrong_settings_are_a_row_in_plugins_and_lose_no_event(tmp_path: Path) -> None:
    running = daemon(tmp_path, 'urll = "http://127.0.0.1:1"')
    with running:
        (shown,) = [one for one in running.ask("plugins") if one["name"] == "warranty"]
        assert shown["state"] == "bad config"
        assert "plugins.warranty.url: is missing" in shown["error"]
        assert "plugins.warranty.urll: unknown key" in shown["error"]
        send(running, "1")
        eventually(lambda: parked(running))
        assert running.stop() == 0
    with ContractService(terms()) as service:
        running.configure(CONFIG + f'url = "{service.url}"')
        with running:
            assert eventually(activity(running, "1"))["data"]["warranty"] == {"covered": True}
