"""``cdmctl profile explain``, ``find``, ``export`` and ``cdmctl events of``."""

import json

import pytest

from cdmd.config.schema import IdentifierSettings, IdentitySettings
from cdmd.identity.identifiers import Kinds
from tests.cli.calling import Cdmctl
from tests.control.doubles import Daemon, applied
from tests.control.test_explaining import JOE, NUMBER, USER, happened, joined, person


def test_the_steps_from_one_identifier_to_the_other_are_a_table(daemon: Daemon, cdmctl: Cdmctl) -> None:
    joined(daemon)
    status, out, _ = cdmctl("profile", "explain", ":".join(NUMBER), ":".join(USER))
    assert status == 0
    assert out.startswith("one person, joined by 2 events\n")
    assert [line.split()[0] for line in out.splitlines() if line.startswith(":".join(NUMBER))] == [":".join(NUMBER)]
    assert "merged on email" in out
    status, out, _ = cdmctl("profile", "explain", ":".join(NUMBER), ":".join(USER), "--json")
    assert [link["to"]["kind"] for link in json.loads(out)["chain"]] == ["email", "user_id"]


def test_what_kept_two_apart_is_a_table_of_the_events(daemon: Daemon, cdmctl: Cdmctl) -> None:
    person(daemon, 1, NUMBER, JOE)
    person(daemon, 2, USER)
    happened(daemon, 1, "new", NUMBER, JOE)
    happened(daemon, 2, "new; email given up: limit of user_id", USER, JOE)
    _, out, err = cdmctl("profile", "explain", ":".join(USER), ":".join(JOE))
    assert out.startswith("two people: events carried identifiers of both, but email given up: limit of user_id\n")
    assert "e2" in out.splitlines()[-1]
    assert err == ""


def test_it_is_said_where_not_all_events_were_looked_at(
    daemon: Daemon, cdmctl: Cdmctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdmd.control.explaining._AT_ONCE", 1)
    monkeypatch.setattr("cdmd.control.explaining.LOOKED_AT", 1)
    joined(daemon)
    _, _, err = cdmctl("profile", "explain", ":".join(NUMBER), ":".join(USER))
    assert "more events than are looked at" in err


def test_a_digest_of_the_other_is_a_step_without_an_event(daemon: Daemon, cdmctl: Cdmctl) -> None:
    settings = {"email": IdentifierSettings(), "email_sha256": IdentifierSettings()}
    daemon.runtime.kinds = Kinds(IdentitySettings(identifiers=settings))
    daemon.runtime.config = daemon.runtime.config.__class__(
        state_dir=daemon.path.parent, control_socket=daemon.path, identity=IdentitySettings(identifiers=settings)
    )
    (digest,) = daemon.runtime.kinds.digests(JOE)
    person(daemon, 1, JOE, digest)
    _, out, _ = cdmctl("profile", "explain", ":".join(JOE), ":".join(digest))
    assert out.startswith("one person: a digest of the other\n")
    assert out.splitlines()[-1].endswith("a digest of the other")


def test_nobody_is_not_found(cdmctl: Cdmctl) -> None:
    status, _, err = cdmctl("profile", "explain", "email:x@example.com", "email:y@example.com")
    assert status == 4
    assert "nobody is known by that email" in err


def test_who_was_found_is_a_line_each_over_all_pages_up_to_a_limit(
    daemon: Daemon, cdmctl: Cdmctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdmd.cli.control_people._PAGE", 1)
    for key in range(1, 6):
        person(daemon, key, ("email", f"canary{key}@example.com"))
    _, out, err = cdmctl("profile", "find", "canary*", "--json")
    assert [json.loads(line)["profile"] for line in out.splitlines()] == ["p1", "p2", "p3", "p4", "p5"]
    assert err == ""
    _, out, _ = cdmctl("profile", "find", "email:canary*", "--limit", "2")
    assert out.splitlines()[1] == "p2  2026-11-23T10:00:00.120Z  email:canary2@example.com"
    assert len(out.splitlines()) == 2
    assert cdmctl("profile", "find", "email:none@example.com") == (0, "", "nobody was found\n")
    assert cdmctl("profile", "find", "--trait", "city=Lund")[2] == "nobody was found\n"


def test_what_to_look_for_is_said_once(cdmctl: Cdmctl) -> None:
    assert cdmctl("profile", "find")[0] == 2
    assert cdmctl("profile", "find", "x", "--trait", "a=b")[0] == 2


def test_an_export_is_json_lines_that_end_with_a_summary(daemon: Daemon, cdmctl: Cdmctl) -> None:
    joined(daemon)
    status, out, _ = cdmctl("profile", "export", ":".join(JOE))
    lines = [json.loads(line) for line in out.splitlines()]
    assert (status, lines[0]["type"], lines[-1]["type"]) == (0, "profile", "summary")
    assert cdmctl("profile", "export", ":".join(JOE), role="reader")[:2] == (5, "")


def test_a_customers_events_are_a_table_or_json_lines(daemon: Daemon, cdmctl: Cdmctl) -> None:
    applied(daemon.runtime)
    _, out, _ = cdmctl("events", "of", ":".join(JOE))
    assert out.splitlines()[1].split() == ["2026-11-23T10:00:00.120Z", "order.paid", "shop", "evt-1", "email"]
    _, out, _ = cdmctl("events", "of", ":".join(JOE), "--json")
    assert [json.loads(line)["event"]["id"] for line in out.splitlines()] == ["evt-1"]
    assert cdmctl("events", "of", ":".join(JOE), "--type", "page.*") == (0, "", "no events\n")
