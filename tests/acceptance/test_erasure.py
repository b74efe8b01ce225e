"""Erased means unreadable everywhere: somebody known through every way in, searched for in every file afterwards."""

import base64
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anyio import to_thread

from cdmd.daemon.governing import Governing
from cdmd.daemon.rekeying import splits_of
from cdmd.errors import NotFound
from cdmd.models import Seq
from cdmd.store.blocks import Block, unpack
from cdmd.store.keys import Digester
from cdmd.testing import DaemonProcess
from tests.acceptance.test_files import wait
from tests.daemon.doubles import World, applied, record

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

CANARIES = (b"canary-joe", b"canary-4711", b"canary-user", b"canary-name", b"+46701740605")
KEY = "write-key-4c1d7e0a"
MAIL = "canary-joe@example.com"

CONFIG = """
[connectors.shop]
type = "webhook"
verify = "none"
[connectors.shop.event]
id = "{id}"
type = "{type}"
identifiers = { email = "{email}", customer_no = "{customer_no}", phone = "{phone}" }
traits = { name = "{name}", contact = "{contact}" }
data = { to = "{to}", lines = "{lines}" }
[connectors.app]
type = "application"
write_keys = ["env:WRITE_KEY"]
[connectors.erp]
type = "folder"
path = "FOLDER/in"
format = { type = "csv" }
stable_for = "0s"
every = "1s"
mode = "snapshot"
key = ["customer_no"]
[connectors.erp.event]
type = "customer.{change}"
identifiers = { customer_no = "{customer_no}" }
traits = "*"
[connectors.survey]
type = "webhook"
verify = "none"
[connectors.survey.fetch]
url = "http://127.0.0.1:9/{id}"
key = "{id}"
limits = "60/1m"
[identity.identifiers]
user_id = { priority = 1, limit = 1 }
customer_no = { priority = 2, limit = 1 }
email = { priority = 3 }
phone = { priority = 4, region = "SE" }
[indicators.last_to]
on = "order.*"
value = "{data.to}"
compute = "last"
[audiences.everybody]
where = "true"
[targets.crm]
type = "webhook"
url = "http://127.0.0.1:9/orders"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
events = ["order.*"]
fields = ["traits", "event.data"]
"""


def meet(daemon: DaemonProcess, folder: Path) -> None:
    """Joe comes in by every way there is, Ann shares his address, and others come in between."""
    shop = "/hooks/shop"
    traced = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "crm=canary-name"}
    joe: dict[str, Any] = {"email": "Canary-Joe@Example.com", "name": "canary-name", "phone": "070-174 06 05"}
    daemon.send(shop, {"id": "1", "type": "order.paid", **joe, "customer_no": "canary-4711"}, headers=traced)
    for number in range(20):
        daemon.send(shop, {"id": f"o{number}", "type": "order.paid", "email": f"other{number}@example.com"})
    authorization = {"authorization": "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()}
    body = {"userId": "canary-user", "traits": {"email": MAIL, "plan": "canary-name"}, "messageId": "m-2"}
    daemon.send("/v1/identify", body, headers=authorization)
    deliver(folder, "register.csv", "Lund")
    daemon.send(shop, {"id": None, "type": "order.paid", "email": MAIL, "note": "canary-name"})  # it has no id
    daemon.send(shop, {"id": "2", "type": "held.order", "email": MAIL, "name": "canary-name"}, headers=traced)
    ann: dict[str, Any] = {"email": MAIL, "customer_no": "ann-1", "name": "Ann"}
    said = {"contact": {"mail": MAIL}, "to": MAIL, "lines": [{"for": [MAIL], "note": f"ask {MAIL}"}]}
    daemon.send(shop, {"id": "3", "type": "order.paid", **ann, **said})
    daemon.send(shop, {"id": "4", "type": "order.paid", "email": "eve@example.com", "to": f"ask {MAIL}"})  # in her words
    daemon.send("/hooks/survey", {"id": MAIL})
    wait(lambda: any(row["state"] == "done" for row in daemon.ask("files")))
    daemon.settle()
    daemon.ask("profile", "split", f"email:{MAIL}", "customer_no:ann-1", "--yes")


def deliver(folder: Path, name: str, city: str) -> None:
    """The whole register, with Joe in it."""
    rows = ["customer_no,city", "canary-4711,canary-name-town", *(f"n{number},{city}" for number in range(300))]
    (folder / "in" / "register.part").write_text("\n".join(rows) + "\n")
    (folder / "in" / "register.part").rename(folder / "in" / name)


def left_in(folder: Path) -> dict[str, list[bytes]]:
    """The canaries in every file below, in journal blocks as they are decoded, and in every row as text, letter case aside."""
    found: dict[str, list[bytes]] = {}
    digester = Digester((folder / "keys" / "digest.key").read_bytes())
    # What stands for him beside others whom a split keeps apart from him.
    apart = splits_of(digester).digest(("email", MAIL)).to_bytes(8, "big", signed=True).lower()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.endswith("-shm"):
            seen = [one for one in (*CANARIES, apart) if one in path.read_bytes().lower()]
            seen += [one for one in CANARIES if path.suffix == ".db" and one in _decoded(path)]
            if seen:
                found[path.name] = seen
    return found


def _decoded(path: Path) -> bytes:
    connection = sqlite3.connect(path)
    try:
        parts = []
        if path.name == "journal.db":
            blocks = connection.execute("SELECT last, first, written, checksum, body FROM blocks")
            parts = [msgspec.json.encode(unpack(Block(*row))) for row in blocks]
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        parts += [str(row).encode() for (table,) in tables for row in connection.execute(f'SELECT * FROM "{table}"')]
    finally:
        connection.close()
    return b"".join(parts).lower()


def asked(daemon: DaemonProcess) -> str:
    """All that every interface says, wherever it might be about Joe."""
    one = {"identifier": f"email:{MAIL}"}
    looks: list[tuple[str, dict[str, Any]]] = [
        ("profile", one), ("profile/events", {"identifier": "user_id:canary-user"}), ("profiles", {"text": "canary*"}),
        ("profiles", {"trait": "name=canary-name"}), ("profile/explain", {"first": f"email:{MAIL}", "second": "email:x@y.se"}),
        *(("event", {"id": name, "reveal": "true"}) for name in ("1", "2", "m-2")), ("dead-letters", {}),
        *((f"dead-letters/{row['seq']}", {"reveal": "true"}) for row in daemon.control.get("/v1/dead-letters")),
        ("audience-changes", {}), ("audiences/everybody/members", {}), ("shelves/files", {}), ("status", {}),
        ("erasures", {}), ("audit", {}),
    ]  # fmt: skip
    asking, said = daemon.control, []
    for path, query in looks:
        with suppress(NotFound):
            said.append(asking.get(f"/v1/{path}", query))
    said.append(asking.post("/v1/audience-try", {"where": "profile.traits.name == 'canary-name'"})["sample"])
    with suppress(NotFound):
        said.append(list(asking.stream("/v1/profile/export", one)))
    # An explanation repeats what was asked.
    return json.dumps(said).lower().replace(f'"{MAIL}", "profile": null', "")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    (tmp_path / "in").mkdir()
    made = DaemonProcess(
        tmp_path,
        CONFIG.replace("FOLDER", str(tmp_path)),
        environment={"WRITE_KEY": KEY, "DIE_ONCE": str(tmp_path / "die")},
        plugins={"erasing": "erasing_plugin", "dying": "dying_plugin"},
        paths=[Path(__file__).parent],
    )
    with made as running:
        yield running


def test_whoever_is_erased_is_in_no_file_and_nothing_brings_them_back(daemon: DaemonProcess, tmp_path: Path) -> None:
    meet(daemon, tmp_path)
    before = left_in(tmp_path / "state")
    assert {"journal.db-wal", "store.db-wal"} & before.keys()
    assert any(one not in CANARIES for seen in before.values() for one in seen), "what the split says of him is looked for"
    told = asked(daemon)
    assert all(one.decode() in told for one in CANARIES)
    parked = daemon.ask("status")["store"]["parked"]
    daemon.cdmctl("backup", str(tmp_path / "backup.tar"))
    held = daemon.ask("profile", "erase", f"email:{MAIL}", "--dry-run")
    assert (held["identifiers"], held["waiting"]) == ({"customer_no": 1, "email": 1, "phone": 1, "user_id": 1}, 2)
    report = json.loads(daemon.cdmctl("profile", "erase", f"email:{MAIL}", "--yes", "--json", check=False).stdout)
    assert report["state"] == "complete", report["left"]
    assert [copy["path"] for copy in report["copies"]] == [str(tmp_path / "backup.tar")]
    gone = report["erased"]
    assert (gone["activities"], gone["activities of others that named them"]) == (held["activities"], 2) == (3, 2)
    assert report["targets"] == []
    assert "canary" not in asked(daemon)
    assert daemon.ask("status")["store"]["parked"] == parked - 1
    sums(daemon)
    assert daemon.ask("verify")["whole"] is True
    ann = daemon.ask("profile", "show", "customer_no:ann-1")
    assert [one["kind"] for one in ann["identifiers"]] == ["customer_no"]
    assert (ann["traits"], ann["indicators"]) == ({"name": "Ann", "contact": {}}, {})
    assert left_in(tmp_path / "state") == {}
    meet_again(daemon)
    deliver(tmp_path, "again.csv", "Malmo")
    wait(lambda: sum(row["state"] == "done" for row in daemon.ask("files")) == 2)
    daemon.settle()
    assert daemon.ask("profile", "show", "customer_no:n7")["traits"]["city"] == "Malmo"
    assert "canary" not in asked(daemon)
    sums(daemon)
    daemon.stop()
    assert left_in(tmp_path / "state") == {}
    assert "canary" not in daemon.log_file.read_text()


@pytest.mark.anyio
@pytest.mark.parametrize("rewritten", [True, False])
async def test_the_search_of_all_files_finds_what_stays_in_blocks_that_are_not_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, rewritten: bool
) -> None:
    async with World(tmp_path, '[connectors.shop]\ntype = "told"\n').parts() as parts:
        revise = parts.journal.revise

        async def passing_by(change: Any, *, holding: Any, after: Seq) -> tuple[Seq, int]:
            return await revise(lambda rows: {} if rows else change(rows), holding=holding, after=after)

        if not rewritten:
            monkeypatch.setattr(parts.journal, "revise", passing_by)
        await parts.connectors.get("shop").source.emit([record("1", MAIL), record("2", "ann@example.com")])
        await applied(parts)
        await Governing(parts).erase(("email", MAIL), by="ada")
        while parts.privacy.erasures.pending:
            await parts.privacy.removing.tried.wait()
        found = await to_thread.run_sync(left_in, tmp_path / "state")
    assert found.keys() == (set() if rewritten else {"journal.db"})


def meet_again(daemon: DaemonProcess) -> None:
    """The same, delivered again, and new ones."""
    shop = "/hooks/shop"
    daemon.send(shop, {"id": "1", "type": "order.paid", "email": "Canary-Joe@Example.com", "customer_no": "canary-4711"})
    daemon.send(shop, {"id": "9", "type": "order.paid", "phone": "+46 70 174 06 05", "name": "canary-name"})
    daemon.send(shop, {"id": None, "type": "order.paid", "email": MAIL, "note": "canary-name"})
    daemon.send(shop, {"id": "10", "type": "order.paid", "email": MAIL, "customer_no": "ann-1", "name": "Ann"})
    daemon.settle()


def sums(daemon: DaemonProcess) -> None:
    """Promise P9."""
    for row in daemon.ask("connectors"):
        settled = ("applied", "repeats", "suppressed", "dead_letters", "parked", "backlog")
        filtered = row["filtered"] - row["filtered_at_door"]
        assert row["accepted"] == sum(row[name] for name in settled) + filtered, json.dumps(row)
        assert row["backlog"] == 0


def test_an_erasure_goes_on_after_a_kill_at_any_moment(daemon: DaemonProcess, tmp_path: Path) -> None:
    meet(daemon, tmp_path)
    daemon.cdmctl("profile", "erase", f"email:{MAIL}", "--yes", "--no-wait")
    daemon.kill()
    daemon.start()
    with pytest.raises(NotFound):
        daemon.control.get("/v1/profile", {"identifier": f"email:{MAIL}"})
    wait(lambda: all(row["done"] for row in daemon.ask("erasures")))
    assert left_in(tmp_path / "state") == {}
    sums(daemon)


def test_an_erasure_that_ends_between_a_register_and_the_one_before_it_removes_both(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    meet(daemon, tmp_path)
    (tmp_path / "die").touch()
    daemon.cdmctl("profile", "erase", f"email:{MAIL}", "--yes", check=False)
    assert daemon.process is not None
    assert daemon.process.wait(60) == 9
    daemon.kill()
    assert "feeds.db" in left_in(tmp_path / "state")
    daemon.start()
    wait(lambda: all(row["done"] for row in daemon.ask("erasures")))
    assert left_in(tmp_path / "state") == {}
    sums(daemon)


def test_a_restore_brings_back_nobody_who_was_erased(daemon: DaemonProcess, tmp_path: Path) -> None:
    meet(daemon, tmp_path)
    daemon.cdmctl("backup", str(tmp_path / "backup.tar"))
    daemon.cdmctl("profile", "erase", f"email:{MAIL}", "--yes")
    (tmp_path / "list.jsonl").write_text(daemon.cdmctl("suppressions", "export").stdout)
    daemon.stop()
    (tmp_path / "other").mkdir()
    elsewhere = DaemonProcess(tmp_path / "other", CONFIG.replace("FOLDER", str(tmp_path)), environment=daemon.environment)
    command = [sys.executable, "-m", "cdmd", "restore", str(tmp_path / "backup.tar"), "--config", str(elsewhere.config_file)]
    command += ["--suppressions", str(tmp_path / "list.jsonl"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=daemon.environment)
    assert json.loads(done.stdout)["suppressions"] >= 4
    shutil.copytree(daemon.state_dir / "keys", elsewhere.state_dir / "keys", dirs_exist_ok=True)  # it is exported apart
    with elsewhere as running:
        with pytest.raises(NotFound):
            running.control.get("/v1/profile", {"identifier": f"email:{MAIL}"})
        assert running.ask("profile", "show", "customer_no:n7")
        wait(lambda: all(row["done"] for row in running.ask("erasures")))
        meet_again(running)
        assert "canary" not in asked(running)
        running.stop()
    assert left_in(elsewhere.state_dir) == {}
