"""The sockets the daemon answers on: bound before anything starts, or handed over by systemd under their names."""

import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

import anyio
import anyio.to_thread

from cdmd.config.schema import Config, HttpSettings, ProxySettings, TlsSettings
from cdmd.errors import CdmdError, ConfigInvalid
from cdmd.kit.addresses import parse_networks
from cdmd.kit.bounded_http import Limits
from cdmd.kit.proxies import UNIX, Proxies
from cdmd.kit.serving import bind, tls_context
from cdmd.kit.systemd import Systemd

_FINISH_SECONDS = 3.0
Inherited: TypeAlias = Mapping[str, Sequence[socket.socket]]


class Sockets(NamedTuple):
    """What is listened on: for everybody, and for commands."""

    public: list[socket.socket]
    control: list[socket.socket]

    @property
    def addresses(self) -> list[str]:
        """The public addresses as a URL has them."""
        return [address(one) for one in self.public]


@asynccontextmanager
async def sockets(
    config: Config, inherited: Inherited, *, public: bool = True, bound: list[socket.socket] | None = None
) -> AsyncIterator[Sockets]:
    """Bind what is configured; closed at the end, and the control socket's path removed unless systemd owns it.

    Not ``public``: only the control socket. ``bound`` are public ones that are bound already.

    Raises ``CdmdError`` with the address and the reason.
    """
    async with AsyncExitStack() as stack:
        if bound is None:
            bound = await public_sockets(config.http.listen if public else (), inherited, stack)
        control = list(inherited.get("control", ())) or await _control(config.control_socket, stack)
        yield Sockets(bound, control)


@contextmanager
def handed_over(systemd: Systemd) -> Iterator[Inherited]:
    """The sockets that systemd has for us, by name; closed at the end."""
    inherited = systemd.sockets()
    try:
        yield inherited
    finally:
        for one in (one for handed in inherited.values() for one in handed):
            one.close()


async def public_sockets(listen: Sequence[str], inherited: Inherited, stack: AsyncExitStack) -> list[socket.socket]:
    """Those that are listened on for everybody, closed with the ``stack``. Raises ``CdmdError`` as above."""
    return [one for text in listen for one in await _bound(text, inherited, stack)]


async def _bound(text: str, inherited: Inherited, stack: AsyncExitStack) -> list[socket.socket]:
    name = text.removeprefix("fd:")
    if name != text and name in inherited:
        return list(inherited[name])
    bound = await anyio.to_thread.run_sync(_bind, text)
    stack.callback(bound.close)
    return [bound]


async def _control(path: Path, stack: AsyncExitStack) -> list[socket.socket]:
    bound = await anyio.to_thread.run_sync(_bind_path, path)
    stack.push_async_callback(anyio.Path(path).unlink, missing_ok=True)
    stack.callback(bound.close)
    return [bound]


def _bind(text: str) -> socket.socket:
    try:
        return bind(text)
    except ValueError as error:
        raise CdmdError(str(error)) from error
    except OSError as error:
        raise CdmdError(error.strerror or str(error)) from error


def _bind_path(path: Path) -> socket.socket:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CdmdError(f"the folder of the control socket {path} cannot be made: {error.strerror}") from error
    return _bind(str(path.absolute()))


def limits(http: HttpSettings) -> Limits:
    """The public listeners' bounds."""
    return Limits(
        header_bytes=http.max_header_bytes.bytes,
        header_seconds=http.header_timeout.seconds,
        body_seconds=http.body_timeout.seconds,
        connections=http.max_connections,
        stop_seconds=_FINISH_SECONDS,
    )


def tls(settings: TlsSettings | None) -> ssl.SSLContext | None:
    """The public listeners' TLS. It blocks. Raises ``ConfigInvalid`` where certificate and key do not fit."""
    if settings is None:
        return None
    try:
        authorities = None if settings.client_ca is None else settings.client_ca.reveal()
        return tls_context(settings.certificate.reveal(), settings.key, client_ca=authorities)
    except ssl.SSLError as error:
        raise ConfigInvalid([f"http.tls: certificate, key and client_ca cannot be used: {error.reason or error}"]) from error


def proxies(settings: ProxySettings | None) -> Proxies | None:
    """The proxies in front, if there are any."""
    if settings is None:
        return None
    return Proxies(
        networks=parse_networks(one for one in settings.trusted if one != UNIX),
        unix=UNIX in settings.trusted,
        hops=settings.hops,
        header=settings.header.lower(),
        subject=settings.subject_header and settings.subject_header.lower(),
        verdict=settings.verify_header and settings.verify_header.lower(),
    )


def address(bound: socket.socket) -> str:
    """``HOST:PORT``, ``[IPV6]:PORT`` or the path of a Unix socket."""
    name = bound.getsockname()
    if bound.family == socket.AF_UNIX:
        return str(name)
    return f"[{name[0]}]:{name[1]}" if bound.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"
