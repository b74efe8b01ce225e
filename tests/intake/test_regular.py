"""What is mapped in the short way is mapped the same in the long one, and what is not regular goes the long one."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdmd.config.schema import ConnectorFrame
from cdmd.contracts import EventSettings
from cdmd.intake.mapping import Mapper
from cdmd.intake.regular import LONGEST_ID, LONGEST_TYPE, regular
from cdmd.models import Entry, Parts, Record

NOW = datetime(2026, 11, 23, 10, 0, 1, tzinfo=UTC)
SETTINGS = {
    "all of it": EventSettings(
        id="{id}:{status}",
        type="order%s.{status}'",
        time="{at}",
        identifiers={"email": "{customer.email}", "no'": "{customer.id}"},
        traits={"name": "{customer.name}", "id": "{customer.id}"},
        data={"total": "{total}", "{x}": '{"a b"}', "whole": "{customer}"},
    ),
    "defaults": EventSettings(identifiers={"email": "{email}"}),
    "constants": EventSettings(id="1", type="order", data={"id": "{id}"}),
    "a single path": EventSettings(id="{id}", type="{status}", time="{customer.at}"),
}
NAMES = st.sampled_from(["id", "status", "at", "email", "name", "total", "a b", "customer"])
TEXTS = st.sampled_from(
    ["", "a", "paid", "é", "\ud800", "2026-11-23T10:00:00Z", "2026-11-23 10:00:00+01:00", "1969-01-01T00:00:00Z", "%s", "{id}"]
)
VALUES = st.one_of(TEXTS, st.none(), st.booleans(), st.integers(-1, 2**70), st.floats(), st.lists(TEXTS, max_size=1))
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=6)
RECORDS = st.one_of(st.dictionaries(NAMES, st.one_of(VALUES, OBJECTS), max_size=8), st.lists(OBJECTS, max_size=1), VALUES)
REGULAR = {
    "id": "7", "status": "paid", "at": "2026-11-23T10:00:00Z", "email": "joe@example.com", "total": 1.5, "a b": [1],
    "customer": {"email": "joe@example.com", "id": "C1", "at": 1_763_892_000},
}  # fmt: skip


def mappers(settings: EventSettings) -> tuple[Mapper, Mapper]:
    """With the short way, and without."""
    quick, slow = (Mapper("shop", ConnectorFrame(type="webhook", event=settings), raw=True) for _ in range(2))
    assert slow._event is not None
    slow._event.regular = None
    return quick, slow


def record(value: Any, **given: Any) -> Record:
    return Record(**{"value": value, "received": NOW, "fallback_id": "fallback", "type": "told", **given})


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@given(
    value=RECORDS,
    id_=st.sampled_from([None, "", "a", "é", "x" * (LONGEST_ID + 1)]),
    type_=st.sampled_from([None, "", "t", "é", "x" * (LONGEST_TYPE + 1)]),
    time=st.sampled_from([None, "never", "2026-11-23T10:00:00Z", 5]),
    more=st.sampled_from([{}, {"parts": Parts(traits={"x": 1})}, {"beside": {"email": "beside@example.com"}}]),
)
@example(value=REGULAR, id_=None, type_="t", time=None, more={})
@example(value={**REGULAR, "customer": {}}, id_=None, type_="t", time=None, more={})
@example(value={**REGULAR, "id": "x" * LONGEST_ID, "status": "x" * LONGEST_TYPE}, id_=None, type_="t", time=None, more={})
def test_both_ways_lead_to_the_same_event_or_fault(
    settings: EventSettings, value: Any, id_: str | None, type_: str | None, time: Any, more: dict[str, Any]
) -> None:
    quick, slow = mappers(settings)
    one = record(value, id=id_, type=type_, time=time, **more)
    assert str(quick.decide(one)) == str(slow.decide(one))


@pytest.mark.parametrize("address", ["jö@example.com", "\ud800@example.com"])
def test_an_identifier_beyond_ascii_is_mapped_alike_both_ways(address: str) -> None:
    quick, slow = mappers(SETTINGS["defaults"])
    one = record({"email": address})
    assert str(quick.decide(one)) == str(slow.decide(one))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_what_nearly_every_source_sends_goes_the_short_way(settings: EventSettings) -> None:
    short = regular(settings)
    assert short is not None
    event = short(record(REGULAR), "shop")
    assert event is not None
    decided = mappers(settings)[1].decide(record(REGULAR))
    assert isinstance(decided, Entry)
    assert event == decided.event


def test_rows_of_a_file_without_a_type_of_their_own_go_the_short_way_too() -> None:
    short = regular(SETTINGS["defaults"])
    assert short is not None
    event = short(record(REGULAR, type=None, stream="people"), "shop.people")
    assert event is not None
    assert (event.type, event.source) == ("shop.received", "shop.people")
    assert event == getattr(mappers(SETTINGS["defaults"])[1].decide(record(REGULAR, type=None, stream="people")), "event", None)


def test_what_a_name_holds_is_never_code() -> None:
    name = "'] or exit() or value['"
    short = regular(EventSettings(type="x", data={name: f'{{"{name}"."{name}\\\\"}}'}))
    assert short is not None
    event = short(record({name: {name + "\\": 1}}), "shop")
    assert event is not None
    assert event.data == {name: 1}


@pytest.mark.parametrize(
    "settings",
    [
        EventSettings(data="*"),
        EventSettings(traits="*"),
        EventSettings(id="{items[0].id}"),
        EventSettings(id="{a.b.c}"),
        EventSettings(time="{_request.received}"),
        EventSettings(data={"x": "{length(items)}"}),
        EventSettings(data={"x": "{a}{b}"}),
        EventSettings(data={"x": "text"}),
        EventSettings(data={"x": "{@}"}),
    ],
    ids=str,
)
def test_templates_that_are_more_than_texts_and_short_paths_go_the_long_way(settings: EventSettings) -> None:
    assert regular(settings) is None
