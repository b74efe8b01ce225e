"""What is told to a target as its templates see it. Pure."""

from collections.abc import Mapping
from typing import Any

from cdmd.models import Delivery


def of_delivery(delivery: Delivery) -> dict[str, Any]:
    """What a webhook would have sent, flat enough for a row: ``id``, ``type``, ``time``, then ``event``, ``profile`` ..."""
    document = delivery.document
    return {"id": delivery.id, "type": document["type"], "time": document["timestamp"], **document["data"]}


def viewed(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as templates and columns see it: identifiers by kind, the first of several."""
    return {name: _identifiers(value) if name == "identifiers" else _inner(value) for name, value in row.items()}


def _inner(value: Any) -> Any:
    return viewed(value) if isinstance(value, dict) else value


def _identifiers(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    found: dict[str, Any] = {}
    for one in value:
        found.setdefault(one["kind"], one["value"])
    return found
