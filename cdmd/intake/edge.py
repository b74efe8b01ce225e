"""The bare ASGI callable of the public listeners: the checks that every request passes before a connector sees it.

In this order, each before the next costs anything: exact path, method, encoding, declared length, body (counted while it
streams, inflated under the same limit), a place among the connector's concurrent requests; then the connector answers.
Not here: signatures and decoding (the connector's), the sockets and their deadlines (``cdmd.kit.serving``).
"""

import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import structlog

from cdmd.contracts import Clock, DecidingConnector, PushConnector, SharingConnector, Source
from cdmd.errors import Overloaded, Paused
from cdmd.intake.routes import Mounted, Routes, behind_secret, mount
from cdmd.kit.bounded_http import CERTIFICATE
from cdmd.kit.deadlines import Deadlines
from cdmd.kit.proxies import UNIX, Proxies
from cdmd.models import Answer, Emission, Request

Ready: TypeAlias = Callable[[], tuple[bool, Sequence[str]]]
"""Whether the daemon can take events now, and one line for each thing that is not well."""

Degraded: TypeAlias = Callable[[str, str], None]
"""Called with a connector's name and the fault's type name when it failed to answer."""

_PAUSED_RETRY: Final = 60
_PROBE_METHODS: Final = ("GET", "HEAD")
_GZIP: Final = (b"gzip", b"x-gzip")
_GZIP_WINDOW: Final = 31
_CLOSE: Final = ("connection", "close")

Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLimits:
    """What the edge allows: bytes of one body, bytes of all bodies held at once, requests of one connector at once.

    ``answer_seconds`` bounds the time a connector may take for one answer.
    """

    max_body: int = 2**20
    bytes_in_flight: int = 64 * 2**20
    concurrent: int = 1024
    answer_seconds: float = 30.0


class _Refusal(Exception):
    """The request is answered without the connector. ``reason`` is the word it is counted under."""

    def __init__(self, answer: Answer, reason: str) -> None:
        super().__init__(reason)
        self.answer, self.reason = answer, reason


class Edge:
    """The public listeners' ASGI callable; ``swap`` exchanges the routes while it runs."""

    def __init__(
        self,
        *,
        clock: Clock,
        ready: Ready,
        degraded: Degraded,
        limits: EdgeLimits | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        self._clock, self._ready, self._degraded, self._proxies = clock, ready, degraded, proxies
        self._limits = limits or EdgeLimits()
        self._deadlines = Deadlines(self._limits.answer_seconds)
        self._routes: Routes = {}
        self._bytes = 0
        self._counts = {"requests": 0, "unknown_path": 0, "failed": 0}
        self._log = structlog.get_logger()

    def swap(self, connectors: Iterable[tuple[PushConnector, Source]]) -> None:
        """Answer these connectors' routes from now on; requests under way end with the old ones.

        Raises ConfigInvalid where two claim one path; then nothing changes.
        """
        self._routes = mount(connectors, max_body=self._limits.max_body, reserved=_PROBES)

    def check(self, connectors: Iterable[tuple[PushConnector, Source]]) -> None:
        """Raise what ``swap`` would raise, and change nothing."""
        mount(connectors, max_body=self._limits.max_body, reserved=_PROBES)

    def statistics(self) -> Mapping[str, int]:
        """Requests so far, those to unknown paths, those a connector failed on, and the body bytes held now."""
        return {**self._counts, "bytes_in_flight": self._bytes}

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3, type ``http``)."""
        self._counts["requests"] += 1
        mounted = self._routes.get(scope["raw_path"]) or behind_secret(self._routes, scope["raw_path"])
        if mounted is None:
            await _send(send, self._unrouted(scope))
            return
        try:
            answer = await self._routed(mounted, scope, receive)
        except _Refusal as refused:
            mounted.source.refuse(1, refused.reason)
            answer = refused.answer
        if answer is not None:
            await _send(send, answer)

    def _unrouted(self, scope: Any) -> Answer:
        """The probes, else one shape of 404 for every path there is not."""
        probe = _PROBES.get(scope["raw_path"])
        if probe is None:
            self._counts["unknown_path"] += 1
            return Answer(status=404, headers=[_CLOSE] if _has_body(scope["headers"]) else [])
        if scope["method"] not in _PROBE_METHODS:
            return Answer(status=405, headers=[("allow", ", ".join(_PROBE_METHODS)), _CLOSE])
        well, lines = (True, ["ok"]) if probe == "live" else self._ready()
        return Answer(
            status=200 if well else 503,
            body="".join(f"{line}\n" for line in lines).encode(),
            headers=[("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store")],
        )

    async def _routed(self, mounted: Mounted, scope: Any, receive: Receive) -> Answer | None:
        """The connector's answer; None where the client left before it was asked. Raises _Refusal."""
        headers = dict(scope["headers"])
        gzipped = _admit(mounted, scope["method"], headers)
        body = await self._body(receive, mounted.most)
        if body is None:
            mounted.source.refuse(1, "disconnected")
            return None
        held = len(body)
        self._hold(held)
        try:
            if gzipped:
                body = _inflate(body, mounted.most)
            request = self._request(mounted, scope, body)
            return await self._answer(self._recognised(mounted, request) if mounted.sharing else mounted, request)
        finally:
            self._bytes -= held

    def _request(self, mounted: Mounted, scope: Any, body: bytes) -> Request:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        client, proxies = scope["client"], self._proxies
        peer = client[0] if client else UNIX
        certificate: Sequence[str] = scope.get("extensions", {}).get(CERTIFICATE, ())
        query, target = scope["query_string"].decode("latin-1"), scope["raw_path"].decode("latin-1")
        return Request(
            method=scope["method"],
            path=mounted.route.path if mounted.route.secrets else scope["path"],
            query=query,
            headers=headers,
            body=body,
            peer=peer if proxies is None else proxies.client(peer, headers),
            received=self._clock.now(),
            target=f"{target}?{query}" if query else target,
            certificate=certificate if certificate or proxies is None else proxies.certificate(peer, headers),
        )

    async def _body(self, receive: Receive, limit: int) -> bytes | None:
        """The whole body, counted while it streams; None where the client left. Raises _Refusal."""
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return body
        return await self._stream(body, receive, limit)

    async def _stream(self, first: bytes, receive: Receive, limit: int) -> bytes | None:
        body, held = bytearray(first), len(first)
        self._hold(held)
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                part = message.get("body", b"")
                if len(body) + len(part) > limit:
                    raise _too_large(limit)
                self._hold(len(part))
                held += len(part)
                body += part
                if not message.get("more_body", False):
                    return bytes(body)
        finally:
            self._bytes -= held

    def _hold(self, size: int) -> None:
        if self._bytes + size > self._limits.bytes_in_flight:
            raise _Refusal(_busy(1), "busy")
        self._bytes += size

    def _recognised(self, first: Mounted, request: Request) -> Mounted:
        """Whose request it is on a shared path: the first one's, to be refused, where nobody recognises it."""
        for one in first.sharing:
            try:
                if isinstance(one.connector, SharingConnector) and one.connector.recognises(request):
                    return one
            except Exception as fault:  # noqa: BLE001 - the border: one connector's fault is not its neighbours'
                self._report(one.source, type(fault).__name__)
        return first

    async def _answer(self, mounted: Mounted, request: Request) -> Answer:
        """Ask the connector; its own trouble becomes 503 or 500, never its exception's text.

        ``Overloaded`` comes out of ``Source.emit``, which has counted its records: it is not counted here again.
        """
        if mounted.active[0] >= self._limits.concurrent:
            mounted.source.refuse(1, "busy")
            return _busy(1)
        if len(request.body) > mounted.max_body:
            mounted.source.refuse(1, "too_large")
            return _too_large(mounted.max_body).answer
        mounted.active[0] += 1
        try:
            with self._deadlines.of_current_task():
                return _checked(await _asked(mounted.connector, request, mounted.source))
        except Paused:
            return _busy(_PAUSED_RETRY)
        except Overloaded as fault:
            return _busy(fault.retry_after)
        except Exception as fault:  # noqa: BLE001 - the border: one connector's fault is one request's 500
            return self._failed(mounted.source, fault)
        finally:
            mounted.active[0] -= 1

    def _failed(self, source: Source, fault: Exception) -> Answer:
        """What ran out of time may still have been emitted, so only the source knows how to count it."""
        self._counts["failed"] += 1
        self._report(source, type(fault).__name__)
        if isinstance(fault, TimeoutError):
            return _busy(1)
        source.refuse(1, "failed")
        return Answer(status=500)

    def _report(self, source: Source, kind: str) -> None:
        self._log.error("connector_answer_failed", connector=source.name, error=kind)
        self._degraded(source.name, kind)


_PROBES: Final[Mapping[bytes, str]] = {b"/livez": "live", b"/readyz": "ready"}


def _admit(mounted: Mounted, method: str, headers: Mapping[bytes, bytes]) -> bool:
    """Check all that the head of the request tells; returns whether the body is compressed. Raises _Refusal."""
    if method not in mounted.route.methods:
        allow = ("allow", ", ".join(mounted.route.methods))
        raise _Refusal(Answer(status=405, headers=[allow, _CLOSE]), "method")
    encoding = headers.get(b"content-encoding", b"identity").lower()
    if encoding not in _GZIP and encoding != b"identity":
        raise _Refusal(Answer(status=415, headers=[("accept-encoding", "gzip"), _CLOSE]), "encoding")
    declared = headers.get(b"content-length")
    if declared is not None and (not declared.isdigit() or int(declared) > mounted.most):
        raise _too_large(mounted.most)
    return encoding in _GZIP


def _inflate(packed: bytes, limit: int) -> bytes:
    """The one gzip member that ``packed`` holds, never more than ``limit`` bytes of it. Raises _Refusal."""
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    try:
        body = inflater.decompress(packed, limit + 1)
    except zlib.error:
        raise _broken("the body is not gzip") from None
    if len(body) > limit:
        raise _too_large(limit)
    if not inflater.eof or inflater.unused_data:
        raise _broken("the body is not one whole gzip member")
    return body


async def _asked(connector: PushConnector, request: Request, source: Source) -> object:
    decided = connector.decide(request, source) if isinstance(connector, DecidingConnector) else None
    if decided is None:
        return await connector.answer(request, source)
    if isinstance(decided, Emission):
        return decided.answer(await source.emit(decided.records, state=decided.state))
    return decided


def _checked(answer: object) -> Answer:
    if not isinstance(answer, Answer):
        raise TypeError(f"answer() gave {type(answer).__name__}")
    return answer


def _has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any((name == b"content-length" and value != b"0") or name == b"transfer-encoding" for name, value in headers)


def _busy(seconds: int) -> Answer:
    body = b'{"code":"unavailable","message":"this cannot be taken now; send it again later"}'
    return Answer(status=503, body=body, headers=[("content-type", "application/json"), ("retry-after", str(seconds))])


def _too_large(limit: int) -> _Refusal:
    body = b'{"code":"too_large","message":"the body may have %d bytes, also when it is decompressed"}' % limit
    return _Refusal(Answer(status=413, body=body, headers=[("content-type", "application/json"), _CLOSE]), "too_large")


def _broken(sentence: str) -> _Refusal:
    body = b'{"code":"invalid_gzip","message":"%s"}' % sentence.encode()
    return _Refusal(Answer(status=400, body=body, headers=[("content-type", "application/json")]), "encoding")


async def _send(send: Send, answer: Answer) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    if answer.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        headers.append((b"content-length", b"%d" % len(answer.body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
