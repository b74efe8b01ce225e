"""How a page gets what it shows: it asks the control API inside this process, as the one who looks at the page.

There is no other way from here to anything that the daemon knows; roles, redaction and audit rows are those of the commands.
"""

import json
from collections.abc import Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import urlencode

import anyio
import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from cdmd.control.problems import error_of
from cdmd.errors import CdmdError
from cdmd.kit.serving import App

_OK: Final = 200
_OF_THE_STREAM: Final = frozenset((b'{"type":"heartbeat"}', b'{"type":"end"}'))
_ENDS_EARLY: Final = b'{"type":"problem"'
_HEADERS: Final = [(b"host", b"console"), (b"content-type", b"application/json")]


class Asking:
    """Asks ``control`` with the peer that stands in ``scope``."""

    def __init__(self, control: App, scope: Mapping[str, Any]) -> None:
        self._control, self._scope = control, scope

    @property
    def uid(self) -> int | None:
        """The caller's user id as the kernel says; None where it could not be told."""
        peer = self._scope.get("extensions", {}).get("cdmd.peer")
        return None if peer is None else int(peer[1])

    async def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The document at ``path``. Raises what the command raised."""
        return await self._ask(self.scope("GET", path, query), b"")

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What ``path`` answers to ``body``. Raises what the command raised."""
        return await self._ask(self.scope("POST", path, None), json.dumps(body or {}).encode())

    def scope(self, method: str, path: str, query: Mapping[str, Any] | None) -> dict[str, Any]:
        """A request as the control API takes it; of the query, what is None is left out."""
        said = {key: value for key, value in (query or {}).items() if value is not None}
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": urlencode(said, doseq=True).encode(),
            "headers": _HEADERS,
            "client": None,
            "server": None,
            "extensions": self._scope.get("extensions", {}),
        }

    def passed(self, path: str, query: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] = {}) -> Response:
        """The control API's own answer as it comes, with these headers beside."""
        return _Passed(self._control, self.scope("GET", path, query), headers)

    def kept(self, path: str, query: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] = {}) -> Response:
        """A stream of the control API as a file: without the lines that only say that it lives, and that it ended."""
        return _Kept(self._control, self.scope("GET", path, query), headers)

    async def _ask(self, scope: MutableMapping[str, Any], body: bytes) -> Any:
        status, parts, given = 0, list[bytes](), [body]

        async def receive() -> dict[str, Any]:
            if not given:
                await anyio.sleep_forever()
            return {"type": "http.request", "body": given.pop(), "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                parts.append(message.get("body", b""))

        await self._control(scope, receive, send)
        document = msgspec.json.decode(b"".join(parts))
        if status != _OK:
            raise error_of(document)
        return document


class _Passed(Response):
    """Answers with what ``control`` answers to ``asked``."""

    def __init__(self, control: App, asked: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._control, self._asked = control, asked

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def relay(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *self.raw_headers]}
            await self._relay(message, send)

        await self._control(self._asked, receive, relay)

    async def _relay(self, message: MutableMapping[str, Any], send: Send) -> None:
        await send(message)


class _Kept(_Passed):
    """The same without the lines of the stream's own; of a message only whole lines come (``JsonLines``).

    One that could not go on is cut off, so that a browser does not take what there is of it for a whole file.
    """

    @override
    async def _relay(self, message: MutableMapping[str, Any], send: Send) -> None:
        if message["type"] == "http.response.body":
            lines = message.get("body", b"").splitlines(keepends=True)
            if any(line.startswith(_ENDS_EARLY) for line in lines):
                raise CdmdError("what was asked for cannot be read to its end")
            body = b"".join(line for line in lines if line.rstrip() not in _OF_THE_STREAM)
            if not body and message.get("more_body"):
                return
            message = {**message, "body": body}
        await send(message)
