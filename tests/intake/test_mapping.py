"""A record becomes an event, or a fault that names the expression and the kind of value."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from cdmd.config.schema import ConnectorFrame, EventSettings
from cdmd.intake.mapping import LONGEST_ID, Mapper
from cdmd.models import Entry, Event, Fault, Filtered, Parts, Record, decode_entry

NOW = datetime(2026, 11, 23, 10, 0, 1, tzinfo=UTC)
ORDER = {
    "id": 4711,
    "status": "paid",
    "created_at": "2026-11-23T10:00:00Z",
    "customer": {"email": "joe@example.com", "id": 12, "first_name": "Joe", "secret": "do not keep"},
    "total_price": "99.50",
    "tags": ["a", "b"],
}
SHOP = EventSettings(
    id="{id}:{status}",
    type="order.{status}",
    time="{created_at}",
    identifiers={"email": "{customer.email}", "customer_no": "{customer.id}", "phone": "{customer.phone}"},
    traits={"first_name": "{customer.first_name}", "last_name": "{customer.last_name}"},
    data={"total": "{to_number(total_price)}", "tags": "{tags}"},
)


def record(value: Any, **given: Any) -> Record:
    return Record(value=value, received=NOW, fallback_id="fallback-1", **given)


def mapper(event: EventSettings | None = None, *, raw: bool = True, **frame: Any) -> Mapper:
    return Mapper("shop", ConnectorFrame(type="webhook", event=event, **frame), raw=raw)


def event_of(decided: Entry | Filtered) -> Event:
    assert isinstance(decided, Entry), decided
    assert decided.fault is None, decided.fault
    return decided.event


def fault_of(decided: Entry | Filtered) -> Fault:
    assert isinstance(decided, Entry)
    assert decided.fault is not None
    return decided.fault


def test_what_a_form_lacks_is_said_to_have_come_as_a_form() -> None:
    form = {"hello world": ""}
    said = fault_of(mapper(SHOP).decide(record(form, context={"_request": {"form": form}})))
    assert said.message.endswith("which came as a form without that field: send JSON as Content-Type: application/json")
    said = fault_of(mapper(SHOP).decide(record({"status": "paid"}, context={"_request": {"form": {"payload": "{}"}}})))
    assert said.message == "id: a part of '{id}:{status}' is null in this record", "JSON in a form's field is JSON"


def test_a_mapped_record_keeps_only_what_is_declared() -> None:
    event = event_of(mapper(SHOP).decide(record(ORDER)))
    assert event == Event(
        id="4711:paid",
        source="shop",
        type="order.paid",
        time=datetime(2026, 11, 23, 10, tzinfo=UTC),
        received=NOW,
        identifiers={"email": "joe@example.com", "customer_no": "12"},
        traits={"first_name": "Joe"},
        data={"total": 99.5, "tags": ["a", "b"]},
    )


def test_a_star_keeps_the_whole_record() -> None:
    event = event_of(mapper(EventSettings(type="x", data="*")).decide(record(ORDER)))
    assert event.data == ORDER


def test_a_star_needs_names_that_are_text() -> None:
    fault = fault_of(mapper(EventSettings(type="x", traits="*")).decide(record({1: "a name no journal entry can have"})))
    assert fault.code == "not_an_object"


def test_a_star_needs_an_object() -> None:
    fault = fault_of(mapper(EventSettings(type="x", data="*")).decide(record([1])))
    assert (fault.code, fault.kind) == ("not_an_object", "array")


def test_a_record_in_the_shape_of_an_event_is_taken_as_it_is() -> None:
    given = {"id": "evt-1", "source": "ignored", "type": "order.paid", "time": 1_700_000_000, "identifiers": {"email": "a@b.c"}}
    event = event_of(mapper().decide(record(given | {"data": {"total": 1}, "traits": None})))
    assert (event.id, event.source, event.type) == ("evt-1", "shop", "order.paid")
    assert (event.identifiers, event.traits, event.data) == ({"email": "a@b.c"}, {}, {"total": 1})
    assert event.time == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def test_an_event_without_an_id_gets_the_schemes_or_the_fallback() -> None:
    assert event_of(mapper().decide(record({"type": "x", "data": {}}))).id == "fallback-1"
    assert event_of(mapper().decide(record({"type": "x", "data": {}}, id="delivery-7"))).id == "delivery-7"


def test_identifiers_that_are_null_or_empty_are_left_out() -> None:
    given = {"type": "x", "identifiers": {"email": None, "phone": "", "customer_no": 12}}
    assert event_of(mapper().decide(record(given))).identifiers == {"customer_no": "12"}


@pytest.mark.parametrize("value", [{"type": 1}, {"type": "x", "extra": 1}, {"type": "x", "data": []}, [1], "text", None])
def test_any_other_record_is_received_with_nothing_kept(value: Any) -> None:
    event = event_of(mapper().decide(record(value)))
    assert (event.type, event.data, event.id) == ("shop.received", {}, "fallback-1")


def test_the_schemes_defaults_name_what_the_mapping_does_not() -> None:
    event = event_of(mapper().decide(record(ORDER, id="d1", type="github.push", time="2026-11-23T09:00:00+00:00")))
    assert (event.id, event.type, event.time) == ("d1", "github.push", datetime(2026, 11, 23, 9, tzinfo=UTC))
    named = event_of(mapper(EventSettings(data={"n": "{id}"})).decide(record(ORDER, id="d1", type="github.push")))
    assert (named.id, named.type, named.data) == ("d1", "github.push", {"n": 4711})
    assert event_of(mapper(EventSettings()).decide(record(ORDER))).type == "shop.received"


def test_a_stream_is_part_of_the_source() -> None:
    event = event_of(mapper(SHOP).decide(record(ORDER, stream="orders")))
    assert (event.source, event.connector) == ("shop.orders", "shop")


def test_templates_see_the_request() -> None:
    context = {"_request": {"headers": {"x_topic": "paid"}, "query": {}, "form": None, "body": ORDER}}
    event = event_of(mapper(EventSettings(type="order.{_request.headers.x_topic}")).decide(record(ORDER, context=context)))
    assert event.type == "order.paid"


def test_a_date_alone_is_when_it_happened() -> None:
    event = event_of(mapper(EventSettings(type="x", time="{on}")).decide(record({"on": "2026-11-23"})))
    assert event.time == datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("settings", "value", "code", "path", "kind"),
    [
        (EventSettings(id="{missing}", type="x"), {}, "null", "id", "null"),
        (EventSettings(type="order.{missing}"), {}, "null", "type", "null"),
        (EventSettings(id="{a}", type="x"), {"a": True}, "not_text", "id", "boolean"),
        (EventSettings(type="x", identifiers={"email": "{a}"}), {"a": [1]}, "not_text", "identifiers.email", None),
        (EventSettings(type="x", time="{a}"), {"a": "yesterday"}, "not_a_time", "time", None),
        (EventSettings(type="x", data={"n": "{abs(a)}"}), {"a": "text"}, "template_failed", "data.n", None),
        (EventSettings(id="{a}", type="x"), {"a": "x" * (LONGEST_ID + 1)}, "id_length", "id", None),
        (EventSettings(type="{a}"), {"a": ""}, "type_length", "type", None),
    ],
)  # fmt: skip
def test_what_cannot_be_mapped_says_which_expression_failed(
    settings: EventSettings, value: Any, code: str, path: str, kind: str | None
) -> None:
    fault = fault_of(mapper(settings).decide(record(value)))
    assert (fault.code, fault.path) == (code, path)
    assert fault.message.startswith(path)
    if kind is not None:
        assert fault.kind == kind


def test_a_fault_never_repeats_the_value() -> None:
    settings = EventSettings(type="x", data={"n": "{abs(a)}"})
    fault = fault_of(mapper(settings).decide(record({"a": "joe@example.com"})))
    assert "joe" not in repr(fault)


def test_what_is_not_accepted_is_filtered() -> None:
    assert mapper(SHOP, accept=("refund.*",)).decide(record(ORDER)) == Filtered("accept")
    assert event_of(mapper(SHOP, accept=("order.*",)).decide(record(ORDER)))


def test_where_decides_over_the_event() -> None:
    assert mapper(SHOP, where="event.data.total > 100.0").decide(record(ORDER)) == Filtered("where")
    assert event_of(mapper(SHOP, where="event.data.total > 99.0").decide(record(ORDER)))


def test_a_where_that_fails_is_a_fault() -> None:
    assert fault_of(mapper(SHOP, where="event.data.nothing > 1").decide(record(ORDER))).code == "where_failed"


def test_an_unmappable_record_is_kept_whole_and_maps_again_when_the_configuration_is_mended() -> None:
    context = {
        "_request": {"headers": {"x_topic": "paid", "authorization": "Bearer s3cret"}, "query": "", "form": 0, "body": 1}
    }
    broken = EventSettings(type="{_request.headers.x_topic}", id="{nothing}", data={"f": "{_request.form}"})
    entry = mapper(broken).decide(record(ORDER, context=context, stream="orders"))
    assert isinstance(entry, Entry)
    assert b"s3cret" not in entry.raw
    mended = EventSettings(type="{_request.headers.x_topic}", id="{id}")
    event = mapper(mended).again(entry)
    assert isinstance(event, Event)
    assert (event.id, event.type, event.source, event.received) == ("4711", "paid", "shop.orders", NOW)
    assert mapper(mended, accept=("other",)).again(entry) is None
    still = mapper(broken).again(entry)
    assert isinstance(still, Fault)
    assert still.code == "null"


def test_a_record_that_is_mapped_again_was_received_when_it_was() -> None:
    context = {"_request": {"headers": {}, "received": "2026-11-23T09:59:59.5Z"}}
    entry = mapper(EventSettings(id="{_request.received}", type="{nothing}")).decide(record({}, context=context))
    assert isinstance(entry, Entry)
    event = mapper(EventSettings(id="{_request.received}", type="x")).again(entry)
    assert isinstance(event, Event)
    assert event.id == "2026-11-23T09:59:59.5Z"


CALL = {"type": "identify", "traits": {"plan": "gold"}, "properties": {"total": 3}}
PARTS = Parts(identifiers={"user_id": "u"}, traits={"plan": "gold"}, data={"total": 3, "group_id": "g"})


def test_what_the_connector_knows_of_an_event_holds_where_the_event_table_says_nothing() -> None:
    def parts(event: EventSettings | None) -> tuple[Any, ...]:
        made = event_of(mapper(event).decide(record(CALL, type="identify", parts=PARTS)))
        return made.type, made.identifiers, made.traits, made.data

    assert parts(None) == ("identify", {"user_id": "u"}, {"plan": "gold"}, {"total": 3, "group_id": "g"})
    assert parts(EventSettings(data={"sum": "{properties.total}"})) == (
        "identify",
        {"user_id": "u"},
        {"plan": "gold"},
        {"sum": 3},
    )
    assert parts(EventSettings(type="app.{type}", traits={}, data="*"))[2:] == ({}, CALL)
    assert parts(EventSettings(identifiers={"email": "{traits.plan}"}))[:2] == ("identify", {"email": "gold"})


def test_names_beside_the_record_are_found_by_templates_kept_for_a_retry_and_no_part_of_a_star() -> None:
    given = record({"no": 7, "change": "small"}, beside={"change": "added", "changed": ["email"]})
    settings = EventSettings(type="customer.{change}", data={"changed": "{changed}"}, traits="*")
    event = event_of(mapper(settings).decide(given))
    assert (event.type, event.data, event.traits) == ("customer.added", {"changed": ["email"]}, {"no": 7, "change": "small"})
    broken = mapper(EventSettings(type="{missing}", traits="*")).decide(given)
    assert fault_of(broken).code == "null"
    assert isinstance(broken, Entry)
    again = mapper(settings).again(broken)
    assert isinstance(again, Event)
    assert (again.type, again.traits) == ("customer.added", {"no": 7, "change": "small"})
    assert event_of(mapper(EventSettings(type="x")).decide(record("text", beside={"change": "added"}))).type == "x"


def test_what_the_connector_itself_refuses_stays_refused_whatever_the_mapping_says() -> None:
    refused = mapper().decide(record(CALL, id="m-1", type="identify", fault=Fault("no_user", "whose?"), parts=PARTS))
    assert isinstance(refused, Entry)
    assert (refused.event.id, fault_of(refused).code) == ("m-1", "no_user")
    assert mapper(EventSettings(id="{type}")).again(refused) == Fault("no_user", "whose?")


def test_what_the_connector_knows_comes_back_when_a_kept_record_is_mapped_again() -> None:
    entry = mapper(EventSettings(type="{nothing}")).decide(record(CALL, id="m-1", type="identify", parts=PARTS))
    assert isinstance(entry, Entry)
    again = mapper().again(entry)
    assert isinstance(again, Event)
    assert (again.type, again.identifiers, again.data) == ("identify", {"user_id": "u"}, {"total": 3, "group_id": "g"})


def test_authorization_is_never_kept_even_when_a_template_asks_for_it() -> None:
    context = {"_request": {"headers": {"authorization": "Bearer s3cret"}}}
    entry = mapper(EventSettings(type="{_request.headers.authorization}", id="{nothing}")).decide(record({}, context=context))
    assert isinstance(entry, Entry)
    assert b"s3cret" not in entry.raw


@pytest.mark.parametrize("frame", [{"raw": False}, {"known_only": True}])
def test_nothing_of_the_record_is_kept_where_raw_is_off_or_only_known_people_are_kept(frame: dict[str, Any]) -> None:
    entry = mapper(EventSettings(id="{nothing}", type="x"), **frame).decide(record(ORDER))
    assert isinstance(entry, Entry)
    assert entry.raw == b""
    again = mapper(SHOP, **frame).again(entry)
    assert isinstance(again, Fault)
    assert again.code == "null"


@pytest.mark.parametrize("value", [2**70, "\ud800", {"deep": {1: "x"}, "n": 2**65}])
def test_an_event_that_cannot_be_encoded_becomes_a_fault_and_its_record_is_kept(value: Any) -> None:
    one = mapper(EventSettings(type="x", data={"v": "{v}"}))
    decided = one.decide(record({"v": value}))
    assert isinstance(decided, Entry)
    entry, encoded = one.encode(decided)
    assert entry.fault is not None
    assert entry.fault.code == "not_storable"
    assert decode_entry(encoded) == entry
    assert msgspec.json.decode(entry.raw.replace(b"\\ud800", b"?"))
    again = one.again(entry)
    assert again is not None


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan"), [1, {"a": [float("inf")]}]])
def test_a_number_that_is_not_finite_is_a_fault_and_no_null_of_the_event(value: Any) -> None:
    one = mapper(EventSettings(type="x", traits={"v": "{v}"}))
    decided = one.decide(record({"v": value}))
    assert isinstance(decided, Entry)
    entry, encoded = one.encode(decided)
    assert entry.fault is not None
    assert entry.fault.code == "not_storable"
    assert decode_entry(encoded) == entry
    assert b"null" not in entry.raw.partition(b"traits")[2].partition(b"}")[0]
    assert b"Infinity" in entry.raw or b"NaN" in entry.raw


@pytest.mark.parametrize(
    "given",
    [
        {"value": {"v": float("inf")}},
        {"value": {}, "time": float("nan")},
        {"value": {}, "beside": {"v": [float("inf")]}},
        {"value": {}, "parts": Parts(traits={"v": float("inf")})},
        {"value": {"n": 2**70}, "parts": Parts(data={"v": -float("inf")})},
    ],
)
def test_what_fails_for_another_reason_keeps_its_number_that_is_not_finite(given: dict[str, Any]) -> None:
    event = EventSettings(type="x", traits={"v": "{v}"})
    kept = Record(received=NOW, fallback_id="f-1", fault=Fault("no_user", "whose?"), **given)
    entry = mapper(event if kept.parts is None else None).decide(kept)
    assert isinstance(entry, Entry)
    assert b"Infinity" in entry.raw or b"NaN" in entry.raw
    again = mapper().again(entry)
    assert isinstance(again, Fault), "it is read again as it was, and refused as it was"
    assert again.code == "no_user"


def test_a_dead_letter_with_an_infinity_does_not_become_an_event_without_it_once_the_mapping_is_mended() -> None:
    entry = mapper(EventSettings(type="{kind.name}", traits={"v": "{v}"})).decide(record({"v": float("inf"), "kind": 1}))
    assert isinstance(entry, Entry)
    assert entry.fault is not None
    again = mapper(EventSettings(type="x", traits={"v": "{v}"})).again(entry)
    assert isinstance(again, Fault)
    assert again.code == "not_storable"


def test_a_number_that_only_looks_like_an_infinity_in_its_bytes_is_taken() -> None:
    one = mapper(EventSettings(type="x", data={"v": "{v}"}))
    decided = one.decide(record({"v": [0xCB7FF0CB, {"w": (1.5, "x")}]}))
    assert isinstance(decided, Entry)
    assert one.encode(decided)[0].fault is None


def test_nothing_is_kept_of_an_event_that_cannot_be_encoded_where_raw_is_off() -> None:
    one = mapper(EventSettings(type="x", data={"v": "{v}"}), raw=False)
    decided = one.decide(record({"v": 2**70}))
    assert isinstance(decided, Entry)
    assert one.encode(decided)[0].raw == b""


def test_an_encodable_event_is_encoded_once_for_all() -> None:
    one = mapper(SHOP)
    decided = one.decide(record(ORDER))
    assert isinstance(decided, Entry)
    entry, encoded = one.encode(decided)
    assert decode_entry(encoded) == entry == decided


def test_an_id_that_names_only_briefly_is_marked_as_such_and_no_other() -> None:
    given = record({"id": "7", "none": None}, brief=True)
    for event, brief in ((None, True), (EventSettings(type="x"), True), (EventSettings(id="{id}", type="x"), False)):
        decided = mapper(event).decide(given)
        assert isinstance(decided, Entry)
        assert decided.brief == brief
    unmapped = mapper(EventSettings(id="{none}", type="x")).decide(given)
    assert isinstance(unmapped, Entry)
    assert unmapped.brief
    plain = mapper().decide(record({"id": "7"}))
    assert isinstance(plain, Entry)
    assert not plain.brief


def test_what_a_connector_has_said_all_of_is_not_mapped_and_comes_back_so_when_it_is_mapped_again() -> None:
    gone = record({"key": "a"}, type="survey.removed", parts=Parts(identifiers={"crm_id": "a"}, data={"key": "a"}), final=True)
    event = event_of(mapper(SHOP).decide(gone))
    assert (event.id, event.type, event.identifiers, event.data) == (
        "fallback-1",
        "survey.removed",
        {"crm_id": "a"},
        {"key": "a"},
    )
    dead = mapper(SHOP, where="1").decide(gone)
    assert isinstance(dead, Entry)
    assert dead.fault is not None
    assert mapper(SHOP).again(dead) == event


def test_what_was_fetched_keeps_what_was_known_of_the_fetch_when_it_cannot_be_mapped() -> None:
    fetched = record({"n": 1}, context={"_fetch": {"key": "a", "stale": True}})
    entry = mapper(EventSettings(id="{nothing}", data={"key": "{_fetch.key}"})).decide(fetched)
    assert isinstance(entry, Entry)
    again = mapper(EventSettings(type="x", data={"key": "{_fetch.key}", "stale": "{_fetch.stale}"})).again(entry)
    assert isinstance(again, Event)
    assert again.data == {"key": "a", "stale": True}
