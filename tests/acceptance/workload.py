"""What the senders send and the daemon makes of it: everything about event number ``n`` follows from ``n``."""

import base64
import hashlib
import hmac
import json
from typing import Final, NamedTuple

KEY: Final = base64.b64encode(b"a key that only these tests know").decode()
CUSTOMERS: Final = 24
CONNECTORS: Final = ("plain", "signed")
CONFIG: Final = f"""
[connectors.plain]
type = "webhook"
verify = "none"
accept = ["order.*"]
[connectors.signed]
type = "webhook"
verify = "standard-webhooks"
secrets = ["whsec_{KEY}"]
records = "{{events[*]}}"
accept = ["order.*"]
[connectors.signed.event]
id = "{{id}}"
type = "{{type}}"
identifiers = {{ customer_no = "{{identifiers.customer_no}}", email = "{{identifiers.email}}" }}
data = {{ amount = "{{data.amount}}" }}
[indicators.orders]
on = ["order.*"]
[indicators.turnover]
on = ["order.*"]
value = "{{data.amount}}"
compute = "sum"
"""
_SPECIAL: Final = {3: "order.held", 5: "order.held", 11: "order.dropped", 13: "order.rejected", 17: "page.viewed"}
_FORMS: Final = (("customer_no", "email"), ("customer_no",), ("email",))


class Order(NamedTuple):
    """Event number ``n``, which goes to ``connector``. ``fresh``: every five numbers there is a new customer."""

    n: int
    connector: str
    fresh: bool = False

    @property
    def id(self) -> str:
        """Its id."""
        return f"order-{self.n}"

    @property
    def type(self) -> str:
        """What becomes of it: held first, dropped or rejected by the extension, not accepted, or simply applied."""
        return _SPECIAL.get(self.n % 20, "order.paid")

    @property
    def kept(self) -> bool:
        """Whether it passes the door."""
        return self.type.startswith("order.")

    @property
    def applied(self) -> bool:
        """Whether it ends as an activity."""
        return self.type in {"order.paid", "order.held"}

    @property
    def customer(self) -> int:
        """Three numbers in a row name one customer: by both identifiers, by one, by the other."""
        return self.n // 5 if self.fresh else self.n // 3 % CUSTOMERS

    @property
    def amount(self) -> int:
        """What it adds to the customer's turnover."""
        return self.n % 97 + 1

    def record(self) -> dict[str, object]:
        """As it is sent."""
        both = {"customer_no": f"c{self.customer}", "email": f"c{self.customer}@example.com"}
        named = {kind: both[kind] for kind in _FORMS[0 if self.fresh else self.n % 3]}
        return {"id": self.id, "type": self.type, "identifiers": named, "data": {"amount": self.amount}}


def request(orders: list[Order], *, now: int) -> tuple[str, bytes, dict[str, str]]:
    """Path, body and headers of one request for ``orders`` of one connector; ``now`` in Unix seconds."""
    connector = orders[0].connector
    headers = {"content-type": "application/json"}
    if connector == "plain":
        return f"/hooks/{connector}", json.dumps(orders[0].record()).encode(), headers
    body = json.dumps({"events": [one.record() for one in orders]}).encode()
    name = hashlib.sha256(body).hexdigest()[:16]
    mac = hmac.new(base64.b64decode(KEY), f"{name}.{now}.".encode() + body, "sha256").digest()
    signed = {"webhook-id": name, "webhook-timestamp": str(now), "webhook-signature": f"v1,{base64.b64encode(mac).decode()}"}
    return f"/hooks/{connector}", body, headers | signed
