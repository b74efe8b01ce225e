"""Dead letters: grouped by cause, one cause's letters, one letter."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request

from cdmd.console.asking import Asking
from cdmd.console.forms import Form, needed
from cdmd.console.pages import Page, Question
from cdmd.errors import BadArguments

_CAUSES: Final = 200
_LISTED: Final = 100


async def letters(asking: Asking, request: Request) -> Page:
    """Causes, the most frequent first; with a filter also the letters that fit it."""
    wanted = {name: request.query_params.get(name) for name in ("connector", "type", "code")}
    causes = await asking.get("/v1/dead-letters/causes", {"limit": _CAUSES})
    fitting = [one for one in causes if all(value in {None, one[name]} for name, value in wanted.items())]
    listed = None
    if any(value is not None for value in wanted.values()):
        found = await asking.get("/v1/dead-letters", {**wanted, "limit": _LISTED})
        listed = [one for one in found if wanted["type"] in {None, one["type"]}]
    drawn = {"wanted": wanted, "total": sum(one["count"] for one in fitting), "whole": len(causes) < _CAUSES}
    return Page("letters.html", "Dead letters", {"causes": fitting, "letters": listed}, drawn)


async def letter(asking: Asking, request: Request) -> Page:
    """One dead letter: why, and what is known of its event."""
    shown = await asking.get(f"/v1/dead-letters/{request.path_params['seq']}")
    return Page("letter.html", "Dead letter", {"shown": shown}, {"revealed": False})


async def revealed(asking: Asking, form: Form) -> Page:
    """The same with its event and record, which leaves an audit row."""
    shown = await asking.get(f"/v1/dead-letters/{needed(form, 'seq')}", {"reveal": "1"})
    return Page("letter.html", "Dead letter", {"shown": shown}, {"revealed": True})


async def ask_retry(asking: Asking, form: Form) -> Question:
    """Before many go through again."""
    count = await _count(asking, form)
    text = "They go through again with today's configuration and plugins; those that fail again come back here."
    return Question(f"Retry {_so_many(count)}?", text, "Retry", facts=_facts(form))


async def ask_discard(asking: Asking, form: Form) -> Question:
    """Before any are gone."""
    count = await _count(asking, form)
    text = "They are removed for good and count as filtered. What they carried cannot be had back from here."
    return Question(f"Discard {_so_many(count)}?", text, "Discard for good", "discard", _facts(form))


def selection(form: Form) -> dict[str, Any]:
    """What the control API is told: one by its number, or exactly one cause. Raises ``BadArguments``."""
    if seq := form.get("seq", ""):
        if not (seq.isascii() and seq.isdigit() and len(seq) < 16):  # noqa: PLR2004 - within 64 bits
            raise BadArguments("a dead letter's number is a number: load the page again")
        return {"seqs": [int(seq)]}
    if "*" in form.get("type", ""):
        raise BadArguments("their event type has a * in it, which would select others too: do it one by one")
    return {name: form.get(name, "") for name in ("connector", "type", "code")}


async def _count(asking: Asking, form: Form) -> int:
    if form.get("seq"):
        return 1
    causes = await asking.get("/v1/dead-letters/causes", {"limit": _CAUSES})
    said = selection(form)
    return sum(one["count"] for one in causes if all(one[name] == value for name, value in said.items()))


def _so_many(count: int) -> str:
    return f"{count} dead letter{'s' * (count != 1)}"


def _facts(form: Form) -> Mapping[str, str]:
    names = ("seq",) if form.get("seq") else ("connector", "type", "code")
    return {name: form.get(name) or "(none)" for name in names}
