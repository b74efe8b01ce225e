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
from tests.acceptance.trial import until
from tests.console.browsing import Tab, browser
from tests.peers import npm

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
[connectors.orders]
type = "webhook"
verify = "bearer"
secrets = ["env:TOKEN"]
event = { id = "{id}", type = "order.{status}", identifiers = { email = "{email}" } }
[connectors.supplier]
type = "folder"
path = "AREA"
files = ["*.csv"]
stable_for = "1s"
format = { type = "csv" }
mode = "snapshot"
key = ["no"]
max_removed = "5%"
freshness = "10s"
event = { type = "customer.{change}", identifiers = { customer_no = "{no}" } }
[targets.crm]
type = "webhook"
url = "http://127.0.0.1:9/hook"
secret = "env:KEY"
events = ["audience.entered"]
[indicators.orders]
on = ["order.*"]
[audiences.buyers]
where = "indicators.orders >= 1.0"
"""
EXAMINE = """axe.run(document, { resultTypes: ['violations'] }).then(
  found => found.violations.flatMap(rule => rule.nodes.map(node => [rule.id, node.target.join(' '), node.failureSummary])))"""


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
    area = folder / "area"
    area.mkdir()
    environment = {"TOKEN": "t", "KEY": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
    with DaemonProcess(folder, CONFIG.replace("AREA", str(area)), environment=environment, patience=60) as daemon:
        headers = {"authorization": "Bearer t"}
        for number in range(3):
            daemon.send("/hooks/shop", event(number), headers=headers)
        daemon.send("/hooks/shop", event(3, type=HOSTILE), headers=headers)
        for number in range(3):
            daemon.send("/hooks/orders", {"id": f"o{number}", "email": "joe@example.com"}, headers=headers)
        register(daemon, area / "register_1.csv", rows=40)
        register(daemon, area / f"register_2 {HOSTILE.replace('/', '')}.csv", rows=20)
        until(lambda: daemon.control.get("/v1/deliveries"), seconds=60, what="a delivery")
        with opened(daemon) as address, browser(folder) as tab:
            assert tab.go(address) == 200
            yield Console(daemon, tab, address.partition("/?")[0])


def register(daemon: DaemonProcess, file: Path, *, rows: int) -> None:
    """A register of so many rows, and wait until it is applied."""
    before = file.with_suffix(".part")
    before.write_text("no,name\n" + "".join(f"N{row},Joe\n" for row in range(rows)))
    before.rename(file)
    daemon.control.post("/v1/connectors/supplier/poll")
    until(
        lambda: any(row["name"] == file.name and row["state"] == "done" for row in daemon.control.get("/v1/shelves/files")),
        seconds=30,
        what=f"the register of {rows} rows",
    )


def sites(console: Console) -> list[str]:
    """Every page there is."""
    letter = console.daemon.control.get("/v1/dead-letters")[0]["seq"]
    delivery = console.daemon.control.get("/v1/deliveries")[0]["id"]
    return [
        *("/", "/connectors/shop", "/connectors/supplier", "/customers", customer(console)),
        *(
            f"{customer(console)}?why=1",
            "/live",
            "/event",
            "/event?id=evt-1",
            "/dead-letters",
            "/dead-letters?connector=orders",
        ),
        *(f"/dead-letters/{letter}", "/files", "/deliveries", f"/deliveries/{delivery}", "/plugins", "/plugins/builtin"),
        *("/configuration", "/configuration?q=shop", "/audit", "/nothing"),
    ]


def customer(console: Console) -> str:
    found = console.daemon.control.get("/v1/profile", {"identifier": "email:joe@example.com"})
    return f"/customers/{found['id']}"


def test_the_overview_lists_the_connectors_and_looks_again_by_itself(console: Console) -> None:
    assert console.go("/") == 200
    assert console.tab.text("h1") in {"It flows", "1 thing needs a look"}, "the target may count as failing by now"
    rows = console.tab.js(
        "[...document.querySelectorAll('[aria-labelledby=connectors] tbody tr')].map(row => row.querySelector('a').textContent)"
    )
    assert sorted(rows) == ["orders", "quiet", "shop", "supplier"]
    assert console.tab.js("document.querySelector('footer button').textContent") == "Stop updating"
    console.daemon.cdmctl("pause", "quiet")
    console.tab.until("document.querySelector('main').innerText.includes('paused')")
    console.daemon.cdmctl("resume", "quiet")


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


@pytest.mark.parametrize("width", [400, 320])
def test_no_page_is_wider_than_its_window(console: Console, width: int) -> None:
    console.tab.look(width=width)
    for path in sites(console):
        console.tab.go(f"{console.base}/console{path}")
        assert console.tab.js("document.documentElement.scrollWidth") <= width, path


def test_every_page_keeps_to_its_policy_and_names_nothing_that_is_not_there(console: Console) -> None:
    console.tab.look(width=1200)
    for path in sites(console):
        status = console.tab.go(f"{console.base}/console{path}")
        assert status == (404 if path == "/nothing" else 200), path
        assert [line for line in console.tab.complaints if "404" not in line] == [], path
        assert console.tab.js("document.title") != "owned", path
        assert console.tab.js("document.querySelectorAll('main img, main script').length") == 0, path


@pytest.mark.parametrize(("dark", "width"), [(False, 1200), (True, 400)])
def test_every_page_passes_the_examination_of_axe(
    console: Console, tmp_path: Path, request: pytest.FixtureRequest, dark: bool, width: int
) -> None:
    axe = (npm.installed(request.config, tmp_path, "axe", ["axe-core@4.10.3"]) / "node_modules/axe-core/axe.min.js").read_text()
    console.tab.look(width=width, dark=dark)
    found = []
    for path in sites(console):
        console.tab.go(f"{console.base}/console{path}")
        console.tab.js(f"{axe}; 0")
        found += [(path, *row) for row in console.tab.js(EXAMINE)]
    assert found == []


def test_live_events_show_as_they_come_and_the_page_works_without_a_script(console: Console) -> None:
    console.go("/live?connector=shop")
    console.tab.until("document.querySelector('#tailing').textContent.startsWith('Live')")
    console.daemon.send("/hooks/shop", event(50, type=HOSTILE), headers={"authorization": "Bearer t"})
    console.tab.until("document.querySelector('#tail').innerText.includes('evt-50')")
    assert HOSTILE in console.tab.text("#tail")
    assert console.tab.js("document.querySelectorAll('#tail img').length") == 0
    console.tab.js("document.querySelector('#tailing button').click()")
    console.daemon.send("/hooks/shop", event(51), headers={"authorization": "Bearer t"})
    until(lambda: console.daemon.control.get("/v1/events/recent")[0]["event"]["id"] == "evt-51", seconds=60, what="it")
    console.tab.js("document.querySelector('#tailing button').click()")
    console.tab.until("document.querySelector('#tail').innerText.includes('evt-51')")
    console.tab.call("Emulation.setScriptExecutionDisabled", value=True)
    console.go("/live")
    shown = console.tab.call("DOM.getOuterHTML", nodeId=console.tab.call("DOM.getDocument")["root"]["nodeId"])["outerHTML"]
    console.tab.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "evt-51" in shown
    assert "Look again" in shown


def test_dead_letters_go_through_the_question_to_their_end(console: Console) -> None:
    console.go("/dead-letters")
    assert "of 'order.{status}' is null" in console.tab.text()
    console.tab.click("[aria-label^='Discard']")
    assert console.tab.text("h1") == "Discard 3 dead letters?"
    console.tab.js("document.querySelector('#typed').value = 'no'")
    console.tab.click("main form button.grave")
    assert "That is not what was asked for" in console.tab.text()
    console.tab.click("main a.button")
    assert len(console.daemon.control.get("/v1/dead-letters")) == 3
    console.tab.click("[aria-label^='Retry']")
    console.tab.click("main form button.grave")
    assert "retried" in console.tab.text(".said")
    until(lambda: len(console.daemon.control.get("/v1/dead-letters")) == 3, seconds=60, what="their return")


def test_held_removals_are_kept_from_the_page(console: Console) -> None:
    console.go("/files")
    assert "20 of 40 rows of supplier would be removed" in console.tab.text(".verdict")
    console.tab.js(
        "[...document.querySelectorAll('.verdict button')].find(one => one.textContent.startsWith('Approve')).click()"
    )
    console.tab.until("document.querySelector('h1')?.textContent.startsWith('Remove 20 of 40 rows')")
    console.tab.click("main a.button")
    console.tab.js("[...document.querySelectorAll('.verdict button')].find(one => one.textContent.startsWith('Keep')).click()")
    console.tab.until("document.querySelector('.said')?.textContent.includes('reject supplier')")
    assert not any(row["held"] for row in console.daemon.control.get("/v1/shelves/snapshots"))


def test_what_a_reload_changed_is_told(console: Console) -> None:
    console.daemon.configure(console.daemon.config_file.read_text().replace('freshness = "5s"', 'freshness = "7s"'))
    console.go("/configuration")
    console.tab.click("main .heading form button")
    console.tab.click("main form button.grave")
    text = console.tab.text()
    assert "reloaded: 1 connectors and targets changed" in text
    assert "connectors.shop.freshness" in text
    assert "7s" in text


def test_a_customer_is_split_and_erased_from_the_page(console: Console) -> None:
    headers = {"authorization": "Bearer t"}
    console.daemon.send(
        "/hooks/shop", event(90, identifiers={"email": "ida@example.com", "phone": "+46701234567"}), headers=headers
    )
    until(lambda: console.daemon.control.get("/v1/profiles", {"text": "ida@example.com"})["profiles"], seconds=60, what="Ida")
    console.go("/customers")
    console.tab.js("document.querySelector('#q').value = 'ida@example.com'")
    console.tab.click("main form button")
    console.tab.js("[...document.querySelectorAll('.person button')].find(one => one.textContent.startsWith('Split')).click()")
    console.tab.until("document.querySelector('h1')?.textContent.startsWith('Make two people')")
    console.tab.click("main a.button")
    console.tab.click(".person button.grave")
    assert console.tab.text("h1") == "Erase this person?"
    console.tab.js("document.querySelector('#typed').value = 'ida@example.com'")
    console.tab.click("main form button.grave")
    assert "the erasure" in console.tab.text(".said")
    assert console.daemon.control.get("/v1/profiles", {"text": "ida@example.com"})["profiles"] == []


def test_a_page_is_also_what_the_control_api_says(console: Console) -> None:
    console.go("/overview.json")
    document = json.loads(console.tab.text("body"))
    assert document["status"]["version"] == console.daemon.ask("status")["version"]


def test_another_browser_with_the_same_address_is_kept_out(console: Console, tmp_path: Path) -> None:
    with opened(console.daemon) as address, browser(tmp_path) as other:
        assert other.go(console.base + "/console/") == 403
        assert other.go(address) == 200
        assert other.js("document.title") == "Overview · cdmd"
