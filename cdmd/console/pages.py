"""What a page is: a template, a title, and the documents of the control API that it shows (which are the page as JSON)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from cdmd.console.asking import Asking

JSON: Final = "cdmd.json"
"""In a request's scope: its path ended with ``.json``."""


class Question(NamedTuple):
    """What is asked before it is done: a heading, what it means, the button's words, and a word to type where it is grave."""

    heading: str
    text: str
    button: str
    typed: str | None = None
    facts: Mapping[str, Any] = {}


class Page(NamedTuple):
    """``documents`` are named and as they were answered; ``drawn`` is what is derived from them only to be shown."""

    template: str
    title: str
    documents: Mapping[str, Any]
    drawn: Mapping[str, Any] = {}
    status: int = 200


def wants_json(request: Request) -> bool:
    """Whether the documents are asked for instead of the page."""
    if request.scope.get(JSON):
        return True
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept


Handler: TypeAlias = Callable[[Asking, Request], Awaitable[Page | Response]]
