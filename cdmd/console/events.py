"""Events: what comes in now, and the way of one of them."""

from starlette.requests import Request
from starlette.responses import Response

from cdmd.console.asking import Asking
from cdmd.console.forms import Form
from cdmd.console.pages import Page

_SHOWN = 50


async def live(asking: Asking, request: Request) -> Page:
    """What came last; a script adds what comes from now on."""
    wanted = {name: request.query_params.get(name) or None for name in ("connector", "type")}
    recent = await asking.get("/v1/events/recent", {**wanted, "limit": _SHOWN})
    names = [row["name"] for row in await asking.get("/v1/connectors")]
    return Page("live.html", "Live", {"recent": recent}, {"wanted": wanted, "names": names})


async def stream(asking: Asking, request: Request) -> Response:
    """The live events as JSON Lines, redacted: the control API's own stream."""
    wanted = {name: request.query_params.get(name) or None for name in ("connector", "type")}
    return asking.passed("/v1/tail", wanted)


async def event(asking: Asking, request: Request) -> Page:
    """What became of one event."""
    wanted, source = request.query_params.get("id", "").strip(), request.query_params.get("source") or None
    if not wanted:
        return Page("event.html", "One event", {"found": None}, {"wanted": "", "source": None, "revealed": False})
    found = await asking.get("/v1/event", {"id": wanted, "source": source})
    return Page("event.html", "One event", {"found": found}, {"wanted": wanted, "source": source, "revealed": False})


async def revealed(asking: Asking, form: Form) -> Page:
    """The same with what it carries, which leaves an audit row."""
    wanted, source = form.get("id", ""), form.get("source") or None
    found = await asking.get("/v1/event", {"id": wanted, "source": source, "reveal": "1"})
    return Page("event.html", "One event", {"found": found}, {"wanted": wanted, "source": source, "revealed": True})
