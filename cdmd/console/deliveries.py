"""What goes out: targets, deliveries that wait or were set aside, the last attempts, one delivery."""

from typing import Final

from starlette.requests import Request

from cdmd.console.asking import Asking
from cdmd.console.forms import Form, needed
from cdmd.console.pages import Page, Question

_LISTED: Final = 25


async def deliveries(asking: Asking, request: Request) -> Page:
    """Targets, and below them what waits, of one target or of all."""
    target, state = (request.query_params.get(name) or None for name in ("target", "state"))
    documents = {
        "targets": await asking.get("/v1/targets"),
        "queued": await asking.get("/v1/deliveries", {"target": target, "state": state, "limit": _LISTED}),
        "attempts": await asking.get("/v1/attempts", {"target": target, "limit": _LISTED}),
    }
    return Page("deliveries.html", "Deliveries", documents, {"target": target, "state": state, "limit": _LISTED})


async def delivery(asking: Asking, request: Request) -> Page:
    """One delivery with its attempts."""
    shown = await asking.get(f"/v1/deliveries/{request.path_params['id']}")
    return Page("delivery.html", "Delivery", {"shown": shown}, {"revealed": False})


async def revealed(asking: Asking, form: Form) -> Page:
    """The same with what is sent, which leaves an audit row."""
    shown = await asking.get(f"/v1/deliveries/{needed(form, 'id')}", {"reveal": "1"})
    return Page("delivery.html", "Delivery", {"shown": shown}, {"revealed": True})


async def ask_disable(asking: Asking, form: Form) -> Question:
    """Before a target is told nothing any more."""
    text = "Nothing is sent to it until somebody enables it, over restarts. What waits for it goes on waiting."
    return Question(f"Disable {needed(form, 'name')}?", text, "Disable")


async def ask_retry(asking: Asking, form: Form) -> Question:
    """Before all that was set aside for a target goes out."""
    name = needed(form, "target")
    row = next((row for row in await asking.get("/v1/targets") if row["name"] == name), None)
    facts = {"waiting": row["waiting"], "set aside": row["failed"]} if row else {}
    text = "What was set aside, and what waits for a later attempt, goes out now with all its attempts."
    return Question(f"Send everything for {name} now?", text, "Send now", facts=facts)
