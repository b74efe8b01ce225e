"""Batch files of the real daemon: an audience in an sftp area, what happened in a folder, killed in between."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance.trial import until
from tests.peers.sshd import Sshd

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

MANIFEST = ".manifest.json"
CONFIG = """
[connectors.shop]
type = "webhook"
verify = "none"
[indicators.orders]
on = "order.*"
[audiences.buyers]
where = "indicators.orders >= 2"
[targets.campaign]
type = "sftp"
host = "127.0.0.1"
port = {port}
username = "{user}"
private_key = "env:KEY"
host_key = "{key}"
path = "{area}"
audience = "buyers"
mode = "changes"
at = "{at}"
manifest = true
fields = ["identifiers.email", "indicators"]
columns = {{ mail = "{{identifiers.email}}", orders = "{{indicators.orders}}" }}
[targets.feed]
type = "folder"
path = "{folder}"
events = ["order.paid"]
where = "event.data.total > 5"
fields = ["event.data"]
format = "jsonl"
every = "24h"
"""


def order(number: int, customer: int, total: int = 10) -> dict[str, Any]:
    identifiers = {"email": f"u{customer}@example.com"}
    return {"id": f"o{number}", "type": "order.paid", "identifiers": identifiers, "data": {"total": total}}


def sent(one: DaemonProcess, target: str, folder: Path, files: int, last: str = "") -> list[Path]:
    """Ask for a file now; those that are there then, the oldest first. ``last`` is the ending of what comes after each."""
    one.cdmctl("targets", "send", target)
    until(lambda: len(list(folder.glob(f"{target}_*Z.*[lv]{last}"))) == files)
    return sorted(folder.glob(f"{target}_*Z.*[lv]"))


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as text:
        return [[row["change"], row["mail"], row["orders"]] for row in csv.DictReader(text)]


def test_an_audience_and_a_feed_are_delivered_as_files_and_go_on_after_a_kill(server: Sshd, tmp_path: Path) -> None:
    area, folder = tmp_path / "area", tmp_path / "folder"
    area.mkdir()
    folder.mkdir()
    config = CONFIG.format(
        port=server.port, user=server.username, key=server.fingerprint, area=area, folder=folder, at="04:00 Pacific/Apia"
    )
    one = DaemonProcess(tmp_path, config, environment=server.environment)
    with one:
        for number in range(6):
            one.send("/hooks/shop", order(number, number // 2, total=number))
        one.settle()
        (first,) = sent(one, "campaign", area, 1, MANIFEST)
        assert table(first) == [["added", f"u{customer}@example.com", "2"] for customer in range(3)]
        about = json.loads(Path(f"{first}{MANIFEST}").read_text())
        assert (about["rows"], about["bytes"], about["audience"]) == (3, first.stat().st_size, "buyers")
        assert not list(folder.iterdir())
        one.send("/hooks/shop", order(6, 0))
        one.settle()
        one.kill()
    with one:
        first, second = sent(one, "campaign", area, 2, MANIFEST)
        assert table(second) == [["changed", "u0@example.com", "3"]]
        (feed,) = sent(one, "feed", folder, 1)
        assert [json.loads(line)["event"]["data"] for line in feed.read_text().splitlines()] == [{"total": 10}]
        until(lambda: one.control.get("/v1/status")["totals"]["deliveries_pending"] == 0)
        row = next(row for row in one.control.get("/v1/targets") if row["name"] == "campaign")
        assert "was written; next file campaign_" in json.dumps(row)
