"""A small real sftp server on loopback: one folder, one guest with a password. For tests and for the demo."""

import hmac
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio
import asyncssh
from anyio.from_thread import start_blocking_portal
from typing_extensions import override

from cdmd.errors import CdmdError

GUEST: Final = "cdmd"


class SftpArea(NamedTuple):
    """Where it listens, the password of ``GUEST``, the fingerprint of its host key, and the folder that is served."""

    port: int
    password: str
    fingerprint: str
    folder: Path

    @property
    def settings(self) -> str:
        """The keys of a connector or target of type ``sftp`` that reach it, as TOML."""
        keys = {"host": "127.0.0.1", "username": GUEST, "password": self.password, "host_key": self.fingerprint, "path": "/"}
        return f"port = {self.port}\n" + "".join(f'{key} = "{value}"\n' for key, value in keys.items())

    def put(self, name: str, content: str | bytes) -> None:
        """Lay a whole file down, or another in its place, as a careful supplier does: written aside, then renamed."""
        aside, place = self.folder / f".{name}.part", self.folder / name
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        aside.rename(place)

    def fetch(self, name: str) -> bytes:
        """The file's content, as the guest gets it. Raises CdmdError."""

        async def fetch() -> bytes:
            known: Any = ([], [], [], [], [], [], [])
            async with (
                asyncssh.connect(
                    "127.0.0.1", self.port, username=GUEST, password=self.password, client_keys=None, config=None,
                    known_hosts=lambda *_: known, client_factory=partial(_Guest, self.fingerprint),
                ) as connection,
                connection.start_sftp_client() as client,
                client.open(name, "rb") as file,
            ):  # fmt: skip
                content: bytes = await file.read()
                return content

        try:
            return anyio.run(fetch)
        except (OSError, asyncssh.Error) as error:
            raise CdmdError(f"{name} cannot be fetched: {type(error).__name__}") from error


class _Guest(asyncssh.SSHClient):
    """Talks to the area that shows its own key."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint

    @override
    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        return key.get_fingerprint() == self._fingerprint


class _Door(asyncssh.SSHServer):
    """Lets the guest in."""

    def __init__(self, password: str, guests: set[asyncssh.SSHServerConnection]) -> None:
        self._password, self._guests = password, guests

    @override
    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._guests.add(conn)

    @override
    def password_auth_supported(self) -> bool:
        return True

    @override
    def validate_password(self, username: str, password: str) -> bool:
        return username == GUEST and hmac.compare_digest(password.encode(), self._password.encode())


@contextmanager
def sftp_area(folder: Path) -> Iterator[SftpArea]:
    """Serve ``folder`` as the root; the server runs in a thread of its own."""
    key, password = asyncssh.generate_private_key("ssh-ed25519"), secrets.token_urlsafe(16)
    guests: set[asyncssh.SSHServerConnection] = set()

    async def start() -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(
            lambda: _Door(password, guests),
            "127.0.0.1",
            0,
            server_host_keys=[key],
            sftp_factory=partial(asyncssh.SFTPServer, chroot=str(folder).encode()),
        )

    async def stop(server: asyncssh.SSHAcceptor) -> None:
        server.close()
        for guest in guests:
            guest.abort()
            await guest.wait_closed()
        await server.wait_closed()

    with start_blocking_portal() as portal:
        server = portal.call(start)
        try:
            yield SftpArea(server.get_port(), password, key.convert_to_public().get_fingerprint(), folder)
        finally:
            portal.call(stop, server)
