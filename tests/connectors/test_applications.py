"""Requests of the tracking API over a real listener, into a source that maps as the daemon does."""

import base64
import gzip
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from cdmd.config.schema import ConnectorFrame, EventSettings
from cdmd.connectors.applications import Application
from cdmd.contracts import DecidingConnector, PushConnector, SharingConnector
from cdmd.errors import ConfigInvalid, NotDurable
from cdmd.kit.quantities import Rate, Size
from cdmd.kit.secret import Secret
from cdmd.models import Answer, Event, Record, Request
from cdmd.testing import RecordingSource
from tests.connectors.doubles import NOW, FixedClock, Listening, listening

pytestmark = pytest.mark.anyio

KEY, OLD, OTHER = "key-of-the-app", "key-before", "key-of-the-tv"
USER_SECRET = "signs-users"
SHOP = "https://shop.example"


def secrets(*texts: str) -> tuple[Secret, ...]:
    return tuple(Secret(text.encode(), reference="env:KEY") for text in texts)


def settings(**given: Any) -> Any:
    return Application.Settings(write_keys=secrets(*given.pop("keys", (OLD, KEY))), **given)


def basic(key: str = KEY, colon: str = ":") -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{key}{colon}".encode()).decode()}


def signed(user: str, secret: str = USER_SECRET) -> str:
    return hmac.new(secret.encode(), user.encode(), hashlib.sha256).hexdigest()


class Source(RecordingSource):
    """Also keeps the records, and fails where it is told to."""

    def __init__(self, name: str, **given: Any) -> None:
        super().__init__(name, clock=FixedClock(), **given)
        self.records: list[Record] = []
        self.failure: Exception | None = None

    async def emit(self, records: Any, *, state: Any = MappingProxyType({})) -> Any:
        if self.failure is not None:
            raise self.failure
        self.records += records
        return await super().emit(records, state=state)


class App(Listening):
    source: Source
    application: Application

    async def send(self, path: str, body: Any, headers: Any = None) -> Any:
        content = body if isinstance(body, bytes | str) else json.dumps(body)
        return await self.client.post(f"/v1/{path}", content=content, headers=basic() if headers is None else headers)

    async def event(self, path: str, body: Any) -> Event:
        answer = await self.send(path, body)
        assert (answer.status_code, answer.json()) == (200, {"success": True}), answer.text
        return self.source.events[-1]


@asynccontextmanager
async def served(*, frame: EventSettings | None = None, others: Any = (), **given: Any) -> AsyncIterator[App]:
    application = Application("mobile", settings(**given))
    source = Source("mobile", frame=ConnectorFrame(type="application", event=frame))
    async with listening((application, source), *others) as edge:  # type: ignore[arg-type]
        app = App(edge.edge, edge.host, edge.port, edge.client, edge.degraded)
        app.source, app.application = source, application
        yield app


TRACK = {"userId": "u-1", "event": "Order Completed", "properties": {"total": 3.5}, "messageId": "m-1"}


# ---- what calls become ---------------------------------------------------------------------------------------------


async def test_identify_brings_traits_and_every_identifier_of_the_person() -> None:
    call = {
        "messageId": "m-1", "userId": "u-1", "anonymousId": "a-1", "timestamp": "2026-11-23T09:00:00Z",
        "traits": {"email": "joe@example.com", "plan": "gold", "old": None},
        "context": {
            "traits": {"phone": "+46701234567", "plan": "silver"},
            "externalIds": [
                {"id": "4711", "type": "customer_no", "collection": "users", "encoding": "none"},
                {"id": "4712", "type": "customer_no", "collection": "users"},
                {"id": "a-9", "type": "account_no", "collection": "accounts", "encoding": "none"},
                {"id": "hidden", "type": "customer_no", "collection": "users", "encoding": "base64"},
                {"id": "other", "type": "user_id", "collection": "users"}, {"id": "nowhere", "type": "x"}, "text", None,
                {"id": " ", "type": "loyalty_no", "collection": "users"}, {"id": "7", "type": "", "collection": "users"},
            ],
        },
    }  # fmt: skip
    async with served() as app:
        event = await app.event("identify", call)
    assert (event.id, event.source, event.type, event.time) == (
        "m-1",
        "mobile",
        "identify",
        datetime(2026, 11, 23, 9, tzinfo=UTC),
    )
    assert event.identifiers == {
        "user_id": "u-1", "anonymous_id": "a-1", "email": "joe@example.com", "phone": "+46701234567", "customer_no": "4711",
    }  # fmt: skip
    assert event.traits == {"email": "joe@example.com", "phone": "+46701234567", "plan": "gold", "old": None}
    assert event.data == {"accounts": {"account_no": "a-9"}}


async def test_a_track_call_is_an_event_of_the_name_that_it_gives() -> None:
    async with served() as app:
        event = await app.event("track", {**TRACK, "context": {"traits": {"email": "joe@example.com"}, "groupId": "g-1"}})
        assert (event.type, event.data, event.traits) == ("Order Completed", {"total": 3.5, "group_id": "g-1"}, {})
        assert "name" not in (await app.event("track", {**TRACK, "name": "a page has one", "category": "x"})).data
        assert event.identifiers == {"user_id": "u-1", "email": "joe@example.com"}
        assert (await app.event("track", {"anonymousId": "a", "event": " tv.runtime ", "properties": []})).type == "tv.runtime"


@pytest.mark.parametrize("kind", ["page", "screen"])
async def test_pages_and_screens_keep_their_properties_name_and_category(kind: str) -> None:
    call = {"anonymousId": "a-1", "name": "Home", "category": None, "properties": {"path": "/"}}
    async with served() as app:
        event = await app.event(kind, call)
        assert (event.type, event.data, event.identifiers) == (kind, {"path": "/", "name": "Home"}, {"anonymous_id": "a-1"})
        call["properties"] = {"name": "Start", "category": "x"}
        assert (await app.event(kind, call)).data == {"name": "Start", "category": "x"}


async def test_a_group_is_a_membership_and_its_traits_are_not_the_persons() -> None:
    call = {"userId": "u-1", "groupId": 12, "traits": {"email": "info@acme.example", "employees": 3}}
    async with served() as app:
        event = await app.event("group", call)
    assert (event.type, event.identifiers, event.traits) == ("group", {"user_id": "u-1"}, {})
    assert event.data == {"email": "info@acme.example", "employees": 3, "group_id": "12"}


async def test_an_alias_joins_the_id_that_somebody_had_before_as_an_anonymous_one() -> None:
    async with served() as app:
        event = await app.event("alias", {"userId": "u-1", "previousId": "a-1", "anonymousId": None})
    assert (event.type, event.identifiers, event.data) == ("alias", {"user_id": "u-1", "anonymous_id": "a-1"}, {})


async def test_null_ids_are_none_and_numbers_are_text() -> None:
    async with served() as app:
        event = await app.event("track", {"userId": 42, "anonymousId": None, "event": 7, "messageId": 12.0})
        assert (event.identifiers, event.type, event.id) == ({"user_id": "42"}, "7", "12")
        assert (await app.event("track", {**TRACK, "userId": " u ", "anonymousId": ""})).identifiers == {"user_id": "u"}


async def test_an_event_table_goes_before_part_by_part_and_sees_the_call() -> None:
    data = {"total": "{properties.total}", "library": "{context.library.name}", "agent": "{_request.headers.user_agent}"}
    async with served(frame=EventSettings(type="app.{type}.{event}", data=data, traits={})) as app:
        headers = {**basic(), "user-agent": "sdk/1"}
        call = {**TRACK, "type": "track", "context": {"library": {"name": "x"}}}
        assert (await app.send("batch", {"batch": [call]}, headers)).status_code == 200
        (event,) = app.source.events
    assert (event.type, event.identifiers) == ("app.track.Order Completed", {"user_id": "u-1"})
    assert event.data == {"total": 3.5, "library": "x", "agent": "sdk/1"}


@pytest.mark.parametrize(
    "spoilt", ['"x":"' + "x" * 33_000 + '"', '"n":123456789012345678901234567890', '"d":' + "[" * 200 + "]" * 200]
)
async def test_no_secret_of_a_call_that_is_set_aside_is_kept(spoilt: str) -> None:
    call = f'{{"type":"page","userId":"u","writeKey":"{KEY}","context":{{"userSignature":"{signed("u")}","a":1}},{spoilt}}}'
    async with served() as app:
        assert (await app.send("batch", f'{{"batch":[{call},[1]]}}')).status_code == 200
        kept = app.source.records[0].value
        assert (kept["userId"], kept["context"]) == ("u", {"a": 1})
        assert KEY not in repr(app.source.records)
        assert app.source.records[1].value == [1]


@pytest.mark.parametrize(
    ("context", "ip"),
    [
        ({"direct": True}, "127.0.0.1"),
        ({"direct": True, "ip": None}, "127.0.0.1"),
        ({"direct": True, "ip": "192.0.2.7"}, "192.0.2.7"),
        ({"direct": "true"}, None),
        ({}, None),
    ],
)
async def test_a_call_that_comes_directly_may_have_the_callers_address(context: dict[str, Any], ip: str | None) -> None:
    frame = EventSettings(data={"ip": "{context.ip}"})
    async with served(frame=frame) as app:
        assert (await app.event("track", {**TRACK, "context": context})).data == ({} if ip is None else {"ip": ip})
        batch = {"batch": [{**TRACK, "type": "track"}], "context": context}
        assert (await app.event("batch", batch)).data == ({} if ip is None else {"ip": ip})
    async with served() as app:
        assert "ip" not in (await app.event("track", {**TRACK, "context": context})).data


async def test_who_calls_over_a_unix_socket_has_no_address() -> None:
    application, source = Application("mobile", settings()), Source("mobile", frame=ConnectorFrame(type="application"))
    call = {**TRACK, "context": {"direct": True}}
    for peer in ("", "unix"):
        request = Request(
            method="POST", path="/v1/track", query="", headers=list(basic().items()), body=json.dumps(call).encode(), peer=peer,
            received=NOW,
        )  # fmt: skip
        assert (await application.answer(request, source)).status == 200
        assert "ip" not in source.records[-1].value["context"]


async def test_no_template_can_reach_a_write_key() -> None:
    shown = {name: f"{{{name}}}" for name in ("writeKey", "_request.headers.authorization", "_request.body.writeKey")}
    async with served(frame=EventSettings(data={str(n): text for n, text in enumerate(shown.values())})) as app:
        event = await app.event("track", {**TRACK, "writeKey": KEY})
    assert event.data == {}


# ---- time ----------------------------------------------------------------------------------------------------------


def at(**given: float) -> str:
    return (NOW + timedelta(**given)).isoformat()


@pytest.mark.parametrize(
    ("call", "sent", "expected"),
    [
        ({"timestamp": at(minutes=-5)}, at(milliseconds=-600), timedelta(minutes=-5)),
        ({"timestamp": at(hours=1, seconds=-9)}, at(hours=1), timedelta(seconds=-9)),
        ({"originalTimestamp": at(hours=-7, seconds=-9)}, at(hours=-7), timedelta(seconds=-9)),
        ({"originalTimestamp": at(hours=2, seconds=-9), "sentAt": at(hours=2)}, at(hours=9), timedelta(seconds=-9)),
        ({"originalTimestamp": at(hours=2), "timestamp": at(days=-300), "sentAt": at(hours=2)}, None, timedelta(days=-300)),
        ({"timestamp": at(minutes=-5)}, None, timedelta(minutes=-5)),
        ({"timestamp": at(minutes=-5)}, "soon", timedelta(minutes=-5)),
        ({"timestamp": "1970-01-01T00:00:01Z"}, at(hours=1), timedelta(seconds=1 - NOW.timestamp())),
        ({}, at(hours=1), None),
    ],
)
async def test_the_senders_clock_is_set_right_by_the_moment_of_sending(call: Any, sent: Any, expected: Any) -> None:
    batch = {"batch": [{"type": "track", **TRACK, **call}], "sentAt": sent}
    async with served() as app:
        event = await app.event("batch", batch)
    assert event.time == (None if expected is None else NOW + expected)
    assert app.source.records[0].adjusted


async def test_what_is_no_time_is_a_dead_letter_and_the_others_are_stored() -> None:
    batch = {"batch": [{"type": "track", **TRACK, "timestamp": "yesterday"}, {"type": "track", **TRACK}], "sentAt": at(hours=1)}
    async with served() as app:
        answer = await app.send("batch", batch)
        assert [(one["index"], one["code"]) for one in answer.json()["rejected"]] == [(0, "not_a_time")]
        assert len(app.source.events) == 1


# ---- who sends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "body_key", "used"),
    [
        (basic(), None, 1),
        (basic(OLD), None, 0),
        (basic(colon=""), None, 1),
        (basic(colon=":ignored"), None, 1),
        ({"authorization": f"Bearer {KEY}"}, None, 1),
        ({"authorization": f"bearer  {KEY}"}, None, 1),
        ({}, KEY, 1),
        ({"authorization": "Basic Og=="}, KEY, 1),
        ({"authorization": "Basic ???"}, KEY, 1),
        ({"authorization": "Bearer a-token-of-another-system"}, KEY, 1),
        ({"authorization": "Digest x"}, KEY, 1),
        (basic(OLD), KEY, 0),
    ],
)
async def test_a_write_key_is_taken_from_the_header_first_and_then_from_the_body(
    headers: Any, body_key: Any, used: int
) -> None:
    body = {**TRACK, "writeKey": body_key} if body_key else TRACK
    async with served() as app:
        assert app.application.verified_by is None
        for path, content in (("track", body), ("batch", {"batch": [], "writeKey": body_key})):
            answer = await app.send(path, content, headers)
            assert (answer.status_code, answer.json(), answer.headers["content-type"]) == (
                200, {"success": True}, "application/json",
            )  # fmt: skip
        assert app.application.verified_by == used
        assert not any(KEY in json.dumps(record.value) for record in app.source.records)


@pytest.mark.parametrize(
    ("headers", "body_key"),
    [
        ({}, None),
        (basic("stranger"), KEY),
        ({}, 7),
        ({"authorization": "Bearer é".encode()}, None),
        ({}, "\ud83d\ude00"),
        ({}, ""),
    ],
)
async def test_a_request_without_a_live_key_is_told_so_and_counted(headers: Any, body_key: Any) -> None:
    async with served() as app:
        for body in ({**TRACK, "writeKey": body_key}, b'{"writeKey":', b"[]", b""):
            answer = await app.send("track", body, headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_write_key")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert dict(app.source.refused) == {"write_key": 4}
        assert app.source.records == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"writeKey" : "key\\u002Dof-the-app","batch":[],"x":"%b"}', 200),
        (b'{"batch":[],"x":"%b","sentAt":null,"writeKey":\n"key-of-the-app"}', 200),
        (b'{"batch":[],"x":"%b","writeKey":"other","y":{"writeKey":"key-of-the-app"}}', 200),
        (b'{"batch":[],"x":"%b","writeKey":"key-of-the-app","y":"%b"}', 401),
        (b'{"batch":[],"x":"%b"' + b',"writeKey":"other"' * 8 + b',"writeKey":"key-of-the-app"}', 401),
    ],
)
async def test_of_a_large_body_the_key_stands_near_one_of_the_ends(body: bytes, status: int) -> None:
    async with served() as app:
        answer = await app.send("batch", body.replace(b"%b", b"x" * 100_000), {})
    assert answer.status_code == status


async def test_a_body_is_decoded_only_once_its_key_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_given: Any) -> Any:
        raise AssertionError("the body was read")

    monkeypatch.setattr("cdmd.connectors.application_body._read", read)
    body = gzip.compress(b'{"writeKey":"key-of-nobody","a":[NaN' + b",1" * 2_000_000 + b"]}")
    async with served() as app, served() as other:
        for app_ in (app, other):
            assert (await app_.send("batch", body, {"content-encoding": "gzip"})).status_code == 401


async def test_several_applications_share_the_paths_and_are_told_apart_by_their_keys() -> None:
    tv, source = Application("tv", settings(keys=(OTHER,))), Source("tv")
    async with served(others=[(tv, source)]) as app:
        for headers, body in ((basic(), TRACK), (basic(OTHER), TRACK), ({}, {**TRACK, "writeKey": OTHER})):
            assert (await app.send("track", body, headers)).status_code == 200
        assert (await app.send("track", TRACK, basic("stranger"))).status_code == 401
        assert ([event.source for event in app.source.events], [event.source for event in source.events]) == (
            ["mobile"],
            ["tv"] * 2,
        )


# ---- user signatures -----------------------------------------------------------------------------------------------


async def test_nobody_can_speak_for_another_user_where_user_ids_are_signed() -> None:
    claims = {"traits": {"email": "joe@example.com"}, "context": {"userSignature": signed("me")}}
    external = [{"id": "4711", "type": "customer_no", "collection": "users"}]
    calls: list[tuple[str, Any, Any]] = [
        ("identify", {"userId": "joe", **claims}, "user_signature_wrong"),
        ("identify", {"userId": "joe"}, "user_signature_missing"),
        ("alias", {"userId": "joe", "previousId": "me", "context": {"userSignature": signed("me")}}, "user_signature_wrong"),
        (
            "track",
            {"userId": "joe", "event": "x", "context": {"userSignature": signed("joe", "guess")}},
            "user_signature_wrong",
        ),
        ("track", {"userId": "joe", "event": "x", "context": {"userSignature": 7}}, "user_signature_wrong"),
        ("track", {"userId": "joe", "event": "x", "context": {"userSignature": "zz"}}, "user_signature_wrong"),
        ("identify", {"userId": "me", **claims}, {"user_id": "me"}),
        ("identify", {"anonymousId": "a", **claims}, {"anonymous_id": "a"}),
        ("track", {"userId": " me", "event": "x", "context": {"userSignature": signed("me").upper()}}, {"user_id": "me"}),
        ("alias", {"userId": "me", "previousId": "joe", **claims}, {"user_id": "me", "anonymous_id": "joe"}),
        ("page", {"userId": 42, "context": {"userSignature": signed("42", "old"), "externalIds": external}}, {"user_id": "42"}),
    ]
    async with served(user_signature="required", user_secrets=secrets("old", USER_SECRET)) as app:
        for path, call, expected in calls:
            answer = await app.send(path, call)
            if isinstance(expected, str):
                assert (answer.status_code, answer.json()["code"]) == (400, expected), call
            else:
                assert answer.status_code == 200, call
                assert app.source.events[-1].identifiers == expected
        assert len(app.source.faults) == 6
        kept = json.dumps([record.value for record in app.source.records])
    assert signed("me") not in kept
    assert signed("joe", "guess") not in kept


async def test_a_batch_may_sign_once_for_all_its_calls() -> None:
    batch = {
        "context": {"userSignature": signed("me"), "app": "tv"},
        "batch": [{"type": "page", "userId": user} for user in ("me", "joe")],
    }
    async with served(user_signature="required", user_secrets=secrets(USER_SECRET)) as app:
        assert [one["index"] for one in (await app.send("batch", batch)).json()["rejected"]] == [1]
        assert app.source.records[0].value["context"] == {"app": "tv"}


async def test_a_signature_where_none_is_needed_is_not_kept() -> None:
    async with served() as app:
        await app.event("page", {"userId": "me", "context": {"userSignature": signed("me")}})
        assert app.source.records[0].value["context"] == {}


# ---- batches and bodies --------------------------------------------------------------------------------------------


async def test_what_a_batch_says_for_all_is_merged_into_each_call() -> None:
    batch = {
        "context": {"ip": "1.2.3.4", "app": "top"},
        "integrations": {"All": False},
        "batch": [
            {"type": "track", **TRACK, "context": {"app": "own"}},
            {"type": "track", **TRACK, "integrations": {"X": True}},
        ],
    }
    async with served() as app:
        await app.event("batch", batch)
        values = [record.value for record in app.source.records]
    assert [value["context"] for value in values] == [{"ip": "1.2.3.4", "app": "own"}, {"ip": "1.2.3.4", "app": "top"}]
    assert [value["integrations"] for value in values] == [{"All": False}, {"All": False, "X": True}]


async def test_every_bad_call_of_a_batch_is_named_set_aside_and_spoils_no_other() -> None:
    bad: list[tuple[str, str]] = [
        ('{"type":"track","event":"x"}', "no_user_anon_id"),
        ('{"type":"alias","previousId":"a"}', "no_user_anon_id"),
        ('{"type":"alias","userId":"a"}', "no_previous_id"),
        ('{"type":"track","userId":"u"}', "no_event_name"),
        ('{"type":"track","userId":"u","event":"  "}', "no_event_name"),
        ('{"type":"group","userId":"u","groupId":""}', "no_group_id"),
        ('{"userId":"u","event":"x"}', "invalid_type"),
        ('{"type":["track"],"userId":"u"}', "invalid_type"),
        ('{"type":"track","userId":{"a":1},"event":"x"}', "invalid_id"),
        ('{"type":"track","userId":true,"event":"x"}', "invalid_id"),
        ('{"type":"track","userId":"u","event":"x","messageId":[]}', "invalid_id"),
        ('{"type":"track","userId":"u","event":"x","properties":[1]}', "not_an_object"),
        ('{"type":"identify","userId":"u","traits":"x"}', "not_an_object"),
        ('{"type":"identify","userId":"u","context":{"traits":3}}', "not_an_object"),
        ('{"type":"page","userId":"u","context":"x"}', "not_an_object"),
        ('{"type":"page","userId":"u","n":123456789012345678901234567890}', "number_out_of_range"),
        ('{"type":"page","userId":"u","d":' + "[" * 200 + "]" * 200 + "}", "too_deep"),
        ("7", "not_an_object"),
        ("null", "not_an_object"),
        ('{"type":"page","userId":"u","x":"' + "x" * 33_000 + '"}', "event_too_large"),
        (json.dumps({"type": "track", "userId": "u", "event": "x" * 300}), "type_length"),
        (json.dumps({"type": "page", "userId": "u", "messageId": "m" * 2000}), "id_length"),
    ]  # fmt: skip
    good = json.dumps({"type": "track", **TRACK})
    body = '{"batch":[' + ",".join(f"{text},{good}" for text, _ in bad) + '],"writeKey":"x"}'
    async with served() as app:
        answer = await app.send("batch", body)
        assert answer.status_code == 200
        found = answer.json()
        assert found["success"] is True
        assert [(one["index"], one["code"]) for one in found["rejected"]] == [(2 * n, code) for n, (_, code) in enumerate(bad)]
        assert all(set(one) == {"index", "code", "message"} and one["message"] for one in found["rejected"])
        assert [one["message"].partition(":")[0] for one in found["rejected"][:2]] == ["userId or anonymousId", "userId"]
        kinds = [record.type for record in app.source.records if record.fault][:8]
        assert kinds == ["track", "alias", "alias", "track", "track", "group", None, None], "what it said it was"
        assert len(app.source.events) == len(app.source.faults) == len(bad)
        assert all(
            record.value is not None for record in app.source.records if record.fault and record.fault.code != "not_an_object"
        )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"event":"x"}', "no_user_anon_id"),
        (b'{"userId":"\xff","event":"x"}', "invalid_utf8"),
        (b'{"userId":"u","event":"x","properties":{"n":1e999}}', "number_out_of_range"),
    ],
)
async def test_a_single_bad_call_is_400_and_set_aside_all_the_same(body: bytes, code: str) -> None:
    async with served() as app:
        answer = await app.send("track", body)
        assert (answer.status_code, answer.json()["code"]) == (400, code)
        assert len(app.source.faults) == 1
        assert dict(app.source.refused) == {}


async def test_calls_beyond_the_limit_of_a_batch_are_refused_one_by_one() -> None:
    batch = {"batch": [{"type": "track", **TRACK, "messageId": str(n)} for n in range(5)]}
    async with served(max_batch=3) as app:
        answer = await app.send("batch", batch)
        assert [(one["index"], one["code"]) for one in answer.json()["rejected"]] == [
            (3, "too_many_events"),
            (4, "too_many_events"),
        ]
        assert [event.id for event in app.source.events] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("track", b"", "invalid_json"),
        ("track", b'{"userId":', "invalid_json"),
        ("track", b'{"userId":NaN,', "invalid_json"),
        ("track", b'{"n":1e999,"x":NaN}', "invalid_json"),
        ("track", b"[]", "invalid_body"),
        ("track", b"7", "invalid_body"),
        ("track", b'{"batch":[]}', "invalid_body"),
        ("batch", b'{"batch":{}}', "invalid_body"),
        ("batch", b'{"batch":null}', "invalid_body"),
        ("batch", b'{"type":"track","userId":"u"}', "invalid_batch"),
        ("batch", b'{"batch":' + b"[" * 100_000, "too_deep"),
        ("batch", b'{"batch":[{"a":NaN},' + b'{"a":' * 100_000, "invalid_json"),
    ],
)
async def test_a_body_that_cannot_be_decoded_as_a_whole_is_400_and_nothing_is_stored(path: str, body: bytes, code: str) -> None:
    async with served() as app:
        answer = await app.send(path, body)
        assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
        assert answer.json()["message"]
        assert app.source.records == []
        assert sum(app.source.refused.values()) == 1


@pytest.mark.parametrize(
    "kind", ["", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "image/png", "application/json"]
)
async def test_any_content_type_will_do_also_with_gzip(kind: str) -> None:
    body = gzip.compress(json.dumps({"batch": [{"type": "track", **TRACK}]}).encode())
    async with served() as app:
        headers = {**basic(), "content-encoding": "gzip", **({"content-type": kind} if kind else {})}
        assert (await app.send("batch", body, headers)).json() == {"success": True}
        assert len(app.source.events) == 1


async def test_what_is_not_a_number_counts_as_null_and_the_rest_is_taken_as_it_is() -> None:
    traits = b'{"a":NaN,"b":-Infinity,"c":Infinity,"d":1,"e":"NaN"}'
    async with served() as app:
        body = b'\xef\xbb\xbf{"batch":[{"type":"identify","userId":"u","traits":' + traits + b"}]}"
        event = await app.event("batch", body)
        assert event.traits == {"a": None, "b": None, "c": None, "d": 1, "e": "NaN"}
        assert (await app.event("track", b'{"userId":"u","event":"NaN","properties":{"n":NaN}}')).data == {"n": None}


async def test_what_is_no_json_is_mended_up_to_a_size_and_a_huge_call_is_set_aside_without_its_value() -> None:
    async with served(max_body=Size.parse("3MiB")) as app:
        for size, status, values in ((500_000, 200, [None]), (600_000, 400, [])):
            app.source.records.clear()
            answer = await app.send("batch", b'{"batch":[{"type":"track","x":[NaN' + b",1" * size + b"]}]}")
            assert (answer.status_code, [record.value for record in app.source.records]) == (status, values)


async def test_without_a_message_id_the_same_request_names_the_same_events_and_equal_calls_in_it_are_two() -> None:
    call = {"type": "page", "userId": "u"}
    async with served() as app:
        for sent in ("2026-11-23T10:00:00Z", "2026-11-23T10:00:05Z"):
            await app.event("batch", {"batch": [call, {**call, "messageId": None}, call], "sentAt": sent, "writeKey": KEY})
            await app.event("page", {"userId": "u", "sentAt": sent})
        first, second = app.source.records[:4], app.source.records[4:]
    assert [record.fallback_id for record in first] == [record.fallback_id for record in second]
    assert len({record.fallback_id for record in first}) == 4
    assert all(record.brief and record.id is None for record in first)


# ---- limits and trouble --------------------------------------------------------------------------------------------


async def test_a_quota_counts_events_for_each_key_and_says_when_to_come_again() -> None:
    def batch(count: int) -> Any:
        return {"batch": [{"type": "page", "userId": "u"}] * count}

    async with served(quota=Rate.parse("10/30s")) as app:
        assert (await app.send("batch", batch(8))).status_code == 200
        answer = await app.send("batch", batch(3))
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (429, "quota_exceeded", "3")
        assert answer.headers["x-ratelimit-reset"] == "3"
        assert (await app.send("batch", batch(2))).status_code == 200
        assert (await app.send("page", {"userId": "u"})).status_code == 429
        assert (await app.send("batch", batch(50), basic(OLD))).status_code == 200
        assert dict(app.source.refused) == {"quota": 4}


async def test_a_large_body_is_taken_where_other_connectors_would_not() -> None:
    call = {"type": "track", **TRACK, "properties": {"x": "x" * 30_000}}
    async with served() as app:
        assert (await app.send("batch", {"batch": [call] * 136})).json() == {"success": True}
        answer = await app.send("batch", {"batch": [call] * 180})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("origin", [None, SHOP])
async def test_our_own_trouble_is_503_with_when_to_come_again(origin: str | None) -> None:
    async with served(cors_origins=(SHOP,)) as app:
        app.source.failure = NotDurable("disk full", retry_after=7)
        answer = await app.send("track", TRACK, {**basic(), **({"origin": origin} if origin else {})})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
        assert answer.json()["code"] == "unavailable"
        assert answer.json()["message"]


# ---- web pages -----------------------------------------------------------------------------------------------------


async def test_a_browser_is_told_that_a_page_of_a_configured_origin_may_send() -> None:
    asked = {"origin": SHOP, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    async with served(cors_origins=(SHOP,)) as app:
        answer = await app.client.options("/v1/track", headers=asked)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == SHOP
        assert answer.headers["access-control-allow-methods"] == "POST"
        assert "authorization" in answer.headers["access-control-allow-headers"]
        assert answer.headers["vary"] == "origin"
        for headers, status in ((basic(), 200), (basic("stranger"), 401)):
            answer = await app.send("track", TRACK, {**headers, "origin": SHOP})
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, SHOP)


@pytest.mark.parametrize("origin", ["https://shop.example.evil", "http://shop.example", "https://shop.example:8443", "null"])
async def test_pages_of_other_origins_are_not_let_in(origin: str) -> None:
    async with served(cors_origins=(SHOP,)) as app:
        answer = await app.client.options("/v1/track", headers={"origin": origin, "access-control-request-method": "POST"})
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
        answers = [answer, await app.send("track", TRACK, {**basic(), "origin": origin})]
        assert not any(name.startswith("access-control") for one in answers for name in one.headers)


async def test_the_application_whose_origin_it_is_answers_the_browsers_question() -> None:
    tv = Application("tv", settings(keys=(OTHER,), cors_origins=("https://tv.example",)))
    async with served(cors_origins=(SHOP,), others=[(tv, Source("tv"))]) as app:
        for origin in (SHOP, "https://tv.example"):
            answer = await app.client.options("/v1/batch", headers={"origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin


async def test_other_methods_are_told_the_right_ones() -> None:
    async with served() as app:
        answer = await app.client.get("/v1/track")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")


# ---- configuration -------------------------------------------------------------------------------------------------


def test_it_is_what_the_daemon_expects() -> None:
    application = Application("mobile", settings())
    assert isinstance(application, PushConnector)
    assert isinstance(application, DecidingConnector)
    assert isinstance(application, SharingConnector)
    assert {route.path for route in application.routes} == {
        f"/v1/{name}" for name in ("identify", "track", "page", "screen", "group", "alias", "batch", *"itpsgab")
    }
    assert KEY not in repr(msgspec.structs.asdict(settings()))


async def test_a_call_comes_by_its_first_letter_too() -> None:
    async with served() as app:
        for path, body in (("t", TRACK), ("b", {"batch": [{**TRACK, "type": "track", "messageId": "m-2"}]})):
            assert (await app.send(path, body)).status_code == 200
        assert [(event.id, event.type) for event in app.source.events] == [
            ("m-1", "Order Completed"),
            ("m-2", "Order Completed"),
        ]


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({"keys": ("", KEY)}, ["write_keys: the secret env:KEY is empty"]),
        ({"user_signature": "required"}, ["user_secrets: are needed where user_signature is required"]),
        ({"user_secrets": secrets("")}, ["user_secrets: the secret env:KEY is empty"]),
        ({"cors_origins": (SHOP, "http://[::1]:3000", "https://tv.example:8443")}, []),
    ],
)
def test_mistakes_are_named(given: Any, problems: list[str]) -> None:
    assert Application.check("mobile", settings(**given)) == problems
    if problems:
        with pytest.raises(ConfigInvalid):
            Application("mobile", settings(**given))


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "shop.example", "https://shop.example/", "https://Shop.example", "https://shop.example:443", "https://x:y"],
)
def test_an_origin_is_written_as_browsers_name_it(origin: str) -> None:
    (problem,) = Application.check("mobile", settings(cors_origins=(origin,)))
    assert problem.startswith("cors_origins.0: ")


async def test_what_is_tried_from_a_file_needs_no_key_and_no_path() -> None:
    source = Source("mobile")
    application = Application("mobile", settings(quota=Rate.parse("1/1d"), max_event=Size.parse("64KiB")))
    for body in ({"type": "track", **TRACK}, {"batch": [{"type": "track", **TRACK}] * 2}, {"type": "track"}):
        request = Request(method="POST", path="/", query="", headers=(), body=json.dumps(body).encode(), peer="", received=NOW)
        assert isinstance(await application.read(request, source), Answer)
    assert (len(source.events), len(source.faults)) == (3, 1)
