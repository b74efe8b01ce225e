"""The console as an ASGI application below ``/console`` of the control socket: routes, guards, pages and errors.

Every page is also JSON (``Accept: application/json``, or ``.json`` at the end of its path): the documents of the control API
that it shows, under their names. Not here: what is on a page, and any right to see it (the control API decides).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import anyio.to_thread
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cdmd.console.acting import act
from cdmd.console.asking import Asking
from cdmd.console.contents import PAGES, SEARCHES
from cdmd.console.drawing import ROOT, Drawing
from cdmd.console.guarding import HEADERS, Guard
from cdmd.console.pages import JSON, Handler, Page, wants_json
from cdmd.contracts import Clock
from cdmd.control.browsers import refuse_strange
from cdmd.control.documents import encoded
from cdmd.control.problems import internal_problem, problem_of
from cdmd.errors import CdmdError, NotFound
from cdmd.kit.serving import App

_JSON: Final = ".json"
_HEADINGS: Final = {"not-found": "Not found", "not-permitted": "Not permitted", "bad-arguments": "Not understood"}
_FOR_EVER: Final = "public, max-age=31536000, immutable"


def with_console(control: App, *, secret: bytes, clock: Clock) -> App:
    """``control`` with the console below ``/console``; ``secret`` (32 bytes) signs its forms."""
    console = Console(control, guard=Guard(secret), clock=clock).app

    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        ours = scope["type"] == "http" and (path == ROOT or path.startswith((f"{ROOT}/", f"{ROOT}.")))
        await (console if ours else control)(scope, receive, send)

    return app


class Console:
    """Answers requests for pages by asking ``control``."""

    def __init__(self, control: App, *, guard: Guard, clock: Clock) -> None:
        self._control, self._guard, self._clock = control, guard, clock
        self._drawing = Drawing()
        routes = [Route(f"{ROOT}{path}", self._endpoint(handler), methods=["GET"]) for path, handler in PAGES]
        routes += [Route(f"{ROOT}{path}", self._endpoint(handler), methods=["POST"]) for path, handler in SEARCHES]
        routes.append(Route(f"{ROOT}/do", self._endpoint(partial(act, guard=guard)), methods=["POST"]))
        routes.append(Route(f"{ROOT}/static/{{mark}}/{{name}}", self._static, methods=["GET"]))
        routes.append(Route(ROOT, self._home, methods=["GET"]))
        starlette = Starlette(routes=routes, exception_handlers={HTTPException: self._no_page})

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"].endswith(_JSON):
                path = scope["path"].removesuffix(_JSON)
                scope = {**scope, "path": f"{ROOT}/" if path == ROOT else path, JSON: True}
            await starlette(scope, receive, send)

        self.app: App = app

    def _endpoint(self, handler: Handler) -> Any:
        async def endpoint(request: Request) -> Response:
            return await self._answer(handler, request)

        return endpoint

    async def _answer(self, handler: Handler, request: Request) -> Response:
        """The page, or why there is none as a page: the one place where errors are caught."""
        try:
            refuse_strange(request.headers, changes=request.method == "POST")
            return await self._shown(await handler(Asking(self._control, request.scope), request), request)
        except CdmdError as error:
            problem = problem_of(error)
        except Exception as error:  # noqa: BLE001 - the edge: our mistake is logged by its kind and answered, never passed on
            structlog.get_logger("cdmd.console").error("console_request_failed", error=type(error).__name__)
            problem = internal_problem()
        return await self._shown(_problem_page(problem), request)

    async def _shown(self, page: Page | Response, request: Request) -> Response:
        if isinstance(page, Response):
            page.headers.update({key: value for key, value in HEADERS.items() if key not in page.headers})
            return page
        if wants_json(request):
            return Response(encoded(page.documents), page.status, HEADERS, "application/json")
        asking = Asking(self._control, request.scope)
        said = self._guard.sentence(request.query_params.get("said", ""))
        values = {
            **page.documents,
            **page.drawn,
            "title": page.title,
            "query": request.url.query,
            "addressed": request.method == "GET",
            "path": request.scope["path"].removeprefix(ROOT),
            "me": await _caller(asking),
            "token": self._guard.token(asking.uid),
            "said": said,
        }
        draw = partial(self._drawing.page, page.template, values, now=self._clock.now())
        html = await anyio.to_thread.run_sync(draw)
        return Response(html, page.status, HEADERS, "text/html; charset=utf-8")

    async def _static(self, request: Request) -> Response:
        files = await anyio.to_thread.run_sync(lambda: self._drawing.static)
        file = files.get(request.path_params["name"])
        if file is None:
            return await self._answer(_nothing_there, request)
        return Response(file.content, 200, {**HEADERS, "cache-control": _FOR_EVER, "content-type": file.media_type})

    async def _home(self, request: Request) -> Response:
        return RedirectResponse(f"{ROOT}/", 308, HEADERS)

    async def _no_page(self, request: Request, error: Exception) -> Response:
        return await self._answer(_nothing_there, request)


async def _caller(asking: Asking) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = await asking.get("/v1/me")
    except CdmdError:
        return {"uid": None, "user": "somebody", "role": "none"}
    return found


async def _nothing_there(asking: Asking, request: Request) -> Page:
    raise NotFound("there is no such page: go to the overview, or look for a customer or an event")


def _problem_page(problem: Mapping[str, Any]) -> Page:
    return Page("problem.html", _HEADINGS.get(problem["code"], "Not done"), {"problem": problem}, status=problem["status"])
