"""What must have arrived when the demo's story is over, and what is missing of it. Pure."""

from collections.abc import Sequence
from typing import Any

from cdmd.cli.demo.part import EMAIL, Part


def missing(parts: Sequence[Part], customer: Any, status: Any) -> list[str]:
    """A sentence for everything that is not as it must be; empty when all arrived, each once."""
    found = [f"nobody is known by email:{EMAIL}"] if customer is None else _of_customer(parts, customer, status)
    events = sum(part.expected.events for part in parts)
    for name, there, must in (
        ("events stored", status["totals"]["events"], events),
        ("activities stored", status["totals"]["activities"], events),
        ("profiles", status["totals"]["profiles"], 1),
        ("dead letters", status["totals"]["dead_letters"], 0),
        ("held events", status["store"]["parked"], 0),
    ):
        if there != must:
            found.append(f"{name}: {there} instead of {must}")
    return found


def _of_customer(parts: Sequence[Part], customer: Any, status: Any) -> list[str]:
    known = {(one["kind"], one["value"]) for one in customer["identifiers"]}
    must = frozenset().union(*(part.expected.identifiers for part in parts))
    found = [f"the customer's {kind}:{value} is not known" for kind, value in sorted(must - known)]
    return found + [sentence for part in parts for sentence in part.lacking(customer, status)]
