"""A connection to a server that the configuration names, at an address that the daemon has checked.

Servers that another server tells of are not connected to: where a connection ends, ``servers`` is asked again.
"""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from socket import socket
from typing import Any, Final, Protocol

import anyio
import nats
import nats.errors
from nats.aio.client import Client

import cdmd
from cdmd_nats.settings import Access, Server

_CLOSING: Final = 2.0
_DENIED: Final = "permissions violation"

Told = Callable[[Exception], None]
"""Hears of what the server says by itself, which nobody who waits for an answer is told."""


class Reached(Protocol):
    """What is used of ``cdmd.Source`` and ``cdmd.Outlet``."""

    @property
    def name(self) -> str:
        """The name in the configuration."""
        ...

    async def connect(self, host: str, port: int, *, timeout: float) -> socket:
        """A connection to a configured host."""
        ...


@asynccontextmanager
async def connected(access: Access, reached: Reached, told: Told) -> AsyncIterator[Client]:
    """A client for as long as its connection lasts. Raises ``cdmd.SourceUnavailable`` where no server takes us."""
    client, faults = None, []
    for server in access.servers:
        try:
            client = await _client(access, server, reached, told)
            break
        except cdmd.SourceUnavailable as fault:
            faults.append(str(fault))
    if client is None:
        raise cdmd.SourceUnavailable("; ".join(faults))
    try:
        yield client
    finally:
        with anyio.CancelScope(shield=True), suppress(Exception), anyio.fail_after(_CLOSING):
            await client.close()


def denied(said: Exception) -> str | None:
    """In the server's words, in small letters, what it does not let us do; None where it says something else."""
    return str(said).lower() if _DENIED in str(said).lower() else None


async def _client(access: Access, server: Server, reached: Reached, told: Told) -> Client:
    async def said(error: Exception) -> None:
        told(error)

    seconds, where = access.timeout.seconds, f"{server.host}:{server.port}"
    try:
        with await reached.connect(server.host, server.port, timeout=seconds) as checked:
            address = checked.getpeername()[0]
    except cdmd.RequestFailed as error:
        raise cdmd.SourceUnavailable(str(error)) from error
    host = f"[{address}]" if ":" in address else address
    try:
        return await nats.connect(
            f"{'tls' if access.tls else 'nats'}://{host}:{server.port}",
            name=f"cdmd {reached.name}",
            allow_reconnect=False,
            connect_timeout=max(1, round(seconds)),
            tls=await anyio.to_thread.run_sync(_trust, access) if access.tls else None,
            tls_hostname=server.host if access.tls else None,
            error_cb=said,
            **_login(access),
        )
    except (nats.errors.AuthorizationError, nats.errors.Error) as error:
        if isinstance(error, nats.errors.AuthorizationError) or "authorization" in str(error).lower():
            raise cdmd.SourceBlocked(f"{where} does not let us in: compare the login with what its owner expects") from error
        raise cdmd.SourceUnavailable(f"{where} does not answer as NATS does ({type(error).__name__})") from error
    except (OSError, TimeoutError, ValueError) as error:
        raise cdmd.SourceUnavailable(f"{where} does not answer as NATS does ({type(error).__name__})") from error


def _login(access: Access) -> dict[str, Any]:
    if access.username is not None and access.password is not None:
        return {"user": access.username, "password": access.password.reveal().decode()}
    if access.token is not None:
        return {"token": access.token.reveal().decode()}
    if access.nkey is not None:
        return {"nkeys_seed_str": access.nkey.reveal().decode()}
    return {}


def _trust(access: Access) -> ssl.SSLContext:
    given = access.authorities
    return ssl.create_default_context(cadata=None if given is None else given.reveal().decode())
