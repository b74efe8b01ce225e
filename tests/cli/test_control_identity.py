"""``cdmctl profile split``."""

import json

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
    assert "2 events named both" in err
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
