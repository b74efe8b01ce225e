"""The demo's senders: deliveries as a shop, a support desk and a television would send them, signed as those sign. Pure."""

import base64
import hmac
import json
from datetime import datetime
from typing import Any, Final, NamedTuple

EMAIL: Final = "joe@example.com"
CUSTOMER: Final = "4711"
SERIAL: Final = "TV-2041"
FIRST_HOURS: Final = 10_000


class Keys(NamedTuple):
    """What each sender shares with cdmd."""

    shop: bytes
    support: bytes
    tv: str
    app: str

    @property
    def shop_text(self) -> str:
        """The shop's secret in the form of Standard Webhooks."""
        return "whsec_" + base64.b64encode(self.shop).decode()


class Delivery(NamedTuple):
    """One HTTP request: where to, which body, which headers."""

    path: str
    body: bytes
    headers: dict[str, str]


def order(keys: Keys, now: datetime) -> Delivery:
    """Joe buys a television: a webhook signed as Standard Webhooks (standardwebhooks.com, the symmetric scheme)."""
    body = _body(
        type="order.paid",
        timestamp=now.isoformat(),
        data={"customer": {"email": EMAIL, "number": CUSTOMER, "name": "Joe"}, "serial": SERIAL, "total": 899.0},
    )
    seconds = str(int(now.timestamp()))
    signed = b".".join((b"order-1", seconds.encode(), body))
    signature = base64.b64encode(hmac.digest(keys.shop, signed, "sha256")).decode()
    headers = {"webhook-id": "order-1", "webhook-timestamp": seconds, "webhook-signature": f"v1,{signature}"}
    return Delivery("/hooks/shop", body, headers)


def complaint(keys: Keys) -> Delivery:
    """Joe asks for help: a webhook signed as GitHub signs (``X-Hub-Signature-256`` over the raw body)."""
    body = _body(
        action="opened", issue={"number": 17, "title": "The picture flickers"}, sender={"login": "joe", "email": EMAIL}
    )
    signature = hmac.digest(keys.support, body, "sha256").hex()
    headers = {"x-github-event": "issues", "x-github-delivery": "issue-17", "x-hub-signature-256": f"sha256={signature}"}
    return Delivery("/hooks/support", body, headers)


def reading(keys: Keys, number: int) -> Delivery:
    """The television's ``number``-th reading (from 1): its serial number and its hours, with a bearer token."""
    body = _body(id=f"reading-{number}", serial=SERIAL, hours=FIRST_HOURS + number)
    return Delivery("/hooks/tv", body, {"authorization": f"Bearer {keys.tv}"})


def _body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()
