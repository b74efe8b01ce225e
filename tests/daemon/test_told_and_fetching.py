"""Connectors that are told and fetch: one name, one state, two ways in."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cdmd.daemon.running import Running
from cdmd.errors import BadArguments, Overloaded
from cdmd.kit.quantities import Rate
from tests.daemon.doubles import Both, World, applied, asked, record, until

pytestmark = pytest.mark.anyio

BOTH = '[connectors.survey]\ntype = "both"\n'


async def test_one_connector_is_told_at_its_path_and_fetches_by_its_own_task(tmp_path: Path) -> None:
    world = World(tmp_path, BOTH)
    async with world.parts() as parts, asked(parts) as http:
        await until(parts, "survey", "running")
        assert (await http.post("/told/survey", content=b"told")).status_code == 200
        live = parts.connectors.get("survey")
        assert live.puller is not live.source
        await parts.connectors.poll("survey")
        await Both.made["survey"].emitted.wait()
        await applied(parts)
        row = next(row for row in (await Running(parts).status()).connectors if row.name == "survey")
        assert (row.applied, row.detail, row.state) == (2, "what it is told", "running")
        assert row.next is not None


async def test_where_its_configuration_fetches_nothing_it_only_answers(tmp_path: Path) -> None:
    world = World(tmp_path, BOTH + "fetches = false\n")
    async with world.parts() as parts, asked(parts) as http:
        assert parts.supervisor.state("survey").state == "running"
        assert Both.made["survey"].source is None
        assert (await http.post("/told/survey", content=b"told")).status_code == 200
        with pytest.raises(BadArguments, match="nothing to poll"):
            await parts.connectors.poll("survey")


async def test_a_pause_holds_back_both_and_outlives_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path, BOTH)
    async with world.parts() as parts, asked(parts) as http:
        await until(parts, "survey", "running")
        await parts.connectors.pause("survey")
        assert (await http.post("/told/survey", content=b"told")).status_code == 503
        fetching = Both.made["survey"].source
        assert fetching is not None
        with pytest.raises(Overloaded, match="stopped"):
            await fetching.emit([record("late")])
    async with world.parts() as parts, asked(parts) as http:
        await until(parts, "survey", "paused")
        assert (await http.post("/told/survey", content=b"told")).status_code == 503
        await parts.connectors.resume("survey")
        await until(parts, "survey", "running")
        assert (await http.post("/told/survey", content=b"told")).status_code == 200


async def test_what_it_says_of_itself_is_its_state_until_it_takes_it_back(tmp_path: Path) -> None:
    world = World(tmp_path, BOTH)
    async with world.parts() as parts, asked(parts) as http:
        await until(parts, "survey", "running")
        both = Both.made["survey"]
        assert both.source is not None
        both.source.unwell("the credential is refused")
        assert (await http.post("/told/survey", content=b"fail")).status_code == 500
        assert (await http.post("/told/survey", content=b"told")).status_code == 200
        state = parts.supervisor.state("survey")
        assert (state.state, state.error) == ("degraded", "the credential is refused"), "that it answers does not end it"
        await parts.connectors.poll("survey")
        both.source.unwell(None)
        assert parts.supervisor.state("survey").state == "running"
        assert (await http.post("/told/survey", content=b"fail")).status_code == 500
        await both.source.emit([record("x")])
        assert parts.supervisor.state("survey").state == "degraded", "that it fetches does not mean that it answers"


async def test_what_it_was_told_and_has_not_fetched_yet_is_not_fresh(tmp_path: Path) -> None:
    world = World(tmp_path, BOTH)
    async with world.parts() as parts:
        Both.made["survey"].waiting_since = datetime.now(UTC) - timedelta(minutes=5)  # type: ignore[assignment]
        row = next(row for row in (await Running(parts).status()).connectors if row.name == "survey")
        assert row.freshness_seconds is not None
        assert row.freshness_seconds >= 299
        assert row.to_fetch == 3


async def test_one_host_and_credential_have_one_budget_with_everybodys_limits(tmp_path: Path) -> None:
    world = World(tmp_path, BOTH)
    async with world.parts() as parts:
        first = parts.budgets.of("survey", "https://crm.example:443", "key", [Rate.parse("60/1m")])
        assert parts.budgets.of("crm", "https://crm.example:443", "key", [Rate.parse("5/1s")]) is first
        assert first.limits == (Rate.parse("60/1m"), Rate.parse("5/1s"))
        parts.budgets.of("survey", "https://crm.example:443", "key", [Rate.parse("90/1m")])
        assert first.limits == (Rate.parse("90/1m"), Rate.parse("5/1s"))
        assert parts.budgets.of("survey", "https://crm.example:443", "other", []) is not first


async def test_what_was_sent_is_known_after_a_restart_and_under_no_readable_name(tmp_path: Path) -> None:
    world = World(tmp_path, BOTH)

    class Reply:
        status_code, headers = 429, {"retry-after": "600"}

    async def call() -> Reply:
        return Reply()

    async with world.parts() as parts:
        budget = parts.budgets.of("survey", "https://crm.example:443", "top secret", [Rate.parse("60/1m")])
        async with budget.turn("survey") as turn:
            await turn.send(call)
    assert b"top secret" not in (tmp_path / "state" / "journal.db").read_bytes()
    async with world.parts() as parts:
        at, why = parts.budgets.of("survey", "https://crm.example:443", "top secret", [Rate.parse("60/1m")]).next_at()
        assert at is not None
        assert at > world.clock.monotonic() + 590
        assert "Retry-After" in why
