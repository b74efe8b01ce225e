"""The console of a real daemon in a real Chromium, by ``cdmctl console``: what is seen, pressed, read out and refused there."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cdmd.testing import DaemonProcess
from tests.console.browsing import Tab, browser

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">"
CONFIG = """
[connectors.shop]
type = "webhook"
verify = "bearer"
secrets = ["env:TOKEN"]
freshness = "5s"
[connectors.quiet]
type = "webhook"
verify = "bearer"
secrets = ["env:TOKEN"]
[indicators.orders]
on = ["order.*"]
[audiences.buyers]
where = "indicators.orders >= 1.0"
"""


class Console(NamedTuple):
    """A browser that has been let in."""

    daemon: DaemonProcess
    tab: Tab
    base: str

    def go(self, path: str) -> int:
        status = self.tab.go(f"{self.base}/console{path}")
        assert self.tab.complaints == []
        return status


def event(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"evt-{number}",
        "type": "order.paid",
        "identifiers": {"email": "joe@example.com", "customer_no": "C1"},
        "traits": {"first_name": HOSTILE},
        "data": {"note": HOSTILE},
        **more,
    }


@contextmanager
def opened(daemon: DaemonProcess) -> Iterator[str]:
    """The address that ``cdmctl console`` prints, for as long as it runs."""
    command = [sys.executable, "-m", "cdmd.cli.control_commands", "--socket", str(daemon.socket), "console"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    if shutil.which("chromium") is None and shutil.which("google-chrome") is None:
        pytest.skip("chromium is not installed, so no browser can look at the console")
    folder = tmp_path_factory.mktemp("console")
    with DaemonProcess(folder, CONFIG, environment={"TOKEN": "t"}) as daemon:
        headers = {"authorization": "Bearer t"}
        for number in range(3):
            daemon.send("/hooks/shop", event(number), headers=headers)
        daemon.send("/hooks/shop", event(3, type=HOSTILE), headers=headers)
        with opened(daemon) as address, browser(folder) as tab:
            assert tab.go(address) == 200
            yield Console(daemon, tab, address.partition("/?")[0])


def customer(console: Console) -> str:
    found = console.daemon.control.get("/v1/profile", {"identifier": "email:joe@example.com"})
    return f"/customers/{found['id']}"


def test_the_overview_says_that_it_flows_and_looks_again_by_itself(console: Console) -> None:
    assert console.go("/") == 200
    assert console.tab.text("h1") == "It flows"
    rows = console.tab.js("[...document.querySelectorAll('.cards tbody tr')].map(row => row.querySelector('a').textContent)")
    assert sorted(rows) == ["quiet", "shop"]
    assert console.tab.js("document.querySelector('footer button').textContent") == "Stop updating"


def test_a_button_pauses_a_connector_and_another_lets_it_go_on(console: Console) -> None:
    console.go("/")
    assert console.tab.click('[aria-label="Pause quiet"]') == 200
    assert "paused quiet" in console.tab.text(".said")
    assert {row["name"]: row["state"] for row in console.daemon.ask("connectors")}["quiet"] == "paused"
    console.tab.click('[aria-label="Resume quiet"]')
    assert {row["name"]: row["state"] for row in console.daemon.ask("connectors")}["quiet"] == "running"
    assert [row["command"] for row in console.daemon.ask("audit")[:2]] == ["resume", "pause"]


def test_a_customer_is_found_and_everything_about_them_is_text(console: Console) -> None:
    console.go("/customers")
    console.tab.js("document.querySelector('#q').value = 'joe@example.com'")
    console.tab.click("main form button")
    assert console.tab.text("h1") == "joe@example.com"
    text = console.tab.text()
    assert HOSTILE in text
    assert "customer_no" in text
    assert "buyers" in text
    assert console.tab.js("document.title") == "Customer · cdmd"
    assert console.tab.js("document.querySelectorAll('main img, main script').length") == 0
    console.tab.click("main a[aria-label^='Why']")
    assert "joined by 1 event" in console.tab.text("#why")


def test_a_script_that_got_into_a_page_would_not_run(console: Console) -> None:
    console.go("/")
    console.tab.js("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')")
    console.tab.js(
        "{ const made = document.createElement('script'); made.textContent = 'window.ran = 2'; document.body.append(made) }"
    )
    console.tab.js("new Promise(done => setTimeout(done, 200))")
    assert console.tab.js("window.ran") is None
    assert any("Content Security Policy" in line for line in console.tab.complaints)


def test_everything_can_be_reached_with_the_tab_key(console: Console) -> None:
    console.go("/")
    reached = []
    for _ in range(40):
        console.tab.key("Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.append(
            console.tab.js("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent")
        )
    assert reached[0] == "To the content"
    assert {"Overview", "Audit", "shop", "Pause shop"} <= set(reached)


@pytest.mark.parametrize("width", [1200, 400, 320])
def test_no_page_is_wider_than_its_window(console: Console, width: int) -> None:
    console.tab.look(width=width)
    for path in ("/", "/connectors/shop", "/customers?q=joe*", customer(console), "/nothing"):
        console.tab.go(f"{console.base}/console{path}")
        assert console.tab.js("document.documentElement.scrollWidth") <= width, path


def test_a_page_is_also_what_the_control_api_says(console: Console) -> None:
    console.go("/overview.json")
    document = json.loads(console.tab.text("body"))
    assert document["status"]["version"] == console.daemon.ask("status")["version"]


def test_another_browser_with_the_same_address_is_kept_out(console: Console, tmp_path: Path) -> None:
    with opened(console.daemon) as address, browser(tmp_path) as other:
        assert other.go(console.base + "/console/") == 403
        assert other.go(address) == 200
        assert other.text("h1") == "It flows"
