"""Connectors of sftp areas for these tests, and servers that misbehave."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh

from cdmd.connectors.files.places import SftpFiles
from cdmd.connectors.files.settings import SftpSettings
from cdmd.contracts import ChosenFormat
from cdmd.kit.addresses import hosts_in
from cdmd.kit.egress import GuardedHttp
from cdmd.kit.quantities import Duration
from cdmd.kit.secret import Secret
from tests.connectors.files.driving import Lines, SteppedSource
from tests.peers.sshd import Sshd


def secret(value: bytes) -> Secret:
    return Secret(value, reference="env:X")


def sftp(server: Sshd, root: Path | str, **given: Any) -> SftpFiles:
    """A connector on the area at ``root`` of that server."""
    standing: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": server.port,
        "username": server.username,
        "private_key": secret(server.private_key),
        "host_key": server.fingerprint,
        "stable_for": Duration.parse("30s"),
        "format": ChosenFormat(Lines, Lines.Settings()),
    }
    settings = {**standing, **given}
    return SftpFiles(
        "sup", SftpSettings(path=str(root), **{key: value for key, value in settings.items() if value is not None})
    )


def reaching(watcher: SftpFiles, **given: Any) -> SteppedSource:
    """A source whose client reaches what the connector's settings name."""
    return SteppedSource(http=GuardedHttp(hosts=hosts_in(watcher.settings), tls=ssl.create_default_context()), **given)


class Guests(asyncssh.SSHServer):
    """Lets ``acme`` in with a password."""

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("acme", "open sesame")


@asynccontextmanager
async def misbehaving(area: type[asyncssh.SFTPServer], root: Path) -> AsyncIterator[Sshd]:
    """asyncssh's server with a handler of files that does what it should not; ``root`` is its root."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(
        Guests, "127.0.0.1", 0, server_host_keys=[key], sftp_factory=lambda chan: area(chan, chroot=str(root).encode())
    )
    async with server:
        print_ = key.convert_to_public().get_fingerprint()
        yield Sshd(server.get_port(), "acme", b"", {"ed25519": print_}, 0)


def guest(server: Sshd, **given: Any) -> SftpFiles:
    """A connector on such a server."""
    return sftp(server, "/", private_key=None, password=secret(b"open sesame"), **given)
