"""What must have arrived when the demo's story is over, and what is missing of it. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from cdmd.cli.demo_application import CALLS, USER
from cdmd.cli.demo_sending import CUSTOMER, EMAIL, FIRST_HOURS, SERIAL

_IDENTIFIERS = {("customer_no", CUSTOMER), ("email", EMAIL), ("serial", SERIAL), ("user_id", USER)}


class Expected(NamedTuple):
    """So many readings of the television, each with the contract's terms where the plugin is installed."""

    readings: int
    terms: Mapping[str, Any] | None


def missing(expected: Expected, customer: Any, status: Any) -> list[str]:
    """A sentence for everything that is not as it must be; empty when all arrived, each once."""
    found = [] if customer is None else _of_customer(expected, customer)
    events = expected.readings + 2 + CALLS
    for name, is_there, must in (
        ("events stored", status["totals"]["events"], events),
        ("activities stored", status["totals"]["activities"], events),
        ("profiles", status["totals"]["profiles"], 1),
        ("dead letters", status["totals"]["dead_letters"], 0),
        ("held events", status["store"]["parked"], 0),
    ):
        if is_there != must:
            found.append(f"{name}: {is_there} instead of {must}")
    return found if customer is not None else [f"nobody is known by email:{EMAIL}", *found]


def _of_customer(expected: Expected, customer: Any) -> list[str]:
    found = []
    known = {(one["kind"], one["value"]) for one in customer["identifiers"]}
    for kind, value in sorted(_IDENTIFIERS - known):
        found.append(f"the customer's {kind}:{value} is not known")
    indicators = customer["indicators"]
    for name, must in (("tv_hours", FIRST_HOURS + expected.readings), ("tv_readings", expected.readings)):
        if indicators.get(name) != must:
            found.append(f"the indicator {name} is {indicators.get(name)} instead of {must}")
    readings = [one for one in customer["activities"] if one["type"] == "tv.runtime"]
    without = sum(one["data"].get("warranty") != expected.terms for one in readings)
    if without:
        found.append(f"{without} reading(s) are without the contract's terms")
    return found
