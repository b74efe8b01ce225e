"""Who may do what, and what of it is kept in the audit rows and shown to readers."""

from collections.abc import Callable
from typing import Any

import pytest

from cdmd.control.client import Client
from cdmd.errors import CdmdError, NotPermitted
from tests.control.doubles import AT, PEERS, Daemon, applied, dead, event, lines, parked, people, raw_get
from tests.control.outgoing import MemoryOutbox, outgoing

DELIVERY = outgoing(MemoryOutbox(), at=AT)[1]
CHANGES: dict[str, Callable[[Client], Any]] = {
    "pause": lambda client: client.post("/v1/connectors/shop/pause"),
    "resume": lambda client: client.post("/v1/connectors/shop/resume"),
    "poll": lambda client: client.post("/v1/connectors/shop/poll"),
    "connectors forget": lambda client: client.post("/v1/connectors/gone/forget"),
    "files retry": lambda client: client.post("/v1/shelves/files/retry", {"names": ["canary.csv"]}),
    "reload": lambda client: client.post("/v1/reload"),
    "log-level": lambda client: client.post("/v1/log-level", {"level": "debug"}),
    "backup": lambda client: client.post("/v1/backup", {"path": "/nowhere/backup"}),
    "verify": lambda client: client.post("/v1/verify"),
    "dead-letters retry": lambda client: client.post("/v1/dead-letters/retry", {"all": True}),
    "dead-letters discard": lambda client: client.post("/v1/dead-letters/discard", {"all": True}),
    "tail --reveal": lambda client: list(client.stream("/v1/tail", {"reveal": True})),
    "events show --reveal": lambda client: client.get("/v1/event", {"id": "evt-1", "reveal": True}),
    "profile export": lambda client: list(client.stream("/v1/profile/export", {"identifier": "email:canary-joe@example.com"})),
    "profile find": lambda client: client.get("/v1/profiles", {"text": "canary*"}),
    "audience try": lambda client: client.post("/v1/audience-try", {"where": "profile.traits.name == 'canary'"}),
    "profile restrict": lambda client: client.post("/v1/restrictions/add", {"identifier": "email:canary-joe@example.com"}),
    "profile unrestrict": lambda client: client.post("/v1/restrictions/remove", {"identifier": "email:canary-joe@example.com"}),
    "targets enable": lambda client: client.post("/v1/targets/crm/enable"),
    "targets disable": lambda client: client.post("/v1/targets/crm/disable"),
    "targets test": lambda client: client.post("/v1/targets/crm/test"),
    "targets send": lambda client: client.post("/v1/targets/nightly/send"),
    "targets forget": lambda client: client.post("/v1/targets/gone/forget"),
    "deliveries retry": lambda client: client.post("/v1/deliveries/retry", {"all": True}),
    "deliveries replay": lambda client: client.post(
        "/v1/deliveries/replay", {"target": "crm", "since": "2026-11-22T10:00:00Z"}
    ),
    "deliveries show --reveal": lambda client: client.get(f"/v1/deliveries/{DELIVERY}", {"reveal": True}),
    "dead-letters show --reveal": lambda client: client.get("/v1/dead-letters/2", {"reveal": True}),
}
LOOKS = [
    "/v1/status",
    "/v1/connectors",
    "/v1/history?connector=shop",
    "/v1/plugins",
    "/v1/shelves/files",
    "/v1/config",
    "/v1/metrics",
    "/v1/audit",
    "/v1/event?id=evt-1",
    "/v1/event?id=dead-2",
    "/v1/event?id=parked-3",
    "/v1/event?id=waiting",
    "/v1/events/recent",
    "/v1/dead-letters/causes",
    "/v1/profile?identifier=email:canary-joe@example.com",
    "/v1/profile/explain?first=email:canary-joe@example.com&second=email:canary-joe@example.com",
    "/v1/profile/events?identifier=email:canary-joe@example.com",
    "/v1/profiles?text=canary-joe@example.com",
    "/v1/audiences",
    "/v1/audiences/warranty_offer/members",
    "/v1/audience-changes",
    "/v1/dead-letters",
    "/v1/dead-letters/2",
    "/v1/targets",
    "/v1/deliveries",
    "/v1/attempts",
    f"/v1/deliveries/{DELIVERY}",
    "/v1/tail",
]


@pytest.fixture
def full(daemon: Daemon) -> Daemon:
    """A daemon with something of everything in it."""
    applied(daemon.runtime)
    dead(daemon.runtime, 2)
    parked(daemon.runtime, 3)
    daemon.runtime.journal.add(event("waiting"))
    daemon.runtime.items = lines([event()])
    people(daemon, 2)
    outgoing(daemon.runtime.store.outbox, at=AT)
    return daemon


@pytest.mark.parametrize("command", CHANGES)
@pytest.mark.parametrize("role", ["reader", "stranger"])
def test_what_changes_or_reveals_is_refused_to_all_but_admins_and_the_refusal_is_kept(
    full: Daemon, role: str, command: str
) -> None:
    with pytest.raises(NotPermitted):
        CHANGES[command](full.client(role))
    user = {"reader": "rea", "stranger": "sam"}[role]
    assert full.audits() == [(user, command, "refused")]
    assert full.runtime.states == {"shop": "running"}
    assert full.runtime.done == []
    assert list(full.runtime.store.letters) == [2]


@pytest.mark.parametrize("command", CHANGES)
def test_what_an_admin_changes_or_reveals_is_kept_with_its_outcome(full: Daemon, command: str) -> None:
    if command == "poll":
        with pytest.raises(CdmdError, match="only listens"):
            CHANGES[command](full.client())
        assert full.audits() == [("ada", command, "failed: BadArguments")]
    else:
        CHANGES[command](full.client())
        assert full.audits() == [("ada", command, "done")]


@pytest.mark.parametrize("target", LOOKS)
def test_a_reader_may_look_and_never_sees_a_personal_value(full: Daemon, target: str) -> None:
    full.peer = PEERS["reader"]
    status, _, body = raw_get(full.path, target)
    assert status == 200
    assert b"canary" not in body


@pytest.mark.parametrize("target", LOOKS)
@pytest.mark.parametrize("peer", [PEERS["stranger"], None])
def test_who_is_not_listed_or_cannot_be_told_is_refused_everything(full: Daemon, target: str, peer: Any) -> None:
    full.peer = peer
    status, headers, body = raw_get(full.path, target)
    assert status == 403
    assert headers["content-type"] == "application/problem+json"
    assert b'"code":"not-permitted"' in body
    assert b"canary" not in body


def test_a_reader_sees_which_kinds_and_names_there_are(full: Daemon) -> None:
    [trace] = full.client("reader").get("/v1/event", {"id": "evt-1"})["traces"]
    assert trace["event"]["identifiers"] == {"email": "[redacted]"}
    assert trace["event"]["data"] == {"total": "[redacted]", "[redacted]": "[redacted]", "nested": "[redacted]"}
    profile = full.client("reader").get("/v1/profile", {"identifier": "email:canary-joe@example.com"})
    assert profile["identifiers"][0]["kind"] == "email"
    assert profile["identifiers"][0]["value"] == "[redacted]"
    assert profile["traits"] == {"first_name": "[redacted]"}
    assert profile["indicators"] == {"tv_hours": "[redacted]"}


def test_an_admin_sees_a_profile_whole_and_both_sights_are_kept_without_saying_whose(full: Daemon) -> None:
    profile = full.client().get("/v1/profile", {"identifier": "email: Canary-JOE@example.com"})
    assert profile["identifiers"][0]["value"] == "canary-joe@example.com"
    assert profile["activities"][0]["data"]["total"] == "canary-99"
    full.client("reader").get("/v1/profile", {"identifier": "email:canary-joe@example.com"})
    assert full.audits() == [("ada", "profile show", "done"), ("rea", "profile show", "done")]
    for row in full.runtime.store.rows:
        assert "01JCANONICALPROFILE" in row.arguments
        assert "canary" not in row.arguments


def test_an_admin_sees_events_redacted_until_they_are_revealed(full: Daemon) -> None:
    client = full.client()
    assert "canary" not in str(client.get("/v1/event", {"id": "evt-1"}))
    assert "canary" not in str(client.get("/v1/dead-letters/2"))
    assert "canary" not in str(list(client.stream("/v1/tail")))
    assert full.audits() == []
    assert "canary-deep" in str(client.get("/v1/event", {"id": "evt-1", "reveal": True}))
    assert client.get("/v1/dead-letters/2", {"reveal": True})["raw"] == {"name": "canary-raw"}
    [line] = client.stream("/v1/tail", {"reveal": True})
    assert line["event"]["traits"] == {"first_name": "canary-Joe"}
    assert [row.command for row in full.runtime.store.rows] == [
        "events show --reveal",
        "dead-letters show --reveal",
        "tail --reveal",
    ]
    assert "canary" not in str(full.runtime.store.rows)


def test_nothing_is_revealed_when_the_audit_row_cannot_be_kept(full: Daemon) -> None:
    full.runtime.store.audit_failure = OSError("no space for canary")
    for target in (
        "/v1/event?id=evt-1&reveal=1",
        "/v1/dead-letters/2?reveal=1",
        "/v1/tail?reveal=1",
        "/v1/profile?identifier=email:canary-joe@example.com",
        "/v1/profile/events?identifier=email:canary-joe@example.com",
        "/v1/profile/explain?first=email:canary-joe@example.com&second=email:canary-joe@example.com",
    ):
        status, _, body = raw_get(full.path, target)
        assert status == 500
        assert b"canary" not in body


def test_a_kind_that_is_not_configured_does_not_reach_the_audit_row(full: Daemon) -> None:
    with pytest.raises(CdmdError, match="KIND is one of"):
        full.client().get("/v1/profile", {"identifier": "canary-joe@example.com"})
    [row] = full.runtime.store.rows
    assert (row.outcome, "canary" in row.arguments) == ("failed: BadArguments", False)
