"""What is told to a target as its templates see it. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from cdmd.models import Delivery


def of_delivery(delivery: Delivery) -> dict[str, Any]:
    """What a webhook would have sent, flat enough for a row: ``id``, ``type``, ``time``, then ``event``, ``profile`` ..."""
    document = delivery.document
    return {"id": delivery.id, "type": document["type"], "time": document["timestamp"], **document["data"]}


def viewed(told: Mapping[str, Any]) -> dict[str, Any]:
    """A member, or a delivery, as templates and columns see it: the profile's identifiers by kind, the first of several.

    What is called so in somebody's data or traits stays as it is.
    """
    seen = dict(told)
    if "identifiers" in seen:
        seen["identifiers"] = _by_kind(seen["identifiers"])
    if "profile" in seen:
        seen["profile"] = viewed(seen["profile"])
    return seen


def _by_kind(identifiers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in identifiers:
        found.setdefault(one["kind"], one["value"])
    return found
