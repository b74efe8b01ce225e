"""Two real daemons on one nats-server and one PostgreSQL: what either of them shows and does is about both."""

import os
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from cdmd.errors import BadArguments, NotFound
from cdmd.testing import DaemonProcess
from tests.cluster.servers import NatsServer, eventually, needed
from tests.cluster.test_daemon_on_jetstream import acknowledged, further, sending, status
from tests.cluster.test_several_nodes import Nodes, nodes
from tests.store.postgres import Server

pytestmark = [needed, pytest.mark.timeout(400), pytest.mark.slow]

AWAY = float(os.environ.get("CDMD_AWAY", "2"))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, nats: NatsServer, server: Server) -> Iterator[Nodes]:
    with nodes(tmp_path_factory.mktemp("whole"), nats, server) as found:
        eventually(lambda: sorted(map(len, found.lanes().values())) == [2, 2])
        with sending(found.leads, 1) as senders:
            eventually(lambda: len(senders[0].acknowledged) >= 20)
        yield found


def at_rest(one: DaemonProcess) -> dict[str, Any]:
    """Its status once nothing waits and both nodes have said how they are."""

    def look() -> dict[str, Any] | None:
        found = status(one)
        told = [row for row in found["nodes"] if row["version"] is not None and row["freshness_seconds"] is not None]
        return found if found["journal"]["backlog"] == 0 and len(told) == 2 else None

    found: dict[str, Any] = eventually(look)
    return found


def test_either_node_shows_both_and_the_sums_of_all(both: Nodes) -> None:
    seen = [at_rest(one) for one in (both.leads, both.helps)]
    for found in seen:
        assert sorted((row["roles"], row["leads"], row["lost"], row["alike"]) for row in found["nodes"]) == [
            (["ingest", "pull", "process", "deliver"], True, False, True),
            (["process"], False, False, True),
        ]
        (row,) = found["connectors"]
        assert row["state"] == "running"
        assert row["received"] == row["accepted"] == row["applied"] + row["repeats"] >= 20
        assert (row["backlog"], row["freshness_seconds"] > 0) == (0, True)
        assert (found["totals"]["events"], found["state"]) == (row["applied"], "running")
    assert seen[0]["connectors"][0]["accepted"] == seen[1]["connectors"][0]["accepted"]


def test_a_node_whose_settings_differ_says_in_what_and_leaves_all_to_the_others(both: Nodes) -> None:
    told = both.helps.config_file.read_text()
    both.helps.config_file.write_text(f"{told}\n[identity.identifiers]\nemail = {{ priority = 1, limit = 1 }}\n")
    both.helps.control.post("/v1/reload")
    eventually(lambda: both.lanes() == {"leads": [0, 1, 2, 3]})
    eventually(lambda: "not those of the node that leads: identity.identifiers." in str(status(both.leads)["warnings"]))
    assert [row["alike"] for row in status(both.leads)["nodes"] if not row["leads"]] == [False]
    both.helps.config_file.write_text(told)
    both.helps.control.post("/v1/reload")
    eventually(lambda: sorted(map(len, both.lanes().values())) == [2, 2])
    eventually(lambda: status(both.leads)["warnings"] == [])


def test_without_the_store_events_are_acknowledged_and_both_go_on_when_it_is_back(both: Nodes, server: Server) -> None:
    """As after a minute: nobody's time is left when it is back. ``CDMD_AWAY`` says for how many seconds it really is away."""
    before = at_rest(both.leads)["totals"]["events"]
    with sending(both.leads, 2) as senders:
        further(senders, 20)
        server.kill()
        until = monotonic() + AWAY
        further(senders, 50)
        while monotonic() < until:
            further(senders, 20)
        server.start()
        both.database.run("UPDATE nodes SET until = now() - interval '50s'")
        further(senders, 20)
        eventually(lambda: sorted(map(len, both.lanes().values())) == [2, 2])
    eventually(lambda: status(both.leads)["journal"]["backlog"] == 0)
    ((events,),) = both.database.run("SELECT value FROM totals WHERE name = 'events'")
    assert len(acknowledged(senders)) <= events - before <= len(acknowledged(senders)) + len(senders)
    assert both.database.run("SELECT count(*) FROM activities WHERE before > seq") == [(0,)]
    eventually(lambda: not any(row["lost"] for row in status(both.helps)["nodes"]))


def test_either_node_has_done_what_is_the_others_to_do(both: Nodes) -> None:
    asked = both.helps.control
    assert asked.post("/v1/connectors/inbox/pause")["done"] == "paused"
    assert [row["state"] for row in status(both.leads)["connectors"]] == ["paused"]
    assert asked.post("/v1/connectors/inbox/resume")["done"] == "resumed"
    with pytest.raises(NotFound):
        asked.post("/v1/connectors/nobody/pause")
    with pytest.raises(NotFound, match="nothing is kept of a connector 'nobody'"):
        asked.post("/v1/connectors/nobody/forget")
    with pytest.raises(BadArguments, match="inbox is still configured"):
        asked.post("/v1/connectors/inbox/forget")
    assert asked.get("/v1/connectors/gone") == []
    person = both.leads.control.get("/v1/profile?identifier=email:u1@example.com")
    asked.post("/v1/erasures", {"identifier": "email:u1@example.com"})
    eventually(lambda: [row["state"] for row in asked.get("/v1/erasures")] == ["complete"])
    with pytest.raises(NotFound):
        both.leads.control.get(f"/v1/profile?profile={person['id']}")
    asked.post("/v1/log-level", {"level": "info"})
    done = [(row["command"], row["outcome"]) for row in both.leads.control.get("/v1/audit")]
    assert [row for row in done if row[0] == "pause"] == [("pause", "failed: NotFound"), ("pause", "done")]
    assert ("log-level", "done") in done
    assert both.database.run("SELECT count(*) FROM errands") == [(0,)]
