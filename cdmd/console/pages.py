"""What a page is: a template, a title, and the documents of the control API that it shows (which are the page as JSON)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from cdmd.console.asking import Asking


class Page(NamedTuple):
    """``documents`` are named and as they were answered; ``drawn`` is what is derived from them only to be shown."""

    template: str
    title: str
    documents: Mapping[str, Any]
    drawn: Mapping[str, Any] = {}
    status: int = 200


Handler: TypeAlias = Callable[[Asking, Request], Awaitable[Page | Response]]
