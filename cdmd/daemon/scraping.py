"""A listener of its own for the metrics: off unless ``metrics.listen`` names an address, exchanged by a reload.

Whoever reaches it may read figures and the names of connectors, targets and plugins, and nothing else. It asks nobody who they
are and takes nothing, so a few connections are all it needs; however often it is asked, it measures once a second. It answers
under an address, a name of this machine and the names that are configured: a page of somebody else's, whose name was made to
lead here (DNS rebinding), is refused.
Not here: what is measured (``metrics``).
"""

import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import anyio
import anyio.abc
import anyio.to_thread

from cdmd.contracts import Clock
from cdmd.control.browsers import addressed, local
from cdmd.daemon.listening import address
from cdmd.errors import CdmdError
from cdmd.kit.bounded_http import Limits
from cdmd.kit.serving import App, Receive, Scope, Send, bind, serve

PATH: Final = "/metrics"
_KEPT_SECONDS: Final = 1.0
_LIMITS: Final = Limits(
    header_bytes=8_192, header_count=50, header_seconds=5.0, body_seconds=5.0, connections=20, keep_alive_seconds=30,
    stop_seconds=0.5,
)  # fmt: skip
_TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"


class Scraping:
    """``configure`` exchanges what is listened on; ``run`` is the task that it belongs to."""

    def __init__(self, measure: Callable[[], Awaitable[bytes]], *, clock: Clock) -> None:
        self._measure, self._clock = measure, clock
        self._tasks: anyio.abc.TaskGroup | None = None
        self._now: _Listening | None = None
        self._turn = anyio.Lock()
        self._measured: tuple[float, bytes] | None = None
        self._names: frozenset[str] = frozenset()

    @property
    def address(self) -> str | None:
        """Where it is answered now."""
        return None if self._now is None else self._now.address

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        async with anyio.create_task_group() as self._tasks:
            task_status.started()
            await anyio.sleep_forever()

    async def configure(self, listen: str | None, names: Sequence[str] = ()) -> None:
        """Answer at ``listen`` from now on and nowhere else, also under these names. Raises ``CdmdError``: all is as it was."""
        await self._move(listen)
        self._names = frozenset(name.lower() for name in (*names, *([_host(listen)] if listen else [])))

    async def _move(self, listen: str | None) -> None:
        before = self._now
        if listen == (None if before is None else before.listen):
            return
        if listen is None or before is None or _port(listen) != _port(before.listen):
            self._now = None if listen is None else await self._begin(listen)
            await _end(before)
            return
        await _end(before)  # one port cannot be listened on twice, at whichever addresses
        try:
            self._now = await self._begin(listen)
        except CdmdError:
            self._now = None
            self._now = await self._begin(before.listen)
            raise

    async def _begin(self, listen: str) -> "_Listening":
        try:
            bound = await anyio.to_thread.run_sync(bind, listen)
        except (OSError, ValueError) as error:
            raise CdmdError(f"metrics.listen: {getattr(error, 'strerror', None) or error}") from error
        assert self._tasks is not None  # noqa: S101 - it runs before anything is configured
        found = _Listening(listen, address(bound))
        await self._tasks.start(partial(found.serve, self.answer, bound), name="metrics")
        return found

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: GET and HEAD of ``/metrics``, and nothing else."""
        if not self._is_ours(next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")):
            await _refuse(send)
            return
        found, allowed = scope["path"] == PATH, scope["method"] in {"GET", "HEAD"}
        body = await self._text() if found and allowed else b""
        headers = [(b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
        if body:
            headers.append((b"content-type", _TEXT))
        elif found:
            headers.append((b"allow", b"GET, HEAD"))
        status = 200 if body else 405 if found else 404
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body if scope["method"] == "GET" else b""})

    def _is_ours(self, host: str) -> bool:
        """Whether a page of another name cannot have sent it here; nobody who says no name (HTTP/1.0) is a browser."""
        return not host or addressed(host) or local(host) or _host(host).lower() in self._names

    async def _text(self) -> bytes:
        """What was measured within the last second, else what is measured now: once, for all who wait."""
        async with self._turn:
            now = self._clock.monotonic()
            if self._measured is None or now >= self._measured[0] + _KEPT_SECONDS:
                self._measured = now, await self._measure()
            return self._measured[1]


class _Listening:
    """One socket that is answered on."""

    def __init__(self, listen: str, where: str) -> None:
        self.listen, self.address = listen, where
        self.stop, self.gone = anyio.Event(), anyio.Event()

    async def serve(self, app: App, bound: socket.socket, *, task_status: "anyio.abc.TaskStatus[None]") -> None:
        """Until it is told to stop."""
        try:
            await serve(app, [bound], limits=_LIMITS, stop=self.stop, task_status=task_status)
        finally:
            self.gone.set()


async def _end(listening: _Listening | None) -> None:
    if listening is not None:
        listening.stop.set()
        await listening.gone.wait()


async def _refuse(send: Send) -> None:
    body = b"this is answered under an address, a name of this machine, or one that metrics.names lists\n"
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 421, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _host(text: str) -> str:
    """``HOST`` of ``HOST:PORT``, or all of it where it has no port."""
    name, colon, port = text.rpartition(":")
    return name if colon and port.isdigit() else text


def _port(listen: str) -> str:
    return listen.rpartition(":")[2]
