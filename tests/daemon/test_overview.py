from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

import cdmd
from cdmd.contracts import StreamOutlook
from cdmd.control.protocol import ConnectorRow, Status
from cdmd.daemon.metrics import render
from cdmd.daemon.parts import Parts
from cdmd.daemon.running import Running
from cdmd.daemon.upkeep import write_counts
from cdmd.errors import Damaged
from tests.daemon.doubles import Fetcher, Told, World, applied, asked, fetched, hooks, record, until

pytestmark = pytest.mark.anyio

PULL = '[connectors.crm]\ntype = "fetcher"\nfreshness = "5s"\n'
PUSH = '[connectors.shop]\ntype = "told"\n'


async def row(parts: Parts, name: str = "crm") -> ConnectorRow:
    status = await Running(parts).status()
    return next(one for one in status.connectors if one.name == name)


def balanced(one: ConnectorRow) -> bool:
    at_rest = one.applied + one.repeats + (one.filtered - one.filtered_at_door) + one.suppressed + one.dead_letters + one.parked
    return one.received == one.refused + one.filtered_at_door + one.accepted and one.accepted == at_rest + one.backlog


async def test_the_sums_hold_at_every_moment_and_over_restarts(tmp_path: Path) -> None:
    world = World(tmp_path, PULL + 'accept = ["seen"]\n')
    async with world.parts() as parts:
        await until(parts, "crm", "running")
        source = parts.connectors.get("crm").source
        await source.emit([record("a"), record("b"), record("a"), record("c", type="other")])
        assert balanced(await row(parts))
        await applied(parts)
        await source.emit([record("a")])
        source.refuse(2, "signature")
        await applied(parts)
        one = await row(parts)
        assert balanced(one)
        assert (one.received, one.refused, one.filtered, one.accepted) == (7, 2, 1, 4)
        assert (one.applied, one.repeats, one.duplicates, one.backlog) == (2, 2, 2, 0)
        status = await Running(parts).status()
        assert (status.totals.events, status.journal.backlog, status.state) == (2, 0, "running")
        await parts.upkeep.once("counts", lambda: write_counts(parts.intake))
    async with world.parts() as parts:
        again = await row(parts)
        assert (again.received, again.refused, again.applied, again.repeats) == (7, 2, 2, 2)
        assert balanced(again)


async def test_freshness_is_null_until_something_came_and_grows_while_a_pull_connector_does_not_look(tmp_path: Path) -> None:
    world = World(tmp_path, PULL + PUSH)
    async with world.parts() as parts:
        assert (await row(parts, "shop")).freshness_seconds is None
        await fetched(parts, "crm")
        await applied(parts)
        await until(parts, "crm", "running")
        one = await row(parts)
        assert one.freshness_objective_seconds == 5.0
        assert 0 <= (one.freshness_seconds or 0) < 30
        assert one.last_event is not None
        world.clock.shift = timedelta(minutes=30)
        assert 1800 <= ((await row(parts)).freshness_seconds or 0) < 1860


async def test_a_row_says_what_its_connector_waits_for_and_until_when(tmp_path: Path) -> None:
    world = World(tmp_path, PULL + '[connectors.dead]\ntype = "fetcher"\nmode = "dies"\n')
    async with world.parts() as parts:
        await until(parts, "crm", "running")
        one = await row(parts)
        assert (one.detail, one.state, one.error) == ("the next look", "running", None)
        assert one.next is not None
        await until(parts, "dead", "degraded", "failed")
        dead = await row(parts, "dead")
        assert "RuntimeError" in str(dead.error)
        assert (one.pull, dead.pull) == (True, True), "also where there is no next look"
        source = Fetcher.made["crm"].source
        assert source is not None
        source.working("listening to the till")
        await parts.connectors.pause("crm")
        paused = await row(parts)
        assert (paused.state, paused.detail) == ("paused", None)
        assert "tried again in" in str(dead.detail)
        assert (await Running(parts).status()).state == "degraded"


async def test_a_row_says_of_each_stream_when_it_is_looked_at_and_why_then(tmp_path: Path) -> None:
    world = World(tmp_path, PULL)
    async with world.parts() as parts:
        await until(parts, "crm", "running")
        assert (await row(parts)).streams == []
        due = parts.clock.now() + timedelta(minutes=3)
        short = "it is looked at every 15m on the whole, 5m is wanted: that is what its limits allow"
        outlook = StreamOutlook(name="contacts", freshness=300.0, measured=12.3456, next=due, why="by then", shortfall=short)
        Fetcher.made["crm"].outlook = [outlook]
        [one] = (await row(parts)).streams
        assert one.freshness_seconds == 12.346
        assert (one.name, one.freshness_objective_seconds, one.next, one.why, one.shortfall) == (
            "contacts",
            300,
            due,
            "by then",
            short,
        )


async def test_a_push_row_says_whether_senders_prove_who_they_are(tmp_path: Path) -> None:
    text = '[connectors.a]\ntype = "webhook"\nverify = "none"\n[connectors.b]\ntype = "webhook"\nverify = "bearer"\n'
    world = World(tmp_path, text + 'secrets = ["env:T"]\n'.replace("env:T", "a-secret-of-some-length-for-tests"))
    async with world.parts() as parts:
        assert (await row(parts, "a")).detail == "unsigned: anybody who can reach it may send"
        assert (await row(parts, "b")).detail is None
        live = parts.connectors.get("b").connector
        live._verified_by = 0
        assert (await row(parts, "b")).detail == "last verified by secret 1 ([secret])"


class Own(Told):
    """It has attributes of its own by the names of what a connector may say of itself."""

    type: ClassVar[str] = "own"

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name, settings)
        self.waiting_since, self.to_fetch, self.outlook, self.verified_by = 17.5, "all", ["a"], "ada"

    @property
    def verifies(self) -> bool:
        raise KeyError("joe@example.com")

    @property
    def fetches(self) -> bool:
        raise KeyError("joe@example.com")


async def test_what_a_connector_has_of_its_own_is_not_taken_for_what_it_says_of_itself(tmp_path: Path) -> None:
    text = '[connectors.shop]\ntype = "own"\n'
    async with World(tmp_path, text, extra={"own": hooks(cdmd_connectors=lambda: [Own])}).parts() as parts:
        found = await row(parts, "shop")
        assert (found.state, found.to_fetch, found.streams, found.detail) == ("running", 0, [], None)
        assert found.freshness_seconds is None
        own = parts.connectors.get("shop").connector
        for own.waiting_since in (datetime(2026, 12, 1), None):  # noqa: DTZ001 - one that knows no zone
            assert (await row(parts, "shop")).freshness_seconds is None
        for own.verified_by in (5, -1):
            assert (await row(parts, "shop")).detail == f"last verified by secret {own.verified_by + 1}"


async def test_what_is_not_well_is_a_warning_and_makes_it_degraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    async with world.parts() as parts:
        running = Running(parts)
        assert (await running.status()).warnings == []
        parts.upkeep.problems["prune"] = "prune: no"
        parts.pipeline._writing.failure = "the store cannot take events"
        parts.disk.reserve = parts.disk.free * 2
        monkeypatch.setattr(parts.journal, "_failure", "disk I/O error (journal)")
        monkeypatch.setattr(parts.store, "failure", "disk I/O error (store)")
        status = await running.status()
        assert status.state == "degraded"
        assert [one.partition(" has ")[0] for one in status.warnings] == [
            "prune: no", "the disk", "the store cannot take events", "the journal cannot be used now: disk I/O error (journal)",
            "the store cannot be used now: disk I/O error (store)",
        ]  # fmt: skip
        assert status.journal.failure == "disk I/O error (journal)"
        parts.state = "draining"
        assert (await running.status()).state == "draining"


async def test_a_store_that_cannot_be_read_leaves_an_answer_with_the_last_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, PULL)
    async with world.parts() as parts:
        await fetched(parts, "crm")
        await applied(parts)
        running = Running(parts)
        before = await running.status()

        async def unreadable() -> None:
            raise Damaged("the store is damaged")

        monkeypatch.setattr(parts.store, "counts", unreadable)
        status = await running.status()
        assert (status.state, status.totals) == ("degraded", before.totals)
        assert status.warnings == ["the store cannot be read, its figures are those of before: the store is damaged"]


async def test_a_plugin_that_failed_is_a_row_and_makes_it_degraded(tmp_path: Path) -> None:
    @cdmd.extension(on="seen", on_failure="store")
    async def lookup(event: cdmd.Event, context: cdmd.Context) -> None:
        assert context.now == context.now.replace()
        raise KeyError("joe@example.com")

    world = World(
        tmp_path,
        PULL,
        extra={"warranty": hooks(cdmd_extensions=lambda: [lookup]), "bad": hooks(cdmd_extensions=lambda: ["no extension"])},
    )
    async with world.parts() as parts:
        await fetched(parts, "crm")
        await applied(parts)
        status = await Running(parts).status()
        rows = {one.name: one for one in status.plugins}
        assert rows["warranty"].brings == ("extension warranty.lookup",)
        assert "joe@" not in str(rows)
        assert (rows["bad"].state, status.state) == ("load error", "degraded")
        text = (await render(status, parts)).decode()
        assert 'cdmd_plugin_calls_total{extension="warranty.lookup",plugin="warranty"} 1.0' in text
        assert 'cdmd_plugin_errors_total{extension="warranty.lookup",plugin="warranty"} 1.0' in text


async def test_metrics_carry_the_figures_of_status_and_no_customer(tmp_path: Path) -> None:
    world = World(tmp_path, PULL + PUSH)
    async with world.parts() as parts, asked(parts) as http:
        await fetched(parts, "crm")
        await http.post("/told/shop")
        await http.get("/told/shop")
        await applied(parts)
        text = (await Running(parts).metrics()).decode()
        for line in (
            'cdmd_events_total{connector="crm",result="accepted",stage="door"} 1.0',
            'cdmd_events_total{connector="crm",result="applied",stage="store"} 1.0',
            'cdmd_events_current{connector="crm",state="backlog"} 0.0',
            'cdmd_refusals_total{connector="shop",reason="method"} 1.0',
            'cdmd_connector_up{connector="crm"} 1.0',
            'cdmd_connector_expected_interval_seconds{connector="crm"} 5.0',
            'cdmd_connector_last_success_timestamp_seconds{connector="shop"}',
            'cdmd_connector_freshness_seconds{connector="shop"}',
            "cdmd_profiles 1.0",
            "cdmd_dlq_depth 0.0",
            "cdmd_queue_capacity 10000.0",
            'cdmd_sqlite_wal_bytes{database="journal"}',
            "cdmd_ready 1.0",
        ):
            assert line in text
        assert "joe@" not in text


def test_shapes_stay_as_the_contract_has_them() -> None:
    assert {"freshness_seconds", "received", "refused", "parked", "repeats", "last_event"} <= set(
        ConnectorRow.__struct_fields__
    )
    assert {"version", "state", "uptime_seconds", "queue", "journal", "connectors"} <= set(Status.__struct_fields__)
    assert Fetcher.type == "fetcher"


async def test_a_connector_says_since_when_it_is_as_it_is(tmp_path: Path) -> None:
    async with World(tmp_path, PUSH).parts() as parts:
        await until(parts, "shop", "running")
        first = await row(parts, "shop")
        assert first.since is not None
        later = await row(parts, "shop")
        assert later.since is not None
        assert abs((later.since - first.since).total_seconds()) < 0.5
        parts.supervisor.mark("shop", "degraded", "its table is gone")
        assert (await row(parts, "shop")).since > later.since  # type: ignore[operator]
