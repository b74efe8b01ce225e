"""Buttons: what a form may have done, by which command of the control API, and what is asked before.

Every form brings the caller's token. What cannot be taken back is asked about first, some of it with a word to type.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cdmd.console.asking import Asking
from cdmd.console.drawing import ROOT
from cdmd.console.guarding import Guard
from cdmd.console.pages import Page
from cdmd.control.asking import MAX_BODY
from cdmd.errors import BadArguments, NotPermitted

Form: TypeAlias = Mapping[str, str]
_MOST_FIELDS: Final = 1200


class Question(NamedTuple):
    """What is asked before it is done: a heading, what it means, the button's words, and a word to type where it is grave."""

    heading: str
    text: str
    button: str
    typed: str | None = None
    facts: Mapping[str, Any] = {}


class Action(NamedTuple):
    """``do`` does it and returns a sentence about what was done, or a response; ``ask`` makes the question before."""

    do: Callable[[Asking, Form], Awaitable[str | Response]]
    ask: Callable[[Asking, Form], Awaitable[Question]] | None = None


async def act(asking: Asking, request: Request, *, guard: Guard) -> Page | Response:
    """Do what the form says, or ask about it first. Raises what the command raises."""
    form = await _form(request)
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
    if isinstance(done, Response):
        return done
    back = _back(form)
    joint = "&" if "?" in back else "?"
    return RedirectResponse(f"{back}{joint}{urlencode({'said': guard.signed(done)}, errors='replace')}", 303)


def _back(form: Form) -> str:
    """Where to go on: one of our pages."""
    back = form.get("back", "")
    fits = back.startswith("/") and not back.startswith("//") and "\\" not in back and back.isprintable()
    return ROOT + quote(back, safe="/?&=%") if fits else f"{ROOT}/"


async def _form(request: Request) -> Form:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise BadArguments(f"a form of more than {MAX_BODY} bytes")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise BadArguments("the form is not understood") from error


# ---- what is done --------------------------------------------------------------------------------------------------


def _needed(form: Form, name: str) -> str:
    value = form.get(name)
    if not value:
        raise BadArguments(f"the form lacks {name}: load the page again")
    return value


def _sentence(done: Mapping[str, Any]) -> str:
    """What a command says that it did."""
    count = "" if done.get("count") is None else f": {done['count']}"
    text = " ".join(filter(None, (done["done"], (done.get("name") or "") + count)))
    return f"{text}: {done['warning']}" if done.get("warning") else text


def _connector(command: str) -> Action:
    async def do(asking: Asking, form: Form) -> str:
        return _sentence(await asking.post(f"/v1/connectors/{_needed(form, 'name')}/{command}"))

    return Action(do)


ACTIONS: Final[Mapping[str, Action]] = {
    "pause": _connector("pause"),
    "resume": _connector("resume"),
    "poll": _connector("poll"),
}
