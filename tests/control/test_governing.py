"""Suppressing somebody over the socket: who may, what is asked for, and what the audit rows say of it."""

import pytest

from cdmd.errors import BadArguments, NotFound, NotPermitted
from tests.control.doubles import Daemon

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
