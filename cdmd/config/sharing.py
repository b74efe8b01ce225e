"""``[journal]`` as a struct: how long what arrived is kept, and whether on this disk or on servers that machines share."""

import importlib.util
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from cdmd.kit.quantities import Duration, Size
from cdmd.kit.secret import Secret

_SCHEMES: Final = frozenset(("nats", "tls"))
_SHARED: Final = ("max_bytes", "username", "password", "token", "ca")
_ONE: Final = ("replicas", "partitions")
_MOST_COPIES: Final = 5


class JournalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[journal]``."""

    keep: Annotated[Duration, Meta(description="How long what arrived stays in the journal.")] = Duration.parse("7d")
    reserve: Annotated[Size, Meta(description="Below this much free disk nothing is acknowledged.")] = Size.parse("1GiB")
    process: Annotated[
        Literal["shared", "own"],
        Meta(
            description="`own`: a process of its own writes the journal, which costs an acknowledgement less of the daemon's"
            " processor. Only for a journal in the state directory."
        ),
    ] = "shared"
    url: Annotated[
        str | None,
        Meta(
            description="Where the journal lies instead of the state directory: `nats://HOST:PORT` (`tls://` to encrypt),"
            " several of one cluster with commas between them. Needs `pip install 'cdmd[cluster]'` and JetStream there."
            " One node at a time writes it; with `store.url`, too, others with the role `ingest` hand on to it what is sent to"
            " them."
        ),
    ] = None
    name: Annotated[
        str, Meta(description="With `url`: what its streams are called (`NAME_entries`, `NAME_changes`, `KV_NAME`).")
    ] = "cdmd"
    replicas: Annotated[
        int, Meta(description="With `url`: on how many servers of the cluster it lies; 3 outlive one of them.", ge=1)
    ] = 1
    partitions: Annotated[
        int,
        Meta(
            description="With `url` and `store.url`: into how many lanes what arrives is divided, by customer, so that so many"
            " nodes can apply it side by side (`cdmd run --role process`). The same on all nodes.",
            ge=1,
            le=256,
        ),
    ] = 1
    max_bytes: Annotated[
        Size | None, Meta(description="With `url`: how much its entries may take there; when full nothing is acknowledged.")
    ] = None
    username: Annotated[str | None, Meta(description="With `url`: who logs in there.")] = None
    password: Annotated[Secret | None, Meta(description="With `url`: that user's password.")] = None
    token: Annotated[Secret | None, Meta(description="With `url`: a token to log in with instead.")] = None
    ca: Annotated[
        Secret | None, Meta(description="With `tls://`: authorities (PEM) to believe instead of the system's, as `file:PATH`.")
    ] = None

    def __post_init__(self) -> None:
        if problem := self._alone() if self.url is None else self._shared():
            raise ValueError(problem)

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers that ``url`` lists."""
        return tuple(one.strip() for one in (self.url or "").split(",") if one.strip())

    def _alone(self) -> str | None:
        given = [key for key in _SHARED if getattr(self, key) is not None] + [key for key in _ONE if getattr(self, key) != 1]
        return f"`{given[0]}` goes with `url`: without it the journal lies in the state directory" if given else None

    def _shared(self) -> str | None:
        if self.process == "own":
            return '`process = "own"` goes with a journal in the state directory: take it away, or `url`'
        for server in self.servers or ("",):
            parts = urlsplit(server)
            if parts.scheme not in _SCHEMES or not parts.hostname or _port(server) is None:
                return f"`url` has {server!r}: write nats://HOST:PORT"
            if "@" in server:
                return "`url` holds a login: write `username` and `password`, or `token`, instead"
        if (
            not all(character.isalnum() or character in "-_" for character in self.name)
            or not self.name.isascii()
            or not self.name
        ):
            return "`name` takes letters, digits, - and _"
        if self.replicas > _MOST_COPIES:
            return f"`replicas` is at most {_MOST_COPIES}"
        if (self.username is None) != (self.password is None):
            return "`username` and `password` go together"
        if importlib.util.find_spec("nats") is None:
            return "`url` needs the NATS client: pip install 'cdmd[cluster]'"
        return None


def _port(server: str) -> int | None:
    try:
        return urlsplit(server).port
    except ValueError:
        return None
