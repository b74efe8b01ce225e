"""``cdmctl audiences`` and ``cdmctl audience``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.calling import Cdmctl
from tests.control.doubles import Daemon, applied, people


def test_audiences_are_a_table_that_says_how_far_each_is_computed(cdmctl: Cdmctl) -> None:
    _, out, _ = cdmctl("audiences")
    assert [line.split()[:1] for line in out.splitlines()] == [["NAME"], ["warranty_offer"], ["recent"]]
    assert "25%" in out


def test_members_are_json_lines_over_all_pages_up_to_a_limit(
    daemon: Daemon, cdmctl: Cdmctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdmd.control.audiences.MOST_MEMBERS", 2)
    people(daemon, 10)
    _, out, err = cdmctl("audience", "members", "warranty_offer", "--json")
    assert [json.loads(line)["profile"] for line in out.splitlines()] == ["p1", "p3", "p5", "p7", "p9"]
    assert err == ""
    _, out, _ = cdmctl("audience", "members", "warranty_offer", "--limit", "3")
    assert out.splitlines()[2] == "p5  2026-11-23T10:00:00.120Z  email:canary5@example.com"
    assert len(out.splitlines()) == 3


def test_a_reader_sees_members_without_a_personal_value(daemon: Daemon, cdmctl: Cdmctl) -> None:
    people(daemon, 4)
    for extra in ([], ["--json"]):
        status, out, _ = cdmctl("audience", "members", "warranty_offer", *extra, role="reader")
        assert status == 0
        assert "p1" in out
        assert "canary" not in out


def test_nobody_and_no_such_audience_are_told_apart(cdmctl: Cdmctl) -> None:
    assert cdmctl("audience", "members", "recent") == (0, "", "no members\n")
    status, _, err = cdmctl("audience", "members", "nope")
    assert status == 4
    assert "configured are: warranty_offer, recent" in err


def test_who_moved_is_a_table_with_reasons(daemon: Daemon, cdmctl: Cdmctl) -> None:
    people(daemon, 1)
    _, out, _ = cdmctl("audience", "changes")
    assert out.splitlines()[1].split() == ["2026-11-23T10:00:00.120Z", "audience.left", "recent", "p1", "time", "passed"]


def test_a_condition_is_tried_over_everybody_with_a_sample(
    daemon: Daemon, cdmctl: Cdmctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdmd.control.audiences.TRIED", 3)
    monkeypatch.setattr("cdmd.control.audiences._AT_ONCE", 2)
    people(daemon, 10)
    where = "profile.identifiers.email.exists(e, !e.startsWith('canary2'))"
    _, out, _ = cdmctl("audience", "try", where, "--json", "--sample", "5")
    found = json.loads(out)
    assert (found["profiles"], found["matched"], len(found["sample"])) == (9, 8, 5)
    _, out, _ = cdmctl("audience", "try", where, "--sample", "1")
    assert out.splitlines()[:2] == ["profiles                   9", "it holds for               8"]
    assert "p1  email:canary1@example.com" in out
    _, out, err = cdmctl("audience", "try", "profile.created > 3", "--sample", "1")
    assert "failed                     9" in out
    assert "kinds of values" in err


def test_what_is_no_condition_ends_with_one_sentence(cdmctl: Cdmctl) -> None:
    status, out, err = cdmctl("audience", "try", "indicators.hours > 1.0")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "there is no indicator hours" in err


def test_a_customer_is_shown_with_the_audiences_and_what_is_only_estimated(
    daemon: Daemon, cdmctl: Cdmctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied(daemon.runtime)
    (found,) = daemon.runtime.store.profiles.values()
    found.state.audiences = {"recent": 1, "gone": 2, "warranty_offer": 3}
    monkeypatch.setattr(daemon.runtime.shown, "estimated", lambda state, now: ["tv_hours"])
    _, out, _ = cdmctl("profile", "show", "email:canary-joe@example.com")
    assert "\naudiences\nwarranty_offer\nrecent\n" in out
    assert "about canary-10001" in out
    _, out, _ = cdmctl("profile", "show", "email:canary-joe@example.com", "--json", role="reader")
    assert (json.loads(out)["audiences"], json.loads(out)["estimated"]) == (["warranty_offer", "recent"], ["tv_hours"])


def test_names_are_completed_from_what_is_configured(daemon: Daemon, tmp_path: Path) -> None:
    daemon.client()

    def completed(socket: Path) -> list[str]:
        words = {"COMP_WORDS": "cdmctl audience members wa", "COMP_CWORD": "3", "_CDMCTL_COMPLETE": "bash_complete"}
        command = [sys.executable, "-m", "cdmd.cli.control_commands"]
        env = {**os.environ, **words, "CDMD_SOCKET": str(socket)}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60).stdout.split()

    assert completed(daemon.path) == ["plain,warranty_offer"]
    assert completed(tmp_path / "none") == []
