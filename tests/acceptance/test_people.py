"""One customer from three sources with the real daemon: found, explained, exported."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdmd.testing import DaemonProcess

CONFIG = """
[daemon]
state_dir = "{folder}/state"
[identity.identifiers]
customer_no = {{ priority = 1, limit = 1 }}
email = {{ priority = 2, limit = 5 }}
email_sha256 = {{ priority = 3, limit = 5 }}
device = {{ priority = 9, limit = 5 }}
[connectors.shop]
type = "webhook"
verify = "none"
[connectors.crm]
type = "webhook"
verify = "none"
[connectors.ads]
type = "webhook"
verify = "none"
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    made = DaemonProcess(tmp_path)
    made.configure(CONFIG.format(folder=tmp_path))
    with made as running:
        yield running


def tell(daemon: DaemonProcess, source: str, id: str, **identifiers: str) -> None:
    event: dict[str, Any] = {"id": id, "type": "seen", "identifiers": identifiers, "traits": {"city": "Lund"}}
    daemon.send(f"/hooks/{source}", event)
    daemon.settle()


def test_a_customer_from_three_sources_is_found_explained_and_exported(daemon: DaemonProcess) -> None:
    tell(daemon, "shop", "s1", email="joe@example.com", device="d-12345")
    tell(daemon, "crm", "c1", customer_no="4711")
    tell(daemon, "crm", "c2", customer_no="4711", email="Joe@Example.com")
    tell(daemon, "crm", "c3", customer_no="4712", email="joe@example.com")
    found = daemon.ask("profile", "explain", "customer_no:4711", "device:d-12345")
    assert [(link["event"]["id"], link["event"]["rule"]) for link in found["chain"]] == [
        ("c2", "merged on customer_no, email"),
        ("s1", "new"),
    ]
    apart = daemon.ask("profile", "explain", "customer_no:4712", "email:joe@example.com")
    assert apart["summary"].endswith("but email given up: limit of customer_no")
    (row,) = [json.loads(line) for line in daemon.cdmctl("profile", "find", "email:joe@*", "--json").stdout.splitlines()]
    assert [one["value"] for one in row["identifiers"]] == ["joe@example.com", "d-12345", "4711"]
    assert len(daemon.cdmctl("profile", "find", "--trait", "city=lund").stdout.splitlines()) == 2
    lines = [json.loads(line) for line in daemon.cdmctl("profile", "export", "customer_no:4711").stdout.splitlines()]
    assert sorted(line["event"]["id"] for line in lines if line["type"] == "activity") == ["c1", "c2", "s1"]
    assert [line["type"] for line in lines].count("merge") == 1
    assert lines[-1]["counts"] | {"audit": 0} == {
        "profile": 1, "identifier": 4, "trait": 1, "activity": 3, "merge": 1, "audit": 0,
    }  # fmt: skip
