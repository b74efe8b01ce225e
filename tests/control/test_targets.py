"""Targets and deliveries over the control socket."""

import pytest

from cdmd.errors import BadArguments, NotFound
from tests.control.doubles import AT, Daemon, applied
from tests.control.outgoing import outgoing


@pytest.fixture
def ids(daemon: Daemon) -> tuple[str, str]:
    return outgoing(daemon.runtime.store.outbox, at=AT)


def test_the_trace_of_an_event_ends_with_what_went_to_targets(daemon: Daemon, ids: tuple[str, str]) -> None:
    applied(daemon.runtime)
    outgoing(daemon.runtime.store.outbox, at=AT, seq=99)
    (trace,) = daemon.client().get("/v1/event", {"id": "evt-1"})["traces"]
    told = [(step["step"], step["text"]) for step in trace["steps"][-3:]]
    assert told == [
        ("set-aside", "order.paid was set aside for crm: it answers with status 500"),
        ("delivered", "order.paid delivered to crm"),
        ("attempted", "order.paid not delivered to crm: it answers with status 500"),
    ]
    assert trace["steps"][-2]["facts"] == {"target": "crm", "delivery": ids[0], "attempt": 1, "status": 204}


def test_deliveries_are_listed_without_their_content(daemon: Daemon, ids: tuple[str, str]) -> None:
    (row,) = daemon.client("reader").get("/v1/deliveries", {"target": "crm", "state": "failed"})
    assert (row["id"], row["state"], row["attempts"], row["reason"]) == (ids[1], "failed", 10, "it answers with status 500")
    assert daemon.client().get("/v1/deliveries", {"state": "waiting"}) == []
    with pytest.raises(BadArguments, match="waiting or failed"):
        daemon.client().get("/v1/deliveries", {"state": "other"})


def test_one_delivery_is_shown_with_its_attempts_and_its_content_only_revealed(daemon: Daemon, ids: tuple[str, str]) -> None:
    shown = daemon.client("reader").get(f"/v1/deliveries/{ids[1]}")
    assert shown["body"] is None
    assert [(row["outcome"], row["status"], row["body"], row["answer"]) for row in shown["attempts"]] == [
        ("later", 500, None, None)
    ]
    revealed = daemon.client().get(f"/v1/deliveries/{ids[1]}", {"reveal": True})
    assert revealed["body"]["type"] == "order.paid"
    assert revealed["attempts"][0]["body"] == revealed["body"]
    assert revealed["attempts"][0]["answer"] == "canary \\xff"
    assert daemon.audits() == [("ada", "deliveries show --reveal", "done")]
    with pytest.raises(NotFound, match="no such delivery"):
        daemon.client().get("/v1/deliveries/nothing")


def test_attempts_are_found_by_outcome(daemon: Daemon, ids: tuple[str, str]) -> None:
    (row,) = daemon.client("reader").get("/v1/attempts", {"outcome": "delivered", "target": "crm"})
    assert (row["id"], row["seconds"], row["body"]) == (ids[0], 0.05, None)


def test_a_retry_says_what_and_hurries_the_target(daemon: Daemon, ids: tuple[str, str]) -> None:
    client = daemon.client()
    assert client.post("/v1/deliveries/retry", {"id": ids[1]})["count"] == 1
    assert client.post("/v1/deliveries/retry", {"target": "crm"})["count"] == 1
    assert daemon.runtime.done == [("hurry", None), ("hurry", "crm")]
    with pytest.raises(NotFound, match="deliveries list"):
        client.post("/v1/deliveries/retry", {"id": "nothing"})
    for body in ({}, {"all": True, "target": "crm"}):
        with pytest.raises(BadArguments, match="say which"):
            client.post("/v1/deliveries/retry", body)


def test_a_replay_takes_times_with_their_zone_a_glob_and_a_rate(daemon: Daemon) -> None:
    client = daemon.client()
    said = {"target": "crm", "since": "2026-11-22T10:00:00Z", "type": "order.*", "rate": "5/1s"}
    assert client.post("/v1/deliveries/replay", said)["done"] == "replaying"
    ((_, name, since, until, patterns, rate),) = daemon.runtime.done
    assert (name, until - since, patterns, str(rate)) == ("crm", 86_400_120_000, ("order.*",), "5/1s")
    for wrong, why in (
        ({"since": "2026-11-22T10:00:00"}, "zone"),
        ({"since": "2026-11-25T10:00:00Z"}, "nothing between"),
        ({"rate": "many"}, "rate is not understood"),
        ({"since": "yesterday"}, "not understood"),
    ):
        with pytest.raises(BadArguments, match=why):
            client.post("/v1/deliveries/replay", {**said, **wrong})
    with pytest.raises(NotFound, match="configured are: crm"):
        client.post("/v1/deliveries/replay", {**said, "target": "other"})
    with pytest.raises(BadArguments, match="say from when on"):
        client.post("/v1/deliveries/replay", {"target": "crm"})


def test_a_replay_is_ended(daemon: Daemon) -> None:
    said = daemon.client().post("/v1/deliveries/replay", {"target": "crm", "stop": True})
    assert (said["done"], said["count"], daemon.runtime.done) == ("stopped", 3, [("stop", "crm")])


def test_a_sample_says_what_the_target_said(daemon: Daemon) -> None:
    assert daemon.client().post("/v1/targets/crm/test")["status"] == 204
    with pytest.raises(BadArguments, match="not sent to at once"):
        daemon.client().post("/v1/targets/nightly/test")


def test_a_target_that_left_is_forgotten_and_one_that_is_there_is_not(daemon: Daemon) -> None:
    assert daemon.client().post("/v1/targets/gone/forget")["count"] == 2
    with pytest.raises(BadArguments, match="is configured"):
        daemon.client().post("/v1/targets/crm/forget")
    assert daemon.client().post("/v1/targets/nightly/send")["done"] == "told to send"
