"""Plugins of the first version of the hooks, which never change, with today's daemon: whatever they relied on still holds.

What lies in ``frozen/v1_0`` is as its authors left it; ``tests/house/test_hooks_contract.py`` fails where a file of it changes.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdmd.errors import CdmdError
from cdmd.testing import DaemonProcess, FakeApi
from tests.acceptance.trial import rows, until

pytestmark = [pytest.mark.acceptance]

FROZEN = Path(__file__).parent / "frozen" / "v1_0"
CONFIG = """
[connectors.shop]
type = "webhook"
verify = "none"
event = { id = "{id}", type = "{type}", identifiers = { customer_no = "{customer}" }, data = "*" }
[connectors.pull]
type = "frozen-pull"
url = "API/rows"
every = "1h"
event = { identifiers = { customer_no = "{customer}" } }
[connectors.push]
type = "frozen-push"
token = "env:FROZEN"
event = { identifiers = { customer_no = "{customer}" } }
[connectors.deciding]
type = "frozen-deciding"
token = "env:FROZEN"
event = { identifiers = { customer_no = "{customer}" } }
[connectors.files]
type = "folder"
path = "FOLDER"
files = ["*.txt"]
stable_for = "0s"
every = "1s"
format = { type = "frozen-lines", comment = ";" }
event = { id = "{number}", type = "frozen.line", identifiers = { customer_no = "{number}" }, traits = { name = "{name}" } }
[targets.handed]
type = "frozen-handed"
url = "API/handed"
events = ["frozen.pushed"]
[targets.taking]
type = "frozen-taking"
url = "API/taking"
events = ["frozen.pushed"]
[plugins.frozen_extension]
url = "API"
token = "env:FROZEN"
log = "LOG"
"""


class World:
    """The daemon with all of them, and the API that they ask."""

    def __init__(self, daemon: DaemonProcess, api: FakeApi, folder: Path) -> None:
        self.daemon, self.api, self.folder = daemon, api, folder

    def order(self, id: str, type: str = "order.paid", **data: Any) -> dict[str, Any]:
        """What became of an order."""
        self.daemon.send("/hooks/shop", {"id": id, "type": type, "customer": "4711", **data})
        self.daemon.settle(held=True)
        (trace,) = self.daemon.control.get("/v1/event", {"id": id, "reveal": True})["traces"]
        return trace


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "in").mkdir()
    with FakeApi() as api:
        api.answers("/rows", [{"id": 1, "customer": "1"}, {"id": 2, "customer": "2"}])
        api.answers("/members/4711", {"tier": "gold"})
        api.answers("/handed", None, method="POST")
        api.answers("/taking", None, method="POST")
        config = CONFIG.replace("API", api.url).replace("FOLDER", str(folder / "in")).replace("LOG", str(folder / "log"))
        plugins = {file.stem: file.stem for file in sorted(FROZEN.glob("frozen_*.py"))}
        with DaemonProcess(folder, config, plugins=plugins, paths=[FROZEN], environment={"FROZEN": "a-token"}) as daemon:
            yield World(daemon, api, folder)


def test_all_of_them_are_enabled_and_their_startup_was_called(world: World) -> None:
    found = {row["name"]: (row["state"], row["error"]) for row in world.daemon.ask("plugins") if row["name"] != "builtin"}
    assert found == {file.stem: ("enabled", None) for file in FROZEN.glob("frozen_*.py")}
    assert (world.folder / "log").read_text() == "startup\n"


def test_an_extension_enriches_drops_and_holds(world: World) -> None:
    trace = world.order("paid", total=1)
    assert trace["event"]["data"]["loyalty"] == {"tier": "gold"}
    assert world.api.asked[-1].headers["authorization"] == "Bearer a-token"
    world.api.fails(404)
    assert world.order("unknown")["state"] == "filtered"
    world.api.fails(503)
    assert world.order("later")["event"]["data"]["loyalty"] == {"tier": "gold"}
    world.api.fails(500)
    assert world.order("failing")["event"]["data"]["loyalty"] == {"tier": "gold"}


def test_a_plain_extension_changes_rejects_and_fails(world: World) -> None:
    assert world.order("refused", "order.refused")["event"]["traits"] == {"judged": True}
    assert world.order("odd", "order.odd.one", odd=True)["state"] == "dead-letter"
    assert world.order("broken", "order.refused", broken=True)["event"]["traits"] == {}


def test_connectors_fetch_go_on_and_are_told(world: World) -> None:
    until(lambda: rows(world.daemon)["pull"]["applied"] == 2, what="fetching")
    assert "1 looks" in until(lambda: rows(world.daemon)["pull"]["detail"], what="resting")
    world.daemon.cdmctl("poll", "pull")
    until(lambda: any(one.query.get("after") == "2" for one in world.api.asked), what="going on")
    token = {"authorization": "Bearer a-token"}
    with pytest.raises(CdmdError, match="401"):
        world.daemon.send("/frozen/push", {"id": "p", "customer": "1"})
    for path in ("push", "deciding"):
        before = rows(world.daemon)[path]["applied"]
        assert world.daemon.send(f"/frozen/{path}", {"id": f"{path}-1", "customer": "1"}, headers=token) == "Accepted"
        until(lambda path=path, before=before: rows(world.daemon)[path]["applied"] == before + 1, what="taking one")


def test_a_format_reads_files_of_any_connector(world: World) -> None:
    (world.folder / "in" / "one.txt").write_text("frozen\n; no\n77 Ann\nshort\n78 Ben\n")
    until(lambda: rows(world.daemon)["files"]["applied"] == 2, seconds=60, what="reading the file")
    assert world.daemon.ask("profile", "show", "customer_no:77")["traits"] == {"name": "Ann"}
    assert rows(world.daemon)["files"]["dead_letters"] == 1


def test_targets_send_what_they_are_handed_and_what_they_take(world: World) -> None:
    def sent(path: str) -> list[Any]:
        return [one.json() for one in world.api.asked if one.path == path]

    sending = {"authorization": "Bearer a-token"}
    assert world.daemon.send("/frozen/push", {"id": "sent", "customer": "9"}, headers=sending) == "Accepted"
    until(lambda: sent("/handed") and sent("/taking"), what="sending")
    assert {one["type"] for batch in sent("/handed") for one in batch} == {"frozen.pushed"}
    delivered = {row["name"]: row["delivered"] for row in world.daemon.ask("targets")}
    assert all(delivered.values()), delivered


def test_a_command_is_found(world: World) -> None:
    assert world.daemon.cdmctl("frozen", "still").stdout == "frozen: still\n"


def test_a_connectors_and_a_formats_settings_are_checked(world: World) -> None:
    world.daemon.configure('[connectors.pull]\ntype = "frozen-pull"\nurl = "x"\n[connectors.push]\ntype = "frozen-push"\n')
    done: subprocess.CompletedProcess[str] = world.daemon.cdmctl("reload", check=False)
    assert done.returncode == 6
    assert "connectors.push.token: missing key" in done.stderr


def test_its_shutdown_is_called(world: World) -> None:
    assert world.daemon.stop() == 0
    assert (world.folder / "log").read_text() == "startup\nshutdown\n"
