"""Receivers that we did not write verify what is sent: the libraries of Standard Webhooks and Svix, in Python and for Node."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
import standardwebhooks
import svix.webhooks
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from cdmd.errors import ConfigInvalid
from cdmd.kit.credentials import ApiKeyAuth, BearerAuth
from cdmd.kit.outsigning import ExpiringSecret, Signer
from cdmd.kit.presets import presets
from cdmd.kit.secret import Secret
from cdmd.kit.signing import Verified, Verifier
from cdmd.targets.webhooks import WebhookSettings, WebhookTarget
from tests.deliveries.receiving import SECRET, Got, endpoint, sending, webhook
from tests.peers import npm

pytestmark = pytest.mark.anyio

PRESETS = presets()
OLD = "whsec_" + base64.b64encode(b"o" * 24).decode()
OTHER = "whsec_" + base64.b64encode(b"n" * 64).decode()


def secret(text: str) -> Secret:
    return Secret(text.encode(), reference="env:S")


async def sent(folder: Path, **keys: Any) -> Got:
    async with endpoint() as one, sending(folder, **webhook("crm", one.url, **keys)) as it:
        await it.put("crm")
        await it.until(lambda total: total.delivered == 1)
        return one.got[0]


@pytest.mark.parametrize("library", [standardwebhooks.Webhook, svix.webhooks.Webhook])
async def test_the_libraries_verify_by_every_live_secret_and_by_no_other(tmp_path: Path, library: Any) -> None:
    got = await sent(tmp_path, secrets=(secret(SECRET), secret(OLD)))
    for live in (SECRET, OLD):
        library(live).verify(got.body, got.headers)
    with pytest.raises((standardwebhooks.WebhookVerificationError, svix.webhooks.WebhookVerificationError)):
        library(OTHER).verify(got.body, got.headers)


NODE = """
import { Webhook as Standard } from "standardwebhooks";
import { Webhook as Svix } from "svix";
function judged(Library, body) {
  try {
    new Library(given.secret).verify(body, given.headers);
    return "taken";
  } catch {
    return "refused";
  }
}
console.log(JSON.stringify([Standard, Svix].map((one) => [judged(one, given.body), judged(one, given.body + " ")])));
"""


async def test_the_libraries_for_node_verify(
    tmp_path: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    got = await sent(tmp_path)
    tmp = tmp_path_factory.mktemp("receivers")
    packages = ["standardwebhooks@1.1.1", "svix@2.5.0"]
    folder = await anyio.to_thread.run_sync(npm.installed, request.config, tmp, "receivers", packages)
    given = {"secret": SECRET, "body": got.body.decode(), "headers": got.headers}
    assert await anyio.to_thread.run_sync(npm.node, folder, NODE, given) == [["taken", "refused"]] * 2


async def test_what_is_sent_is_taken_by_our_own_connector(tmp_path: Path) -> None:
    got = await sent(tmp_path)
    verifier = Verifier(PRESETS["standard-webhooks"], [secret(SECRET)])
    headers = list(got.headers.items())
    assert isinstance(verifier.verify(headers, got.body, method="POST", now=datetime.now(UTC)), Verified)


async def test_a_private_key_signs_for_the_public_one(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    private = "whsk_" + base64.b64encode(seed + public).decode()
    got = await sent(tmp_path, secrets=(secret(private), secret(SECRET)))
    assert [one.split(",")[0] for one in got.headers["webhook-signature"].split()] == ["v1a", "v1"]
    verifier = Verifier(PRESETS["standard-webhooks-v1a"], [secret("whpk_" + base64.b64encode(public).decode())])
    found = verifier.verify(list(got.headers.items()), got.body, method="POST", now=datetime.now(UTC))
    assert isinstance(found, Verified)


async def test_every_attempt_is_signed_anew_with_its_own_time(tmp_path: Path) -> None:
    async with endpoint(500, 200) as one, sending(tmp_path, **webhook("crm", one.url)) as it:
        await it.put("crm")
        await it.until(lambda total: total.delivered == 1)
        assert len(one.got) == 2
        for got in one.got:
            standardwebhooks.Webhook(SECRET).verify(got.body, got.headers)


async def test_a_cloudevent_is_read_by_its_library(tmp_path: Path) -> None:
    for mode in ("binary", "structured"):
        got = await sent(tmp_path / mode, cloudevents=mode)
        event = from_http_event(HTTPMessage(got.headers, got.body), JSONFormat())
        assert (event.get_type(), event.get_source(), event.get_id()) == ("order.paid", "cdmd/crm", got.headers["webhook-id"])
        assert event.get_subject() == "p1"
        assert event.get_time() == datetime(2026, 11, 23, 10, tzinfo=UTC)
        data = event.get_data()
        assert (data if isinstance(data, dict) else json.loads(data))["number"] == 1
        standardwebhooks.Webhook(SECRET).verify(got.body, got.headers)


async def test_a_bearer_token_and_own_headers_go_along(tmp_path: Path) -> None:
    got = await sent(tmp_path / "a", auth=BearerAuth(token=secret("t0ken")), headers={"X-Env": "prod"})
    assert (got.headers["authorization"], got.headers["x-env"]) == ("Bearer t0ken", "prod")
    got = await sent(tmp_path / "b", auth=ApiKeyAuth(place="query", name="key", value=secret("a b")), sign=False)
    assert got.path == "/hooks/cdmd?key=a+b"
    assert "webhook-signature" not in got.headers
    assert got.headers["webhook-id"]


def test_a_secret_signs_until_its_time_and_no_longer() -> None:
    now = datetime(2026, 11, 29, tzinfo=UTC)
    signer = Signer([secret(SECRET), ExpiringSecret(secret=secret(OLD), until="2026-11-29T12:00:00Z")])
    for moment, count in ((now, 2), (now + timedelta(hours=12), 1)):
        assert len(signer.headers("x", b"{}", moment)["webhook-signature"].split()) == count


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"url": "ftp://x"}, "url: is not an http or https URL"),
        ({"url": "https://"}, "url: is not an http or https URL"),
        ({"url": "http://x:99999"}, "url: is not an http or https URL"),
        ({"url": "https://x/{data.host}"}, "url: is not a template"),
        ({"url": "https://joe:pw@x/"}, "url: must not carry credentials"),
        ({"secret": None}, "secret: missing key"),
        ({"sign": False}, "sign: nothing is signed with these secrets"),
        ({"secret": secret("whsec_c2hvcnQ=")}, "secret: the secret env:S is of 5 bytes"),
        ({"secret": secret("no base64!")}, "secret: the secret env:S is not base64"),
        ({"secret": secret("whsk_" + base64.b64encode(b"x" * 31).decode())}, "secret: the secret env:S is no private key"),
        (
            {"secret": None, "secrets": (ExpiringSecret(secret=secret(OLD), until="tomorrow"),)},
            "secrets: 'tomorrow' is not a time",
        ),
        ({"secrets": (ExpiringSecret(secret=secret(OLD), until="2026-12-24T00:00:00"),)}, "secrets: .*needs a time zone"),
        ({"secret": None, "secrets": (ExpiringSecret(secret=secret(OLD), until="2026-12-24T00:00:00Z"),)}, "without `until`"),
        ({"headers": {"webhook-id": "x"}}, "headers.webhook-id: is set by the daemon"),
        ({"headers": {"Content-Type": "x"}}, "headers.Content-Type: is set by the daemon"),
        ({"headers": {"a b": "x"}}, "headers.a b: is not a header's name"),
        ({"headers": {"x-a": "a\r\nb: c"}}, "headers.x-a: must be one line"),
        ({"client_certificate": secret("x")}, "go together"),
        ({"client_certificate": secret("x"), "client_key": secret("y")}, "cannot be used"),
    ],
)
def test_what_cannot_be_is_told_with_its_key(keys: dict[str, Any], problem: str) -> None:
    given = {"url": "https://x/", "secret": secret(SECRET), **keys}
    with pytest.raises(ConfigInvalid, match=problem) as caught:
        WebhookTarget("crm", WebhookSettings(**given))
    assert all(line.startswith("targets.crm.") for line in caught.value.problems)
