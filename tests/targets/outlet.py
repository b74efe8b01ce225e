"""What tests of targets have in common: deliveries, members of an audience, and an outlet at noon."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from cdmd.contracts import Addressee
from cdmd.kit.ulid import ulid
from cdmd.models import Delivery, Micros
from cdmd.testing import RecordingOutlet

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def public(key: int) -> str:
    return ulid(Micros(1_700_000_000_000_000), key.to_bytes(10, "big"))


def member(key: int, email: str, **traits: Any) -> Addressee:
    """Somebody in an audience."""
    identifiers = [{"kind": "email", "value": email}, {"kind": "email", "value": f"old.{email}"}]
    return Addressee(key, {"id": public(key), "identifiers": identifiers, "traits": traits, "audiences": ["vip"]})


def delivery(n: int, /, **data: Any) -> Delivery:
    body = {"type": "order.paid", "timestamp": "2026-11-23T10:00:00Z", "data": data}
    return Delivery(id=f"d{n}", target="t", type="order.paid", at=Micros(n), body=msgspec.json.encode(body), n=n)


def outlet_in(folder: Path, **given: Any) -> RecordingOutlet:
    """An outlet of the target ``t`` whose scratch lies in the folder."""
    return RecordingOutlet("t", scratch=folder / "scratch", **{"now": NOON, **given})


def progress(outlet: RecordingOutlet) -> Mapping[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(outlet.kept["progress"])
    return found
