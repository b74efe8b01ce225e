"""``cdmctl profile split`` and ``cdmctl identity``."""

import json
from pathlib import Path

import pytest

from tests.cli.calling import Cdmctl
from tests.cli.test_control_commands import on_terminal
from tests.control.doubles import PROFILE, Daemon
from tests.control.test_explaining import JOE, USER

BOTH = (":".join(JOE), ":".join(USER))


def test_a_dry_run_shows_both_sides_and_changes_nothing(daemon: Daemon, cdmctl: Cdmctl) -> None:
    status, out, err = cdmctl("profile", "split", *BOTH, "--dry-run")
    assert status == 0
    first, second = out.split("\n\n")[1:]
    assert first.splitlines()[0] == PROFILE
    assert second.splitlines()[0] == "a new profile"
    assert "email:canary-joe@example.com" in first
    assert "name=canary-Joe" in first
    assert "events that named both: 2" in err
    assert daemon.runtime.splits == [(JOE, USER, "try")]


def test_where_nobody_can_confirm_it_must_be_said(daemon: Daemon, cdmctl: Cdmctl) -> None:
    status, _, err = cdmctl("profile", "split", *BOTH)
    assert (status, "add --yes" in err) == (2, True)
    assert [how for *_, how in daemon.runtime.splits] == ["try"]
    status, out, _ = cdmctl("profile", "split", *BOTH, "--yes", "--json")
    assert (status, json.loads(out)["applied"]) == (0, True)
    assert [how for *_, how in daemon.runtime.splits][-1] == "split"


def test_on_a_terminal_it_shows_the_outcome_and_asks(daemon: Daemon) -> None:
    status, shown = on_terminal(["profile", "split", *BOTH], {"CDMD_SOCKET": str(daemon.path)}, typed=b"n\n")
    assert (status, b"a new profile" in shown, b"Split them?" in shown) == (130, True, True)
    assert [how for *_, how in daemon.runtime.splits] == ["try"]


def test_a_split_is_lifted_without_asking(daemon: Daemon, cdmctl: Cdmctl) -> None:
    assert cdmctl("profile", "split", *BOTH, "--lift").out == "it was lifted\n"
    assert cdmctl("profile", "split", *BOTH, "--lift", "--dry-run").status == 2
    assert [how for *_, how in daemon.runtime.splits] == ["lift"]


# ---- over the whole history ------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.cli.control_identity._LOOK", 0.0)


def test_rules_are_tried_from_a_file_and_the_report_is_shown(daemon: Daemon, cdmctl: Cdmctl, tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text("[identity.identifiers]\nemail = {}\n")
    status, out, _ = cdmctl("identity", "try", str(file))
    assert status == 0
    assert out.startswith("identity try: done\n")
    assert "2 profiles become 1" in out
    assert "largest joins" in out
    assert "email:canary-joe@example.com" in out
    status, out, _ = cdmctl("identity", "try", str(file), "--json")
    assert (status, json.loads(out)["report"]["profiles_after"]) == (0, 6)
    file.write_text("[identity")
    assert cdmctl("identity", "try", str(file)).status == 2
    assert cdmctl("identity", "try", str(tmp_path / "none.toml")).status == 2


def test_a_rebuild_shows_the_difference_first_and_needs_a_yes(daemon: Daemon, cdmctl: Cdmctl) -> None:
    status, out, _ = cdmctl("identity", "rebuild", "--dry-run")
    assert (status, "identity try: done" in out) == (0, True)
    status, out, err = cdmctl("identity", "rebuild")
    assert (status, "2 profiles become 1" in out, "add --yes" in err) == (2, True, True)
    assert [what for what, _ in daemon.runtime.identities.asked] == ["try", "try"]
    status, out, _ = cdmctl("identity", "rebuild", "--yes")
    assert (status, out) == (0, "identity rebuild: running, reading events, 3%\n")
    status, out, _ = cdmctl("identity", "rebuild", "--yes", "--wait")
    assert out.startswith("identity rebuild: done; 5 profiles made anew, 1 left as they were\n")
    assert [what for what, _ in daemon.runtime.identities.asked] == ["try", "try", "rebuild", "rebuild"]


def test_the_status_says_what_is_going_on(daemon: Daemon, cdmctl: Cdmctl) -> None:
    assert cdmctl("identity", "status").out == "nothing was asked for\n"
    assert cdmctl("identity", "status", "--json").json["state"] == "idle"  # type: ignore[index]
    daemon.runtime.identities.fails = "the disk is full"
    status, out, err = cdmctl("identity", "rebuild", "--yes", "--wait")
    assert (status, out, "the disk is full" in err) == (1, "identity rebuild: failed\n", True)


def test_on_a_terminal_the_progress_is_shown(daemon: Daemon) -> None:
    status, shown = on_terminal(["identity", "rebuild"], {"CDMD_SOCKET": str(daemon.path)}, typed=b"n\n")
    assert (status, b"reading events, 3%" in shown, b"Make them anew?" in shown) == (130, True, True)
    assert [what for what, _ in daemon.runtime.identities.asked] == ["try"]
