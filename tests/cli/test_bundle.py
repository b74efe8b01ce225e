"""``cdmctl support-bundle``: what is in it, and that nothing tells whose it is."""

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from cdmd.cli import control_bundle, surroundings
from cdmd.cli.redacting import Redaction
from cdmd.control.protocol import ConnectorRow
from tests.cli.calling import Cdmctl
from tests.control.doubles import Daemon, dead

CONFIG = {
    "http": {"listen": ["127.0.0.1:8787"], "max_body": "1MiB", "public_url": "https://in.canary-shop.example"},
    "control": {"admins": ["root", "canary-ada"], "socket": "/run/canary/control.sock"},
    "connectors": {
        "crm": {
            "type": "rest",
            "base_url": "https://canary-crm.example.com/v3",
            "limits": "100/10s",
            "secret": "credential:crm",
        },
        "supplier": {
            "type": "sftp",
            "host": "canaryhost",
            "username": "canaryuser",
            "mode": "snapshot",
            "port": 22,
            "keep": True,
        },
    },
}


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "connector_state connector=supplier error=canaryhost refused canaryuser at 10.1.2.3 (https://canary-crm.example.com/v3/x)\n"
    monkeypatch.setattr(surroundings, "_asked", lambda *command: said if command[0] == "journalctl" else "")


def members(file: Path) -> dict[str, str]:
    with tarfile.open(file) as archive:
        return {one.name.partition("/")[2]: archive.extractfile(one).read().decode() for one in archive}  # type: ignore[union-attr]


@pytest.mark.usefixtures("log")
def test_it_holds_what_helps_and_nothing_that_tells_whose_it_is(daemon: Daemon, cdmctl: Cdmctl, tmp_path: Path) -> None:
    runtime = daemon.runtime
    runtime.config = type(runtime.config)(**{**_fields(runtime.config), "effective": CONFIG})
    runtime.extra_connectors = [ConnectorRow(name="supplier", type="sftp", state="failed", error="canaryhost:22 is shut")]
    runtime.warnings = ["/var/lib/canary/state is full; ask canary-ada"]
    dead(runtime, 1)
    cdmctl("pause", "shop")
    file = tmp_path / "support.tar.gz"
    ended = cdmctl("support-bundle", str(file))
    assert (ended.status, ended.out) == (0, "")
    assert file.stat().st_mode & 0o777 == 0o600
    found = members(file)
    documents = {f"{name}.json" for name in ("versions", "config", "status", "doctor", "dead-letters", "audit")}
    assert set(found) == documents | {"metrics.txt", "log.txt"}
    assert [name for name, text in found.items() if "canary" in text or "10.1.2.3" in text or "4001" in text] == []
    config = json.loads(found["config.json"])
    assert config["connectors"]["crm"] | {"base_url": ""} == CONFIG["connectors"]["crm"] | {"base_url": ""}
    host = config["connectors"]["supplier"]["host"]
    (row,) = [one for one in json.loads(found["status.json"])["connectors"] if one["name"] == "supplier"]
    assert row["error"] == f"{host}:22 is shut", "what belongs together can be seen"
    assert host in found["log.txt"]
    assert json.loads(found["audit.json"])[0]["command"] == "pause"


@pytest.mark.usefixtures("log")
def test_a_plain_one_says_all_that_the_owner_sees(daemon: Daemon, cdmctl: Cdmctl, tmp_path: Path) -> None:
    file = tmp_path / "plain.tar.gz"
    assert cdmctl("support-bundle", str(file), "--plain").status == 0
    found = members(file)
    assert "canaryhost" in found["log.txt"]
    assert json.loads(found["config.json"])["http"]["listen"] == ["127.0.0.1:8787"]


@pytest.mark.usefixtures("log")
def test_it_overwrites_nothing_and_says_what_cannot_be_written(daemon: Daemon, cdmctl: Cdmctl, tmp_path: Path) -> None:
    file = tmp_path / "there"
    file.touch()
    ended = cdmctl("support-bundle", str(file))
    assert (ended.status, file.read_bytes()) == (1, b"")
    assert "exists already" in ended.err
    ended = cdmctl("support-bundle", str(tmp_path / "none" / "x"))
    assert (ended.status, "cannot be written: No such file" in ended.err) == (1, True)


def test_one_text_is_the_same_in_one_bundle_and_another_in_the_next() -> None:
    one, other = Redaction(b"a" * 32), Redaction(b"b" * 32)
    assert one.text("x.example") == one.text("x.example") != other.text("x.example")
    assert one.settings({"a": ["30s", "1MiB", "100/10s", -1, None, True, "order.*"]})["a"][:-1] == [
        "30s", "1MiB", "100/10s", -1, None, True
    ]  # fmt: skip


def test_what_was_taken_out_stays_out_of_sentences_with_the_longest_first() -> None:
    redaction = Redaction(b"a" * 32)
    short, long = redaction.text("acme corp"), redaction.text("acme corp north")
    assert redaction.sentence("of acme corp north and acme corp") == f"of {long} and {short}"


def test_hosts_of_urls_and_addresses_stay_out_of_sentences_too() -> None:
    redaction = Redaction(b"a" * 32)
    redaction.settings(
        {
            "connectors": {"crm": {"base_url": "https://ada:pw@CRM.kunde.ch:8443/v3"}, "odd": {"what": "http://[::1/x"}},
            "targets": {"t": {"url": "http://hooks-db/x"}, "here": {"url": "http://localhost:9/x"}},
            "http": {"listen": ["[2001:db8::17]:8787", "in.kunde.ch:80"]},
        }
    )
    host = redaction.text("crm.kunde.ch")
    assert redaction.sentence("crm.kunde.ch does not answer") == f"{host} does not answer"
    left = redaction.sentence("CRM.kunde.ch, hooks-db, in.kunde.ch:80, localhost and 2001:db8::17: nobody there")
    assert re.sub(r"text-[0-9a-f]{8}", "-", left) == "-, -, -, localhost and -: nobody there"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("it cannot listen on 2001:db8::17: in use", "it cannot listen on -: in use"),
        ("from [fe80::1%eth0]:443", "from [-%eth0]:443"),
        ("2001:DB8:0:0:1:2:3:4 is away.", "- is away."),
        ("::ffff:10.1.2.3 and fe80::.", "- and -."),
        ("at 12:34:56 in a::b::c on [::]:80 cafe:1", "at 12:34:56 in a::b::c on [::]:80 cafe:1"),
    ],
)
def test_an_ipv6_address_is_a_place_and_a_time_of_day_is_none(text: str, left: str) -> None:
    assert re.sub(r"text-[0-9a-f]{8}", "-", Redaction(b"a" * 32).sentence(text)) == left


def _fields(config: Any) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__struct_fields__}


def test_the_members_are_redacted_by_the_key_that_is_handed_in() -> None:
    given = {"config.json": {"host": "h"}, "audit.json": [], "log.txt": "h at 10.0.0.1"}
    first, second = (control_bundle.redacted(given, random=lambda count: b"k" * count) for _ in range(2))
    assert first == second
