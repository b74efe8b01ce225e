"""Customers: finding one, and everything about one on a page."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cdmd.console.asking import Asking
from cdmd.console.drawing import ROOT
from cdmd.console.forms import read
from cdmd.console.pages import Page, wants_json

_ACTIVITIES: Final = 50
_MOST: Final = 1000

Document = Mapping[str, Any]


async def customers(asking: Asking, request: Request) -> Page | Response:
    """Where one is looked for. Who is looked for stands in no address, which is kept and shown: only scripts may ask so."""
    if wants_json(request):
        return await _found(asking, request, request.query_params)
    return await _found(asking, request, {})


async def search(asking: Asking, request: Request) -> Page | Response:
    """Who was looked for by a form: the one customer who it is, or all who it may be."""
    return await _found(asking, request, await read(request))


async def _found(asking: Asking, request: Request, said: Mapping[str, str]) -> Page | Response:
    sought = said.get("q", "").strip()
    if not sought:
        return Page("customers.html", "Customers", {"found": {"profiles": [], "next": None}}, {"sought": ""})
    name, equals, _ = sought.partition("=")
    asked = {"trait": sought} if equals and ":" not in name else {"text": sought}
    found = await asking.get("/v1/profiles", {**asked, "after": said.get("after"), "limit": 50})
    if len(found["profiles"]) == 1 and not found["next"] and not wants_json(request):
        return RedirectResponse(f"{ROOT}/customers/{found['profiles'][0]['profile']}", 303)
    return Page("customers.html", "Customers", {"found": found}, {"sought": sought})


async def customer(asking: Asking, request: Request) -> Page:
    """One customer: who it is and why, what they did, what is counted, which audiences they are in."""
    public = request.path_params["public"]
    limit = _MOST if "all" in request.query_params else _ACTIVITIES
    profile = await asking.get("/v1/profile", {"profile": public, "activities": limit})
    identifiers = profile["identifiers"]
    named = sorted(identifiers, key=lambda one: one["kind"] != "email")[:1]
    drawn = {"days": _by_day(profile["activities"]), "limit": limit, "why": None, "named": named}
    documents = {"profile": profile}
    asked = request.query_params.get("why", "")
    if asked.isascii() and asked.isdigit() and len(asked) < 6 and int(asked) < len(identifiers):  # noqa: PLR2004 - a place
        pair = [f"{one['kind']}:{one['value']}" for one in (identifiers[0], identifiers[int(asked)])]
        documents["explanation"] = await asking.get("/v1/profile/explain", {"first": pair[0], "second": pair[1]})
        drawn["why"] = documents["explanation"]
    return Page("customer.html", "Customer", documents, drawn)


def _by_day(activities: list[Document]) -> list[tuple[str, list[Document]]]:
    """Activities under their day (UTC), in the order in which they came."""
    days: dict[str, list[Document]] = {}
    for one in activities:
        days.setdefault(one["time"][:10], []).append(one)
    return list(days.items())
