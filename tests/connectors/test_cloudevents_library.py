"""What the CloudEvents project's own library sends, in each mode, and what its specification of webhooks asks of a target."""

from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from cdmd.connectors.handshakes import HandshakeSettings
from cdmd.kit.quantities import Rate
from tests.connectors.test_webhooks import hooked

pytestmark = pytest.mark.anyio

SUBJECT = 'Zoë "47%11" \U0001f600 /a b'


def event(**more: Any) -> CloudEvent:
    attributes = {
        "id": "c-1",
        "source": "/shop",
        "type": "order.paid",
        "specversion": "1.0",
        "datacontenttype": "application/json",
        "subject": SUBJECT,
        "time": datetime(2026, 11, 23, 9, tzinfo=UTC),
        "tenant": "acme",
    }
    return CloudEvent(attributes=attributes, data={"total": 99.5, **more})


async def test_what_the_library_sends_looks_the_same_in_both_modes() -> None:
    async with hooked() as sender:
        for message in (to_binary_event(event()), to_structured_event(event())):
            assert isinstance(message, HTTPMessage)
            answer = await sender.send(message.body, dict(message.headers))
            assert answer.json() == {"accepted": 1, "filtered": 0}
    binary, structured = sender.source.records
    assert binary.id == structured.id == "/shop c-1"
    assert binary.type == structured.type == "order.paid"
    for record in (binary, structured):
        assert (record.value["subject"], record.value["tenant"]) == (SUBJECT, "acme")
        assert record.value["data"] == {"total": 99.5}
        assert datetime.fromisoformat(record.value["time"]) == datetime(2026, 11, 23, 9, tzinfo=UTC)


async def test_a_batch_of_what_the_library_writes() -> None:
    bodies = [to_structured_event(event(n=n)).body for n in range(3)]
    async with hooked() as sender:
        answer = await sender.send(b"[" + b",".join(bodies) + b"]", {"content-type": "application/cloudevents-batch+json"})
        assert answer.json() == {"accepted": 3, "filtered": 0}
    assert [record.value["data"]["n"] for record in sender.source.records] == [0, 1, 2]


@pytest.mark.parametrize(
    "kind", ["application/cloudevents+avro", "application/cloudevents-batch+xml", "application/cloudevents"]
)
async def test_a_format_that_is_not_known_is_415(kind: str) -> None:
    async with hooked() as sender:
        assert (await sender.send(b"\x00", {"content-type": kind})).status_code == 415


ASKING = {"webhook-request-origin": "Sender.example.com", "webhook-request-rate": "120"}


@pytest.mark.parametrize(
    ("origins", "rate", "asked", "granted"),
    [
        (("sender.example.com",), None, ASKING, ("sender.example.com", "*")),
        (("other.example.com", "*"), Rate(10, 60.0), ASKING, ("*", "10")),
        (("sender.example.com",), Rate(1, 3600.0), ASKING, ("sender.example.com", "1")),
        (("*",), None, {"webhook-request-origin": "x"}, ("*", None)),
        (("other.example.com",), None, ASKING, (None, None)),
        (("*",), None, {}, (None, None)),
        (("*",), None, {"webhook-request-rate": "120"}, (None, None)),
    ],
)
async def test_permission_is_asked_for_with_options(origins: Any, rate: Rate | None, asked: Any, granted: Any) -> None:
    handshake = HandshakeSettings(type="cloudevents", allowed_origins=origins)
    async with hooked(handshake=handshake, quota=rate) as sender:
        headers = {**asked, "webhook-request-callback": "http://127.0.0.1:9/never-called"}
        answer = await sender.client.request("OPTIONS", "/hooks/shop", headers=headers)
        said = (answer.headers.get("webhook-allowed-origin"), answer.headers.get("webhook-allowed-rate"))
        assert (answer.status_code, answer.headers["allow"], said) == (200, "POST", granted)
    assert sender.source.emitted == []


async def test_without_the_handshake_nobody_is_permitted() -> None:
    async with hooked() as sender:
        answer = await sender.client.request("OPTIONS", "/hooks/shop", headers=ASKING)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert "webhook-allowed-origin" not in answer.headers


async def test_a_target_takes_the_token_in_the_header_and_in_the_address() -> None:
    message = to_structured_event(event())
    async with hooked(verify="bearer", secrets=["t0ken"]) as sender:
        headers = dict(message.headers)
        assert (await sender.send(message.body, headers)).status_code == 401
        assert (await sender.send(message.body, {**headers, "authorization": "Bearer t0ken"})).status_code == 200
        assert (await sender.send(message.body, headers, "?access_token=t0ken")).status_code == 200


async def test_one_that_delivers_too_fast_is_told_when_to_come_back() -> None:
    message = to_structured_event(event())
    async with hooked(quota=Rate(2, 60.0)) as sender:
        answers = [await sender.send(message.body, dict(message.headers)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "30"
    assert sender.source.refused == ["quota"]
