"""Many at once: a dry run says what would be done and does nothing; what is done says how far it is; on any terminal."""

import io
import json
import re
import sys

import pytest
from rich.cells import cell_len

from cdmd.cli.bulk import MOST, among, in_steps, would
from cdmd.control.protocol import ConnectorRow
from tests.cli.calling import Cdmctl
from tests.cli.test_control_commands import on_terminal
from tests.control.doubles import AT, Daemon, dead
from tests.control.outgoing import outgoing


@pytest.fixture
def set_aside(daemon: Daemon) -> Daemon:
    for seq in range(1, 8):
        dead(daemon.runtime, seq, code="null" if seq < 6 else "mapping")
    outgoing(daemon.runtime.store.outbox, at=AT)
    return daemon


@pytest.mark.parametrize(("command", "verb"), [("retry", "retried"), ("discard", "discarded")])
def test_a_dry_run_says_how_many_of_which_cause_and_does_nothing(
    set_aside: Daemon, cdmctl: Cdmctl, command: str, verb: str
) -> None:
    """Seen to fail when the option was not looked at: they were gone."""
    ended = cdmctl("dead-letters", command, "--all", "--dry-run")
    assert ended.status == 0
    assert [line.split() for line in ended.out.splitlines()] == [
        ["CONNECTOR", "CODE", "COUNT"], ["shop", "null", "5"], ["shop", "mapping", "2"],
    ]  # fmt: skip
    assert ended.err == f"7 dead letters would be {verb}; nothing was done\n"
    assert len(set_aside.runtime.store.letters) == 7
    said = json.loads(cdmctl("dead-letters", command, "--code", "mapping", "--dry-run", "--json").out)
    assert said == {
        "would": verb, "count": 2, "more": False, "groups": [{"connector": "shop", "code": "mapping", "count": 2}],
    }  # fmt: skip
    assert json.loads(cdmctl("dead-letters", command, "3", "99", "--dry-run", "--json").out)["count"] == 1
    assert cdmctl("dead-letters", command, "--connector", "other", "--dry-run").err.startswith(
        "no dead letters\n0 dead letters"
    )


def test_where_the_list_was_full_a_dry_run_says_at_least(capsys: pytest.CaptureFixture[str]) -> None:
    """Seen to fail when what was picked out of it was counted instead: 10,000 were looked through, and there are others."""
    listed = [{"code": "null" if seq % 2 else "mapping"} for seq in range(MOST)]
    for rows, said in ((listed, "at least 5000 letters"), (listed[:-1], "4999 letters")):
        would("retried", among(rows, lambda row: row["code"] == "null"), what="letters", by=("code",), as_json=False)
        assert capsys.readouterr().err == f"{said} would be retried; nothing was done\n"


def test_who_may_only_look_may_try(set_aside: Daemon, cdmctl: Cdmctl) -> None:
    assert cdmctl("dead-letters", "retry", "--all", "--dry-run", role="reader").status == 0
    assert cdmctl("dead-letters", "retry", "--all", "--yes", role="reader").status == 5
    assert len(set_aside.runtime.store.letters) == 7


def test_deliveries_are_tried_without_being_sent(set_aside: Daemon, cdmctl: Cdmctl) -> None:
    ended = cdmctl("deliveries", "retry", "--target", "crm", "--dry-run")
    assert "1 deliveries would be sent now; nothing was done" in ended.err
    assert "failed" in ended.out
    done = list(set_aside.runtime.done)
    since = ["--since", "2026-11-22T10:00:00Z", "--until", "2026-11-23T10:00:00Z"]
    ended = cdmctl("deliveries", "replay", "crm", *since, "--dry-run")
    assert ended.err == "would be told again crm: 7\n"
    assert set_aside.runtime.done == done


def test_files_are_chosen_by_their_state(daemon: Daemon, cdmctl: Cdmctl, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = cdmctl("files", "replay", "--state", "done", "--dry-run")
    assert ended.err == "1 files would be read once more; nothing was done\n"
    assert daemon.runtime.done == []
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    refused = cdmctl("files", "replay", "--state", "done")
    assert (refused.status, daemon.runtime.done) == (2, [])
    assert "nobody is there to confirm this: add --yes" in refused.err
    assert cdmctl("files", "replay", "--state", "done", "--yes").status == 0
    assert daemon.runtime.done == [("files", "replay", "shop", "a.csv")]
    for wrong in (["files", "retry"], ["files", "retry", "a.csv", "--state", "done"]):
        assert cdmctl(*wrong).status == 2


def test_what_takes_long_says_how_far_it_is_on_a_terminal(daemon: Daemon) -> None:
    for seq in range(1, 2502):
        dead(daemon.runtime, seq)
    env = {"CDMD_SOCKET": str(daemon.path), "TERM": "xterm"}
    status, shown = on_terminal(["dead-letters", "discard", "--all"], env, typed=b"y\n")
    assert status == 0
    assert re.findall(rb"\r(\d+) discarded", shown) == [b"1000", b"2000", b"2501"]
    assert daemon.runtime.store.letters == {}


def test_what_comes_straight_back_does_not_keep_it_going(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", type("Terminal", (io.StringIO,), {"isatty": lambda self: True})())
    asked: list[object] = []

    def again(more: object) -> dict[str, object]:
        asked.append(more)
        return {"done": "retried", "count": 1000}

    assert in_steps(again, there=3500, as_json=False)["count"] == 4000
    assert len(asked) == 4


COMMANDS = (
    ["status"], ["connectors"], ["dead-letters"], ["deliveries"], ["targets"], ["plugins"], ["audit"], ["config", "show"],
    ["dead-letters", "discard", "--all", "--dry-run"], ["files"], ["doctor"], ["--help"], ["dead-letters", "retry", "--help"],
)  # fmt: skip
NAMES = ("kundregister-från-Malmö", "顧客データ", "with space", "a-name-that-is-as-long-as-any-name-of-a-connector-may-ever-be")


@pytest.mark.parametrize("term", [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}], ids=["dumb", "no-color"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_forty_columns_without_colour_are_enough(set_aside: Daemon, command: list[str], term: dict[str, str]) -> None:
    """Seen to fail on a dumb terminal: what moves its cursor or colours it is rubbish there."""
    rows = [ConnectorRow(name=name, type="webhook", state="failed", error="it failed: Åsa") for name in NAMES]
    set_aside.runtime.extra_connectors = rows
    env = {"CDMD_SOCKET": str(set_aside.path), "COLUMNS": "40", "LINES": "20", "LC_ALL": "C.UTF-8", **term}
    status, shown = on_terminal(command, env)
    assert status in {0, 1}
    assert b"\x1b" not in shown
    assert b"Traceback" not in shown
    if command == ["connectors"]:
        lines = shown.decode().splitlines()
        assert max(map(cell_len, lines)) <= 40
        text = "".join(line[:18].strip() for line in lines)
        assert all("".join(name.split())[:8] in "".join(text.split()) for name in NAMES)
