import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
import pluggy
import pytest
from standardwebhooks import Webhook as Signer
from twilio.request_validator import RequestValidator

import cdmd.connectors.registered
from cdmd import hookspecs
from cdmd.connectors.webhooks import Webhook
from cdmd.contracts import Connector, PushConnector
from cdmd.errors import ConfigInvalid, NotDurable
from cdmd.kit.presets import presets
from cdmd.kit.quantities import Size
from cdmd.kit.schemes import Scheme
from cdmd.kit.secret import Secret
from cdmd.models import Accepted, Filtered, Record, Rejected, show_time
from tests.connectors.doubles import NOW, Listening, MemorySource, listening

pytestmark = pytest.mark.anyio

KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()
OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()
JSON = {"content-type": "application/json"}
BODY = '{"type":"order.paid","timestamp":"2026-11-23T09:59:59Z","id":"o-1"}'


def settings(**given: Any) -> Any:
    secrets = tuple(Secret(text.encode(), reference="env:KEY") for text in given.pop("secrets", ()))
    return Webhook.Settings(secrets=secrets, **{"verify": "none", **given})


class Sender(Listening):
    source: MemorySource
    webhook: Webhook

    async def send(self, body: str | bytes = BODY, headers: Any = JSON, query: str = "") -> Any:
        return await self.client.post(f"/hooks/shop{query}", content=body, headers=headers)


@asynccontextmanager
async def hooked(**given: Any) -> AsyncIterator[Sender]:
    webhook, source = Webhook("shop", settings(**given)), MemorySource()
    async with listening((webhook, source)) as edge:
        sender = Sender(edge.edge, edge.host, edge.port, edge.client, edge.degraded)
        sender.source, sender.webhook = source, webhook
        yield sender


def signed(body: str = BODY, key: str = KEY, late: float = 0, ident: str = "msg_1") -> dict[str, str]:
    at = NOW - timedelta(seconds=late)
    stamp = str(int(at.timestamp()))
    return {**JSON, "webhook-id": ident, "webhook-timestamp": stamp, "webhook-signature": Signer(key).sign(ident, at, body)}


def github(body: bytes, event: str = "push", key: bytes = b"s3cret") -> dict[str, str]:
    digest = hmac.new(key, body, hashlib.sha256).hexdigest()
    return {**JSON, "x-hub-signature-256": f"sha256={digest}", "x-github-event": event, "x-github-delivery": "72d3162e"}


async def test_what_the_standard_library_signs_is_emitted_with_the_presets_defaults() -> None:
    async with hooked(verify="standard-webhooks", secrets=[OLD, KEY]) as sender:
        assert sender.webhook.verified_by is None
        answer = await sender.send(headers=signed())
        assert (answer.status_code, answer.json()) == (200, {"accepted": 1, "filtered": 0})
        assert sender.webhook.verified_by == 1
    record = sender.source.records[0]
    assert (record.id, record.type, record.time) == ("msg_1", "order.paid", "2026-11-23T09:59:59Z")
    assert (record.value, record.received, record.fallback_id) == (json.loads(BODY), NOW, "msg_1")
    assert not record.brief


async def test_without_a_time_in_the_body_the_time_of_signing_counts_and_a_type_must_be_text() -> None:
    body = '{"type":7}'
    async with hooked(verify="standard-webhooks", secrets=[KEY]) as sender:
        assert (await sender.send(body, signed(body))).status_code == 200
    assert sender.source.records[0].time == str(int(NOW.timestamp()))
    assert sender.source.records[0].type is None


async def test_github_deliveries_as_json_and_as_a_form() -> None:
    payload = json.dumps({"ref": "main", "sender": {"login": "octocat"}}).encode()
    form = urlencode({"payload": payload.decode()}).encode()
    async with hooked(verify="github", secrets=["s3cret"]) as sender:
        assert (await sender.send(payload, github(payload))).status_code == 200
        headers = github(form, "issues") | {"content-type": "application/x-www-form-urlencoded"}
        assert (await sender.send(form, headers)).status_code == 200
    first, second = sender.source.records
    assert (first.id, first.type, first.time, second.type) == ("72d3162e", "github.push", None, "github.issues")
    assert first.value == second.value == json.loads(payload)
    assert second.context["_request"]["form"] == {"payload": payload.decode()}


def _tampered() -> dict[str, tuple[str, dict[str, str]]]:
    good = signed()
    signature = good["webhook-signature"]
    without = {name: value for name, value in good.items() if name != "webhook-signature"}
    return {
        "stripped": (BODY, without),
        "nothing": (BODY, JSON),
        "empty": (BODY, good | {"webhook-signature": ""}),
        "truncated": (BODY, good | {"webhook-signature": signature[:20]}),
        "other key": (BODY, signed(key=OLD)),
        "other body": (BODY + " ", good),
        "serialised again": (json.dumps(json.loads(BODY)), good),
        "other id": (BODY, good | {"webhook-id": "msg_2"}),
        "other version": (BODY, good | {"webhook-signature": signature.replace("v1,", "v0,")}),
        "replayed late": (BODY, signed(late=301)),
        "ahead of time": (BODY, signed(late=-301)),
        "github's": (BODY, github(BODY.encode())),
        "a bearer's": (BODY, JSON | {"authorization": f"Bearer {KEY}"}),
    }


@pytest.mark.parametrize("case", list(_tampered()))
async def test_every_signature_fault_gets_the_same_empty_401(case: str) -> None:
    body, headers = _tampered()[case]
    async with hooked(verify="standard-webhooks", secrets=[KEY]) as sender:
        answer = await sender.send(body, headers)
        assert (answer.status_code, answer.content) == (401, b"")
        assert set(answer.headers) == {"date", "content-length"}
    assert sender.source.emitted == []
    assert [reason.partition("_")[0] for reason in sender.source.refused] == ["signature"]


async def test_two_signature_headers_are_refused_even_when_one_fits() -> None:
    good = signed()
    async with hooked(verify="standard-webhooks", secrets=[KEY]) as sender:
        answer = await sender.send(headers=[*good.items(), ("webhook-signature", good["webhook-signature"])])
        assert (answer.status_code, sender.source.refused) == (401, ["signature_ambiguous"])


async def test_a_replay_within_the_window_is_emitted_under_the_same_id() -> None:
    async with hooked(verify="standard-webhooks", secrets=[KEY]) as sender:
        for _ in range(2):
            assert (await sender.send(headers=signed())).status_code == 200
    assert [record.id for record in sender.source.records] == ["msg_1", "msg_1"]


@pytest.mark.parametrize(
    ("preset", "secret", "good", "challenge"),
    [
        ("bearer", "t0ken", "Bearer t0ken", "Bearer"),
        ("basic", "joe:pass", "Basic " + base64.b64encode(b"joe:pass").decode(), 'Basic realm="cdmd", charset="UTF-8"'),
    ],
)
async def test_tokens_and_passwords_are_asked_for(preset: str, secret: str, good: str, challenge: str) -> None:
    async with hooked(verify=preset, secrets=["other:one", secret]) as sender:
        assert (await sender.send(headers=JSON | {"authorization": good})).status_code == 200
        assert (sender.webhook.verified_by, sender.webhook.verifies) == (1, True)
        for headers in (JSON, JSON | {"authorization": good[:-1]}, JSON | {"authorization": "Digest x"}):
            answer = await sender.send(headers=headers)
            assert (answer.status_code, answer.content, answer.headers["www-authenticate"]) == (401, b"", challenge)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b'{"a":', "invalid_json"),
        (b"[" * 100_000 + b"]" * 100_000, "too_deep"),
        (b'{"a":NaN}', "invalid_json"),
        (b'{"a":' + b"9" * 5000 + b"}", "number_out_of_range"),
        (rb'{"name":"\ud800"}', "invalid_json"),
        (b'{"name":"\x00"}', "invalid_json"),
        (b'{"name":"\xff"}', "invalid_utf8"),
    ],
    ids=["empty", "broken", "deep", "nan", "digits", "surrogate", "raw nul", "latin-1"],
)
async def test_a_body_that_is_no_json_is_400_and_nothing_is_stored(body: bytes, code: str) -> None:
    async with hooked() as sender:
        answer = await sender.send(body)
        assert (answer.status_code, set(answer.json()), answer.json()["code"]) == (400, {"code", "message"}, code)
        assert answer.headers["content-type"] == "application/json"
        assert (sender.source.emitted, sender.source.refused, sender.degraded) == ([], [code], [])


async def test_an_escaped_nul_is_kept() -> None:
    async with hooked() as sender:
        assert (await sender.send(rb'{"name":"a\u0000b"}')).status_code == 200
    assert sender.source.records[0].value == {"name": "a\x00b"}


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/jsonx"])
async def test_other_media_types_are_415(kind: str) -> None:
    async with hooked() as sender:
        answer = await sender.send(headers={"content-type": kind})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "application/vnd.shop+json; charset=utf-8"}, {"content-type": "TEXT/JSON"}]
)
async def test_json_by_any_of_its_names_or_none(headers: dict[str, str]) -> None:
    async with hooked() as sender:
        assert (await sender.send(headers=headers)).status_code == 200


async def test_a_forms_fields_are_the_record() -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    async with hooked() as sender:
        assert (await sender.send("a=1&b=x%20y&b=z&b=&c=", form)).status_code == 200
        assert (await sender.send("payload={&other=1", form)).status_code == 200
        for broken, code in (("a=%ff", "invalid_form"), (b"a=\xff", "invalid_form"), ("payload={", "invalid_json")):
            assert (await sender.send(broken, form)).json()["code"] == code
        many = "&".join(["a=1"] * 1001)
        assert (await sender.send(many, form)).json()["code"] == "invalid_form"
    assert sender.source.records[0].value == {"a": "1", "b": ["x y", "z", ""], "c": ""}
    assert sender.source.records[1].value == {"payload": "{", "other": "1"}


async def test_json_that_calls_itself_a_form_is_json() -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    async with hooked() as sender:
        assert (await sender.send(' {"n":1}', form)).status_code == 200
        assert (await sender.send("{oops", form)).json()["code"] == "invalid_json"
    assert sender.source.records[0].value == {"n": 1}


@pytest.mark.parametrize("body", ["hello", "two words", '"hello"', "42", "a&b", "\n"])
async def test_what_calls_itself_a_form_and_has_no_field_is_refused_with_what_to_send(body: str) -> None:
    async with hooked() as sender:
        answer = await sender.send(body, {"content-type": "application/x-www-form-urlencoded"})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_form")
        assert "send JSON as Content-Type: application/json" in answer.json()["message"]
    assert not sender.source.records


async def test_what_is_missing_from_json_is_said_plainly() -> None:
    async with hooked() as sender:
        assert (await sender.send(" ")).json()["message"] == "there is nothing where JSON should be"
        assert (await sender.send('{"a"')).json()["message"].startswith("JSON is malformed: it ends too early")


async def test_one_request_is_split_into_its_records() -> None:
    body = '{"timestamp":5,"orders":[{"n":1},{"n":2},{"n":3}]}'
    async with hooked(verify="standard-webhooks", secrets=[KEY], records="{orders[*]}") as sender:
        answer = await sender.send(body, signed(body))
        assert answer.json() == {"accepted": 3, "filtered": 0}
    assert len(sender.source.emitted) == 1
    assert [(record.id, record.value["n"], record.time) for record in sender.source.records] == [
        ("msg_1:0", 1, 5),
        ("msg_1:1", 2, 5),
        ("msg_1:2", 3, 5),
    ]
    assert sender.source.records[0].context["_request"]["body"] == json.loads(body)


async def test_without_an_id_the_body_and_the_index_name_a_record() -> None:
    async with hooked(records="{@}") as sender:
        for body in ("[1,2]", "[1,2]", "[1,3]"):
            assert (await sender.send(body)).status_code == 200
    ids = [record.fallback_id for record in sender.source.records]
    assert all(record.id is None and record.brief for record in sender.source.records)
    assert ids[:2] == ids[2:4]
    assert len(set(ids)) == 4
    assert [name.partition(":")[2] for name in ids] == ["0", "1"] * 3


async def test_a_request_without_records_is_said_to_have_none() -> None:
    async with hooked(records="{orders[*]}") as sender:
        assert (await sender.send('{"orders":[]}')).json() == {"accepted": 0, "filtered": 0}
        answer = await sender.send('{"other":1}')
        assert (answer.status_code, answer.json()["code"]) == (400, "no_records")
    assert (sender.source.emitted, sender.source.refused) == ([], ["no_records"])
    async with hooked(records="{sort(orders)}") as sender:
        assert (await sender.send('{"orders":"x"}')).json()["code"] == "no_records"


async def test_the_answer_says_what_became_of_each_record() -> None:
    def verdict(record: Record) -> Any:
        return {"a": Accepted("a"), "f": Filtered("type"), "r": Rejected("null", "id is null")}[record.value]

    async with hooked(records="{@}") as sender:
        sender.source.verdict = verdict
        answer = await sender.send('["a","f","r","a"]')
    assert (answer.status_code, answer.json()) == (
        200,
        {"accepted": 2, "filtered": 1, "rejected": [{"index": 2, "code": "null", "message": "id is null"}]},
    )


async def test_what_cannot_be_made_durable_is_not_acknowledged() -> None:
    async with hooked() as sender:
        sender.source.failure = NotDurable("the disk is full", retry_after=5)
        answer = await sender.send()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_templates_see_the_request_only_when_they_ask() -> None:
    async with hooked() as sender:
        await sender.send(headers=JSON | {"X-Shop-Topic": "paid"}, query="?a=1&a=2&b=%20")
        await sender.send(query="?bad=%ff")
    first, second = (record.context for record in sender.source.records)
    assert (list(first), len(first), first.get("_file"), "_file" in first) == (["_request"], 1, None, False)
    request = first["_request"]
    assert request is first["_request"]
    assert request["headers"]["x_shop_topic"] == "paid"
    assert (request["query"], request["form"], request["body"]) == ({"a": ["1", "2"], "b": " "}, {}, json.loads(BODY))
    assert request["received"] == show_time(NOW)
    assert second["_request"]["query"] == {}


async def test_a_table_of_its_own_names_the_event() -> None:
    scheme = {
        "algorithm": "hmac-sha256",
        "signature": {"header": "X-Sign"},
        "event_id": {"json": "order.id"},
        "event_type": {"header": "X-Topic", "prefix": "order."},
    }
    body = '{"order":{"id":17}}'
    sign = hmac.new(b"k", body.encode(), "sha256").hexdigest()
    verify = msgspec.convert({"verify": scheme}, Webhook.Settings).verify
    async with hooked(verify=verify, secrets=["k"]) as sender:
        assert (await sender.send(body, JSON | {"x-sign": sign, "x-topic": "paid"})).status_code == 200
    assert (sender.source.records[0].id, sender.source.records[0].type) == ("17", "order.paid")


@pytest.mark.parametrize(
    ("given", "mistakes"),
    [
        ({"verify": None}, ['verify: is missing; name a preset or write a table ("none" has to be written out)']),
        ({"verify": "git-hub"}, ["verify: 'git-hub' is no preset (did you mean github?)"]),
        ({"verify": "xyz"}, [f"verify: 'xyz' is no preset; there are {', '.join(presets())}"]),
        ({"verify": "github"}, ["secrets: secrets are needed to verify with"]),
        ({"verify": "none", "secrets": ["x"]}, ["secrets: `none` takes no secrets"]),
        ({"verify": "standard-webhooks", "secrets": ["whsec_%"]}, ["secrets: the secret env:KEY is not base64"]),
        ({"path": "hooks/x"}, ["path: must begin with a slash"]),
    ],
)
def test_each_mistake_is_named(given: dict[str, Any], mistakes: list[str]) -> None:
    assert Webhook.check("shop", settings(**given)) == mistakes
    with pytest.raises(ConfigInvalid) as wrong:
        Webhook("shop", settings(**given))
    assert wrong.value.problems == tuple(f"connectors.shop.{mistake}" for mistake in mistakes)


def test_several_mistakes_are_named_together() -> None:
    found = Webhook.check("shop", settings(path="x", verify=None, records="{orders[}"))
    assert [mistake.partition(":")[0] for mistake in found] == ["path", "records", "verify"]


def test_the_route_is_the_connectors_name_unless_a_path_is_given() -> None:
    assert Webhook("shop", settings()).routes[0].path == "/hooks/shop"
    own = Webhook("shop", settings(path="/in/x", max_body=Size.parse("25MiB"))).routes[0]
    assert (own.path, own.methods, own.max_body) == ("/in/x", ("POST",), 25 * 2**20)


def test_it_comes_through_the_hook_that_plugins_use() -> None:
    plugins = pluggy.PluginManager(hookspecs.PROJECT)
    plugins.add_hookspecs(hookspecs)
    plugins.register(cdmd.connectors.registered)
    assert Webhook in plugins.hook.cdmd_connectors()[0]
    built = Webhook("shop", settings())
    assert isinstance(built, Connector)
    assert isinstance(built, PushConnector)


FORM = {"content-type": "application/x-www-form-urlencoded"}


async def test_what_was_signed_in_a_form_field_is_the_record_and_what_was_not_names_nothing() -> None:
    message = '{"SurveyID":"SV_1","ResponseID":"R_1"}'
    digest = hmac.new(b"s3cret", message.encode(), hashlib.sha512).hexdigest()
    async with hooked(verify="qualtrics", secrets=["s3cret"]) as sender:
        form = {"Topic": "anything", "HMAC": digest, "MSG": message}
        assert (await sender.send(urlencode(form), FORM)).json() == {"accepted": 1, "filtered": 0}
        assert (await sender.send(urlencode({**form, "MSG": "{}"}), FORM)).status_code == 401
        not_json = {"HMAC": hmac.new(b"s3cret", b"hello", hashlib.sha512).hexdigest(), "MSG": "hello"}
        assert (await sender.send(urlencode(not_json), FORM)).status_code == 400
    (record,) = sender.source.records
    assert (record.value, record.type, record.id) == (json.loads(message), None, None)
    assert record.context["_request"]["form"]["Topic"] == "anything"


async def test_a_form_that_was_signed_is_read_as_the_form_that_it_was() -> None:
    fields = {'{"a": 1, "b': '": 2}'}
    signature = RequestValidator("s3cret").compute_signature("https://in.example.com/hooks/shop", dict.fromkeys(fields, ""))
    async with hooked(verify="twilio", secrets=["s3cret"]) as sender:
        answer = await sender.send(urlencode(dict.fromkeys(fields, ""), safe='{"'), FORM | {"x-twilio-signature": signature})
        assert answer.status_code == 200
    assert sender.source.records[0].value == dict.fromkeys(fields, "")


async def test_a_connectors_own_url_is_what_was_signed_where_a_proxy_changes_the_path() -> None:
    url = "https://joe:pass@other.example/public/path"
    fields = {"Body": "hello", "From": "+46"}
    signature = RequestValidator("s3cret").compute_signature(f"{url}?a=%20b", fields)
    async with hooked(verify="twilio", secrets=["s3cret"], url=url) as sender:
        headers = FORM | {"x-twilio-signature": signature}
        assert (await sender.send(urlencode(fields), headers, "?a=%20b")).status_code == 200
        assert (await sender.send(urlencode(fields), headers)).status_code == 401


async def test_batches_in_a_form_field_are_split_and_an_empty_one_is_answered() -> None:
    def signed(events: list[Any]) -> tuple[str, dict[str, str]]:
        fields = {"mandrill_events": json.dumps(events)}
        signature = RequestValidator("k").compute_signature("https://in.example.com/hooks/shop", fields)
        return urlencode(fields), FORM | {"x-mandrill-signature": signature}

    async with hooked(verify="mandrill", secrets=["k"], records="{@}") as sender:
        assert (await sender.send(*signed([]))).json() == {"accepted": 0, "filtered": 0}
        assert (await sender.send(*signed([{"_id": "a"}, {"_id": "b"}]))).json() == {"accepted": 2, "filtered": 0}
    assert [record.value for record in sender.source.records] == [{"_id": "a"}, {"_id": "b"}]


async def test_a_stranger_s_token_in_the_address_and_its_own() -> None:
    async with hooked(verify="bearer", secrets=["t0ken"]) as sender:
        assert (await sender.send(query="?access_token=t0ken")).status_code == 200
        assert (await sender.send(query="?access_token=other")).status_code == 401
    assert sender.source.refused == ["signature_mismatch"]


@pytest.mark.parametrize(
    ("given", "needs"),
    [
        ({"verify": "twilio"}, True),
        ({"verify": "twilio", "url": "https://in.example.com/x"}, False),
        ({"verify": "github"}, False),
        ({"verify": "nothing like it"}, False),
        ({"verify": Scheme(preset="hubspot-v3")}, True),
    ],
)
def test_whether_the_public_address_has_to_be_known(given: dict[str, Any], needs: bool) -> None:
    assert settings(**given).needs_public_url is needs
