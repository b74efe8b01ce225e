"""The guarded HTTP client behind ``contracts.Http``: it reaches configured hosts only, at addresses that were checked.

Every address of a name is checked before the connection is made to that very address, so a second answer of the resolver
changes nothing. No redirects, cookies or proxies exist here; time, headers and body are bounded. Not for: retries, rate
limits, deciding what an answer means. Which addresses are refused: ``cdmd.kit.addresses``.
"""

import os
import socket
import ssl
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final, Self, cast

import anyio
import anyio.lowlevel
import httpcore
import httpx

from cdmd.errors import AddressRefused, AnswerTooLarge, RequestFailed
from cdmd.kit.addresses import Hosts, Network, is_configured, normal_host
from cdmd.kit.reaching import CheckedBackend, Resolve, connected, system_resolve
from cdmd.kit.unreached import unreached

_OURS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "te", "upgrade"})
_STEP: Final = 256 * 1024


class GuardedHttp:
    """An async context manager that fulfils ``contracts.Http`` for one connector, plugin or target.

    ``hosts``: what its settings name (``addresses.hosts_in``); ``allowed``: networks that names may resolve into;
    ``timeout``: seconds for a whole request; ``max_body``: bytes of an answer, after decompression.
    """

    def __init__(
        self,
        *,
        hosts: Hosts,
        allowed: Sequence[Network] = (),
        tls: ssl.SSLContext,
        resolve: Resolve = system_resolve,
        timeout: float = 30.0,
        connect_timeout: float = 5.0,
        max_body: int = 10 * 2**20,
    ) -> None:
        self._hosts, self._timeout, self._max_body, self.tls = hosts, timeout, max_body, tls
        self._backend = backend = CheckedBackend(allowed, resolve, connect_timeout)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls, max_connections=16, max_keepalive_connections=4, keepalive_expiry=15.0, network_backend=backend
        )

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.__aexit__()

    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> httpx.Response:
        """``request("GET", ...)``."""
        return await self.request("GET", url, headers=headers, params=params, timeout=timeout)

    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        timeout: float | None = None,
    ) -> httpx.Response:
        """``request("POST", ...)``."""
        return await self.request("POST", url, headers=headers, json=json, content=content, timeout=timeout)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        timeout: float | None = None,
    ) -> httpx.Response:
        """Send one request; ``timeout`` in seconds bounds all of it.

        Raises ``AddressRefused`` before connecting anywhere that is not configured, ``RequestFailed`` when no whole answer
        within the bounds came back. A redirect is an answer like any other.
        """
        target = self._admitted(url)
        request = _built(method, target, headers=headers, params=params, json=json, content=content)
        seconds = self._timeout if timeout is None else timeout
        with _translated(), _deadline(seconds):
            async with self._sent(request) as answer:
                return await self._received(request, answer)

    async def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """A plain connection, made to an address that was checked; its owner closes it. For protocols other than HTTP.

        Raises ``AddressRefused`` before connecting to what is not configured, ``RequestFailed`` where nobody answers in time.
        """
        if not is_configured(host, port, self._hosts):
            raise AddressRefused(f"the configuration does not name {normal_host(host)} with this port")
        with _deadline(timeout, f"{normal_host(host)} cannot be reached within {timeout:g} seconds"):
            try:
                return await self._backend.first(host, port, timeout, partial(connected, port))
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else "nobody answers"
                raise RequestFailed(f"{normal_host(host)} cannot be reached: {reason}") from error

    def _admitted(self, text: str) -> httpx.URL:
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, ValueError, TypeError):
            raise AddressRefused("this is not an http or https address") from None
        if url.scheme not in {"http", "https"} or not url.host:
            raise AddressRefused("this is not an http or https address")
        if url.userinfo:
            raise AddressRefused("an address must not carry credentials: send them in a header")
        if not is_configured(url.host, url.port or (443 if url.scheme == "https" else 80), self._hosts):
            raise AddressRefused(f"the configuration does not name {normal_host(url.host)} with this port")
        return url

    @asynccontextmanager
    async def _sent(self, request: httpx.Request) -> AsyncIterator[httpcore.Response]:
        url = request.url
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method.encode("ascii"),
                url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.read(),
            )
        )
        try:
            yield answer
        finally:
            await answer.aclose()

    async def _received(self, request: httpx.Request, answer: httpcore.Response) -> httpx.Response:
        headers = httpx.Headers(answer.headers)
        body = await read_bounded(
            cast("AsyncIterable[bytes]", answer.stream),
            encoding=headers.get("content-encoding", ""),
            announced=headers.get("content-length", ""),
            limit=self._max_body,
        )
        kept = [(name, value) for name, value in headers.raw if name.lower() not in {b"content-encoding", b"content-length"}]
        return httpx.Response(answer.status, headers=kept, content=body, request=request)


async def read_bounded(chunks: AsyncIterable[bytes], *, encoding: str, announced: str = "", limit: int) -> bytes:
    """The body of raw ``chunks``, inflated when ``encoding`` is gzip; raises ``RequestFailed`` beyond ``limit`` bytes.

    At most ``limit`` bytes and one step of 256 KiB are ever held, however much a chunk would inflate to.
    """
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > limit:
        raise AnswerTooLarge(f"the answer is larger than {limit} bytes")
    decoder = _decoder(encoding.strip().lower())
    body = bytearray()
    async for chunk in chunks:
        for part in decoder.parts(chunk):
            body += part
            if len(body) > limit:
                raise AnswerTooLarge(f"the answer is larger than {limit} bytes")
            if len(part) >= _STEP:  # a bomb is taken apart in steps that let the loop go on
                await anyio.lowlevel.checkpoint()
    if not decoder.complete:
        raise RequestFailed("the answer's gzip data ends too early")
    return bytes(body)


class _Identity:
    complete = True

    @staticmethod
    def parts(chunk: bytes) -> Iterator[bytes]:
        yield chunk


class _Gzip:
    """Inflates in steps; several members may follow each other (RFC 1952, 2.2)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.complete = True

    def parts(self, chunk: bytes) -> Iterator[bytes]:
        part = b""
        while chunk or len(part) == _STEP:  # zlib may hold back output although it took all input
            if self._member.eof:
                self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)
            try:
                part = self._member.decompress(chunk, _STEP)
            except zlib.error as error:
                raise RequestFailed("the answer's gzip data is broken") from error
            self.complete = self._member.eof
            yield part
            chunk = self._member.unconsumed_tail or self._member.unused_data
            if self._member.eof and not chunk:
                return


def _decoder(encoding: str) -> _Identity | _Gzip:
    if encoding in {"", "identity"}:
        return _Identity()
    if encoding in {"gzip", "x-gzip"}:
        return _Gzip()
    raise RequestFailed("the answer is compressed in a way that was not asked for")


def _built(
    method: str,
    url: httpx.URL,
    *,
    headers: Mapping[str, str] | None,
    params: Mapping[str, str] | None,
    json: Any,
    content: bytes | None,
) -> httpx.Request:
    if not (method.isascii() and method.isalpha()):
        raise RequestFailed("the request's method is not a word")
    given = headers or {}
    for name, value in given.items():
        if name.lower() in _OURS or not _is_token(name) or any(c in value for c in "\r\n\0"):
            raise RequestFailed(f"the request's header {_printable(name)} cannot be sent")
    if params:
        url = url.copy_merge_params(dict(params))
    standing = {"accept-encoding": "gzip", "user-agent": "cdmd", "accept": "*/*"}
    merged = {**standing, **{name.lower(): value for name, value in given.items()}}
    try:
        return httpx.Request(method.upper(), url, headers=merged, json=json, content=content)
    except (TypeError, ValueError) as error:
        raise RequestFailed("the request cannot be encoded") from error


def _is_token(name: str) -> bool:
    return name.isascii() and name.replace("-", "").replace("_", "").isalnum()


def _printable(name: str) -> str:
    return name if _is_token(name) else "(unprintable)"


@contextmanager
def _deadline(seconds: float, message: str | None = None) -> Iterator[None]:
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as error:
        raise RequestFailed(message or f"no whole answer came within {seconds:g} seconds") from error


@contextmanager
def _translated() -> Iterator[None]:
    """Foreign exceptions become ours here. Their messages stay behind: they may quote what was sent."""
    try:
        yield
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        raise RequestFailed(unreached(error)) from error
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
        raise RequestFailed("the other side broke off or does not speak HTTP") from error
