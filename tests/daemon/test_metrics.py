"""What is measured: names and labels from one table, nothing of a customer, and age that the clock makes grow."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cdmd.daemon.figures import FAMILIES, LABELS, metric_table
from cdmd.daemon.parts import Parts
from cdmd.daemon.running import Running
from cdmd.models import to_micros
from tests.daemon.doubles import World, applied, asked, fetched

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
BOTH = '[connectors.crm]\ntype = "fetcher"\n[connectors.shop]\ntype = "told"\nfreshness = "5s"\n'


async def measured(parts: Parts) -> dict[tuple[str, Mapping[str, str]], float]:
    text = (await Running(parts).metrics()).decode()
    return {
        (one.name, frozenset(one.labels.items())): one.value  # type: ignore[misc]
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def of(connector: str) -> frozenset[tuple[str, str]]:
    return frozenset({("connector", connector)})


async def test_what_is_rendered_is_what_the_table_names(tmp_path: Path) -> None:
    async with World(tmp_path, BOTH).parts() as parts:
        text = (await Running(parts).metrics()).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(families) == {one.name.removesuffix("_total") for one in FAMILIES}
    for one in FAMILIES:
        found = families[one.name.removesuffix("_total")]
        assert (found.type, found.documentation) == (one.kind, one.text)
        assert {label for sample in found.samples for label in sample.labels} <= {*one.labels, "le"}
        assert one.name.startswith("cdmd_")
        assert one.name.endswith("_total") == (one.kind == "counter")


def test_no_label_could_hold_a_customer() -> None:
    """Another label has to be thought about first: is what it holds ours, from the configuration, and bounded?"""
    assert {label for one in FAMILIES for label in one.labels} == LABELS


def test_every_metric_is_in_the_guide_for_operators() -> None:
    assert metric_table() in (ROOT / "systemd/README.md").read_text()


async def test_nothing_that_came_with_an_event_is_in_any_metric(tmp_path: Path) -> None:
    world = World(tmp_path, BOTH)
    async with world.parts() as parts, asked(parts) as http:
        for number in range(3):
            assert (await http.post("/told/shop", content=b"order-4711-%d" % number)).status_code == 200
        await http.post("/told/shop/joe@example.com", content=b"x")
        await http.post("/told/shop", content=b"fail")
        await fetched(parts, "crm")
        await applied(parts)
        found = await measured(parts)
        text = (await Running(parts).metrics()).decode()
    assert found["cdmd_profiles", frozenset()] == 1
    assert found["cdmd_events_total", frozenset({("connector", "shop"), ("stage", "store"), ("result", "applied")})] == 3
    assert [word for word in ("joe", "example.com", "4711", "seen") if word in text] == []


async def test_what_nothing_comes_from_gets_older_by_the_clock_alone(tmp_path: Path) -> None:
    """Seen to fail when silence was the last event's moment: one that never came has none, and no rule would ever fire."""
    world = World(tmp_path, '[connectors.mute]\ntype = "fetcher"\nmode = "silent"\n' + BOTH)
    async with world.parts() as parts, asked(parts) as http:
        await http.post("/told/shop", content=b"one")
        await fetched(parts, "crm")
        await applied(parts)
        running = Running(parts)
        world.clock.shift += timedelta(hours=2)
        text = (await running.metrics()).decode()
    rows = {
        (one.name, one.labels["connector"]): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if set(one.labels) == {"connector"}
    }
    for name in ("mute", "crm", "shop"):
        assert 7200 <= rows["cdmd_connector_silence_seconds", name] < 7230
    assert 7200 <= rows["cdmd_connector_freshness_seconds", "mute"] < 7230
    assert 7200 <= rows["cdmd_connector_freshness_seconds", "crm"] < 7230
    assert ("cdmd_connector_freshness_seconds", "shop") not in rows
    assert 7200 <= rows["cdmd_connector_source_lag_seconds", "shop"] < 7230


async def test_delays_are_counted_by_how_long_they_were(tmp_path: Path) -> None:
    async with World(tmp_path, BOTH).parts() as parts, asked(parts) as http:
        await http.post("/told/shop", content=b"one")
        await applied(parts)
        now = parts.clock.now()
        parts.pipeline.freshness.seen({"shop": [to_micros(now) - round(delay * 1_000_000) for delay in (0.2, 40.0, 1e9)]}, now)
        found = await measured(parts)
    bucket = {
        dict(labels)["le"]: value for (name, labels), value in found.items() if name == "cdmd_event_visible_seconds_bucket"
    }
    assert (bucket["0.25"], bucket["30"], bucket["60"], bucket["+Inf"]) == (2, 2, 3, 4)
    assert found["cdmd_event_visible_seconds_count", frozenset()] == 4
    assert found["cdmd_event_visible_seconds_sum", frozenset()] > 1e9
