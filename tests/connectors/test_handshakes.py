import hashlib
import hmac
import json
from typing import Any

import pytest
from slack_sdk.signature import SignatureVerifier

from cdmd.connectors.handshakes import HandshakeSettings
from cdmd.kit.quantities import Rate
from cdmd.kit.secret import Secret
from tests.connectors.doubles import NOW
from tests.connectors.test_webhooks import JSON, hooked, settings

pytestmark = pytest.mark.anyio

STAMP = str(int(NOW.timestamp()))
QUESTION = json.dumps(
    {"type": "url_verification", "token": "t", "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}
)


def shake(kind: str, **given: Any) -> HandshakeSettings:
    if "verify_token" in given:
        given["verify_token"] = Secret(given["verify_token"].encode(), reference="env:META")
    return HandshakeSettings(type=kind, **given)  # type: ignore[arg-type]


def slack(body: str, key: str = "s3cret") -> dict[str, str]:
    signature = SignatureVerifier(key).generate_signature(timestamp=STAMP, body=body)
    return {**JSON, "x-slack-request-timestamp": STAMP, "x-slack-signature": signature or ""}


def zoom(body: str, key: str = "s3cret") -> dict[str, str]:
    signature = hmac.new(key.encode(), f"v0:{STAMP}:{body}".encode(), hashlib.sha256).hexdigest()
    return {**JSON, "x-zm-request-timestamp": STAMP, "x-zm-signature": f"v0={signature}"}


def safe(answer: Any) -> bool:
    return bool(
        answer.headers["content-type"] == "text/plain; charset=utf-8" and answer.headers["x-content-type-options"] == "nosniff"
    )


async def test_slack_s_question_is_answered_after_its_signature_and_stores_nothing() -> None:
    async with hooked(verify="slack", secrets=["old", "s3cret"], handshake=shake("slack")) as sender:
        answer = await sender.send(QUESTION, slack(QUESTION))
        assert (answer.status_code, answer.text, safe(answer)) == (200, json.loads(QUESTION)["challenge"], True)
        assert (await sender.send(QUESTION, slack(QUESTION, "wrong"))).status_code == 401
        assert (await sender.send(QUESTION)).status_code == 401
        delivery = '{"type":"event_callback","event_id":"Ev1","event":{"type":"message","text":"url_verification"}}'
        assert (await sender.send(delivery, slack(delivery))).json() == {"accepted": 1, "filtered": 0}
    assert [record.id for record in sender.source.records] == ["Ev1"]


async def test_a_question_is_a_delivery_where_no_handshake_is_configured() -> None:
    async with hooked(verify="slack", secrets=["s3cret"]) as sender:
        assert (await sender.send(QUESTION, slack(QUESTION))).json() == {"accepted": 1, "filtered": 0}
        assert (await sender.client.get("/hooks/shop?challenge=x")).status_code == 405
        assert (await sender.client.post("/hooks/shop?validationToken=x")).text != "x"


async def test_zoom_s_question_is_sealed_with_the_secret_that_signed_it() -> None:
    body = json.dumps({"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}, "event_ts": 1})
    async with hooked(verify="zoom", secrets=["other", "s3cret"], handshake=shake("zoom")) as sender:
        answer = await sender.send(body, zoom(body))
        seal = hmac.new(b"s3cret", b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest()
        assert answer.json() == {"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": seal}
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await sender.send(body, zoom(body, "wrong"))).status_code == 401
    assert sender.source.emitted == []


async def test_meta_s_question_needs_its_token() -> None:
    query = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="
    async with hooked(verify="meta", secrets=["s3cret"], handshake=shake("meta", verify_token="mytoken")) as sender:
        answer = await sender.client.get(f"/hooks/shop?{query}mytoken")
        assert (answer.status_code, answer.text, safe(answer)) == (200, "1158201444", True)
        for wrong in ("", "mytoken2", "%C3%A9"):
            assert (await sender.client.get(f"/hooks/shop?{query}{wrong}")).status_code == 403
        assert (await sender.client.get("/hooks/shop?hub.challenge=1&hub.verify_token=mytoken")).status_code == 403
        assert (await sender.client.get("/hooks/shop")).status_code == 405
    assert sender.source.refused == ["handshake"] * 4 + ["method"]


async def test_microsoft_graph_s_question_is_decoded_and_echoed_before_anything_is_verified() -> None:
    token = "Validation%3A+Testing+client+application+reachability+for+subscription+Request-Id%3A+522a8e7e"
    body = json.dumps({"value": [{"clientState": "s3cret", "id": "n-1"}]})
    async with hooked(verify="microsoft-graph", secrets=["s3cret"], handshake=shake("microsoft-graph")) as sender:
        answer = await sender.client.post(f"/hooks/shop?validationToken={token}", headers={"content-type": "text/plain"})
        assert answer.text == "Validation: Testing client application reachability for subscription Request-Id: 522a8e7e"
        assert (answer.status_code, safe(answer)) == (200, True)
        assert (await sender.send(body)).status_code == 200
        assert (await sender.send(body.replace("s3cret", "other"))).status_code == 401


@pytest.mark.parametrize(
    ("handshake", "param"), [(shake("dropbox"), "challenge"), (shake("echo-query", param="check"), "check")]
)
async def test_a_parameter_is_echoed_and_no_browser_takes_it_for_a_page(handshake: HandshakeSettings, param: str) -> None:
    async with hooked(handshake=handshake) as sender:
        answer = await sender.client.get("/hooks/shop", params={param: "<script>alert(1)</script> é"})
        assert (answer.status_code, answer.text, safe(answer)) == (200, "<script>alert(1)</script> é", True)
        for odd in ("", "x" * 1025, "a\nb", "a\x00b"):
            assert (await sender.client.get("/hooks/shop", params={param: odd})).status_code == 400
        assert (await sender.client.get("/hooks/shop?" + "&".join(["a=1"] * 200))).status_code == 405
        assert (await sender.client.get("/hooks/shop?other=1")).status_code == 405
        assert (await sender.send("{}")).status_code == 200
    assert len(sender.source.records) == 1
    assert sender.source.refused == ["handshake"] * 4 + ["method"] * 2


@pytest.mark.parametrize(
    "body", ['{"type":"url_verification"}', '{"type":"url_verification","challenge":{}}', '["url_verification"]']
)
async def test_a_question_that_lacks_its_challenge_is_a_delivery_like_any_other(body: str) -> None:
    async with hooked(verify="slack", secrets=["s3cret"], handshake=shake("slack")) as sender:
        assert (await sender.send(body, slack(body))).status_code == 200
    assert len(sender.source.records) == 1


async def test_a_sender_that_looks_whether_the_path_is_there_finds_it_where_that_is_configured() -> None:
    async with hooked(verify="mandrill", secrets=["k"], probes=True) as sender:
        assert (await sender.client.head("/hooks/shop")).status_code == 200
        answer = await sender.client.get("/hooks/shop")
        assert (answer.status_code, answer.content) == (200, b"")
        assert (await sender.client.put("/hooks/shop")).status_code == 405
        assert (await sender.send("x")).status_code == 401
    async with hooked(handshake=shake("dropbox"), probes=True) as sender:
        assert (await sender.client.get("/hooks/shop?challenge=x")).text == "x"
        assert (await sender.client.get("/hooks/shop")).status_code == 200


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"type": "meta"}, '`verify_token` is needed by "meta"'),
        ({"type": "cloudevents"}, '`allowed_origins` is needed by "cloudevents"'),
        ({"type": "echo-query"}, '`param` is needed by "echo-query"'),
        ({"type": "slack", "param": "x"}, '`param` is for "echo-query" only'),
    ],
)
def test_a_handshake_has_what_its_question_needs_and_nothing_else(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        HandshakeSettings(**given)


def test_a_signed_question_needs_a_scheme_that_signs() -> None:
    from cdmd.connectors.webhooks import Webhook

    assert Webhook.check("shop", settings(handshake=shake("slack"))) == [
        "handshake: this sender signs its question; `verify` has to name how"
    ]
    assert Webhook.check("shop", settings(handshake=shake("dropbox"), quota=Rate(1, 1.0))) == []
