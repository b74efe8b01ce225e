"""Rules tried and applied over the whole history, over the control socket."""

import json
from typing import Any

import pytest

from cdmd.errors import BadArguments, NotPermitted
from tests.control.doubles import Daemon

RULES = '[http]\nlisten = "anything"\n[identity.identifiers]\ncanary = { priority = 1, limit = 3 }\n'


def attempt(daemon: Daemon, rules: str | None = RULES, role: str = "admin") -> Any:
    return daemon.client(role).post("/v1/identity/try", {"rules": rules})


def test_rules_of_a_file_are_tried_and_the_report_is_there_when_it_is_done(daemon: Daemon) -> None:
    assert attempt(daemon)["state"] == "running"
    ((what, kinds),) = daemon.runtime.identities.asked
    assert (what, kinds and kinds.limits["canary"].values) == ("try", 3)
    daemon.client("admin").get("/v1/identity/job")
    job = daemon.client("admin").get("/v1/identity/job")
    assert (job["state"], job["report"]["joined"]) == ("done", 2)
    assert "canary-joe" in json.dumps(job)
    assert daemon.audits()[-1] == ("ada", "identity try", "done")
    assert "canary" not in daemon.runtime.store.rows[-1].arguments


def test_only_an_identifiers_table_will_do_and_nothing_means_what_is_configured(daemon: Daemon) -> None:
    attempt(daemon, "[identifiers]\nemail = {}\n")
    attempt(daemon, None)
    (_, kinds), (_, configured) = daemon.runtime.identities.asked
    assert configured is None
    assert kinds is not None
    assert kinds.splits is daemon.runtime.kinds.splits, "what was split stays so by any rules"


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ("[identity", "the rules are no TOML"),
        ("[identity.identifiers]\nemail = { limit = 'many' }", r"Expected `int`, got `str`.*identifiers.*limit"),
        ("[identity.identifiers]\nemail = { limt = 5 }", "unknown field `limt`"),
        ("[http]\nx = 1", "write \\[identity.identifiers\\]"),
        ("", "the rules name no kinds"),
        ("[identity]\n", "the rules name no kinds"),
        ("[identity.identifiers]\nemail = { blocked = ['['] }", "identity.identifiers.email.blocked"),
        ("[identity.identifiers]\nemail = { hashed = 'x' }", "'x' is no plain kind"),
    ],
)
def test_rules_that_cannot_be_are_refused_with_what_to_write(daemon: Daemon, rules: str, why: str) -> None:
    with pytest.raises(BadArguments, match=why):
        attempt(daemon, rules)
    assert daemon.runtime.identities.asked == []


def test_readers_see_figures_and_begin_nothing(daemon: Daemon) -> None:
    with pytest.raises(NotPermitted):
        attempt(daemon, role="reader")
    with pytest.raises(NotPermitted):
        daemon.client("reader").post("/v1/identity/rebuild", {})
    assert daemon.client("reader").get("/v1/identity/job")["state"] == "idle"
    daemon.client("admin").post("/v1/identity/rebuild", {})
    daemon.client("reader").get("/v1/identity/job")
    job = daemon.client("reader").get("/v1/identity/job")
    assert (job["what"], job["report"]["largest_joins"][0]["profiles"]) == ("rebuild", ["p1", "p2"])
    assert "canary" not in json.dumps(job)
