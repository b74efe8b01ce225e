"""Suppressing somebody over the socket: who may, what is asked for, and what the audit rows say of it."""

import pytest

from cdmd.contracts import Trace
from cdmd.errors import BadArguments, NotFound, NotPermitted
from cdmd.models import Entry, Journaled, SeenVerdict, Seq, tombstone
from tests.control.doubles import PROFILE, Daemon, applied, dead, event, seen

JOE = "email:canary-joe@example.com"


def test_whoever_is_suppressed_can_be_taken_back(daemon: Daemon) -> None:
    client, listed = daemon.client(), daemon.runtime.governance.pairs
    done = client.post("/v1/suppressions/add", {"identifier": "email:Canary-JOE@example.com"})
    assert (done["done"], done["name"], done["count"]) == ("suppressed", "email", 1)
    assert listed == {("email", "canary-joe@example.com")}
    assert client.post("/v1/suppressions/add", {"identifier": JOE})["count"] == 0
    assert daemon.client("reader").get("/v1/suppressions") == {"digests": 1}
    assert daemon.client().post("/v1/suppressions/remove", {"identifier": JOE})["done"] == "unsuppressed"
    with pytest.raises(NotFound, match="that email is not suppressed"):
        client.post("/v1/suppressions/remove", {"identifier": JOE})


def test_what_can_be_nobodys_is_refused_with_the_reason(daemon: Daemon) -> None:
    client = daemon.client()
    for wrong, why in (
        ("joe", "KIND:VALUE"),
        ("email:", "KIND:VALUE"),
        ("email:null", "identifies nobody"),
        ("shoe:44", "one of"),
    ):
        with pytest.raises(BadArguments, match=why):
            client.post("/v1/suppressions/add", {"identifier": wrong})


def test_only_admins_change_or_take_the_list_and_no_row_names_anybody(daemon: Daemon) -> None:
    reader = daemon.client("reader")
    for change in ("add", "remove"):
        with pytest.raises(NotPermitted):
            reader.post(f"/v1/suppressions/{change}", {"identifier": JOE})
    with pytest.raises(NotPermitted):
        list(reader.stream("/v1/suppressions/export"))
    admin = daemon.client()
    admin.post("/v1/suppressions/add", {"identifier": JOE})
    assert [line["type"] for line in admin.stream("/v1/suppressions/export")] == ["suppressions", "suppression"]
    rows = daemon.runtime.store.rows
    assert {row.command for row in rows} == {"profile suppress", "profile unsuppress", "suppressions export"}
    assert "canary" not in str(rows)


def test_a_customer_is_restricted_and_used_again_and_the_rows_name_the_profile_only(daemon: Daemon) -> None:
    client = daemon.client()
    done = client.post("/v1/restrictions/add", {"identifier": JOE})
    assert done == {"profile": PROFILE, "restricted": True, "changed": True, "audiences": []}
    assert client.post("/v1/restrictions/add", {"identifier": JOE})["changed"] is False
    assert client.post("/v1/restrictions/remove", {"identifier": JOE})["audiences"] == ["vip"]
    with pytest.raises(NotFound, match="nobody is known by that email"):
        client.post("/v1/restrictions/add", {"identifier": "email:nobody@example.com"})
    with pytest.raises(BadArguments, match="identifies nobody"):
        client.post("/v1/restrictions/add", {"identifier": "email:null"})
    rows = daemon.runtime.store.rows
    assert [row.command for row in rows[:3]] == ["profile restrict", "profile restrict", "profile unrestrict"]
    assert all(PROFILE in row.arguments for row in rows[:3])
    assert "canary" not in str(rows)


def test_an_erasure_is_in_force_when_it_is_answered_and_its_rows_name_nobody(daemon: Daemon) -> None:
    client = daemon.client()
    assert client.post("/v1/erasures/try", {"identifier": JOE})["activities"] == 7
    row = client.post("/v1/erasures", {"identifier": JOE})
    assert (row["state"], row["by"], row["profiles"]) == ("in force", "ada", [PROFILE])
    assert [one["id"] for one in daemon.client("reader").get("/v1/erasures")] == ["e1"]
    for change in ("", "/try"):
        with pytest.raises(NotPermitted):
            daemon.client("reader").post(f"/v1/erasures{change}", {"identifier": JOE})
    said = {row.command: row.arguments for row in daemon.runtime.store.rows if row.outcome == "done"}
    assert said["profile erase"] == f'{{"kind": "email", "erasure": "e1", "profile": "{PROFILE}"}}'
    assert said["profile erase --dry-run"] == f'{{"kind": "email", "profile": "{PROFILE}"}}'
    assert "canary" not in str(daemon.runtime.store.rows)


def test_whoever_is_being_erased_is_shown_to_nobody_any_more(daemon: Daemon) -> None:
    applied(daemon.runtime)
    dead(daemon.runtime, 5)
    waits = event("waiting")
    daemon.runtime.journal.add(waits)
    client = daemon.client()
    looks = (("/v1/event", {"id": "evt-1"}), ("/v1/event", {"id": "waiting"}), ("/v1/event", {"id": "dead-5"}))
    for path, query in (*looks, ("/v1/dead-letters/5", None)):
        assert client.get(path, query)
    client.post("/v1/erasures", {"identifier": JOE})
    for path, query in (*looks, ("/v1/dead-letters/5", None)):
        with pytest.raises(NotFound):
            client.get(path, query)
    assert client.get("/v1/dead-letters") == []


def test_of_an_event_that_was_erased_it_is_told_that_nothing_is_kept(daemon: Daemon) -> None:
    daemon.runtime.journal.entries.append(Journaled(Seq(1), tombstone(Entry(event("gone")))))
    daemon.runtime.store.position = Seq(1)
    daemon.runtime.store.traces.append(("gone", Trace(source="shop", seen=seen(SeenVerdict.SUPPRESSED, 1))))
    (trace,) = daemon.client().get("/v1/event", {"id": "gone"})["traces"]
    assert (trace["state"], trace["event"]) == ("suppressed", None)


def test_where_a_simulation_goes_on_is_a_number_that_can_be(daemon: Daemon) -> None:
    with pytest.raises(BadArguments, match="the body is not understood"):
        daemon.client().post("/v1/retention/simulate", {"after": [10**30, 1]})
