"""Connections to hosts, made to addresses that were checked: every one of a name, before any is connected to."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Final, TypeAlias, TypeVar, cast

import anyio
import httpcore
from typing_extensions import override

from cdmd.errors import AddressRefused, RequestFailed
from cdmd.kit.addresses import Address, Network, normal_host, parse, refusal

T = TypeVar("T")
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Name and port to addresses as text, in the order they should be tried. Raises OSError."""

_MOST_ADDRESSES: Final = 4


async def system_resolve(host: str, port: int) -> list[str]:
    """The machine's resolver. Raises OSError."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def connected(port: int, address: Address, seconds: float) -> socket.socket:
    """A plain connection. Raises OSError."""
    found = socket.socket(socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        found.setblocking(False)
        with anyio.fail_after(seconds):
            await asyncio.get_running_loop().sock_connect(found, (str(address), port))
    except BaseException:
        found.close()
        raise
    return found


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Resolves, checks every address, and connects to one that was checked."""

    def __init__(self, allowed: Sequence[Network], resolve: Resolve, connect_timeout: float) -> None:
        self._allowed, self._resolve, self._connect_timeout = tuple(allowed), resolve, connect_timeout
        self._plain = httpcore.AnyIOBackend()

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        async def plainly(address: Address, seconds: float) -> httpcore.AsyncNetworkStream:
            return await self._plain.connect_tcp(str(address), port, timeout=seconds, socket_options=socket_options)

        return await self.first(host, port, self._connect_timeout, plainly)

    async def first(self, host: str, port: int, seconds: float, connect: Callable[[Address, float], Awaitable[T]]) -> T:
        """What ``connect`` makes of the first address that answers, each within its share of the time. Raises as the last."""
        addresses = (await self.checked(host, port))[:_MOST_ADDRESSES]
        each = seconds / len(addresses)
        for address in addresses[:-1]:
            with suppress(OSError, httpcore.ConnectError, httpcore.ConnectTimeout):
                return await connect(address, each)
        return await connect(addresses[-1], each)

    @override
    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefused("a local socket is not an address of the network")

    async def checked(self, host: str, port: int) -> list[Address]:
        """Every address of the host; raises where one of them is refused."""
        addresses = [parse(text) for text in await self._addresses(host, port)]
        if not addresses or None in addresses:
            raise RequestFailed(f"{normal_host(host)} has no usable address")
        found = cast("list[Address]", addresses)
        for address in found:
            if (reason := refusal(address, host=host, allowed=self._allowed)) is not None:
                raise AddressRefused(f"{normal_host(host)} leads to {reason}")
        return found

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        if parse(host) is not None:
            return [host]
        try:
            return await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise RequestFailed(f"{normal_host(host)} cannot be resolved") from error
