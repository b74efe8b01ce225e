"""A small installation of the real daemon moved to real servers and back: whatever it is asked, it answers the same."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cdmd.errors import CdmdError
from cdmd.testing import DaemonProcess
from tests.acceptance.test_files import wait
from tests.cluster.servers import NatsServer, needed
from tests.store.postgres import Database, Server

pytestmark = [needed, pytest.mark.acceptance, pytest.mark.timeout(180)]
ROOT = Path(__file__).parents[2]
EVENTS = 3_000
ODD = "page.\0 \u00fc\U0010fffd 3"
"""What PostgreSQL cannot hold as it is."""
CONFIG = """
[connectors.shop]
type = "webhook"
verify = "none"
records = "{events[*]}"
[connectors.shop.event]
id = "{id}"
type = "{type}"
identifiers = { email = "{email}", customer_no = "{no}" }
traits = { name = "{name}" }
data = { n = "{n}" }
[connectors.supplier]
type = "folder"
path = "FOLDER"
files = ["*.csv"]
stable_for = "0s"
every = "1s"
mode = "snapshot"
key = ["email"]
format = { type = "csv" }
event = { type = "customer.{change}", identifiers = { email = "{email}" }, traits = { city = "{city}" } }
[indicators.orders]
on = ["order.*"]
[indicators.recent]
on = ["order.*"]
window = "30d"
[audiences.often]
where = "indicators.orders >= 3.0"
[targets.crm]
type = "webhook"
url = "http://127.0.0.1:9/x"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
events = ["audience.entered"]
[plugins.waits]
"""
QUESTIONS: Sequence[tuple[str, dict[str, Any]]] = (
    ("/v1/profile", {"identifier": "email:u7@example.com", "activities": 1000}),
    ("/v1/profile", {"identifier": "email:odd@example.com", "activities": 1000}),
    ("/v1/profile/explain", {"first": "email:u7@example.com", "second": "customer_no:c7"}),
    ("/v1/profiles", {"text": "u1", "limit": 100}),
    ("/v1/event", {"id": "e-7", "reveal": True}),
    ("/v1/event", {"id": "e-3", "reveal": True}),
    ("/v1/shelves/files", {"limit": 1000}),
    ("/v1/shelves/snapshots", {}),
    ("/v1/dead-letters", {"limit": 1000}),
    ("/v1/audiences", {}),
    ("/v1/audiences/often/members", {"limit": 1000}),
    ("/v1/audience-changes", {"audience": "often", "limit": 1000}),
    ("/v1/suppressions", {}),
    ("/v1/erasures", {}),
    ("/v1/minimisation", {}),
    ("/v1/targets", {}),
    ("/v1/deliveries", {"limit": 1000}),
)
DONE = {"pause", "erase"}
KEPT = ("name", "type", "accepted", "duplicates", "filtered", "dead_letters", "received", "parked")


def folded(order: int) -> dict[str, Any]:
    kind = {3: "order.held", 5: "page.viewed"}.get(order % 500, "order.paid")
    who = order % 200
    return {"id": f"e-{order}", "type": kind, "email": f"u{who}@example.com", "no": f"c{who}", "name": f"N{order}", "n": order}


class Home:
    """One state directory, and configurations that let its daemon have journal and store here or there."""

    def __init__(self, folder: Path, nats: NatsServer, database: Database) -> None:
        self.folder, self.nats, self.database = folder, nats, database
        (folder / "in").mkdir(parents=True)
        self.one = DaemonProcess(folder, plugins={"waits": "tests.moving.holding"}, paths=[ROOT], patience=60)
        self.here = self._configuration("here", "")
        self.there = self._configuration(
            "there", f'url = "{nats.url}"\nname = "{folder.name}"\n[store]\nurl = "{database.url}"\n'
        )

    def _configuration(self, name: str, more: str, *, state: str = "state") -> Path:
        file = self.folder / f"{name}.toml"
        head = f'[daemon]\nstate_dir = "{self.folder / state}"\n[http]\nlisten = ["127.0.0.1:0"]\n'
        head += f'[control]\nsocket = "{self.one.socket}"\n[journal]\nreserve = "1MiB"\n{more}'
        file.write_text(head + CONFIG.replace("FOLDER", str(self.folder / "in")))
        file.chmod(0o600)
        return file

    def run(self, file: Path) -> DaemonProcess:
        self.one.config_file = file
        return self.one

    def migrate(self, source: Path, target: Path, *more: str, dying: int = 0) -> subprocess.CompletedProcess[str]:
        program = ["tests.moving.dying", str(dying)] if dying else ["cdmd"]
        command = [sys.executable, "-m", *program, "migrate", "--config", str(source), "--to", str(target), *more]
        return subprocess.run(command, capture_output=True, text=True, env=self.one.environment, timeout=120)

    def fill(self) -> None:
        with self.run(self.here) as one:
            (self.folder / "in" / "a.csv").write_text(
                "email,city\n" + "".join(f"u{number}@example.com,Town{number}\n" for number in range(300))
            )
            for start in range(0, EVENTS, 500):
                one.send("/hooks/shop", {"events": [folded(order) for order in range(start, start + 500)]})
            one.send("/hooks/shop", {"events": [{"id": "odd", "type": ODD, "name": ODD, "email": "odd@example.com"}]})
            one.send("/hooks/shop", {"events": [{"id": f"bad-{n}", "email": "x@example.com"} for n in range(5)]})
            wait(lambda: any(row["state"] == "done" for row in one.control.get("/v1/shelves/files")))
            one.settle(seconds=60)
            erased = one.cdmctl("profile", "erase", "email:u9@example.com", "--yes", check=False)
            assert erased.returncode == 0, erased.stderr
            wait(lambda: all(row["done"] for row in one.control.get("/v1/erasures")))
            one.settle(seconds=60)
            wait(lambda: one.control.get("/v1/status")["totals"]["deliveries_pending"] > 100)
            one.cdmctl("pause", "supplier")
            one.stop()

    def answers(self, file: Path) -> dict[str, Any]:
        with self.run(file) as one:
            said = {f"{path} {query}": stable(one.control.get(path, query)) for path, query in QUESTIONS}
            status = one.control.get("/v1/status")
            said["audit"] = [row for row in one.control.get("/v1/audit", {"limit": 1000}) if row["command"] in DONE]
            said["totals"] = status["totals"]
            said["connectors"] = [
                {
                    key: row.get(key)
                    for key in ("name", "type", "accepted", "duplicates", "filtered", "dead_letters", "received", "parked")
                }
                for row in status["connectors"]
            ]
            said["journal"] = [status["journal"].get("backlog"), status["store"].get("parked")]
            one.stop()
        return said


def stable(found: Any) -> Any:
    """Without what a running daemon goes on with: times of attempts at a target that is not there."""
    if isinstance(found, dict):
        moving = {"attempts", "due", "next", "tried", "reason", "state", "last_attempt", "oldest_seconds", "error", "fault"}
        return {key: stable(value) for key, value in found.items() if key not in moving}
    return [stable(one) for one in found] if isinstance(found, list) else found


@pytest.fixture
def database(postgres: Server) -> Database:
    return postgres.database()


def test_an_installation_is_moved_to_servers_and_back_and_answers_the_same(
    tmp_path: Path, nats: NatsServer, database: Database
) -> None:
    home = Home(tmp_path / "there_and_back", nats, database)
    home.fill()
    before = home.answers(home.here)
    assert before["audit"]
    assert before["journal"] == [0, 6]
    killed = home.migrate(home.here, home.there, "--json", dying=20)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with pytest.raises(CdmdError, match="move it with cdmd migrate"):
        home.run(home.there).start()
    told = home.migrate(home.here, home.there, "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["resumed"]
    assert home.answers(home.there) == before
    with pytest.raises(CdmdError, match="is a database on a server"):
        home.run(home.here).start()
    told = home.migrate(home.there, home.here, "--json")
    assert told.returncode == 0, told.stderr
    assert home.answers(home.here) == before
