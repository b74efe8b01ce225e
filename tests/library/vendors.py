"""Servers of the form that vendors document for what is written to them: what they take, and how they refuse it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from tests.peers.api import Asked, served

MOST = 100


class Vendor:
    """``people`` by their address; ``how`` it refuses one of several, ``status`` that it answers everything with."""

    def __init__(self, url: str, *, how: str = "all", status: int | None = None) -> None:
        self.url, self.how, self.status = url, how, status
        self.people: dict[str, dict[str, Any]] = {}
        self.asked: list[Asked] = []

    def wait(self, holds: Callable[[], bool], *, seconds: float) -> None:
        """Return once it holds; it is looked at every few milliseconds."""
        until = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > until:
                raise TimeoutError(self.asked)
            threading.Event().wait(0.01)


Answering = Callable[[Asked, Vendor], tuple[int, Any]]


def hubspot(asked: Asked, vendor: Vendor) -> tuple[int, Any]:
    """HubSpot's batches of contacts: 200 where all are taken, 207 or 400 where one is not, 400 for two of one address."""
    if vendor.status is not None:
        category = "RATE_LIMITS" if vendor.status == 429 else "INVALID_AUTHENTICATION"
        return vendor.status, {"status": "error", "message": "no", "category": category, "policyName": "TEN_SECONDLY_ROLLING"}
    inputs = asked.json["inputs"]
    names = [one["id"] for one in inputs]
    bad = [one for one in inputs if "@" not in one["id"]]
    if len(inputs) > MOST or len(set(names)) < len(names) or (bad and vendor.how == "all"):
        return 400, {"status": "error", "message": f"{bad} is invalid", "category": "VALIDATION_ERROR", "correlationId": "c"}
    for one in inputs:
        if one not in bad:
            vendor.people.setdefault(one["id"], {}).update(one["properties"])
    results = [
        {"id": "512", "new": True, "properties": one["properties"], "archived": False} for one in inputs if one not in bad
    ]
    times = {"startedAt": "2026-11-23T10:00:00Z", "completedAt": "2026-11-23T10:00:00Z"}
    if not bad:
        return 200, {"status": "COMPLETE", "results": results, **times}
    errors = [
        {
            "status": "error",
            "category": "VALIDATION_ERROR",
            "message": f"Email address {one['id']} is invalid",
            "context": {"objectWriteTraceId": [one["objectWriteTraceId"]]},
        }
        for one in bad
    ]
    return 207, {"status": "COMPLETE", "results": results, "numErrors": len(errors), "errors": errors, **times}


def mailchimp(asked: Asked, vendor: Vendor) -> tuple[int, Any]:
    """Members of a Mailchimp audience, each at their own address; what is wrong is a problem document."""
    problem = {"type": "https://mailchimp.com/developer/marketing/docs/errors/", "instance": "995c5cb0"}
    if vendor.status is not None:
        return vendor.status, {**problem, "title": "No", "status": vendor.status, "detail": "no"}
    sent, (root, name) = asked.json, asked.path.rsplit("/", 1)
    email = unquote(name)
    if root != "/3.0/lists/a1b2c3d4e5/members":
        return 404, {**problem, "title": "Resource Not Found", "status": 404, "detail": "no such list"}
    if "@" not in email or sent["email_address"] != email:
        return 400, {**problem, "title": "Invalid Resource", "status": 400, "detail": f"{email} looks fake or invalid"}
    member = vendor.people.setdefault(email, {"status": sent["status_if_new"]})
    member |= {"status": sent["status"]} if "status" in sent else {}
    member |= sent.get("merge_fields", {})
    return 200, {"email_address": email, "status": member["status"], "merge_fields": sent.get("merge_fields", {})}


@contextmanager
def vendor(answering: Answering, **given: Any) -> Iterator[Vendor]:
    """One on loopback."""

    def answer(asked: Asked) -> tuple[int, Any]:
        found.asked.append(asked)
        return answering(asked, found)

    with served(answer) as url:
        found = Vendor(url, **given)
        yield found
