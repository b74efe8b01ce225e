"""The demo's shop: Joe buys a television; a fat webhook, signed as Standard Webhooks (standardwebhooks.com, symmetric)."""

import base64
import hmac
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from typing_extensions import override

from cdmd.cli.demo.part import CUSTOMER, EMAIL, SERIAL, Delivery, Expected, Sender, Stage, secret_file

_CONFIG: Final = """
[connectors.shop]
type = "webhook"
verify = "standard-webhooks"
secrets = ["file:shop.secret"]
[connectors.shop.event]
identifiers = { customer_no = "{data.customer.number}", email = "{data.customer.email}", serial = "{data.serial}" }
traits = { first_name = "{data.customer.name}" }
data = { total = "{data.total}" }
"""


class Shop(Sender):
    """One order."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(24)

    @override
    @contextmanager
    def opened(self, folder: Path) -> Iterator[str]:
        secret_file(folder, "shop.secret", "whsec_" + base64.b64encode(self._key).decode())
        yield _CONFIG

    @override
    def play(self, stage: Stage) -> None:
        stage.telling.scene(f"The shop: Joe bought the television {SERIAL} (webhook, signed as Standard Webhooks)")
        self.deliver(stage, order(self._key, datetime.now(UTC)))

    @property
    @override
    def expected(self) -> Expected:
        return Expected(1, frozenset({("customer_no", CUSTOMER), ("email", EMAIL), ("serial", SERIAL)}))


def order(key: bytes, now: datetime) -> Delivery:
    """The order as the shop delivers it, signed at ``now``."""
    customer = {"email": EMAIL, "number": CUSTOMER, "name": "Joe"}
    document = {
        "type": "order.paid",
        "timestamp": now.isoformat(),
        "data": {"customer": customer, "serial": SERIAL, "total": 899.0},
    }
    body, seconds = json.dumps(document).encode(), str(int(now.timestamp()))
    signed = b".".join((b"order-1", seconds.encode(), body))
    signature = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    headers = {"webhook-id": "order-1", "webhook-timestamp": seconds, "webhook-signature": f"v1,{signature}"}
    return Delivery("/hooks/shop", body, headers)
