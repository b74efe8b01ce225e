"""How the configuration speaks of a host that is reached by SSH: who we are there, and by which key we know it. Pure.

The keys are named types: a struct cannot have two bases with fields, so each lists those that it has.
"""

import re
from typing import Annotated, Final, Protocol, TypeAlias

import msgspec
from msgspec import Meta

from cdmd.kit.quantities import Duration
from cdmd.kit.secret import Secret

HostName: TypeAlias = Annotated[str, Meta(description="The server's name or address.")]
UserName: TypeAlias = Annotated[str, Meta(description="Whom to log in as.")]
HostKeys: TypeAlias = Annotated[
    str | tuple[str, ...] | None,
    Meta(description="The server's key or keys by fingerprint (`SHA256:...`): no other is talked to. `cdmd try` shows it."),
]
Port: TypeAlias = Annotated[int, Meta(description="The server's port.", ge=1, le=65535)]
Password: TypeAlias = Annotated[Secret | None, Meta(description="The password.")]
PrivateKey: TypeAlias = Annotated[Secret | None, Meta(description="The private key (OpenSSH or PEM).")]
Passphrase: TypeAlias = Annotated[Secret | None, Meta(description="What the private key is encrypted with.")]
Certificate: TypeAlias = Annotated[Secret | None, Meta(description="The certificate (OpenSSH) of the private key.")]
Agent: TypeAlias = Annotated[str | None, Meta(description="The socket of a key agent to ask.")]
LoginTimeout: TypeAlias = Annotated[Duration, Meta(description="The server must have let us in by then.")]
IdleTimeout: TypeAlias = Annotated[
    Duration, Meta(description="A server that says nothing for so long while something is asked for is given up.")
]
LOGIN_TIMEOUT: Final = Duration.parse("20s")
IDLE_TIMEOUT: Final = Duration.parse("60s")

_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


class Host(Protocol):
    """A host, and how we log in there."""

    @property
    def host(self) -> str: ...  # noqa: D102 - the keys of the configuration
    @property
    def port(self) -> int: ...  # noqa: D102
    @property
    def username(self) -> str: ...  # noqa: D102
    @property
    def host_key(self) -> str | tuple[str, ...] | None: ...  # noqa: D102
    @property
    def password(self) -> Secret | None: ...  # noqa: D102
    @property
    def private_key(self) -> Secret | None: ...  # noqa: D102
    @property
    def passphrase(self) -> Secret | None: ...  # noqa: D102
    @property
    def certificate(self) -> Secret | None: ...  # noqa: D102
    @property
    def agent(self) -> str | None: ...  # noqa: D102


class JumpHost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``jump``: the host that the connection goes through."""

    host: HostName
    username: UserName
    host_key: HostKeys = None
    port: Port = 22
    password: Password = None
    private_key: PrivateKey = None
    passphrase: Passphrase = None
    certificate: Certificate = None
    agent: Agent = None


Jump: TypeAlias = Annotated[JumpHost | None, Meta(description="A host that the connection goes through.")]


class Way(Host, Protocol):
    """A host, perhaps behind another one."""

    @property
    def jump(self) -> JumpHost | None: ...  # noqa: D102


def hosts(way: Way, key: str) -> list[tuple[Host, str]]:
    """The hosts on the way, the last one last, each with its place in the configuration, where the way's own is ``key``."""
    found: list[tuple[Host, str]] = [(way, key)]
    return found if way.jump is None else [(way.jump, f"{key}.jump"), *found]


def pins(host: Host) -> tuple[str, ...]:
    """The pinned fingerprints."""
    given = host.host_key
    return () if given is None else (given,) if isinstance(given, str) else given


def mistakes(way: Way) -> list[str]:
    """What the structs cannot express, as ``key: what is wrong``."""
    jump = [] if way.jump is None else [f"jump.{problem}" for problem in _mistakes(way.jump)]
    return [*_mistakes(way), *jump]


def _mistakes(host: Host) -> list[str]:
    found = [
        f"host_key: {one!r} is not a fingerprint (SHA256: and 43 characters, as ssh-keygen -lf shows it)"
        for one in pins(host)
        if _FINGERPRINT.fullmatch(one) is None
    ]
    if host.password is None and host.private_key is None and host.agent is None:
        found.append("private_key: is missing; give a private_key, a password or an agent")
    if host.private_key is None:
        found += [f"{key}: needs a private_key" for key in ("passphrase", "certificate") if getattr(host, key)]
    return found
