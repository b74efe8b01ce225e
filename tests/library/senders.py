"""The library's vendors as senders: what each puts around a delivery, after their documentation and without our code."""

import base64
import hashlib
import hmac
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

DELIVERIES = Path(__file__).with_name("deliveries")
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
_PLAIN = "a-shared-secret-of-some-length"
_BASE64 = base64.b64encode(bytes(range(32))).decode()
_GOOGLE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_SITE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_MAILER = ec.generate_private_key(ec.SECP256R1())


class Delivery(NamedTuple):
    """One request of a vendor in its documented form, and the events that it must become."""

    name: str
    headers: Mapping[str, str]
    form: Mapping[str, str] | None
    json: str
    events: list[dict[str, Any]]
    answer: str = ""
    """What the vendor's API says of it, where the delivery only notifies."""


class Sent(NamedTuple):
    """A request as it goes out: what follows the path, headers and body."""

    suffix: str
    headers: dict[str, str]
    body: bytes


class Signing(NamedTuple):
    """What a vendor signs with."""

    secret: str
    now: datetime
    url: str
    body: bytes
    form: Mapping[str, str]

    @property
    def seconds(self) -> str:
        return str(int(self.now.timestamp()))


def deliveries(entry: str) -> list[Delivery]:
    """The deliveries of an entry, as they lie beside these tests."""
    document = tomllib.loads((DELIVERIES / f"{entry}.toml").read_text())
    return [
        Delivery(
            one["name"],
            one.get("headers", {}),
            one.get("form"),
            one.get("json", ""),
            one.get("event", []),
            one.get("answer", ""),
        )
        for one in document["delivery"]
    ]


def secret(entry: str) -> str:
    """A secret in the form that the vendor gives out."""
    return {
        "standard-webhooks": f"whsec_{_BASE64}",
        "sap-cdc": json.dumps(
            {"callId": "c", "errorCode": 0, "kid": "k", **jwt.algorithms.RSAAlgorithm.to_jwk(_SITE.public_key(), as_dict=True)}
        ),
        "google-pubsub": json.dumps({"keys": [_google_key(_SITE, "before"), _google_key(_GOOGLE, "now")]}),
        "sap-commerce": "commerce:a-password",
        "sendgrid": base64.b64encode(
            _MAILER.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        ).decode(),
    }.get(entry, _PLAIN)


def put_secrets(entry: str, snippet: str, folder: Path) -> None:
    """Put the entry's secret where its proposed configuration looks: beside that, or among the credentials in ``folder``."""
    for kind, name in re.findall(r"(credential|file):([\w.-]+)", snippet):
        place = folder / "credentials" if kind == "credential" else folder
        place.mkdir(exist_ok=True)
        (place / name).write_text(secret(entry))


def sent(entry: str, delivery: Delivery, *, now: datetime, url: str) -> Sent:
    """The delivery as this vendor sends it at ``now`` to ``url``, signed with its secret."""
    if delivery.form is None:
        kind, form, body = JSON, {}, delivery.json.encode()
    else:
        kind, form = FORM, dict(delivery.form)
        body = urlencode(form).encode()
    signing = Signing(secret(entry), now, url, body, form)
    headers = {"content-type": kind, **delivery.headers, **SIGNED[entry](signing)}
    if entry == "qualtrics":
        body = urlencode({**form, "HMAC": _hex(signing, form["MSG"], "sha512")}).encode()
    return Sent(f"/{signing.secret}" if entry == "mailchimp" else "", headers, body)


def _mac(signing: Signing, content: str | bytes, digest: str, *, key: bytes | None = None) -> bytes:
    text = content.encode() if isinstance(content, str) else content
    return hmac.new(key or signing.secret.encode(), text, digest).digest()


def _hex(signing: Signing, content: str | bytes, digest: str) -> str:
    return _mac(signing, content, digest).hex()


def _text(signing: Signing, content: str | bytes, digest: str, *, key: bytes | None = None) -> str:
    return base64.b64encode(_mac(signing, content, digest, key=key)).decode()


def _fields(signing: Signing) -> str:
    return signing.url + "".join(name + signing.form[name] for name in sorted(signing.form))


def _stripe(signing: Signing) -> dict[str, str]:
    content = f"{signing.seconds}.".encode() + signing.body
    return {
        "stripe-signature": f"t={signing.seconds},v1={_hex(signing, content, 'sha256')},v0=6ffbb59b2300aae63f272406069a9788"
    }


def _slack(signing: Signing) -> dict[str, str]:
    content = f"v0:{signing.seconds}:".encode() + signing.body
    return {"x-slack-request-timestamp": signing.seconds, "x-slack-signature": f"v0={_hex(signing, content, 'sha256')}"}


def _zoom(signing: Signing) -> dict[str, str]:
    content = f"v0:{signing.seconds}:".encode() + signing.body
    return {"x-zm-request-timestamp": signing.seconds, "x-zm-signature": f"v0={_hex(signing, content, 'sha256')}"}


def _hubspot(signing: Signing) -> dict[str, str]:
    stamp = str(int(signing.now.timestamp() * 1000))
    content = f"POST{signing.url}".encode() + signing.body + stamp.encode()
    return {"x-hubspot-request-timestamp": stamp, "x-hubspot-signature-v3": _text(signing, content, "sha256")}


def _zendesk(signing: Signing) -> dict[str, str]:
    stamp = signing.now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "x-zendesk-webhook-signature-timestamp": stamp,
        "x-zendesk-webhook-signature": _text(signing, stamp.encode() + signing.body, "sha256"),
    }


def _sendgrid(signing: Signing) -> dict[str, str]:
    signature = _MAILER.sign(signing.seconds.encode() + signing.body, ec.ECDSA(hashes.SHA256()))
    return {
        "x-twilio-email-event-webhook-timestamp": signing.seconds,
        "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
    }


def _gigya(signing: Signing) -> dict[str, str]:
    issued = int(signing.now.timestamp())
    claims = {
        "sub": base64.urlsafe_b64encode(hashlib.sha256(signing.body).digest()).decode().rstrip("="),
        "jti": json.loads(signing.body)["nonce"],
        "exp": issued + 60,
        "iat": issued,
        "iss": "https://fidm.gigya.com/jwt/YOUR-API-KEY/",
    }
    return {"x-gigya-sig-jwt": jwt.encode(claims, _SITE, algorithm="RS256", headers={"kid": "k", "dc": "eu1"})}


def _google_key(key: rsa.RSAPrivateKey, name: str) -> dict[str, Any]:
    return {**jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": name, "alg": "RS256", "use": "sig"}


def _google(signing: Signing) -> dict[str, str]:
    issued = int(signing.now.timestamp())
    claims = {
        "aud": "https://in.example.com/hooks/google-pubsub",
        "azp": "113774264463038321964",
        "email": "pusher@my-project.iam.gserviceaccount.com",
        "sub": "113774264463038321964",
        "email_verified": True,
        "exp": issued + 3600,
        "iat": issued,
        "iss": "https://accounts.google.com",
    }
    return {"authorization": f"Bearer {jwt.encode(claims, _GOOGLE, algorithm='RS256', headers={'kid': 'now'})}"}


def _standard(signing: Signing) -> dict[str, str]:
    name = hashlib.sha256(signing.body).hexdigest()[:12]
    content = f"msg_{name}.{signing.seconds}.".encode() + signing.body
    signature = _text(signing, content, "sha256", key=base64.b64decode(_BASE64))
    return {"webhook-id": f"msg_{name}", "webhook-timestamp": signing.seconds, "webhook-signature": f"v1,{signature}"}


def _bearer(signing: Signing) -> dict[str, str]:
    return {"authorization": f"Bearer {signing.secret}"}


SIGNED: Mapping[str, Callable[[Signing], dict[str, str]]] = {
    "cloudevents": _bearer,
    "dropbox": lambda signing: {"x-dropbox-signature": _hex(signing, signing.body, "sha256")},
    "github": lambda signing: {"x-hub-signature-256": f"sha256={_hex(signing, signing.body, 'sha256')}"},
    "google-pubsub": _google,
    "hubspot": _hubspot,
    "intercom": lambda signing: {"x-hub-signature": f"sha1={_hex(signing, signing.body, 'sha1')}"},
    "mailchimp": lambda _signing: {"user-agent": "MailChimp"},
    "mandrill": lambda signing: {"x-mandrill-signature": _text(signing, _fields(signing), "sha1")},
    "marketo": _bearer,
    "meta": lambda signing: {"x-hub-signature-256": f"sha256={_hex(signing, signing.body, 'sha256')}"},
    "qualtrics": lambda _signing: {},
    "sap-cdc": _gigya,
    "sap-commerce": lambda signing: {"authorization": f"Basic {base64.b64encode(signing.secret.encode()).decode()}"},
    "segment": lambda signing: {"x-signature": _hex(signing, signing.body, "sha1")},
    "sendgrid": _sendgrid,
    "shopify": lambda signing: {"x-shopify-hmac-sha256": _text(signing, signing.body, "sha256")},
    "slack": _slack,
    "standard-webhooks": _standard,
    "stripe": _stripe,
    "twilio": lambda signing: {"x-twilio-signature": _text(signing, _fields(signing), "sha1")},
    "zendesk": _zendesk,
    "zoom": _zoom,
}
