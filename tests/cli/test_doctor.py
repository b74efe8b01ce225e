"""``cdmctl doctor``: what it finds in a status, around the daemon, and where no daemon is."""

import json
import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdmd.cli import surroundings
from cdmd.cli.control_commands import cli
from cdmd.cli.examining import Finding, examine, worst
from cdmd.cli.running import run
from cdmd.control.protocol import (
    ConnectorRow,
    DiskRow,
    JournalReplicaRow,
    JournalRow,
    PluginRow,
    ProcessRow,
    QueueRow,
    Status,
    StoreRow,
    StreamRow,
    Totals,
)
from cdmd.control.target_shapes import TargetRow
from cdmd.errors import NotDurable
from tests.cli.calling import Cdmctl
from tests.control.doubles import NOW, Daemon, dead

DAY = 86_400.0


def shop(**changed: Any) -> ConnectorRow:
    return ConnectorRow(**{"name": "shop", "type": "webhook", "state": "running", "last_event": NOW} | changed)


def found(*rows: ConnectorRow, letters: list[dict[str, Any]] | None = None, **changed: Any) -> list[Finding]:
    well = Status(
        version="0.1.0",
        state="running",
        uptime_seconds=3600.0,
        queue=QueueRow(events=0, max_events=100, bytes=0, max_bytes=1000),
        journal=JournalRow(backlog=0),
        store=StoreRow(bytes=1, parked=0, parked_bytes=0),
        disk=DiskRow(free_bytes=2**34, reserve_bytes=2**30, days_left=80.0),
        connectors=list(rows),
        plugins=[],
        totals=Totals(events=0, profiles=0, activities=0, dead_letters=0),
    )
    document = json.loads(msgspec.json.encode(msgspec.structs.replace(well, **changed)))
    return examine(document, letters or [], now=NOW)


def test_of_what_is_well_nothing_is_said() -> None:
    assert found(shop(), shop(name="other", freshness_objective_seconds=5.0, freshness_seconds=0.1)) == []


@pytest.mark.parametrize(
    ("changed", "severity", "about", "said", "do"),
    [
        ({"disk": DiskRow(free_bytes=1, reserve_bytes=2)}, "problem", "disk", "nothing is acknowledged", "journal.keep"),
        ({"disk": DiskRow(free_bytes=9, reserve_bytes=2, days_left=3.2)}, "warning", "disk", "full in 3 days", "enlarge"),
        ({"journal": JournalRow(backlog=0, failure="SQLITE_FULL")}, "problem", "journal", "SQLITE_FULL", "cdmctl verify"),
        ({"journal": JournalRow(backlog=0, failure="gone", server="")}, "problem", "journal", "gone", "mend the NATS servers"),
        (
            {"journal": JournalRow(backlog=0, server="n1:4222", copies=[JournalReplicaRow(server="n2", current=False, lag=7)])},
            "warning", "journal", "on n2 is 7 operations behind", "nats server report",
        ),
        ({"journal": JournalRow(backlog=10_001)}, "warning", "journal", "10001 events", "cdmctl top"),
        ({"warnings": ["the wall clock leapt 3 h ahead: ..."]}, "problem", "clock", "leapt 3 h", "timedatectl"),
        ({"warnings": ["the store cannot be used now: EIO"]}, "problem", "databases", "EIO", "cdmctl verify"),
        ({"warnings": ["something else"]}, "warning", "daemon", "something else", "journalctl"),
        ({"state": "draining"}, "warning", "daemon", "it is draining", "in a minute"),
        ({"queue": QueueRow(events=81, max_events=100, bytes=0, max_bytes=9)}, "warning", "queue", "81 of 100", "quota"),
        ({"queue": QueueRow(events=1, max_events=100, bytes=9, max_bytes=9)}, "warning", "queue", "come later", "quota"),
        ({"store": StoreRow(bytes=1, parked=1_001, parked_bytes=1)}, "warning", "extensions", "1001 events", "plugins"),
        (
            {"plugins": [PluginRow(name="warranty", state="load error", error="ImportError: x")]},
            "problem", "plugin warranty", "load error: ImportError: x", "restart cdmd",
        ),
        (
            {"plugins": [PluginRow(name="w", state="load error", error="gone", held=3, withheld=("tv.*", "radio"))]},
            "problem", "plugin w", "gone; tv.*, radio events are kept until it is well, 3 of them now",
            "to go on without it, once and for all: [plugins.w] enabled = false",
        ),
        ({"plugins": [PluginRow(name="w", state="enabled", error="slow")]}, "warning", "plugin w", "slow", "README"),
        (
            {"plugins": [PluginRow(name="w", state="enabled", process=ProcessRow(state="failed", reason="SIGSEGV"))]},
            "problem", "plugin w", "its process does not run: SIGSEGV", "restart cdmd",
        ),
        (
            {"plugins": [PluginRow(name="w", state="enabled", process=ProcessRow(state="running", restarts=2, reason="x"))]},
            "warning", "plugin w", "had to be started again 2 times, because x", "max_memory",
        ),
        (
            {"totals": Totals(events=0, profiles=0, activities=0, dead_letters=5)},
            "warning", "dead letters", "5 wait for somebody to decide, too many to tell", "retry or discard",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_daemon_comes_with_what_to_do(
    changed: dict[str, Any], severity: str, about: str, said: str, do: str
) -> None:
    (one,) = found(**changed)
    assert (one.severity, one.about) == (severity, about)
    assert said in one.what
    assert do in one.do
    assert worst([one]) == (severity == "problem")


@pytest.mark.parametrize(
    ("row", "severity", "said", "do"),
    [
        (shop(state="failed", error="401 from the host"), "problem", "it is failed: 401 from the host", "cdmd try shop"),
        (shop(state="degraded", detail="asks again at 10:00"), "warning", "asks again", "cdmctl poll shop"),
        (shop(state="paused"), "warning", "brings nothing", "cdmctl resume shop"),
        (shop(last_event=NOW - timedelta(days=3)), "warning", "nothing came for 3 d", "cdmd try shop"),
        (
            shop(freshness_objective_seconds=5.0, freshness_seconds=60.0, streams=[StreamRow(name="a", shortfall="limits")]),
            "warning", "within 60 s, and 5 s are the objective: limits", "freshness",
        ),
        (shop(freshness_objective_seconds=5.0, freshness_seconds=60.0), "warning", "are the objective", "limits"),
        (
            shop(refused=12, accepted=50, refusals={"too_large": 2, "signature_mismatch": 10}),
            "warning", "12 requests were refused since the start: 10 signature_mismatch, 2 too_large", "secret",
        ),
        (shop(id_conflicts=2), "warning", "2 ", "one occurrence"),
        (shop(clock_ahead=2), "warning", "in the future", "clock"),
        (shop(detail="unsigned: anybody who can reach it may send"), "warning", "anybody", "verify"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_connector_comes_with_what_to_do(row: ConnectorRow, severity: str, said: str, do: str) -> None:
    (one,) = found(row)
    assert (one.severity, one.about) == (severity, "shop")
    assert said in one.what
    assert do in one.do


@pytest.mark.parametrize(
    ("row", "severity", "said", "do"),
    [
        (TargetRow(name="crm", state="disabled", reason="410 Gone"), "problem", "any more: 410 Gone", "enable"),
        (TargetRow(name="crm", state="failing", waiting=7), "warning", "7 deliveries wait", "endpoint"),
        (TargetRow(name="crm", state="active", full_since=NOW, dropped=3), "problem", "3 deliveries were dropped", "replay"),
        (TargetRow(name="crm", state="active", failed=2), "warning", "2 deliveries were set aside", "retry"),
    ],
)
def test_what_is_wrong_with_a_target_comes_with_what_to_do(row: TargetRow, severity: str, said: str, do: str) -> None:
    (one,) = found(targets=[row])
    assert (one.severity, one.about) == (severity, "target crm")
    assert said in one.what
    assert do in one.do
    assert found(targets=[TargetRow(name="crm", state="active")]) == []


def test_who_is_fresh_by_their_own_measure_and_few_refusals_are_no_findings() -> None:
    weekly = shop(last_event=NOW - timedelta(days=3), freshness_objective_seconds=7 * DAY)
    assert found(weekly, shop(refusals={"signature_mismatch": 9}), shop(accepted=1_000, refusals={"too_large": 50})) == []


def test_silence_since_the_start_counts_from_the_start() -> None:
    assert found(shop(last_event=None)) == []
    (one,) = found(shop(last_event=None), uptime_seconds=2 * DAY)
    assert "since the start 2 d ago" in one.what


def test_dead_letters_that_are_new_are_told_by_source_with_their_commonest_fault() -> None:
    def letter(minutes: int, source: str, code: str) -> dict[str, Any]:
        return {"since": (NOW - timedelta(minutes=minutes)).isoformat(), "source": source, "code": code}

    letters = [letter(1, "crm.contacts", "mapping"), letter(2, "crm.contacts", "mapping"), letter(3, "crm.contacts", "where")]
    totals = Totals(events=0, profiles=0, activities=0, dead_letters=4)
    (one,) = found(letters=[*letters, letter(90, "shop", "mapping")], totals=totals)
    assert (one.about, one.what) == ("crm.contacts", "3 dead letters within an hour, 2 of them with the fault mapping")
    assert "--connector crm;" in one.do
    (old,) = found(letters=[letter(90, "shop", "mapping")], totals=msgspec.structs.replace(totals, dead_letters=1))
    assert "none of them new" in old.what


def test_problems_come_before_warnings() -> None:
    two = found(shop(state="paused"), disk=DiskRow(free_bytes=1, reserve_bytes=2))
    assert [one.severity for one in two] == ["problem", "warning"]


# ---- the command ---------------------------------------------------------------------------------------------------


def test_a_daemon_that_is_well_ends_with_0_and_one_with_a_problem_with_1(
    daemon: Daemon, cdmctl: Cdmctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "_asked", lambda *_: "")
    ended = cdmctl("doctor")
    assert (ended.status, ended.out, ended.err) == (0, "", "all is well\n")
    daemon.runtime.failure = "SQLITE_FULL: \x1b[31m"
    dead(daemon.runtime, 1)
    ended = cdmctl("doctor", "--deep")
    assert ended.status == 1
    assert ended.out.startswith("problem  journal: SQLITE_FULL: \\x1b[31m\n         mend the disk")
    assert "warning  " in ended.out
    daemon.runtime.store.damage = ["store: page 3"]
    document = cdmctl("doctor", "--deep", "--json").json
    assert isinstance(document, list)
    assert {"severity": "problem", "about": "damage", "what": "store: page 3"}.items() <= document[1].items()
    assert cdmctl("doctor", "--deep", role="reader").status == 5
    assert cdmctl("doctor", role="reader").status == 1


def test_a_store_that_cannot_be_read_is_told_by_the_status_and_ends_nothing(
    daemon: Daemon, cdmctl: Cdmctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_which: object) -> list[object]:
        raise NotDurable("the store cannot be read now")

    monkeypatch.setattr(surroundings, "_asked", lambda *_: "")
    monkeypatch.setattr(daemon.runtime.store, "dead_letters", away)
    daemon.runtime.warnings = ["the store cannot be read, its figures are those of before"]
    ended = cdmctl("doctor")
    assert ended.err == ""
    assert "the store cannot be read, its figures are those of before" in ended.out


def test_without_a_daemon_it_says_why_there_may_be_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "cdmd.toml"
    monkeypatch.setattr(surroundings, "_asked", lambda *_: "failed\nexit-code")
    monkeypatch.setenv("CDMD_CONFIG", str(config))
    assert run(cli, ["--socket", str(tmp_path / "none"), "doctor"], name="cdmctl") == 3
    said = capsys.readouterr().out
    assert "problem  daemon: no daemon answers" in said
    assert "systemd gave it up (exit-code)" in said
    config.write_text('[connectors.shop]\ntype = "webhok"\nverify = "none"\n')
    assert run(cli, ["--socket", str(tmp_path / "none"), "doctor", "--json"], name="cdmctl") == 3
    rows = json.loads(capsys.readouterr().out)
    assert [(row["about"], row["what"]) for row in rows if "webhok" in row["what"]] == [
        (str(config), 'connectors.shop.type: there is no connector type "webhok" (did you mean webhook?)')
    ]
    config.write_text('[connectors.shop]\ntype = "webhook"\nverify = "none"\n')
    assert run(cli, ["--socket", str(tmp_path / "none"), "doctor", "--json"], name="cdmctl") == 3
    assert len(json.loads(capsys.readouterr().out)) == 2
    monkeypatch.setattr(surroundings, "_SECONDS", 0.001)
    assert run(cli, ["--socket", str(tmp_path / "none"), "doctor"], name="cdmctl") == 3
    assert f"warning  {config}: it could not be checked within 0.001 seconds" in capsys.readouterr().out


def test_who_may_not_ask_is_told_how_to_be_let_in(daemon: Daemon, cdmctl: Cdmctl) -> None:
    ended = cdmctl("doctor", role="stranger")
    assert ended.status == 5
    assert "usermod -aG cdmadm" in ended.out


# ---- around the daemon ---------------------------------------------------------------------------------------------


def test_a_state_that_others_may_read_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "_asked", lambda *_: "")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "store.db").touch(mode=0o600)
    assert list(surroundings.around(state)) == []
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(state / "c.sock"))
        (state / "c.sock").chmod(0o660)
        assert list(surroundings.around(state)) == [], "who may connect is asked there"
    (state / "store.db").chmod(0o644)
    (one,) = surroundings.around(state)
    assert (one.severity, one.what, one.do) == (
        "problem", f"others than the daemon may read {state}/store.db", f"chmod -R go= {state}"
    )  # fmt: skip
    state.chmod(0o755)
    (one,) = surroundings.around(state)
    assert one.what.endswith("and more")
    assert list(surroundings.around(tmp_path / "none")) == []


def test_a_clock_that_nobody_keeps_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "timedatectl").write_text("#!/bin/sh\necho no\n")
    (tmp_path / "timedatectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (one,) = surroundings.around(tmp_path / "none")
    assert (one.severity, one.about) == ("warning", "clock")
    (tmp_path / "timedatectl").write_text("#!/bin/sh\nexit 1\n")
    assert list(surroundings.around(tmp_path / "none")) == []
    (tmp_path / "timedatectl").write_text("not a program\n")
    assert list(surroundings.around(tmp_path / "none")) == []
    monkeypatch.setenv("PATH", "")
    assert list(surroundings.around(tmp_path / "none")) == []
