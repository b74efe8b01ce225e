"""HTTP on sockets that we bind: uvicorn's protocol inside the daemon's own tasks, with the bounds it lacks.

``bind`` makes a socket from an address, ``serve`` answers on sockets until it is cancelled or told to stop. No signal handler,
no process of its own, no access log. uvicorn's ``Server`` is not used; of its protocol the attributes listed in
``tests/kit/test_serving_uvicorn.py`` are. Not here: what is answered (an ASGI callable is handed in).
"""

import asyncio
import logging
import os
import socket
import ssl
import stat
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import anyio
import anyio.abc
import uvicorn
from typing_extensions import override
from uvicorn.server import ServerState

from cdmd.kit.bounded_http import BoundedProtocol, Limits
from cdmd.kit.clock import SystemClock
from cdmd.kit.secret import Secret

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI 3 callable."""

_SOCKET_MODE: Final = 0o660
BACKLOG: Final = 2048
LOOK_AGAIN: Final = 0.02


class Calendar(Protocol):
    """The part of a clock that the date header needs."""

    def now(self) -> Any:
        """The wall clock in UTC."""
        ...


class _TerseLogger(logging.Logger):
    """Says that an application failed and with which type, never with the text: it may hold what a customer sent."""

    @override
    def error(self, msg: object, *args: object, **kwargs: Any) -> None:
        fault = kwargs.pop("exc_info", None)
        super().error("%s%s", str(msg).strip(), f" ({type(fault).__name__})" if fault is not None else "")


def bind(address: str, *, inherited: Mapping[str, socket.socket] | None = None) -> socket.socket:
    """A bound socket (not yet listening) for ``HOST:PORT``, ``[IPV6]:PORT``, ``fd:NAME`` or an absolute path.

    A path gets mode 0660, and what a dead daemon left there is replaced. Raises ValueError for another form or a name that was
    not handed over, OSError (with the address) where it cannot be bound. Blocks for the look-up of a host's name.
    """
    if address.startswith("fd:"):
        found = (inherited or {}).get(address[3:])
        if found is None:
            raise ValueError(f"{address}: no socket of that name was handed over")
        return found
    try:
        return _bind_path(Path(address)) if address.startswith("/") else _bind_port(address)
    except OSError as fault:
        raise OSError(fault.errno, f"cannot listen on {address}: {fault.strerror or fault}") from fault


def _bind_port(address: str) -> socket.socket:
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    name = host[1:-1] if bracketed else host
    right = colon and name and port.isascii() and port.isdigit() and int(port) < 2**16
    if not right or (":" in name) != bracketed or "[" in name or "]" in name:
        raise ValueError(f"{address!r} is not an address: write HOST:PORT, [IPV6]:PORT, fd:NAME or an absolute path")
    found = socket.getaddrinfo(name, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, proto, _, target = found[0]
    bound = socket.socket(family, kind, proto)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(target)
    except OSError:
        bound.close()
        raise
    return bound


def _bind_path(path: Path) -> socket.socket:
    """Nobody can connect between ``bind`` and ``listen``, so the mode is right before the door opens."""
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _alive(path):
        path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(_SOCKET_MODE)
    except OSError:
        bound.close()
        raise
    return bound


def _alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        try:
            caller.connect(str(path))
        except ConnectionRefusedError:
            return False
        return True


def tls_context(certificate: bytes, key: Secret, *, client_ca: bytes | None = None) -> ssl.SSLContext:
    """A server's TLS 1.2+ context from a PEM chain and its private key; raises ssl.SSLError where they do not fit.

    With ``client_ca`` (PEM) clients are asked for a certificate: one that these authorities did not sign ends the connection,
    none at all does not. OpenSSL reads files only: they are kept in memory (memfd) and never reach a disk.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with _in_memory(certificate) as chain, _in_memory(key.reveal()) as private:
        context.load_cert_chain(f"/proc/self/fd/{chain.fileno()}", f"/proc/self/fd/{private.fileno()}")
    if client_ca is not None:
        context.load_verify_locations(cadata=client_ca.decode("ascii", "replace"))
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _in_memory(content: bytes) -> Any:
    handle = os.fdopen(os.memfd_create("cdmd-tls"), "w+b")
    handle.write(content)
    handle.flush()
    return handle


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listening:
    """What runs: uvicorn's shared state and the servers that accept."""

    state: ServerState
    servers: list[asyncio.Server]


async def serve(
    app: App,
    sockets: Sequence[socket.socket],
    *,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
    stop: anyio.Event | None = None,
    clock: Calendar | None = None,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Answer on ``sockets`` (closed at the end) until cancelled or ``stop`` is set; started once all of them accept.

    Stopping: accept no more, close idle connections, let requests finish for ``limits.stop_seconds``, then cut them off.
    """
    limits = limits or Limits()
    listening = _Listening(state=ServerState(), servers=[])
    async with anyio.create_task_group() as group:
        group.start_soon(_keep_date, listening.state, clock or SystemClock())
        try:
            await _listen(app, sockets, listening, limits, tls)
            task_status.started()
            await (stop or anyio.Event()).wait()
        finally:
            with anyio.CancelScope(shield=True):
                await _stop(listening, sockets, limits.stop_seconds)
            group.cancel_scope.cancel()


async def _listen(
    app: App, sockets: Sequence[socket.socket], listening: _Listening, limits: Limits, tls: ssl.SSLContext | None
) -> None:
    loop = asyncio.get_running_loop()
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=limits.keep_alive_seconds,
    )
    config.load()
    logger = _TerseLogger("cdmd.http", logging.ERROR)
    logger.parent = logging.getLogger("uvicorn.error")

    def connection() -> BoundedProtocol:
        return BoundedProtocol(config, listening.state, limits=limits, logger=logger)

    options: dict[str, Any] = {} if tls is None else {"ssl": tls, "ssl_handshake_timeout": limits.header_seconds}
    for bound in sockets:
        bound.setblocking(False)
        listening.servers.append(await loop.create_server(connection, sock=bound, backlog=BACKLOG, **options))


def http_date(now: datetime) -> bytes:
    """The aware datetime ``now`` as the date header has it (RFC 9110, section 5.6.7)."""
    return format_datetime(now.astimezone(UTC), usegmt=True).encode()


async def _keep_date(state: ServerState, clock: Calendar) -> None:
    while True:
        state.default_headers = [(b"date", http_date(clock.now()))]
        await anyio.sleep(1)


async def _stop(listening: _Listening, sockets: Sequence[socket.socket], seconds: float) -> None:
    state = listening.state
    for server in listening.servers:
        server.close()
    for bound in sockets:
        bound.close()
    for connection in list(state.connections):
        connection.shutdown()
    with anyio.move_on_after(seconds):
        await _all_gone(state)
    for task in list(state.tasks):
        task.cancel()
    for connection in list(state.connections):
        with suppress(Exception):  # a transport may already be half closed, whatever its loop makes of that
            connection.transport.abort()
    with anyio.move_on_after(1):
        await _all_gone(state)


async def _all_gone(state: ServerState) -> None:
    while state.connections or state.tasks:  # noqa: ASYNC110 - uvicorn keeps plain sets and says nothing when they empty
        await anyio.sleep(LOOK_AGAIN)
