from typing import Any

import pytest
from twilio.request_validator import RequestValidator

from cdmd.connectors.webhooks import Webhook
from cdmd.kit.quantities import Rate, Size
from cdmd.kit.secret import Secret
from cdmd.models import Answer, Request
from tests.connectors.doubles import NOW, FixedClock, MemorySource
from tests.connectors.test_webhooks import hooked, settings

pytestmark = pytest.mark.anyio

SEGMENT = "vZ3nB0mJq7xK5tR9wLc2yA"
MUCH_TO_GUESS = (Secret(SEGMENT.encode(), reference="env:PATH_SECRET"),)


def request(**more: Any) -> Request:
    given = {"method": "POST", "path": "/hooks/shop", "query": "", "headers": (), "body": b"{}", "peer": "192.0.2.7"}
    return Request(**{**given, "received": NOW, **more})


@pytest.mark.parametrize(
    ("peer", "status"),
    [("192.0.2.7", 200), ("::ffff:192.0.2.7", 200), ("2001:db8::9", 200), ("192.0.3.7", 403), ("unix", 403), ("unknown", 403)],
)
async def test_senders_may_have_to_call_from_their_own_networks(peer: str, status: int) -> None:
    webhook = Webhook("shop", settings(allow_from=("192.0.2.0/24", "2001:db8::/32")))
    source = MemorySource()
    assert (await webhook.answer(request(peer=peer), source)).status == status
    assert source.refused == ([] if status == 200 else ["address"])


@pytest.mark.parametrize(
    ("names", "status"),
    [(("CN=sender", "DNS:hooks.example.com"), 200), (("O=Acme", "CN=other"), 403), ((), 403), (("cn=sender",), 403)],
)
async def test_senders_may_have_to_show_a_certificate_of_their_name(names: tuple[str, ...], status: int) -> None:
    webhook = Webhook("shop", settings(client_names=("DNS:hooks.example.com", "CN=sender")))
    source = MemorySource()
    assert (await webhook.answer(request(certificate=names), source)).status == status
    assert source.refused == ([] if status == 200 else ["certificate"])


class Ticking(FixedClock):
    """Moves when told."""

    seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds


async def test_a_quota_is_the_senders_own_and_strangers_cannot_use_it_up() -> None:
    clock = Ticking()
    webhook, source = Webhook("shop", settings(quota=Rate(2, 1.0), verify="bearer", secrets=["t"])), MemorySource(clock=clock)

    async def send(token: str = "t") -> Answer:
        return await webhook.answer(request(headers=(("authorization", f"Bearer {token}"),)), source)

    assert [(await send("stranger")).status for _ in range(5)] == [401] * 5
    assert [(await send()).status for _ in range(2)] == [200, 200]
    late = await send()
    assert (late.status, late.headers) == (429, (("retry-after", "1"),))
    assert source.refused[-1] == "quota"
    clock.seconds += 0.5
    assert [(await send()).status for _ in range(2)] == [200, 429]


async def test_one_connectors_quota_is_not_anothers() -> None:
    one, other = (Webhook(name, settings(quota=Rate(1, 60.0))) for name in ("one", "other"))
    source = MemorySource(clock=Ticking())
    assert [(await one.answer(request(), source)).status for _ in range(2)] == [200, 429]
    assert (await other.answer(request(), source)).status == 200


async def test_a_body_of_one_connector_may_be_larger_or_smaller_than_of_the_others() -> None:
    async with hooked(max_body=Size(10)) as sender:
        assert (await sender.send(b"[1234567]")).status_code == 200
        assert (await sender.send(b"[123456789]")).status_code == 413
    async with hooked(max_body=Size(3 * 2**20)) as sender:
        assert (await sender.send(b"[" + b" " * 2**21 + b"]")).status_code == 200


@pytest.mark.parametrize(
    ("given", "mistake"),
    [
        ({"allow_from": ("192.0.2.300",)}, "allow_from: '192.0.2.300' does not appear to be an IPv4 or IPv6 network"),
        (
            {"client_names": ("sender",)},
            "client_names: 'sender' is no name in a certificate: write CN=..., DNS:..., URI:..., email:... or IP:...",
        ),
        ({"probes": True, "methods": ("GET",)}, "probes: GET delivers here, so it cannot be a probe as well"),
        ({"url": "in.example.com/hooks"}, "url: 'in.example.com/hooks' is not an http or https URL"),
        ({"url": "https://in.example.com/ö"}, "url: 'https://in.example.com/ö' is not an http or https URL"),
        (
            {"path_secrets": (Secret(b"short", reference="env:P"),)},
            "path_secrets: env:P must be 22 or more letters, digits and any of -._~",
        ),
        (
            {"path_secrets": (Secret(b"a/b" * 20, reference="env:P"),)},
            "path_secrets: env:P must be 22 or more letters, digits and any of -._~",
        ),
    ],
)
def test_each_mistake_is_named_and_no_secret_shown(given: dict[str, Any], mistake: str) -> None:
    assert Webhook.check("shop", settings(**given)) == [mistake]


def test_a_plain_connector_has_no_steps_to_pay_for() -> None:
    webhook = Webhook("shop", settings())
    assert (webhook._before, webhook._after, webhook._question) == ((), (), None)
    assert webhook.routes[0].methods == ("POST",)


async def test_a_sender_may_deliver_with_get_and_its_record_is_the_addresss_parameters() -> None:
    async with hooked(methods=("POST", "GET"), verify="bearer", secrets=["t0ken"]) as sender:
        for number in (1, 2):
            answer = await sender.client.get(f"/hooks/shop?email=joe%40example.com&n={number}&access_token=t0ken")
            assert answer.json() == {"accepted": 1, "filtered": 0}
        assert (await sender.client.get("/hooks/shop?n=3")).status_code == 401
        assert (await sender.client.put("/hooks/shop")).headers["allow"] == "POST, GET"
    first, second = sender.source.records
    assert first.value == first.context["_request"]["query"] == {"email": "joe@example.com", "n": "1"}
    assert first.fallback_id != second.fallback_id


async def test_a_get_request_is_signed_with_its_address() -> None:
    target = "/hooks/shop?CallSid=CA1&CallStatus=completed"
    signature = RequestValidator("s3cret").compute_signature(f"https://in.example.com{target}", {})
    async with hooked(methods=("GET",), verify="twilio", secrets=["s3cret"]) as sender:
        assert (await sender.client.get(target, headers={"x-twilio-signature": signature})).status_code == 200
        assert (await sender.client.get(target + "x", headers={"x-twilio-signature": signature})).status_code == 401
        assert (await sender.client.post(target, headers={"x-twilio-signature": signature})).status_code == 405
    assert sender.source.records[0].value == {"CallSid": "CA1", "CallStatus": "completed"}
