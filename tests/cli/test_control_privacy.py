"""``cdmctl profile suppress``, ``unsuppress`` and ``erase``, ``cdmctl suppressions`` and ``erasures``."""

import json

import pytest

from cdmd.control.privacy_shapes import CopyRow, ErasuresRow
from tests.cli.calling import Cdmctl
from tests.control.doubles import NOW, Daemon

JOE = "email:joe@example.com"


def test_somebody_is_suppressed_and_taken_back(cdmctl: Cdmctl) -> None:
    assert cdmctl("profile", "suppress", JOE)[::2] == (0, "suppressed email: 1\n")
    assert cdmctl("suppressions").out.split() == ["digests", "1"]
    assert cdmctl("suppressions", "--json").json == {"digests": 1}
    lines = [json.loads(line) for line in cdmctl("suppressions", "export").out.splitlines()]
    assert [line["type"] for line in lines] == ["suppressions", "suppression"]
    assert cdmctl("profile", "unsuppress", JOE)[::2] == (0, "unsuppressed email\n")
    status, _, err = cdmctl("profile", "unsuppress", JOE)
    assert (status, err) == (4, "cdmctl: that email is not suppressed\n")


def test_a_customer_is_stored_and_not_used_until_that_is_taken_back(cdmctl: Cdmctl) -> None:
    status, out, err = cdmctl("profile", "restrict", JOE)
    assert (status, out) == (0, "")
    assert err.rstrip().endswith("is now restricted: stored, in no audience, told to no target")
    assert "is already restricted" in cdmctl("profile", "restrict", JOE).err
    assert cdmctl("profile", "unrestrict", JOE).err.rstrip().endswith("is now not restricted; in vip")
    assert cdmctl("profile", "unrestrict", JOE, "--json").json["changed"] is False
    assert cdmctl("profile", "restrict", "email:nobody@example.com").status == 4


def test_an_erasure_is_waited_for_and_reported(cdmctl: Cdmctl) -> None:
    status, out, err = cdmctl("profile", "erase", JOE, "--yes")
    assert (status, err) == (0, "in force: nobody finds the person, and nothing of them is taken any more\n")
    said = dict(line.split("  ", 1) for line in out.splitlines())
    assert said["state"].strip() == "complete"
    assert said["erased"].strip() == "7 activities"
    assert said["targets told"].strip() == "none are configured"
    assert "complete" in cdmctl("erasures").out
    assert cdmctl("erasures", "--json").json[0]["by"] == "ada"


def test_what_would_go_is_shown_first(daemon: Daemon, cdmctl: Cdmctl) -> None:
    out = cdmctl("profile", "erase", JOE, "--dry-run").out
    assert [line.split()[-1] for line in out.splitlines()][1:] == ["2", "1", "7", "3", "1", "/b.tar", "/c.tar"]
    assert cdmctl("profile", "erase", JOE, "--dry-run", "--json").json["activities"] == 7
    assert cdmctl("erasures").err == "no erasures\n"
    daemon.runtime.governance.others = None
    said = cdmctl("profile", "erase", JOE, "--dry-run").out
    assert "activities of others that name them  too many to look through now; the report says" in said
    assert [line.split()[-1] for line in said.splitlines()[-2:]] == ["/b.tar", "/c.tar"]


def test_an_erasure_that_leaves_something_fails_and_says_what(daemon: Daemon, cdmctl: Cdmctl) -> None:
    daemon.runtime.governance.outcome = {
        "state": "partly complete",
        "done": NOW,
        "left": ["1 row of crm"],
        "copies": [CopyRow(path="/b", made=NOW), CopyRow(path="/c", made=NOW)],
    }
    status, out, _ = cdmctl("profile", "erase", JOE, "--yes")
    assert status == 1
    assert "1 row of crm" in out
    assert [line.strip()[:22] for line in out.splitlines() if " of 2026" in line] == [
        "backups that hold them",
        "/c of 2026-11-23T10:00",
    ]
    assert cdmctl("profile", "erase", JOE, "--yes", "--json").json["state"] == "partly complete"


def test_one_that_is_not_waited_for_says_how_far_it_is(daemon: Daemon, cdmctl: Cdmctl) -> None:
    _, out, _ = cdmctl("profile", "erase", JOE, "--yes", "--no-wait")
    assert "in force" in out
    assert "journal" in out
    daemon.runtime.erasing = ErasuresRow(pending=1, progress="erasing 1 person: journal")
    assert "erasing 1 person: journal" in cdmctl("status").out


def test_nobody_is_erased_by_mistake(daemon: Daemon, cdmctl: Cdmctl, monkeypatch: pytest.MonkeyPatch) -> None:
    status, _, err = cdmctl("profile", "erase", JOE)
    assert status == 2
    assert "add --yes" in err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.prompt", lambda *_, **__: "email:jo@example.com")
    status, _, err = cdmctl("profile", "erase", JOE)
    assert (status, err) == (1, "cdmctl: that is not what was to be erased; nothing was done\n")
    assert daemon.runtime.governance.rows == []
    monkeypatch.setattr("click.prompt", lambda *_, **__: JOE)
    assert cdmctl("profile", "erase", JOE).status == 0


def test_what_retention_would_take_away_is_shown_by_month_and_taken_away(cdmctl: Cdmctl) -> None:
    lines = [line.split() for line in cdmctl("retention", "simulate").out.splitlines()]
    assert lines[-2:] == [["now", "4", "2"], ["2026-12", "2", "0"]]
    assert cdmctl("retention", "simulate", "--json").json == {"activities": {"now": 4, "2026-12": 2}, "profiles": {"now": 2}}
    assert cdmctl("retention", "run", "--yes")[::2] == (1, "cdmctl: the wall clock leapt\n")
    assert cdmctl("retention", "run", "--trust-clock", "--yes").err == "removed 4 activities and 2 profiles\n"
    assert cdmctl("retention", "run", "--trust-clock", "--yes", "--json").json == {"activities": 4, "profiles": 2}


def test_fields_that_were_not_kept_are_a_table(cdmctl: Cdmctl) -> None:
    assert cdmctl("minimisation", role="reader").out.splitlines()[-1].split() == ["shop", "customer.phone", "7", "9"]
    assert cdmctl("minimisation", "--json").json == [{"connector": "shop", "records": 9, "fields": {"customer.phone": 7}}]
