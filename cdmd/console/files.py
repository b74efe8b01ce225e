"""Files of suppliers, and removals that are held until somebody approves them."""

from typing import Final

from starlette.requests import Request

from cdmd.console.asking import Asking
from cdmd.console.forms import Form, needed
from cdmd.console.pages import Page, Question
from cdmd.errors import NotFound

_LISTED: Final = 100
_OVER: Final = frozenset({"done", "duplicate", "skipped", "gone"})


async def files(asking: Asking, request: Request) -> Page:
    """What is on its way, what needs a look, then the newest; above them the registers that wait for approval."""
    state = request.query_params.get("state") or None
    rows = await asking.get("/v1/shelves/files", {"state": state, "limit": _LISTED})
    snapshots = await asking.get("/v1/shelves/snapshots")
    held = [row for row in snapshots if row.get("held")]
    return Page("files.html", "Files", {"files": rows, "snapshots": snapshots}, {"held": held, "state": state, "over": _OVER})


async def ask_approve(asking: Asking, form: Form) -> Question:
    """Before rows of a register are removed."""
    row = await _held(asking, form)
    why = f"They are held because {row['reason']}. " if row["reason"] else ""
    text = f"{why}Approving carries the removals out: each becomes an event."
    heading = f"Remove {row['held']} of {row['rows']} rows of {row['connector']}?"
    return Question(
        heading, text, "Remove them", "approve", {"register": row["name"], "rows": row["rows"], "held": row["held"]}
    )


async def ask_again(asking: Asking, form: Form) -> Question:
    """Before a file that was read is read again."""
    text = "Its rows come in again; what is known already has no second effect."
    return Question(f"Read {needed(form, 'name')} again?", text, "Read again")


async def _held(asking: Asking, form: Form) -> dict[str, str]:
    rows = await asking.get("/v1/shelves/snapshots", {"connector": needed(form, "connector"), "state": "held"})
    found: dict[str, str] | None = next((row for row in rows if row.get("run", row["name"]) == needed(form, "name")), None)
    if found is None:
        raise NotFound("no removals of that register wait for approval any more")
    return found
