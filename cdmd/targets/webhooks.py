"""``type = "webhook"``: each delivery is one signed POST to an endpoint of the client's.

Signed as the Standard Webhooks do; as a CloudEvent where that is asked for. The address is the configuration's, and is checked
on every attempt by the guarded client.
"""

import builtins
import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Meta

from cdmd.contracts import Outlet
from cdmd.errors import AddressRefused, ConfigInvalid, CredentialRefused, RequestFailed
from cdmd.kit.credentials import Auth, NoAuth, Signed
from cdmd.kit.outsigning import ExpiringSecret, Signer
from cdmd.kit.posting import Brief
from cdmd.kit.secret import Secret
from cdmd.kit.trusting import client_context
from cdmd.models import Delivery, DeliveryVerdict, Later
from cdmd.targets.answers import verdict_of
from cdmd.targets.proving import Proving, auth_problems

_HEADER: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_OURS: Final = re.compile(
    r"(?i)(webhook-.*|ce-.*|trace(parent|state)|content-type|content-length|host|user-agent|connection|transfer-encoding|accept.*|te|upgrade)"
)
_ID_SAFE: Final = "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"
_BOOKKEEPING: Final = 0.1


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[targets.NAME]`` with ``type = "webhook"``."""

    url: Annotated[str, Meta(description="The endpoint. No part of it comes from data.")]
    secret: Annotated[Secret | None, Meta(description="The secret to sign with: `whsec_...`, or `whsk_...` for Ed25519.")] = (
        None
    )
    secrets: Annotated[
        tuple[Secret | ExpiringSecret, ...],
        Meta(description="Several while rotating: all of them sign, one with an `until` up to then."),
    ] = ()
    sign: Annotated[bool, Meta(description="`false` has to be written out where nothing is signed.")] = True
    cloudevents: Annotated[
        Literal["off", "binary", "structured"],
        Meta(description="Send CloudEvents 1.0: the attributes as headers, or all as one JSON document."),
    ] = "off"
    headers: Annotated[dict[str, str], Meta(description="Own headers, nothing secret among them: that is for `auth`.")] = {}
    auth: Annotated[Auth, Meta(description="How the daemon proves who it is, beside the signature.")] = NoAuth()
    client_certificate: Annotated[Secret | None, Meta(description="A certificate chain (PEM) to show: mutual TLS.")] = None
    client_key: Annotated[Secret | None, Meta(description="Its private key (PEM).")] = None
    authorities: Annotated[
        Secret | None,
        Meta(description="Authorities (PEM) that the endpoint's certificate may be from, instead of the system's."),
    ] = None

    def trust(self) -> ssl.SSLContext | None:
        """How certificates are checked, and what is shown; None for the system's way. Blocks. Raises ssl.SSLError."""
        if self.client_certificate is None and self.authorities is None:
            return None
        return client_context(
            authorities=None if self.authorities is None else self.authorities.reveal(),
            certificate=None if self.client_certificate is None else self.client_certificate.reveal(),
            key=self.client_key,
        )


class WebhookTarget:
    """See the settings."""

    type: ClassVar[str] = "webhook"
    Settings: ClassVar[builtins.type[msgspec.Struct]] = WebhookSettings
    batch: int = 1

    def __init__(self, name: str, settings: WebhookSettings) -> None:
        self._name, self._settings = name, settings
        if problems := self.check(name, settings):
            raise ConfigInvalid([f"targets.{name}.{problem}" for problem in problems])
        self._signer = Signer(_secrets(settings))
        self._headers = dict(settings.headers)
        self._proving = Proving(settings.auth)

    @classmethod
    def check(cls, name: str, settings: WebhookSettings) -> list[str]:
        """What a struct cannot express."""
        found = [f"url: {problem}" for problem in _address_problems(settings.url)]
        found += auth_problems(settings.auth)
        found += _secret_problems(settings)
        found += [f"headers.{key}: {problem}" for key, value in settings.headers.items() for problem in _header(key, value)]
        if (settings.client_certificate is None) != (settings.client_key is None):
            found.append("client_certificate: client_certificate and client_key go together")
            return found
        try:
            settings.trust()
        except (ssl.SSLError, ValueError) as error:
            why = error.reason if isinstance(error, ssl.SSLError) and error.reason else "they are not PEM"
            found.append(f"client_certificate: certificate, key and authorities cannot be used: {why}")
        return found

    async def deliver(self, deliveries: Sequence[Delivery], outlet: Outlet) -> Sequence[DeliveryVerdict]:
        """One request for each; the daemon hands over one at a time."""
        return [await self._post(one, outlet) for one in deliveries]

    async def _post(self, delivery: Delivery, outlet: Outlet) -> DeliveryVerdict:
        body, headers = self._message(delivery)
        traced = {} if delivery.span is None else delivery.span.headers

        async def send(signed: Signed) -> Brief:
            now = outlet.clock.now()
            proof = self._signer.headers(delivery.id, body, now) if self._settings.sign else {"webhook-id": delivery.id}
            return await outlet.send(
                self._settings.url,
                headers={**self._headers, **headers, **traced, **signed.headers, **proof},
                params=signed.params,
                content=body,
            )

        try:
            answer = await self._proving.ask(outlet, send)
        except (RequestFailed, AddressRefused, CredentialRefused) as error:
            return Later(reason=str(error), holds=isinstance(error, RequestFailed) and "seconds" in str(error))
        return verdict_of(answer.status_code, answer.headers, answer.content, outlet.clock.now())

    def _message(self, delivery: Delivery) -> tuple[bytes, Mapping[str, str]]:
        """The body, and the headers that say what it is."""
        mode = self._settings.cloudevents
        if mode == "off":
            return delivery.body, {"content-type": "application/json"}
        attributes, data = _cloudevent(delivery, source=f"cdmd/{self._name}")
        if mode == "structured":
            whole = {**attributes, "datacontenttype": "application/json", "data": data}
            return msgspec.json.encode(whole), {"content-type": "application/cloudevents+json"}
        headers = {f"ce-{name}": quote(value, safe=_ID_SAFE) for name, value in attributes.items()}
        return msgspec.json.encode(data), {"content-type": "application/json", **headers}


def _cloudevent(delivery: Delivery, *, source: str) -> tuple[dict[str, str], Any]:
    """The attributes of CloudEvents 1.0, and the data."""
    document = delivery.document
    attributes = {"specversion": "1.0", "id": delivery.id, "source": source, "type": delivery.type}
    profile = document["data"].get("profile") or {}
    subject = {"subject": str(profile["id"])} if "id" in profile else {}
    return {**attributes, "time": document["timestamp"], **subject}, document["data"]


def _secrets(settings: WebhookSettings) -> list[Secret | ExpiringSecret]:
    return [*(() if settings.secret is None else (settings.secret,)), *settings.secrets]


def _secret_problems(settings: WebhookSettings) -> list[str]:
    secrets = _secrets(settings)
    if settings.sign and not secrets:
        return ["secret: missing key: receivers verify by it; where nothing is signed, write sign = false"]
    if not settings.sign and secrets:
        return ["sign: nothing is signed with these secrets: remove one or the other"]
    try:
        Signer(secrets)
    except ValueError as error:
        return [f"{'secrets' if settings.secrets else 'secret'}: {error}"]
    if secrets and all(isinstance(one, ExpiringSecret) for one in secrets):
        return ["secrets: one of them must be without `until`: nothing would be signed after it"]
    return []


def _address_problems(text: str) -> list[str]:
    try:
        url = urlsplit(text)
        port_is_one = url.port is None or url.port > 0
    except ValueError:
        return ["is not an http or https URL"]
    if url.scheme not in {"http", "https"} or not url.hostname or not port_is_one or any(sign.isspace() for sign in text):
        return ["is not an http or https URL"]
    if set(text) & set("{}"):
        return ["is not a template: where data goes is the configuration's to say"]
    if url.username is not None or url.password is not None:
        return ["must not carry credentials: use auth"]
    return []


def _header(name: str, value: str) -> list[str]:
    if _HEADER.fullmatch(name) is None:
        return ["is not a header's name"]
    if _OURS.fullmatch(name) is not None:
        return ["is set by the daemon"]
    if re.fullmatch(r"[\x20-\x7e]*", value) is None:
        return ["must be one line of plain text"]
    return []
