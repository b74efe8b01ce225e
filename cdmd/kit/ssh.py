"""An SSH connection to exactly the host that was pinned: by its key's fingerprint, before anything is said about who we are.

Nothing of the machine's own SSH set-up is used: no configuration, no known hosts, no agent that the settings do not name.
"""

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Protocol

import asyncssh
import msgspec
from typing_extensions import override

from cdmd.errors import AddressRefused, ConfigInvalid, RequestFailed, SourceBlocked, SourceUnavailable
from cdmd.kit.ssh_hosts import Host, pins

WINDOW: Final = 8 * 2**20
"""Bytes that may be on their way to us: what a connection to the other side of the world needs to be full."""

_ENCRYPTION: Final = [
    "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr", "aes192-ctr",
    "aes128-ctr",
]  # fmt: skip
_KEY_KINDS: Final[Sequence[Sequence[str]]] = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)
_ALL_KINDS: Final = tuple(kind for kinds in _KEY_KINDS for kind in kinds)
_ALIVE: Final = 15.0


class Reached(Protocol):
    """Who makes the connections: only to hosts that may be connected to."""

    async def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """A connected socket. Raises ``AddressRefused`` and ``RequestFailed``."""
        ...


class HostKey(msgspec.Struct, frozen=True):
    """A key that a server showed: its kind and fingerprint."""

    kind: str
    fingerprint: str

    @override
    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}"


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Who we are to one host: a name, and what proves it. ``agent`` is the socket of a key agent."""

    username: str
    keys: Sequence[asyncssh.SSHKey] = ()
    certificates: Sequence[Any] = ()
    password: str | None = None
    agent: str | None = None

    @classmethod
    def of(cls, settings: Host, *, key: str) -> "Login":
        """From its settings, whose place in the configuration is ``key``; raises ConfigInvalid. It may take a while."""
        keys = []
        if settings.private_key is not None:
            keys = [_private_key(settings, key)]
        certificates = []
        if settings.certificate is not None:
            try:
                certificates = [asyncssh.import_certificate(settings.certificate.reveal())]
            except (asyncssh.KeyImportError, ValueError):
                raise ConfigInvalid([f"{key}.certificate: is no OpenSSH certificate"]) from None
        password = None if settings.password is None else _text(settings.password.reveal(), f"{key}.password")
        return cls(username=settings.username, keys=keys, certificates=certificates, password=password, agent=settings.agent)

    @asynccontextmanager
    async def options(self) -> AsyncIterator[dict[str, Any]]:
        """What ``asyncssh.connect`` is given, valid while it lasts. Raises ``SourceUnavailable`` where the agent is silent."""
        found: list[Any] = list(self.keys)
        async with AsyncExitStack() as stack:
            if self.agent is not None:
                try:
                    agent = await stack.enter_async_context(asyncssh.connect_agent(self.agent))
                    found += await agent.get_keys()
                except (OSError, ValueError, asyncssh.Error) as error:
                    raise SourceUnavailable(
                        f"the key agent at {self.agent} cannot be asked ({type(error).__name__})"
                    ) from error
            # With an empty list, asyncssh would try the keys that it finds in the home directory.
            yield {
                "username": self.username,
                "password": self.password,
                "client_keys": found or None,
                "client_certs": list(self.certificates),
                "agent_path": None,
            }


def _private_key(settings: Host, key: str) -> asyncssh.SSHKey:
    assert settings.private_key is not None  # noqa: S101 - the caller has looked
    passphrase = None if settings.passphrase is None else _text(settings.passphrase.reveal(), f"{key}.passphrase")
    try:
        return asyncssh.import_private_key(settings.private_key.reveal(), passphrase)
    except asyncssh.KeyEncryptionError:
        raise ConfigInvalid([f"{key}.passphrase: does not open the private key"]) from None
    except (asyncssh.KeyImportError, ValueError) as error:
        locked = passphrase is None and "passphrase" in str(error).lower()
        what = "is encrypted; give its passphrase" if locked else "is no private key (OpenSSH or PEM)"
        raise ConfigInvalid([f"{key}.private_key: {what}"]) from None


def _text(secret: bytes, key: str) -> str:
    try:
        return secret.decode()
    except UnicodeDecodeError:
        raise ConfigInvalid([f"{key}: is not UTF-8 text"]) from None


class Pinned:
    """A host of the configuration with its pinned keys. ``shown`` are the keys that it showed so far.

    ``key`` is its place in the configuration (``connectors.NAME``), for the sentence that says how to pin.
    """

    def __init__(self, settings: Host, *, key: str, login: Login, timeout: float) -> None:
        self._settings, self._key, self._login, self._timeout = settings, key, login, timeout
        self._pins = frozenset(pins(settings))
        self._kinds: Sequence[str] = _ALL_KINDS
        self.shown: list[HostKey] = []

    async def connect(self, reached: Reached, through: asyncssh.SSHClientConnection | None) -> asyncssh.SSHClientConnection:
        """A connection, logged in. Raises ``SourceBlocked`` where the host shows no pinned key or refuses us."""
        try:
            return await self._try(reached, through, self._kinds)
        except asyncssh.HostKeyNotVerifiable:
            return await self._other_kinds(reached, through)

    async def _other_kinds(
        self, reached: Reached, through: asyncssh.SSHClientConnection | None
    ) -> asyncssh.SSHClientConnection:
        """A server has a key of each kind and shows one: the pinned one may be another."""
        self.shown = []
        for kinds in _KEY_KINDS:
            try:
                connection = await self._try(reached, through, kinds)
            except SourceBlocked:  # it has the pinned key, and refuses us
                raise
            except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed, SourceUnavailable):
                continue  # it may hang up where it has no key of that kind
            self._kinds = kinds
            return connection
        raise SourceBlocked(self._unpinned())

    async def _try(
        self, reached: Reached, through: asyncssh.SSHClientConnection | None, kinds: Sequence[str]
    ) -> asyncssh.SSHClientConnection:
        host, port = self._settings.host, self._settings.port
        way: dict[str, Any] = {"tunnel": through}
        if through is None:
            way = {"sock": await _socket(reached, host, port, timeout=self._timeout)}
        try:
            async with self._login.options() as proving:
                return await asyncssh.connect(
                    host,
                    port,
                    **way,
                    **proving,
                    config=None,
                    known_hosts=lambda *_: ([], [], [], [], [], [], []),
                    client_factory=lambda: _Client(self),
                    server_host_key_algs=list(kinds),
                    encryption_algs=_ENCRYPTION,
                    compression_algs=None,
                    gss_host=None,
                    x509_trusted_certs=None,
                    window=WINDOW,
                    connect_timeout=self._timeout,
                    login_timeout=self._timeout,
                    keepalive_interval=_ALIVE,
                    keepalive_count_max=3,
                )
        except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed):
            raise
        except (asyncssh.Error, OSError, ValueError) as error:
            raise translated(error, host, self._settings.username) from error

    def accepts(self, key: HostKey) -> bool:
        """Whether that key is pinned; it is remembered either way."""
        if key not in self.shown:
            self.shown.append(key)
        return key.fingerprint in self._pins

    def sentence(self) -> str:
        """Which key it showed."""
        return f"{self._settings.host} shows the pinned host key: {', '.join(str(key) for key in self.shown)}"

    def _unpinned(self) -> str:
        host, keys = self._settings.host, ", ".join(str(key) for key in self.shown) or "none that is understood"
        first = self.shown[0].fingerprint if self.shown else "SHA256:..."
        pin = f'write host_key = "{first}" into {self._key} and: cdmctl reload'
        if not self._pins:
            return f"no host key is pinned for {host}, which shows {keys}. Compare that with what its owner says, then {pin}"
        return (
            f"the host key of {host} is not the pinned one: it shows {keys}. Ask its owner by another way whether it was "
            f"changed; only if so, {pin}"
        )


class _Client(asyncssh.SSHClient):
    def __init__(self, host: Pinned) -> None:
        self._host = host

    @override
    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        return self._host.accepts(HostKey(key.get_algorithm(), key.get_fingerprint()))


async def _socket(reached: Reached, host: str, port: int, *, timeout: float) -> Any:
    try:
        return await reached.connect(host, port, timeout=timeout)
    except AddressRefused as error:
        raise SourceBlocked(str(error)) from error
    except RequestFailed as error:
        raise SourceUnavailable(str(error)) from error


def translated(error: Exception, host: str, username: str) -> Exception:
    """A foreign exception as one of ours, without its message, which may quote the other side."""
    match error:
        case asyncssh.PermissionDenied():
            return SourceBlocked(
                f"{host} does not let {username} in: compare username, key and password with what its owner expects"
            )
        case TimeoutError():
            return SourceUnavailable(f"{host} did not let us in in time")
        case asyncssh.ConnectionLost() | ConnectionError() | asyncssh.ChannelOpenError():
            return SourceUnavailable(f"the connection to {host} was lost")
        case asyncssh.KeyExchangeFailed():
            return SourceUnavailable(f"{host} and we have no way of encrypting in common")
        case _:
            return SourceUnavailable(f"{host} broke off or does not speak SSH ({type(error).__name__})")
