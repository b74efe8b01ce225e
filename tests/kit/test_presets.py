"""Each preset against the sender's own library where there is one, else a published constant or the documentation by hand."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest
import stripe
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hubspot.utils.signature import Signature as HubSpot
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.signature import SignatureVerifier
from standardwebhooks import Webhook as StandardWebhook
from svix.webhooks import Webhook as SvixWebhook
from twilio.request_validator import RequestValidator

from cdmd.kit.presets import preset, presets, scheme
from cdmd.kit.proofs import key_bytes
from cdmd.kit.schemes import Scheme
from cdmd.kit.secret import Secret
from cdmd.kit.signing import Refused, Verified, Verifier
from tests.peers import npm

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
STAMP = int(NOW.timestamp())
BODY = '{"type":"order.paid","name":"Zoë","n":1.0}'.encode()
BASE, TARGET = "https://in.example.com", "/hooks/shop"
FORM = {"content-type": "application/x-www-form-urlencoded"}
SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PRIVATE = Ed25519PrivateKey.from_private_bytes(b"e" * 32)
SPKI = PublicFormat.SubjectPublicKeyInfo
RAW_PUBLIC = PRIVATE.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
CURVE = ec.derive_private_key(0xC0FFEE, ec.SECP256R1())
DER_PUBLIC = CURVE.public_key().public_bytes(Encoding.DER, SPKI)

# Published by the senders: SendGrid's own library (its tests), the gateway for Qualtrics of Kyma, Convoy (its tests).
SENDGRID_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F"
    "+g=="
)
SENDGRID_SIGNATURE = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
SENDGRID_BODY = (
    b'[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",'
    b'"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",'
    b'"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",'
    b'"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]\r\n'
)
QUALTRICS_MESSAGE = (
    '{"Status":"Complete","SurveyID":"SV_1AmkKSDmoZ4XlQx","ResponseID":"R_0B7IcnXszjEUHLP",'
    '"CompletedDate":"2019-06-25 07:58:25","BrandID":"sapdevelopment"}'
)
QUALTRICS_HMAC = (
    "c2c585a404c239aa3063b462cc33551d3ed3ed2de0899f58d456fc0ef7ebef6f3c3af44957989bd0592603e41edde952"
    "8f7d9ed09ee128bf719aa12f46e5c598"
)


class Sent(NamedTuple):
    """A request as a sender makes it."""

    headers: Mapping[str, str]
    body: bytes = BODY
    target: str = TARGET
    method: str = "POST"


def decide(
    words: str | Scheme, keys: list[str], sent: Sent, *, now: datetime = NOW, base: str | None = BASE
) -> Verified | Refused:
    secrets = [Secret(text.encode(), reference="env:KEY") for text in keys]
    pairs = [(name.lower(), value) for name, value in sent.headers.items()]
    verifier = Verifier(scheme(words), secrets)
    return verifier.verify(pairs, sent.body, method=sent.method, now=now, target=sent.target, base=base)


def mac(digest: str, content: bytes, *, key: str = SECRET) -> bytes:
    return hmac.new(key.encode(), content, digest).digest()


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


# ---- the senders: each signs a body at a moment ----------------------------------------------------------------------


def standard(body: bytes, at: datetime) -> Sent:
    signature = StandardWebhook(SECRET).sign("msg_1", at, body.decode())
    return Sent({"webhook-id": "msg_1", "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}, body)


def standard_v1a(body: bytes, at: datetime) -> Sent:
    stamp = str(int(at.timestamp()))
    signature = "v1a," + b64(PRIVATE.sign(b".".join([b"msg_1", stamp.encode(), body])))
    return Sent({"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": f"v1,AAAA {signature}"}, body)


def svix(body: bytes, at: datetime, *, name: str = "svix") -> Sent:
    signature = SvixWebhook("whsec_" + SECRET).sign("msg_1", at, body.decode())
    return Sent({f"{name}-id": "msg_1", f"{name}-timestamp": str(int(at.timestamp())), f"{name}-signature": signature}, body)


def stripe_sent(body: bytes, at: datetime) -> Sent:
    stamp = int(at.timestamp())
    signature = stripe.WebhookSignature._compute_signature(f"{stamp}.{body.decode()}", "whsec_" + SECRET)
    return Sent({"Stripe-Signature": f"t={stamp},v1={signature},v0=6ffbb59b2300aae63f272406069a9788"}, body)


def slack(body: bytes, at: datetime) -> Sent:
    stamp = str(int(at.timestamp()))
    signature = SignatureVerifier(SECRET).generate_signature(timestamp=stamp, body=body)
    assert signature is not None
    return Sent({"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signature}, body)


def twilio(body: bytes, at: datetime) -> Sent:
    """Twilio signs JSON by its digest in the address."""
    target = f"{TARGET}?bodySHA256={hashlib.sha256(body).hexdigest()}"
    return Sent({"X-Twilio-Signature": RequestValidator(SECRET).compute_signature(BASE + target, {})}, body, target)


def twilio_form(body: bytes, at: datetime) -> Sent:
    fields = {"Body": body.decode(), "From": "+4670123", "AccountSid": "AC1", "Empty": ""}
    signature = RequestValidator(SECRET).compute_signature(BASE + TARGET, fields)
    return Sent({"X-Twilio-Signature": signature, **FORM}, urlencode(fields).encode())


def hubspot(version: str, body: bytes, at: datetime) -> Sent:
    stamp, target = str(int(at.timestamp()) * 1000), f"{TARGET}?hsid=1&to=a%2Fb%20c"
    signature = HubSpot.get_signature(SECRET, body.decode(), version, BASE + target, "POST", stamp)
    header = "X-HubSpot-Signature-v3" if version == "v3" else "X-HubSpot-Signature"
    return Sent({header: signature, "X-HubSpot-Request-Timestamp": stamp}, body, target)


def mandrill(body: bytes, at: datetime) -> Sent:
    """As Mandrill's documentation: the address, then each field's name and value in the order of the names."""
    fields = {"mandrill_events": json.dumps([body.decode()])}
    signed = BASE + TARGET + "".join(name + fields[name] for name in sorted(fields))
    signature = b64(mac("sha1", signed.encode()))
    assert signature == RequestValidator(SECRET).compute_signature(BASE + TARGET, fields)
    return Sent({"X-Mandrill-Signature": signature, **FORM}, urlencode(fields).encode())


def over_the_body(header: str, digest: str, body: bytes, at: datetime, *, prefix: str = "", encode: Any = bytes.hex) -> Sent:
    return Sent({header: prefix + encode(mac(digest, body))}, body)


def zendesk(body: bytes, at: datetime) -> Sent:
    stamp = at.isoformat().replace("+00:00", "Z")
    signature = b64(mac("sha256", stamp.encode() + body))
    return Sent({"X-Zendesk-Webhook-Signature": signature, "X-Zendesk-Webhook-Signature-Timestamp": stamp}, body)


def zoom(body: bytes, at: datetime) -> Sent:
    stamp = str(int(at.timestamp()))
    signature = "v0=" + mac("sha256", f"v0:{stamp}:".encode() + body).hex()
    return Sent({"x-zm-signature": signature, "x-zm-request-timestamp": stamp}, body)


def sendgrid(body: bytes, at: datetime) -> Sent:
    stamp = str(int(at.timestamp()))
    signature = b64(CURVE.sign(stamp.encode() + body, ec.ECDSA(SHA256())))
    name = "X-Twilio-Email-Event-Webhook"
    return Sent({f"{name}-Signature": signature, f"{name}-Timestamp": stamp}, body)


def qualtrics(body: bytes, at: datetime) -> Sent:
    fields = {"Topic": "surveyengine.completedResponse", "HMAC": mac("sha512", body).hex(), "MSG": body.decode()}
    return Sent(FORM, urlencode(fields).encode())


def convoy_advanced(body: bytes, at: datetime) -> Sent:
    stamp = str(int(at.timestamp()))
    signature = mac("sha256", stamp.encode() + b"," + body).hex()
    return Sent({"X-Convoy-Signature": f"t={stamp},v1={'0' * 64},v1={signature}"}, body)


def graph(body: bytes, at: datetime) -> Sent:
    return Sent(
        {}, json.dumps({"value": [{"clientState": SECRET, "n": 1}, {"clientState": SECRET, "n": body.decode()}]}).encode()
    )


Sender = Callable[[bytes, datetime], Sent]
SENDERS: dict[str, tuple[Sender, str]] = {
    "standard-webhooks": (standard, "whsec_" + SECRET),
    "standard-webhooks-v1a": (standard_v1a, "whpk_" + b64(RAW_PUBLIC)),
    "svix": (svix, "whsec_" + SECRET),
    "github": (partial(over_the_body, "X-Hub-Signature-256", "sha256", prefix="sha256="), SECRET),
    "stripe": (stripe_sent, "whsec_" + SECRET),
    "shopify": (partial(over_the_body, "X-Shopify-Hmac-Sha256", "sha256", encode=b64), SECRET),
    "slack": (slack, SECRET),
    "twilio": (twilio, SECRET),
    "hubspot-v1": (partial(hubspot, "v1"), SECRET),
    "hubspot-v2": (partial(hubspot, "v2"), SECRET),
    "hubspot-v3": (partial(hubspot, "v3"), SECRET),
    "mandrill": (mandrill, SECRET),
    "intercom": (partial(over_the_body, "X-Hub-Signature", "sha1", prefix="sha1="), SECRET),
    "zendesk": (zendesk, SECRET),
    "segment": (partial(over_the_body, "X-Signature", "sha1"), SECRET),
    "meta": (partial(over_the_body, "X-Hub-Signature-256", "sha256", prefix="sha256="), SECRET),
    "dropbox": (partial(over_the_body, "X-Dropbox-Signature", "sha256"), SECRET),
    "zoom": (zoom, SECRET),
    "sendgrid": (sendgrid, b64(DER_PUBLIC)),
    "qualtrics": (qualtrics, SECRET),
    "convoy": (partial(over_the_body, "X-Convoy-Signature", "sha256"), SECRET),
    "convoy-advanced": (convoy_advanced, SECRET),
    "microsoft-graph": (graph, SECRET),
}
SIGNED = sorted(name for name in SENDERS if preset(name).signs)
TIMED = sorted(name for name in SENDERS if preset(name).timestamp is not None)


def other_secret(name: str) -> str:
    """A secret of the same form that signed nothing."""
    if name == "standard-webhooks-v1a":
        return "whpk_" + b64(
            Ed25519PrivateKey.from_private_bytes(b"o" * 32).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        )
    if name == "sendgrid":
        return SENDGRID_KEY
    return "whsec_" + b64(b"other" * 6)


# ---- what holds for every one ----------------------------------------------------------------------------------------


def test_every_preset_is_sent_to_here() -> None:
    assert set(presets()) == {*SENDERS, "bearer", "basic", "none"}


@pytest.mark.parametrize("name", sorted(SENDERS))
def test_what_its_sender_sends_is_verified_by_the_secret_that_fits(name: str) -> None:
    make, key = SENDERS[name]
    assert decide(name, [key], make(BODY, NOW)) == Verified(0)
    assert decide(name, [other_secret(name), key], make(BODY, NOW)) == Verified(1)
    assert decide(name, [other_secret(name)], make(BODY, NOW)) == Refused("mismatch")


@pytest.mark.parametrize("name", SIGNED)
def test_a_body_that_changed_on_its_way_is_refused(name: str) -> None:
    make, key = SENDERS[name]
    sent = make(BODY, NOW)
    changed = sent.body.replace(b"order.paid", b"order.free")
    assert changed != sent.body
    assert decide(name, [key], sent._replace(body=changed)) == Refused("mismatch")


@pytest.mark.parametrize("name", SIGNED)
def test_white_space_at_the_end_of_a_body_is_part_of_it(name: str) -> None:
    make, key = SENDERS[name]
    sent = make(BODY + b"\r\n", NOW)
    assert decide(name, [key], sent) == Verified(0)
    if not preset(name).reads_form or name == "twilio":
        assert decide(name, [key], sent._replace(body=sent.body.strip())) == Refused("mismatch")


@pytest.mark.parametrize("name", SIGNED)
def test_without_what_it_signs_with_it_is_refused_whatever_is_left_out(name: str) -> None:
    make, key = SENDERS[name]
    sent = make(BODY, NOW)
    at = preset(name).signature
    assert at is not None
    for header in sent.headers:
        if header.lower().startswith(("x-hubspot-request", "content-type")) and name not in {"hubspot-v3", "qualtrics"}:
            continue
        left = {other: value for other, value in sent.headers.items() if other != header}
        assert decide(name, [key], sent._replace(headers=left)) == Refused("missing")


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize(
    ("late", "verdict"),
    [(299, Verified(0)), (301, Refused("expired")), (-299, Verified(0)), (-301, Refused("future"))],
)
def test_a_replay_is_taken_inside_the_window_and_refused_outside_it(name: str, late: int, verdict: object) -> None:
    make, key = SENDERS[name]
    assert decide(name, [key], make(BODY, NOW - timedelta(seconds=late))) == verdict


@pytest.mark.parametrize("name", TIMED)
def test_the_window_can_be_as_wide_as_the_senders_own_library_has_it(name: str) -> None:
    make, key = SENDERS[name]
    ahead = make(BODY, NOW + timedelta(days=1))
    assert decide(Scheme(preset=name, tolerance_future=2 * 86_400), [key], ahead) == Verified(0)
    assert decide(Scheme(preset=name, tolerance_future=0), [key], make(BODY, NOW + timedelta(seconds=2))) == Refused("future")


@pytest.mark.parametrize("name", sorted(name for name in SENDERS if preset(name).signs_url))
def test_a_signed_address_is_the_public_one_and_nothing_is_guessed(name: str) -> None:
    make, key = SENDERS[name]
    sent = make(BODY, NOW)
    assert decide(name, [key], sent, base="http://127.0.0.1:8787") == Refused("mismatch")
    assert decide(name, [key], sent, base=None) == Refused("missing")
    assert decide(name, [key], sent._replace(target=sent.target + ("&" if "?" in sent.target else "?") + "x=1")) == Refused(
        "mismatch"
    )


# ---- published constants and other senders' own libraries ------------------------------------------------------------


def test_svix_s_headers_without_its_name() -> None:
    assert decide("svix", [SENDERS["svix"][1]], svix(BODY, NOW, name="webhook")) == Verified(0)
    SvixWebhook("whsec_" + SECRET).verify(BODY, dict(svix(BODY, datetime.now(UTC), name="webhook").headers))
    mixed = {**svix(BODY, NOW).headers, "webhook-id": "msg_2"}
    assert decide("svix", [SECRET], Sent(mixed)) == Verified(0), "the id that counts is the one that is signed"


def test_slack_s_example() -> None:
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
        b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
        b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "X-Slack-Request-Timestamp": "1531420618",
        "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }
    sent = Sent(headers, body)
    assert decide("slack", ["8f742231b10e8888abcd99yyyzzz85a5"], sent, now=datetime.fromtimestamp(1531420620, UTC)) == Verified(
        0
    )
    assert decide("slack", ["8f742231b10e8888abcd99yyyzzz85a5"], sent) == Refused("expired")


def test_hubspot_s_example_of_a_get_request() -> None:
    """The documentation of version 2: the digest of secret, method and address."""
    target = "/webhook_uri"
    digest = "eee2dddcc73c94d699f5e395f4b9d454a069a6855fbfa152e91e88823087200e"
    sent = Sent({"X-HubSpot-Signature": digest}, b"", target, "GET")
    assert decide("hubspot-v2", ["yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"], sent, base="https://www.example.com") == Verified(0)


def test_hubspot_s_address_as_its_documentation_decodes_it_and_as_its_library_does_not() -> None:
    stamp, target = str(STAMP * 1000), f"{TARGET}?a=x%3Ay%2fz%20w"
    decoded = f"{BASE}{TARGET}?a=x:y/z%20w"
    signature = HubSpot.get_signature(SECRET, BODY.decode(), "v3", decoded, "POST", stamp)
    headers = {"X-HubSpot-Signature-v3": signature, "X-HubSpot-Request-Timestamp": stamp}
    assert decide("hubspot-v3", [SECRET], Sent(headers, BODY, target)) == Verified(0)
    assert decide(Scheme(preset="hubspot-v3", url=("as-is",)), [SECRET], Sent(headers, BODY, target)) == Refused("mismatch")


def test_qualtrics_as_published() -> None:
    body = urlencode({"Topic": "surveyengine.completedResponse", "HMAC": QUALTRICS_HMAC, "MSG": QUALTRICS_MESSAGE}).encode()
    assert decide("qualtrics", ["kyma4ever"], Sent(FORM, body)) == Verified(0)
    assert decide("qualtrics", ["kyma4everx"], Sent(FORM, body)) == Refused("mismatch")
    assert decide("qualtrics", ["kyma4ever"], Sent(FORM, body + b"&MSG=%7B%7D")) == Refused("ambiguous")
    assert decide("qualtrics", ["kyma4ever"], Sent({"content-type": "application/json"}, body)) == Refused("missing")


def test_convoy_as_published() -> None:
    body, secret = b'{"event":"charge.success","amount":1000,"currency":"NGN"}', "convoy-webhook-secret"
    simple = Sent({"X-Convoy-Signature": "244449b7f48cbc2709060c9dcdc2b3aa47a78f540430579015c579fb12defbb4"}, body)
    assert decide("convoy", [secret], simple) == Verified(0)
    wide = Sent(
        {"X-Convoy-Signature": "bMdy3IGUKuG1/6kcOmoHsNN+3I3GvYPjUYohnx8Z/3GuG3bWsyCUDUFMI2oarX95MLY+DxkolRlV0xIZVF4bZg=="}, body
    )
    base64_512 = Scheme(preset="convoy", algorithm="hmac-sha512", signature=preset("shopify").signature)
    header = Scheme(
        algorithm="hmac-sha512", signature=type(preset("shopify").signature)(header="X-Convoy-Signature", encoding="base64")
    )
    assert decide(header, [secret], wide) == Verified(0)
    assert decide(base64_512, [secret], wide) == Refused("missing")
    advanced = {"X-Convoy-Signature": "t=1700000000,v1=77b8b9269f25a199846a55a2bd25b3fba151c70fdae60bb1dcd87fbbc943c55c"}
    assert decide("convoy-advanced", [secret], Sent(advanced, body), now=datetime.fromtimestamp(1700000100, UTC)) == Verified(0)


def test_sendgrid_as_published_with_the_line_end_kept() -> None:
    name = "X-Twilio-Email-Event-Webhook"
    sent = Sent({f"{name}-Signature": SENDGRID_SIGNATURE, f"{name}-Timestamp": "1600112502"}, SENDGRID_BODY)
    at = datetime.fromtimestamp(1600112502, UTC)
    assert decide("sendgrid", [SENDGRID_KEY], sent, now=at) == Verified(0)
    assert decide("sendgrid", [SENDGRID_KEY], sent._replace(body=SENDGRID_BODY.rstrip()), now=at) == Refused("mismatch")
    assert decide("sendgrid", [SENDGRID_KEY], sent) == Refused("expired")
    assert decide(Scheme(preset="sendgrid", tolerance=10**9), [SENDGRID_KEY], sent) == Verified(0)


def test_our_signatures_satisfy_the_libraries_that_verify() -> None:
    header = stripe_sent(BODY, datetime.now(UTC)).headers["Stripe-Signature"]
    assert stripe.WebhookSignature.verify_header(BODY.decode(), header, "whsec_" + SECRET, 300)
    sent = slack(BODY, datetime.now(UTC))
    assert SignatureVerifier(SECRET).is_valid_request(BODY, dict(sent.headers))
    SvixWebhook("whsec_" + SECRET).verify(BODY, dict(svix(BODY, datetime.now(UTC)).headers))
    form = twilio_form(BODY, NOW)
    assert RequestValidator(SECRET).validate(
        BASE + TARGET, dict(parse_qsl(form.body.decode(), keep_blank_values=True)), form.headers["X-Twilio-Signature"]
    )


def test_stripe_s_secret_is_not_decoded_and_every_signature_of_a_list_counts() -> None:
    sent = stripe_sent(BODY, NOW)
    assert decide("stripe", [SECRET], sent) == Refused("mismatch")
    header = sent.headers["Stripe-Signature"]
    rotated = Sent({"Stripe-Signature": header.replace(",v1=", f",v1={'0' * 64},v1=")})
    assert decide("stripe", ["whsec_" + SECRET], rotated) == Verified(0)


# ---- twilio: forms, ports, digests, named algorithms -----------------------------------------------------------------


def test_twilio_s_form_in_any_order_with_empty_and_repeated_fields() -> None:
    assert decide("twilio", [SECRET], twilio_form(BODY, NOW)) == Verified(0)
    several = {"MediaUrl": ["b", "a", "b"], "From": "+46"}
    signature = RequestValidator(SECRET).compute_signature(BASE + TARGET, _Multi(several))
    body = b"MediaUrl=b&From=%2B46&MediaUrl=a&MediaUrl=b"
    assert decide("twilio", [SECRET], Sent({"X-Twilio-Signature": signature, **FORM}, body)) == Verified(0)


class _Multi(dict[str, Any]):
    """Fields that come several times, as web frameworks have them."""

    def getall(self, name: str) -> list[str]:
        value = self[name]
        return value if isinstance(value, list) else [value]


@pytest.mark.parametrize(
    ("signed", "public"),
    [
        ("https://in.example.com:443", "https://in.example.com"),
        ("https://in.example.com", "https://in.example.com:443"),
        ("https://in.example.com:8443", "https://in.example.com:8443"),
        ("https://in.example.com", "https://in.example.com:8443"),
        ("http://in.example.com:80", "http://in.example.com"),
        ("http://[2001:db8::1]:80", "http://[2001:db8::1]"),
        ("http://[2001:db8::1]", "http://[2001:db8::1]:8080"),
    ],
)
def test_twilio_s_address_with_and_without_its_port(signed: str, public: str) -> None:
    signature = RequestValidator(SECRET).compute_signature(signed + TARGET, {})
    sent = Sent({"X-Twilio-Signature": signature}, b"", method="GET")
    assert decide("twilio", [SECRET], sent, base=public) == Verified(0)


def test_twilio_s_body_without_a_digest_in_the_address_is_not_believed() -> None:
    signature = RequestValidator(SECRET).compute_signature(BASE + TARGET, {})
    headers = {"X-Twilio-Signature": signature, "content-type": "application/json"}
    assert decide("twilio", [SECRET], Sent(headers, b'{"a":1}')) == Refused("missing")
    assert decide("twilio", [SECRET], Sent(headers, b"")) == Verified(0)
    signed = twilio(BODY, NOW)
    assert decide("twilio", [SECRET], signed._replace(body=b"&&", headers={**signed.headers, **FORM})) == Refused("mismatch")


def test_twilio_s_newer_algorithm_is_named_in_a_header_and_no_other_is_taken() -> None:
    settings = "X-Twilio-Webhooks-Signature-Settings"
    fields = {"Body": "hello"}
    body = urlencode(fields).encode()
    signature = RequestValidator(SECRET).compute_signature(BASE + TARGET, fields, "HMAC_SHA256")
    headers = {"X-Twilio-Signature": signature, settings: "key=webhooks_sharedkey_1, algorithm=HMAC_SHA256", **FORM}
    assert decide("twilio", [SECRET], Sent(headers, body)) == Verified(0)
    assert decide("twilio", [SECRET], Sent({**headers, settings: "key=1,algorithm=MD5"}, body)) == Refused("malformed")
    assert decide("twilio", [SECRET], Sent({**headers, settings: "key=1"}, body)) == Refused("mismatch")
    both = {**headers, settings: "algorithm=HMAC_SHA1,algorithm=HMAC_SHA256"}
    assert decide("twilio", [SECRET], Sent(both, body)) == Refused("ambiguous")


# ---- libraries for Node.js -------------------------------------------------------------------------------------------

OCTOKIT = """
import {sign, verify} from '@octokit/webhooks-methods';
const signature = await sign(given.secret, given.body);
console.log(JSON.stringify({signature, verified: await verify(given.secret, given.body, given.ours)}));
"""
SHOPIFY = """
import '@shopify/shopify-api/adapters/node';
import {shopifyApi, ApiVersion} from '@shopify/shopify-api';
const shopify = shopifyApi({apiKey: 'k', apiSecretKey: given.secret, scopes: [], hostName: 'in.example.com',
  apiVersion: Object.values(ApiVersion)[0], isEmbeddedApp: false, logger: {level: 0}});
const found = [];
for (const headers of given.headers) {
  const rawRequest = {method: 'POST', url: '/', headers};
  found.push((await shopify.webhooks.validate({rawBody: given.body, rawRequest, rawResponse: {}})).valid);
}
console.log(JSON.stringify(found));
"""
SENDGRID = """
import {EventWebhook} from '@sendgrid/eventwebhook';
const webhook = new EventWebhook();
const key = webhook.convertPublicKeyToECDSA(given.key);
console.log(JSON.stringify(given.bodies.map((body) => webhook.verifySignature(key, body, given.signature, given.timestamp))));
"""


PACKAGES = ("@octokit/webhooks-methods@6.0.0", "@shopify/shopify-api@13.1.0", "@sendgrid/eventwebhook@8.0.0")


@pytest.fixture(scope="module")
def packages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return npm.installed(request.config, tmp_path_factory.mktemp("senders"), "senders", PACKAGES)


@pytest.mark.timeout(150)
def test_github_s_own_library_signs_and_verifies(packages: Path) -> None:
    ours = "sha256=" + mac("sha256", BODY).hex()
    said = npm.node(packages, OCTOKIT, {"secret": SECRET, "body": BODY.decode(), "ours": ours})
    assert said == {"signature": ours, "verified": True}
    assert decide("github", [SECRET], Sent({"X-Hub-Signature-256": said["signature"]})) == Verified(0)


@pytest.mark.timeout(150)
def test_shopify_s_own_library_verifies_what_we_do_and_refuses_what_we_do(packages: Path) -> None:
    rest = {"topic": "orders/create", "api-version": "2026-01", "shop-domain": "a.myshopify.com", "webhook-id": "1"}
    old = {f"x-shopify-{name}": value for name, value in rest.items()}
    signature = b64(mac("sha256", BODY))
    requests = [{**old, "x-shopify-hmac-sha256": signature}, {**old, "x-shopify-hmac-sha256": b64(mac("sha256", BODY + b" "))}]
    said = npm.node(packages, SHOPIFY, {"secret": SECRET, "body": BODY.decode(), "headers": requests})
    ours = [isinstance(decide("shopify", [SECRET], Sent(headers)), Verified) for headers in requests]
    assert said == ours == [True, False]


@pytest.mark.timeout(150)
def test_sendgrid_s_own_library_verifies_what_we_do_and_refuses_what_we_do(packages: Path) -> None:
    sent = sendgrid(BODY + b"\r\n", NOW)
    bodies = [sent.body, sent.body.rstrip(), sent.body.replace(b"paid", b"free")]
    name = "X-Twilio-Email-Event-Webhook"
    given = {"key": b64(DER_PUBLIC), "signature": sent.headers[f"{name}-Signature"], "timestamp": str(STAMP)}
    said = npm.node(packages, SENDGRID, {**given, "bodies": [body.decode() for body in bodies]})
    ours = [isinstance(decide("sendgrid", [b64(DER_PUBLIC)], sent._replace(body=body)), Verified) for body in bodies]
    assert said == ours == [True, False, False]


# ---- nothing that is sent is a fault of ours ----------------------------------------


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_is_sent_to_any_preset_is_refused_without_an_exception(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(SENDERS)))
    make, key = SENDERS[name]
    genuine = make(BODY, NOW)
    odd = st.text(max_size=30) | st.sampled_from(["", "=", "v1=,t=", "application/json", "a;b", *genuine.headers.values()])
    headers = {header: data.draw(odd) if data.draw(st.booleans()) else value for header, value in genuine.headers.items()}
    headers |= {"content-type": data.draw(odd)} if data.draw(st.booleans()) else {}
    body = data.draw(
        st.binary(max_size=60) | st.sampled_from([b"", b"{", b"[[[", b"MSG=%ff&HMAC=00", b"a=&" * 2000, b'{"value":{}}'])
    )
    target = data.draw(
        st.sampled_from([TARGET, "", "?", TARGET + "?%ff", TARGET + "?bodySHA256=00", TARGET + "?\xff&" + "a&" * 2000])
    )
    decided = decide(name, [key], Sent(headers, body, target, data.draw(st.sampled_from(["POST", "GET", ""]))))
    assert isinstance(decided, Refused)


# ---- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["whsec_" + SECRET, SECRET, "whsec_" + b64(b"k" * 25), "whsec_" + b64(b"k" * 25).rstrip("=")])
def test_standard_webhooks_secrets_with_and_without_their_prefix_and_padding(text: str) -> None:
    form = preset("standard-webhooks").key
    assert form is not None
    assert key_bytes(form, Secret(text.encode(), reference="env:KEY")) in {base64.b64decode(SECRET), b"k" * 25}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("standard-webhooks", "whsec_not base64!"),
        ("standard-webhooks-v1a", "whpk_" + b64(b"short")),
        ("standard-webhooks-v1a", "whpk_" + b64(DER_PUBLIC)),
        ("sendgrid", b64(RAW_PUBLIC)),
        ("sendgrid", b64(ec.derive_private_key(5, ec.SECP384R1()).public_key().public_bytes(Encoding.DER, SPKI))),
        ("sendgrid", b64(PRIVATE.public_key().public_bytes(Encoding.DER, SPKI))),
    ],
)  # fmt: skip
def test_a_secret_that_is_no_key_of_its_kind_is_named_by_its_reference(name: str, text: str) -> None:
    with pytest.raises(ValueError, match="env:KEY") as wrong:
        Verifier(preset(name), [Secret(text.encode(), reference="env:KEY")])
    assert text not in str(wrong.value)


def test_public_keys_in_every_form() -> None:
    signature = PRIVATE.sign(BODY)
    public = PRIVATE.public_key()
    forms = {
        "hex": RAW_PUBLIC.hex(),
        "base64": b64(RAW_PUBLIC),
        "base64-der": b64(public.public_bytes(Encoding.DER, SPKI)),
        "pem": public.public_bytes(Encoding.PEM, SPKI).decode(),
    }
    for encoding, text in forms.items():
        words = {"algorithm": "ed25519", "signature": {"header": "s"}, "key": {"encoding": encoding}}
        assert decide(_scheme(words), [text], Sent({"s": signature.hex()})) == Verified(0)
        assert decide(_scheme(words), [text], Sent({"s": signature.hex()}, BODY + b" ")) == Refused("mismatch")


def _scheme(words: dict[str, Any]) -> Scheme:
    return msgspec.convert(words, Scheme)


# ---- the other words -------------------------------------------------------------------------------------------------


def test_a_preset_with_words_changed_keeps_the_others() -> None:
    changed = scheme(Scheme(preset="stripe", tolerance=10))
    assert (changed.tolerance, changed.signature, changed.preset) == (10, preset("stripe").signature, None)
    with pytest.raises(ValueError, match=r"'strype' is no preset \(did you mean stripe\?\)"):
        scheme(Scheme(preset="strype"))
    with pytest.raises(ValueError, match="go together"):
        scheme(Scheme(preset="stripe", signed="{body}"))


def test_a_digest_header_that_is_signed_instead_of_the_body() -> None:
    words = _scheme(
        {
            "algorithm": "hmac-sha256",
            "signature": {"header": "signature", "encoding": "base64"},
            "signed": "{method} {header:digest}",
            "body_hash": {"header": "digest", "prefix": "SHA-256=", "encoding": "base64"},
        }
    )
    digest = "SHA-256=" + b64(hashlib.sha256(BODY).digest())
    headers = {"digest": digest, "signature": b64(mac("sha256", f"POST {digest}".encode()))}
    assert decide(words, [SECRET], Sent(headers)) == Verified(0)
    assert decide(words, [SECRET], Sent(headers, BODY + b" ")) == Refused("mismatch")
    assert decide(words, [SECRET], Sent({**headers, "digest": digest[8:]})) == Refused("mismatch")


def test_parts_of_a_json_body_and_of_the_query() -> None:
    words = _scheme(
        {
            "algorithm": "hmac-sha256",
            "signature": {"json": "signature.signature"},
            "timestamp": {"json": "signature.timestamp"},
            "signed": "{timestamp}{json:signature.token}{query:tenant}",
            "body_unsigned": True,
        }
    )

    def body(**more: Any) -> bytes:
        signed = {"timestamp": str(STAMP), "token": "t", "signature": mac("sha256", f"{STAMP}tacme".encode()).hex()}
        return json.dumps({"signature": {**signed, **more}}).encode()

    sent = Sent({}, body(), "/hooks/shop?tenant=acme")
    assert decide(words, [SECRET], sent) == Verified(0)
    assert decide(words, [SECRET], sent._replace(target="/hooks/shop?tenant=other")) == Refused("mismatch")
    assert decide(words, [SECRET], sent._replace(target="/hooks/shop?tenant=acme&tenant=acme")) == Refused("ambiguous")
    assert decide(words, [SECRET], sent._replace(target="/hooks/shop?tenant=%ff")) == Refused("malformed")
    assert decide(words, [SECRET], sent._replace(body=body(token={}))) == Refused("missing")
    assert decide(words, [SECRET], sent._replace(body=b"{")) == Refused("malformed")


def test_every_notification_must_repeat_the_token_of_its_subscription() -> None:
    def sent(*states: object) -> Sent:
        return Sent({}, json.dumps({"value": [{"clientState": state} for state in states]}).encode())

    assert decide("microsoft-graph", [SECRET], sent(SECRET, SECRET)) == Verified(0)
    assert decide("microsoft-graph", [SECRET], sent(SECRET, "other")) == Refused("ambiguous")
    assert decide("microsoft-graph", [SECRET], sent("other")) == Refused("mismatch")
    assert decide("microsoft-graph", [SECRET], Sent({}, b'{"value":[]}')) == Refused("missing")


def test_of_a_body_that_proves_itself_nothing_is_decoded_but_the_proof() -> None:
    beside = b'{"n":1e999,"value":[{"clientState":"%b","n":1e999}]}'  # no decoder of whole documents takes these numbers
    assert decide("microsoft-graph", [SECRET], Sent({}, beside % SECRET.encode())) == Verified(0)
    assert decide("microsoft-graph", [SECRET], Sent({}, beside % b"other")) == Refused("mismatch")
    assert decide("microsoft-graph", [SECRET], Sent({}, b"[" * 100_000)) == Refused("malformed")


def test_a_token_in_a_header_of_the_users_own_choice() -> None:
    words = _scheme({"algorithm": "bearer", "signature": {"header": "X-Gitlab-Token", "prefix": "tok "}})
    assert decide(words, ["t0ken"], Sent({"X-Gitlab-Token": "tok t0ken"})) == Verified(0)
    assert decide(words, ["t0ken"], Sent({"X-Gitlab-Token": "t0ken"})) == Refused("malformed")
    assert decide(words, ["t0ken"], Sent({"Authorization": "Bearer t0ken"})) == Refused("missing")


def test_a_bearer_token_may_stand_in_the_address_but_not_in_two_places() -> None:
    assert decide("bearer", ["t0k en"], Sent({}, target="/hooks/shop?a=1&access_token=t0k%20en")) == Verified(0)
    assert decide("bearer", ["t0ken"], Sent({}, target="/hooks/shop?access_token=other")) == Refused("mismatch")
    both = Sent({"Authorization": "Bearer t0ken"}, target="/hooks/shop?access_token=t0ken")
    assert decide("bearer", ["t0ken"], both) == Refused("ambiguous")
    assert decide("bearer", ["t0ken"], Sent({"Authorization": "Bearer t0ken"}, target="/hooks/shop?x=%ff")) == Verified(0)
