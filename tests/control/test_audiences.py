"""Audiences over the control socket."""

import json

import pytest

from cdmd.contracts import AudienceTotals
from cdmd.errors import BadArguments, NotFound
from cdmd.models import show_time
from tests.control.doubles import NOW, Daemon, people


def test_audiences_are_listed_with_their_members_and_how_far_they_are_computed(daemon: Daemon) -> None:
    daemon.runtime.store.membership.totals = [
        AudienceTotals(name="warranty_offer", members=3, missing=5, failed=1, fault="it was text")
    ]
    first, second = daemon.client().get("/v1/audiences")
    assert first == {
        "name": "warranty_offer",
        "where": "indicators.tv_hours >= 10000.0",
        "members": 3,
        "since": show_time(NOW),
        "computed": 0.25,
        "reads_clock": False,
        "missing": 5,
        "failed": 1,
        "error": "it was text",
    }
    assert (second["name"], second["members"], second["computed"], second["reads_clock"]) == ("recent", 0, 1.0, True)
    assert second["since"] is None


def test_members_come_in_pages_and_leave_an_audit_row_each(daemon: Daemon) -> None:
    people(daemon, 6)
    page = daemon.client().get("/v1/audiences/warranty_offer/members", {"limit": 2})
    assert [one["profile"] for one in page["members"]] == ["p1", "p3"]
    assert page["members"][0]["identifiers"] == [{"kind": "email", "value": "canary1@example.com"}]
    last = daemon.client().get("/v1/audiences/warranty_offer/members", {"limit": 2, "after": page["next"]})
    assert ([one["profile"] for one in last["members"]], last["next"]) == (["p5"], None)
    rows = [(row.command, json.loads(row.arguments)) for row in daemon.runtime.store.rows]
    assert rows == [
        ("audience members", {"audience": "warranty_offer", "count": 2}),
        ("audience members", {"audience": "warranty_offer", "count": 1}),
    ]


def test_an_audience_that_is_not_there_is_not_found_and_its_name_is_not_kept(daemon: Daemon) -> None:
    with pytest.raises(NotFound, match="configured are: warranty_offer, recent"):
        daemon.client().get("/v1/audiences/canary-joe/members")
    assert "canary" not in daemon.runtime.store.rows[0].arguments


def test_who_moved_is_told_with_the_reason(daemon: Daemon) -> None:
    people(daemon, 2)
    assert daemon.client().get("/v1/audience-changes", {"audience": "recent"}) == [
        {
            "id": "n1",
            "type": "audience.left",
            "audience": "recent",
            "profile": "p1",
            "time": show_time(NOW),
            "reason": "time passed",
        }
    ]
    assert daemon.client().get("/v1/audience-changes", {"audience": "other"}) == []


def test_a_condition_is_tried_over_the_stored_profiles_in_pages(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.control.audiences.TRIED", 4)
    monkeypatch.setattr("cdmd.control.audiences._AT_ONCE", 3)
    people(daemon, 9)
    where = "profile.identifiers.email.exists(e, e.startsWith('canary')) && profile.traits.age > 1"
    first = daemon.client().post("/v1/audience-try", {"where": where})
    assert (first["profiles"], first["matched"], first["missing"], first["next"]) == (6, 0, 6, 6)
    where = "size(profile.identifiers.email) == 1"
    first = daemon.client().post("/v1/audience-try", {"where": where, "sample": 2})
    last = daemon.client().post("/v1/audience-try", {"where": where, "after": first["next"]})
    assert ([one["profile"] for one in first["sample"]], first["matched"]) == (["p1", "p2"], 6)
    assert (last["profiles"], last["matched"], last["next"]) == (2, 2, None)
    assert all("canary" not in row.arguments for row in daemon.runtime.store.rows)


def test_what_is_no_condition_cannot_be_tried(daemon: Daemon) -> None:
    with pytest.raises(BadArguments, match="there is no indicator hours"):
        daemon.client().post("/v1/audience-try", {"where": "indicators.hours > 1.0"})
