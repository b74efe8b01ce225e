"""The commands about targets and deliveries: what they ask for and how they end."""

import msgspec
import pytest

from cdmd.control.target_shapes import Tried
from tests.cli.calling import Cdmctl
from tests.control.doubles import AT, Daemon
from tests.control.outgoing import outgoing


def test_a_target_that_does_not_take_the_sample_ends_with_one(daemon: Daemon, cdmctl: Cdmctl) -> None:
    daemon.runtime.targets.verdict = Tried(target="crm", outcome="later", status=500, reason="it answers with status 500")
    ended = cdmctl("targets", "test", "crm")
    assert ended.status == 1
    assert "status   500" in ended.out
    assert ended.err == "cdmctl: crm did not take it: it answers with status 500\n"


def test_targets_are_a_table_with_what_is_not_well(cdmctl: Cdmctl) -> None:
    shown = cdmctl("targets").out
    assert "it answers with status 500; no room since 2026-11-23T10:00:00Z; 1 not sent: a value is missing" in shown


def test_where_there_are_no_targets_it_says_so(daemon: Daemon, cdmctl: Cdmctl, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing() -> list[object]:
        return []

    monkeypatch.setattr(daemon.runtime.targets, "rows", nothing)
    assert cdmctl("targets").err == "no targets are configured\n"
    assert cdmctl("targets", "--json").json == []


def test_what_is_sent_is_shown_when_it_is_revealed(daemon: Daemon, cdmctl: Cdmctl) -> None:
    kept = outgoing(daemon.runtime.store.outbox, at=AT)[1]
    assert "canary" not in cdmctl("deliveries", "show", kept).out
    assert "canary" in cdmctl("deliveries", "show", kept, "--reveal").out


@pytest.mark.parametrize("arguments", [(), ("--all", "--target", "crm"), ("x", "--all")])
def test_a_retry_needs_exactly_one_choice(cdmctl: Cdmctl, arguments: tuple[str, ...]) -> None:
    assert cdmctl("deliveries", "retry", *arguments).status == 2


def test_a_retry_of_many_asks_first(daemon: Daemon, cdmctl: Cdmctl) -> None:
    assert cdmctl("deliveries", "retry", "--target", "crm", "--yes").status == 0
    assert cdmctl("deliveries", "retry", "--all", "--yes").status == 0
    assert daemon.runtime.done == [("hurry", "crm"), ("hurry", None)]


def test_a_replay_takes_how_long_ago(daemon: Daemon, cdmctl: Cdmctl) -> None:
    ended = cdmctl("deliveries", "replay", "crm", "--since", "900d", "--until", "1d", "--rate", "50/1s", "--yes")
    assert ended.status == 0
    ((_, _, since, until, patterns, rate),) = daemon.runtime.done
    assert (until - since) // 1_000_000 == 899 * 86_400
    assert (patterns, str(rate)) == (None, "50/1s")


def test_a_replay_is_ended_and_begun_by_different_words(daemon: Daemon, cdmctl: Cdmctl) -> None:
    ended = cdmctl("deliveries", "replay", "crm", "--stop", "--yes")
    assert (ended.status, daemon.runtime.done) == (0, [("stop", "crm")])
    assert cdmctl("deliveries", "replay", "crm", "--yes").status == 2
    assert cdmctl("deliveries", "replay", "crm", "--since", "2h", "--stop", "--yes").status == 2


def test_a_table_of_a_daemon_that_knows_no_targets_is_shown_all_the_same(daemon: Daemon, cdmctl: Cdmctl) -> None:
    row = msgspec.json.decode(cdmctl("status", "--json").out)
    assert row["targets"] == []
    assert "targets" not in cdmctl("status").out
