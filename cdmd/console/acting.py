"""Buttons: what a form may have done, by which command of the control API, and what is asked before.

Every form brings the caller's token. What cannot be taken back is asked about first, some of it with a word to type.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cdmd.console import deliveries, events, files, letters, persons, settings, words
from cdmd.console.asking import Asking
from cdmd.console.drawing import ROOT
from cdmd.console.forms import Form, needed, read
from cdmd.console.guarding import Guard
from cdmd.console.pages import Page, Question
from cdmd.errors import BadArguments, NotPermitted


class Action(NamedTuple):
    """``do`` does it and returns a sentence about what was done, or what to show; ``ask`` makes the question before."""

    do: Callable[[Asking, Form], Awaitable[str | Page | Response]]
    ask: Callable[[Asking, Form], Awaitable[Question]] | None = None


async def act(asking: Asking, request: Request, *, guard: Guard) -> Page | Response:
    """Do what the form says, or ask about it first. Raises what the command raises."""
    form = await read(request)
    if not guard.is_token(asking.uid, form.get("token", "")):
        raise NotPermitted("this form is too old or not ours: go back, load the page again and repeat it there")
    action = ACTIONS.get(form.get("do", ""))
    if action is None:
        raise BadArguments("there is no such action: load the page again")
    if action.ask is not None:
        question = await action.ask(asking, form)
        wrong = question.typed is not None and form.get("typed", "").strip() != question.typed
        if wrong or not form.get("confirmed"):
            kept = {key: value for key, value in form.items() if key not in {"token", "confirmed", "typed"}}
            drawn = {"question": question, "kept": kept, "wrong": wrong and "typed" in form, "back": _back(form)}
            return Page("question.html", question.heading, {"question": question._asdict()}, drawn)
    done = await action.do(asking, form)
    if not isinstance(done, str):
        return done
    back = _back(form)
    joint = "&" if "?" in back else "?"
    return RedirectResponse(f"{back}{joint}{urlencode({'said': guard.signed(done)}, errors='replace')}", 303)


def _back(form: Form) -> str:
    """Where to go on: one of our pages."""
    back = form.get("back", "")
    fits = back.startswith("/") and not back.startswith("//") and "\\" not in back and back.isprintable()
    return ROOT + quote(back, safe="/?&=%") if fits else f"{ROOT}/"


# ---- what is done --------------------------------------------------------------------------------------------------


def _sentence(done: Mapping[str, Any]) -> str:
    """What a command says that it did."""
    count = "" if done.get("count") is None else f": {done['count']}"
    text = " ".join(filter(None, (done["done"], (done.get("name") or "") + count)))
    return f"{text}: {done['warning']}" if done.get("warning") else text


def _told(path: str, *, named: str = "name") -> Callable[[Asking, Form], Awaitable[str]]:
    """Does what ``path`` does, with the form's name in its place."""

    async def do(asking: Asking, form: Form) -> str:
        return _sentence(await asking.post(path.format(needed(form, named))))

    return do


def _letters(command: str) -> Callable[[Asking, Form], Awaitable[str]]:
    async def do(asking: Asking, form: Form) -> str:
        return _sentence(await asking.post(f"/v1/dead-letters/{command}", letters.selection(form)))

    return do


def _shelf(kind: str, command: str) -> Callable[[Asking, Form], Awaitable[str]]:
    async def do(asking: Asking, form: Form) -> str:
        body = {"names": [needed(form, "name")], "connector": needed(form, "connector")}
        return _sentence(await asking.post(f"/v1/shelves/{kind}/{command}", body))

    return do


async def _retry_delivery(asking: Asking, form: Form) -> str:
    said = {"id": form["id"]} if form.get("id") else {"target": needed(form, "target")}
    return _sentence(await asking.post("/v1/deliveries/retry", said))


async def _try_target(asking: Asking, form: Form) -> str:
    tried = await asking.post(f"/v1/targets/{needed(form, 'name')}/test")
    parts = (f"status {tried['status']}" if tried["status"] else None, tried["reason"], words.span(tried["seconds"]))
    return f"test of {tried['target']}: {tried['outcome']} ({', '.join(filter(None, parts))})"


async def _reload(asking: Asking, form: Form) -> str:
    report = await asking.post("/v1/reload")
    changed = sum(row["verdict"] != "unchanged" for row in [*report["connectors"], *report["targets"]])
    problems = "; ".join([*report["problems"], *report["warnings"]])
    return f"reloaded: {changed} connectors and targets changed" + (f"; {problems}" if problems else "")


ACTIONS: Final[Mapping[str, Action]] = {
    "pause": Action(_told("/v1/connectors/{}/pause")),
    "resume": Action(_told("/v1/connectors/{}/resume")),
    "poll": Action(_told("/v1/connectors/{}/poll")),
    "reveal event": Action(events.revealed),
    "reveal letter": Action(letters.revealed),
    "reveal delivery": Action(deliveries.revealed),
    "retry letters": Action(_letters("retry"), letters.ask_retry),
    "retry letter": Action(_letters("retry")),
    "discard letters": Action(_letters("discard"), letters.ask_discard),
    "retry file": Action(_shelf("files", "retry")),
    "skip file": Action(_shelf("files", "skip")),
    "replay file": Action(_shelf("files", "replay"), files.ask_again),
    "approve": Action(_shelf("snapshots", "approve"), files.ask_approve),
    "reject": Action(_shelf("snapshots", "reject")),
    "enable": Action(_told("/v1/targets/{}/enable")),
    "disable": Action(_told("/v1/targets/{}/disable"), deliveries.ask_disable),
    "test target": Action(_try_target),
    "send": Action(_told("/v1/targets/{}/send")),
    "retry delivery": Action(_retry_delivery),
    "retry deliveries": Action(_retry_delivery, deliveries.ask_retry),
    "export": Action(persons.export),
    "split": Action(persons.split, persons.ask_split),
    "erase": Action(persons.erase, persons.ask_erase),
    "reload": Action(_reload, settings.ask_reload),
}
