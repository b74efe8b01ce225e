import base64
import json
from typing import Any

import pytest

from cdmd.config.schema import ConnectorFrame, EventSettings
from cdmd.intake.mapping import Mapper
from cdmd.models import Entry
from tests.connectors.test_webhooks import KEY, hooked, signed

pytestmark = pytest.mark.anyio

EVENT = {
    "specversion": "1.0",
    "id": "c-1",
    "source": "/shop",
    "type": "order.paid",
    "time": "2026-11-23T09:00:00Z",
    "subject": "4711",
    "data": {"total": 99.5, "email": "joe@example.com"},
}
STRUCTURED = {"content-type": "application/cloudevents+json; charset=utf-8"}
BATCH = {"content-type": "application/cloudevents-batch+json"}
BINARY = {
    "ce-specversion": "1.0",
    "ce-id": "c-1",
    "ce-source": "/shop",
    "ce-type": "order.paid",
    "ce-time": "2026-11-23T09:00:00Z",
    "ce-subject": "47%2011",
}


def mapped(record: Any) -> Any:
    event = EventSettings(identifiers={"email": "{data.email}"}, data={"total": "{data.total}", "about": "{subject}"})
    entry = Mapper("shop", ConnectorFrame(type="webhook", event=event), raw=True).decide(record)
    assert isinstance(entry, Entry)
    return entry.event


async def test_a_structured_event_brings_its_identity_type_and_time() -> None:
    async with hooked() as sender:
        assert (await sender.send(json.dumps(EVENT), STRUCTURED)).json() == {"accepted": 1, "filtered": 0}
    event = mapped(sender.source.records[0])
    assert (event.id, event.type, event.time.isoformat()) == ("/shop c-1", "order.paid", "2026-11-23T09:00:00+00:00")
    assert event.identifiers == {"email": "joe@example.com"}
    assert event.data == {"total": 99.5, "about": "4711"}


async def test_a_binary_event_looks_the_same_to_a_mapping() -> None:
    async with hooked() as sender:
        body = json.dumps(EVENT["data"])
        assert (await sender.send(body, {**BINARY, "content-type": "application/json"})).status_code == 200
        assert (await sender.send(b"", BINARY)).status_code == 200
        assert (await sender.send(b"<a/>", {**BINARY, "content-type": "application/xml"})).status_code == 200
    event = mapped(sender.source.records[0])
    assert (event.id, event.type, event.data) == ("/shop c-1", "order.paid", {"total": 99.5, "about": "47 11"})
    assert [record.value.get("datacontenttype") for record in sender.source.records] == [
        "application/json",
        None,
        "application/xml",
    ]
    assert "data" not in sender.source.records[1].value
    assert base64.b64decode(sender.source.records[2].value["data_base64"]) == b"<a/>"


async def test_a_quoted_attribute_is_unquoted_before_it_is_decoded() -> None:
    async with hooked() as sender:
        assert (await sender.send(b"", {**BINARY, "ce-subject": r'"say \"47%2011\" \\"'})).status_code == 200
        assert (await sender.send(b"", {**BINARY, "ce-subject": '"'})).status_code == 200
    assert [record.value["subject"] for record in sender.source.records] == ['say "47 11" \\', '"']


async def test_a_batch_is_as_many_events_and_may_be_empty() -> None:
    async with hooked() as sender:
        batch = [EVENT, {**EVENT, "id": "c-2"}]
        assert (await sender.send(json.dumps(batch), BATCH)).json() == {"accepted": 2, "filtered": 0}
        assert (await sender.send("[]", BATCH)).json() == {"accepted": 0, "filtered": 0}
    first, second = sender.source.records
    assert (first.id, second.id, second.type) == ("/shop c-1", "/shop c-2", "order.paid")


async def test_each_of_a_batch_has_its_own_fate() -> None:
    batch = [EVENT, 5, {**EVENT, "specversion": "2.0"}, {**EVENT, "type": 5, "id": ""}, {**EVENT, "id": "c-2"}]
    async with hooked() as sender:
        assert (await sender.send(json.dumps(batch), BATCH)).status_code == 200
        assert (await sender.send('{"specversion":"1.0","id":"x"}', STRUCTURED)).status_code == 200
    faults = [record.fault.message if record.fault else None for record in sender.source.records]
    assert faults == [
        None,
        "this is no object with specversion 1.0",
        "this is no object with specversion 1.0",
        "a CloudEvent needs id and type, as text",
        None,
        "a CloudEvent needs source and type, as text",
    ]


@pytest.mark.parametrize(
    ("body", "headers"),
    [("[]", STRUCTURED), ("5", STRUCTURED), ('{"id":"x"}', STRUCTURED), ("{}", BATCH), ('{"specversion":"2.0"}', STRUCTURED)],
)
async def test_what_only_calls_itself_a_cloudevent_is_400(body: str, headers: dict[str, str]) -> None:
    async with hooked() as sender:
        answer = await sender.send(body, headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cloudevent")
        assert sender.source.emitted == []


async def test_broken_json_in_a_binary_event_is_400() -> None:
    async with hooked() as sender:
        answer = await sender.send("{", {**BINARY, "content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")


async def test_a_signed_delivery_id_comes_before_what_no_signature_covers() -> None:
    async with hooked(verify="standard-webhooks", secrets=[KEY]) as sender:
        body = json.dumps(EVENT["data"])
        assert (await sender.send(body, {**BINARY, **signed(body)})).status_code == 200
    assert sender.source.records[0].id == "msg_1"
